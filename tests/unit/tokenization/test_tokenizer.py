import functools
import random
import unicodedata
from dataclasses import replace

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from camelid.errors import CheckpointError, DataError, MissingInputError
from camelid.tokenization.huggingface import read_huggingface_tokenizer
from camelid.tokenization.model_file import model_proto
from camelid.tokenization.tokenizer import (
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    StreamingDecoder,
)
from camelid.tokenization.training import LONGEST_SENTENCE, train_sentencepiece
from camelid.tokenization.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary

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


@functools.cache
def library_model(folder):
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def byte_level(pre_tokenizer="smollm"):
    # The 256 byte symbols of byte-level BPE, after two special tokens.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = {"<|im_start|>": 0, "<|im_end|>": 1}
    tokens = [*special, *alphabet, "th", "the", "11"]
    merges = ["t h", "th e", "1 1"]
    return from_merges(tokens, merges, special, pre_tokenizer)


def from_merges(tokens, merges, special, pre_tokenizer):
    return ByteLevelBPETokenizer(
        Vocabulary(
            kind="byte_level_bpe",
            tokens=tuple(tokens),
            types=tuple(CONTROL if token in special else NORMAL for token in tokens),
            merges=tuple(merges),
            pre_tokenizer=pre_tokenizer,
            bos_id=None,
            eos_id=special["<|im_end|>"],
            chat_format="chatml",
        )
    )


