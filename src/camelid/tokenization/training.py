"""Training of a SentencePiece vocabulary with the settings of Llama 2.

Source: arXiv 2307.09288, Section 2.2 (tokenizer).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sentencepiece

from camelid.data.text_files import from_line, iterate_lines
from camelid.errors import DataError
from camelid.tokenization.huggingface import MODEL_FILE, write_huggingface_tokenizer
from camelid.tokenization.model_file import read_sentencepiece
from camelid.tokenization.tokenizer import SentencePieceTokenizer
from camelid.tokenization.vocabulary import LLAMA2_TAGS, UNKNOWN_SURFACE

LONGEST_SENTENCE = 4192
"""Bytes (the trainer's default). SentencePiece skips longer sentences, so longer lines are cut."""


class TokenizerTraining(NamedTuple):
    """What a tokenizer was trained on."""

    lines: int
    cut_lines: int
    """Lines longer than `LONGEST_SENTENCE` bytes, cut at spaces; nothing is skipped."""


def _cut(line: str) -> Iterator[str]:
    """Yield pieces of at most `LONGEST_SENTENCE` bytes, cut at spaces where there are any."""
    piece, size = "", 0
    for word in line.split(" "):
        width = len(word.encode()) + 1
        if size + width > LONGEST_SENTENCE and piece:
            yield piece
            piece, size = "", 0
        # A UTF-8 character has at most four bytes, so a quarter of the limit always fits.
        while width > LONGEST_SENTENCE:
            yield word[: LONGEST_SENTENCE // 4]
            word = word[LONGEST_SENTENCE // 4 :]
            width = len(word.encode()) + 1
        piece = f"{piece} {word}" if piece else word
        size += width
    if piece:
        yield piece


def train_sentencepiece(
    corpus_path: Path,
    directory: Path,
    *,
    vocabulary_size: int,
) -> TokenizerTraining:
    """Train a SentencePiece BPE model with the settings of Llama 2 and write a tokenizer folder.

    Numbers are split into digits, unknown characters into bytes, nothing is normalised. Training
    is a pure function of the corpus: all of it is read, nothing is sampled. One line with the tags
    of the Llama 2 chat format is added per line of the corpus, so that the tags are a few pieces
    and not a piece a character (Source: choice; Llama 2's own corpus is not specified).

    Args:
        corpus_path: Text, one document a line (`text_files.as_line`), UTF-8.
        directory: Receives the tokenizer, with the Llama 2 chat format.
        vocabulary_size: Pieces, of which 259 are special or bytes.

    Raises:
        MissingInputError: There is no corpus.
        DataError: The corpus is empty, damaged (file and line are named), or does not fit the
            vocabulary size.

    Source: arXiv 2307.09288, Section 2.2; flags as stored in the released `tokenizer.model`.
    """
    counts = {"lines": 0, "cut": 0}
    damaged: list[DataError] = []

    def lines() -> Iterator[str]:
        try:
            for line in iterate_lines(corpus_path):
                yield from from_line(line).split("\n")
        except DataError as error:
            damaged.append(error)
            raise

    def sentences() -> Iterator[str]:
        for line in lines():
            text = line.strip()
            if not text:
                continue
            counts["lines"] += 1
            yield " ".join(LLAMA2_TAGS)
            if len(text.encode()) <= LONGEST_SENTENCE:
                yield text
            else:
                counts["cut"] += 1
                yield from _cut(text)

    model = io.BytesIO()
    try:
        if not any(True for _ in sentences()):
            raise DataError(f"{corpus_path}: the corpus is empty; one document a line is needed.")
        counts.update(lines=0, cut=0)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size,
            character_coverage=0.99995,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentencepiece_length=16,
            max_sentence_length=LONGEST_SENTENCE,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            unk_surface=UNKNOWN_SURFACE,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        # What is raised in the iterator comes out of the library as an error of its own.
        if damaged:
            raise damaged[0] from None
        reason = str(error).rsplit("] ", 1)[-1].strip()
        raise DataError(
            f"{corpus_path}: the corpus does not fit a vocabulary of {vocabulary_size} pieces "
            f"({reason}). Use a larger corpus or another vocabulary_size."
        ) from None
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / MODEL_FILE
    path.write_bytes(model.getvalue())
    vocabulary = read_sentencepiece(path)
    write_huggingface_tokenizer(SentencePieceTokenizer(vocabulary), directory)
    return TokenizerTraining(lines=counts["lines"], cut_lines=counts["cut"])
