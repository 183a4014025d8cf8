import json
import random

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.byte_level_bpe import ByteLevelBPETokenizer
from camelid.data.huggingface_tokenizer import (
    read_huggingface_tokenizer,
)
from camelid.data.sentencepiece_tokenizer import SentencePieceTokenizer
from camelid.data.tokenizer_training import LONGEST_SENTENCE, train_sentencepiece
from camelid.errors import CheckpointError, DataError, MissingInputError

WORDS = [
    "the",
    "cat",
    "of",
    "Marvale",
    "bakes",
    "bread",
    "near",
    "river",
    "42",
    "1999",
    "and",
    "sings",
    "loudly",
    "captain",
    "rabbit",
]


def write_corpus(path, lines=400, extra=()):
    generator = random.Random(0)
    rows = [" ".join(generator.choices(WORDS, k=12)) + "." for _ in range(lines)]
    path.write_text("\n".join([*rows, *extra]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def sentencepiece_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizer")
    train_sentencepiece(write_corpus(root / "corpus.txt"), root / "out", vocabulary_size=380)
    return root / "out"


@pytest.fixture(scope="module")
def sentencepiece_tokenizer(sentencepiece_folder):
    return read_huggingface_tokenizer(sentencepiece_folder)


def byte_level():
    # The 256 byte symbols of byte-level BPE, after two special tokens.
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    special = {"<|im_start|>": 0, "<|im_end|>": 1}
    tokens = [*special, *alphabet, "th", "the", "11"]
    merges = ["t h", "th e", "1 1"]
    return ByteLevelBPETokenizer.from_merges(tokens, merges, special, eos="<|im_end|>")


def test_settings_of_the_paper(sentencepiece_tokenizer):
    tokenizer = sentencepiece_tokenizer
    assert tokenizer.vocabulary_size == 380
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    # No pad of its own: rows are filled with the end token, masks are positional.
    assert tokenizer.pad_id == tokenizer.eos_id
    model = tokenizer._model
    assert model.pad_id() == -1
    assert model.unk_id() == 0
    assert model.id_to_piece(3) == "<0x00>"
    assert model.encode("1999", out_type=str) == ["▁", "1", "9", "9", "9"]
    assert model.encode("é", out_type=str) == ["▁", "<0xC3>", "<0xA9>"]
    # Nothing is normalised: full-width letters, runs of spaces and line breaks stay.
    for text in ("Ａ ﬁ", "a   b", " a ", "\n\n a\tb"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tags_of_the_chat_format_are_few_pieces(sentencepiece_tokenizer):
    assert len(sentencepiece_tokenizer.encode("[INST] [/INST]")) <= 6


plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60)


@settings(max_examples=150, deadline=None)
@given(text=plain)
def test_sentencepiece_round_trip(sentencepiece_tokenizer, text):
    assert sentencepiece_tokenizer.decode(sentencepiece_tokenizer.encode(text)) == text


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_byte_level_round_trip(text):
    tokenizer = byte_level()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["</s>", "<s> a", "<unk>", "<0x41>", "<pad>"])
def test_special_strings_stay_text_in_sentencepiece(sentencepiece_tokenizer, text):
    ids = sentencepiece_tokenizer.encode(text)
    assert not {0, 1, 2} & set(ids)
    assert sentencepiece_tokenizer.decode(ids) == text


def test_special_strings_stay_text_in_byte_level():
    tokenizer = byte_level()
    ids = tokenizer.encode("a<|im_end|>\n<|im_start|>user")
    assert not {0, 1} & set(ids)
    assert tokenizer.decode(ids) == "a<|im_end|>\n<|im_start|>user"
    assert tokenizer.decode([0, *tokenizer.encode("the"), 1]) == "the"


def test_byte_level_splits_digits_and_merges():
    tokenizer = byte_level()
    assert len(tokenizer.encode("the")) == 1
    # The merge "11" exists, but digits are split before.
    assert len(tokenizer.encode("11")) == 2


def test_special_ids(sentencepiece_tokenizer):
    assert sentencepiece_tokenizer.special_id("</s>") == 2
    assert byte_level().special_id("<|im_start|>") == 0
    for tokenizer in (sentencepiece_tokenizer, byte_level()):
        with pytest.raises(DataError, match="no special token"):
            tokenizer.special_id("the")


def test_training_is_deterministic(sentencepiece_folder, tmp_path):
    corpus = write_corpus(tmp_path / "corpus.txt")
    train_sentencepiece(corpus, tmp_path / "again", vocabulary_size=380)
    again = (tmp_path / "again" / "tokenizer.model").read_bytes()
    assert again == (sentencepiece_folder / "tokenizer.model").read_bytes()


def test_long_lines_are_cut_and_not_skipped(tmp_path):
    # The word occurs in one long line only; SentencePiece alone would skip that line.
    long = "zyxwvut " * (LONGEST_SENTENCE // 4)
    corpus = write_corpus(tmp_path / "corpus.txt", extra=[long, "日" * LONGEST_SENTENCE])
    trained = train_sentencepiece(corpus, tmp_path / "out", vocabulary_size=400)
    assert trained.cut_lines == 2
    assert trained.lines == 402
    tokenizer = SentencePieceTokenizer(tmp_path / "out" / "tokenizer.model")
    assert len(tokenizer.encode("zyxwvut")) == 1


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_empty_corpus(tmp_path, text):
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="empty"):
        train_sentencepiece(tmp_path / "corpus.txt", tmp_path / "out", vocabulary_size=300)


@pytest.mark.parametrize("size", [100, 30000])
def test_corpus_does_not_fit_the_vocabulary(tmp_path, size):
    corpus = write_corpus(tmp_path / "corpus.txt")
    with pytest.raises(DataError, match=f"vocabulary of {size} pieces"):
        train_sentencepiece(corpus, tmp_path / "out", vocabulary_size=size)
    assert not (tmp_path / "out").exists()


def test_corpus_that_is_not_utf8_or_missing(tmp_path):
    (tmp_path / "corpus.txt").write_bytes(b"good line\n\xff\xfe bad\n")
    with pytest.raises(DataError, match="not UTF-8"):
        train_sentencepiece(tmp_path / "corpus.txt", tmp_path / "out", vocabulary_size=300)
    with pytest.raises(MissingInputError):
        train_sentencepiece(tmp_path / "none.txt", tmp_path / "out", vocabulary_size=300)


def test_byte_level_save_and_load(tmp_path):
    tokenizer = byte_level()
    tokenizer.save(tmp_path, "chatml")
    loaded = read_huggingface_tokenizer(tmp_path)
    text = "the 11 <|im_end|> 日本"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert (loaded.eos_id, loaded.pad_id, loaded.bos_id) == (1, 1, None)
    assert loaded.vocabulary_size == tokenizer.vocabulary_size


def test_damaged_folders(tmp_path):
    with pytest.raises(MissingInputError, match="tokenizer_config"):
        read_huggingface_tokenizer(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    for text in ("{", "[]", '{"kind": "sentencepiece"}'):
        config.write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError):
            read_huggingface_tokenizer(tmp_path)
    for kind, name in (("sentencepiece", "tokenizer.model"), ("byte_level_bpe", "tokenizer.json")):
        config.write_text(json.dumps({"kind": kind, "chat_format": "llama2"}), encoding="utf-8")
        with pytest.raises(MissingInputError):
            read_huggingface_tokenizer(tmp_path)
        (tmp_path / name).write_bytes(b"not a tokenizer")
        with pytest.raises(CheckpointError):
            read_huggingface_tokenizer(tmp_path)
    config.write_text(json.dumps({"kind": "words", "chat_format": "llama2"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="'words'"):
        read_huggingface_tokenizer(tmp_path)