def test_settings_of_the_paper(sentencepiece_folder, sentencepiece_tokenizer):
    tokenizer = sentencepiece_tokenizer
    assert tokenizer.vocabulary_size == 380
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    # No pad of its own: rows are filled with the end token, masks are positional.
    assert tokenizer.pad_id == tokenizer.eos_id
    model = library_model(sentencepiece_folder)
    assert (model.pad_id(), model.unk_id(), model.bos_id(), model.eos_id()) == (-1, 0, 1, 2)
    assert model.id_to_piece(3) == "<0x00>"
    assert model.encode("1999", out_type=str) == ["▁", "1", "9", "9", "9"]
    assert model.encode("é", out_type=str) == ["▁", "<0xC3>", "<0xA9>"]
    for text in ("1999", "é"):
        assert tokenizer.encode(text) == model.encode(text)
    # Nothing is normalised: full-width letters, runs of spaces and line breaks stay.
    for text in ("Ａ ﬁ", "a   b", " a ", "\n\n a\tb"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tags_of_the_chat_format_are_few_pieces(sentencepiece_tokenizer):
    assert len(sentencepiece_tokenizer.encode("[INST] [/INST]")) <= 6


# All of Unicode; half surrogate pairs are no characters. The alphabet of the vocabulary, with the
# sign that stands for the space inside it and a placeholder's character, is drawn more often.
characters = st.sampled_from("the cat ▁\U0010fffd<0xE>é\u0301🇫🇷👩‍💻\n\t") | st.characters(
    exclude_categories=["Cs"]
)
plain = st.text(characters, max_size=60)


@pytest.fixture(params=["sentencepiece", "smollm", "llama-bpe", "qwen2"])
def tokenizer(request, sentencepiece_tokenizer):
    if request.param == "sentencepiece":
        return sentencepiece_tokenizer
    return byte_level(request.param)


function_fixture = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@function_fixture
@given(texts=st.lists(plain, min_size=1, max_size=4))
def test_round_trip(tokenizer, texts):
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert ids == tokenizer.encode(text)
        # Qwen2's kind alone normalises, as its models were trained.
        nfc = tokenizer.vocabulary.pre_tokenizer == "qwen2"
        assert tokenizer.decode(ids) == (unicodedata.normalize("NFC", text) if nfc else text)


def test_every_character_round_trip(tokenizer):
    every = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    if tokenizer.vocabulary.pre_tokenizer == "qwen2":
        every = unicodedata.normalize("NFC", every)
    texts = [every[start : start + 5000] for start in range(0, len(every), 5000)]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts


@function_fixture
@given(data=st.binary(max_size=40), seed=st.integers(0, 2**32))
def test_streamed_text_has_no_half_characters(tokenizer, data, seed):
    """Any bytes, also such as never become a character, between whole words and special tokens."""
    tokens = tokenizer.vocabulary.tokens
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    single = [f"<0x{byte:02X}>" for byte in data]
    if tokens.count("<0x00>") == 0:
        printable = dict(zip(sorted_bytes(), sorted(alphabet), strict=True))
        single = [printable[byte] for byte in data]
    ids = [tokens.index(token) for token in single]
    generator = random.Random(seed)
    for text in ("🇫🇷 é", "e\u0301 cat"):
        place = generator.randint(0, len(ids))
        ids[place:place] = [tokenizer.eos_id, *tokenizer.encode(text)]
    stream = StreamingDecoder(tokenizer)
    parts = [stream.add(index) for index in ids]
    assert "".join(parts) + stream.finish() == tokenizer.decode(ids)
    # The bytes themselves, decoded at once by Python.
    raw = b"".join(tokenizer.token_bytes(index) for index in ids)
    if tokenizer.opens_with_space:
        raw = raw.removeprefix(b" ")
    assert tokenizer.decode(ids) == raw.decode(errors="replace")
    # A part is given out only when its characters are complete: what follows never changes it.
    for end in range(len(ids) + 1):
        assert tokenizer.decode(ids[:end]).startswith("".join(parts[:end]))


def sorted_bytes():
    """Return the bytes in the order of their characters in GPT-2's alphabet."""
    shown = [b for b in range(256) if chr(b).isprintable() and b not in (0x20, 0xA0, 0xAD)]
    return shown + [b for b in range(256) if b not in shown]


def test_emoji_streams_whole(tokenizer):
    stream = StreamingDecoder(tokenizer)
    parts = [stream.add(index) for index in tokenizer.encode("a 👩‍💻 e\u0301")]
    assert "".join(parts) == unicodedata.normalize(
        "NFC" if tokenizer.vocabulary.pre_tokenizer == "qwen2" else "NFD", "a 👩‍💻 e\u0301"
    )
    assert len([part for part in parts if part]) >= 6
    assert "\ufffd" not in "".join(parts)
    assert stream.finish() == ""


def test_unfinished_character_shows_at_the_end(tokenizer):
    ids = tokenizer.encode("a 👩")[:-1]
    stream = StreamingDecoder(tokenizer)
    assert "".join(stream.add(index) for index in ids) == "a "
    assert stream.finish() == "\ufffd"
    for wrong in (-1, tokenizer.vocabulary_size):
        with pytest.raises(DataError, match="token id"):
            tokenizer.decode([wrong])


def test_half_a_surrogate_pair_is_refused(tokenizer):
    for texts in (["\ud83d"], ["a", "b\udc00"]):
        with pytest.raises(DataError, match="surrogate"):
            tokenizer.encode_batch(texts)


def test_sentencepiece_equals_the_library(sentencepiece_folder, sentencepiece_tokenizer):
    """The model that the library trained and loads, against the one rebuilt from plain data."""
    library = library_model(sentencepiece_folder)
    generator = random.Random(1)
    alphabet = [*WORDS, " ", "  ", "\n", "\t", "é", "日本", "😀", "</s>", "1999", "Ａ"]
    texts = ["".join(generator.choices(alphabet, k=12)) for _ in range(500)]
    assert sentencepiece_tokenizer.encode_batch(texts) == library.encode(texts)
    assert [sentencepiece_tokenizer.decode(ids) for ids in library.encode(texts)] == texts


# Few letters, periods and runs of spaces: pieces that overlap and compete for the same letters.
crowded = st.text(st.sampled_from("the ca\0"), max_size=60) | st.builds(
    str.__mul__, st.text(st.sampled_from("ba t1"), max_size=5), st.integers(0, 60)
)


@settings(max_examples=500, deadline=None)
@given(text=crowded | plain.map(lambda text: text.replace("▁", "")))
def test_sentencepiece_equals_the_library_on_any_text(
    sentencepiece_folder, sentencepiece_tokenizer, text
):
    assert sentencepiece_tokenizer.encode(text) == library_model(sentencepiece_folder).encode(text)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_runs_of_spaces_equal_the_library(data):
    """Pieces of spaces have one score; some lengths are missing, and ids follow no order."""
    runs = data.draw(st.sets(st.integers(2, 16)).map(sorted))
    drawn = ["▁", "a", "b", "▁a", "ab", "▁ab", "▁▁b", *["▁" * length for length in runs]]
    pieces = data.draw(st.permutations(drawn))
    vocabulary = Vocabulary(
        kind="sentencepiece",
        tokens=("<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)], *pieces),
        types=(UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces)),
        scores=(0.0,) * 259
        + tuple(-float(rank) if piece.strip("▁") else -1e9 for rank, piece in enumerate(pieces)),
        bos_id=1,
        eos_id=2,
        chat_format="llama2",
    )
    library = sentencepiece.SentencePieceProcessor(model_proto=model_proto(vocabulary))
    texts = [" " * length for length in range(60)]
    texts += data.draw(st.lists(st.text("ab     \n", max_size=60), max_size=20))
    assert SentencePieceTokenizer(vocabulary).encode_batch(texts) == library.encode(texts)


def test_the_sign_of_a_space_is_its_bytes(sentencepiece_tokenizer):
    tokens = sentencepiece_tokenizer.vocabulary.tokens
    found = [tokens[index] for index in sentencepiece_tokenizer.encode("the▁▁cat")]
    sign = ["<0xE2>", "<0x96>", "<0x81>"]
    assert found == ["▁the", *sign, *sign, *found[7:]]
    assert "".join(found[7:]) == "cat"


def test_pieces_of_one_score_are_refused_where_they_overlap(sentencepiece_tokenizer):
    """Which of them the library makes depends on the place in the text, not on a list of merges."""
    vocabulary = sentencepiece_tokenizer.vocabulary
    with pytest.raises(CheckpointError, match="same score"):
        SentencePieceTokenizer(replace(vocabulary, scores=(0.0,) * len(vocabulary.tokens)))
    # Runs of spaces have one score in every model, and so may pieces without a common letter.
    tied = {vocabulary.tokens.index(piece): 1.0 for piece in ("▁the", "▁and")}
    scores = [tied.get(index, score) for index, score in enumerate(vocabulary.scores)]
    SentencePieceTokenizer(replace(vocabulary, scores=tuple(scores)))


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


def test_pre_tokenizers_differ_where_they_should():
    for name, digits in (("smollm", 2), ("qwen2", 2), ("llama-bpe", 1)):
        tokenizer = byte_level(name)
        assert len(tokenizer.encode("the")) == 1
        # The merge "11" exists; only Llama 3 takes digits together.
        assert len(tokenizer.encode("11")) == digits
    # Llama 3 takes a word that is a token as it is, though no merge makes it.
    tokens = [*byte_level().vocabulary.tokens, "cat"]
    special = {"<|im_start|>": 0, "<|im_end|>": 1}
    for name, count in (("llama-bpe", 1), ("qwen2", 3)):
        tokenizer = from_merges(tokens, [], special, name)
        assert len(tokenizer.encode("cat")) == count
    # Not so a special token, though its name is a word.
    special = {"<|im_end|>": 1, "cat": len(tokens) - 1}
    tokenizer = from_merges(tokens, [], special, "llama-bpe")
    assert len(tokenizer.encode("cat")) == 3


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
    tokenizer = read_huggingface_tokenizer(tmp_path / "out")
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
    with pytest.raises(DataError, match=r"corpus\.txt, line 2: .* UTF-8"):
        train_sentencepiece(tmp_path / "corpus.txt", tmp_path / "out", vocabulary_size=300)
    with pytest.raises(MissingInputError):
        train_sentencepiece(tmp_path / "none.txt", tmp_path / "out", vocabulary_size=300)
