"""Tokenizer training (Section 2.2).

SentencePiece byte-pair encoding: numbers split into digits, unknown characters to bytes. The
paper's vocabulary has 32,000 pieces; its training corpus is not specified, here it is the
pretraining corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from camelid.run.stage import StageContext, StageInputs
from camelid.tokenization.chat import load_chat_format
from camelid.tokenization.training import train_sentencepiece


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the tokenizer."""

    vocabulary_size: int = 32000
    """Pieces (Section 2.2)."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    corpus: str


def run(config: Config, context: StageContext, inputs: Inputs) -> dict[str, Any]:
    """Train the tokenizer; writes `tokenizer/`."""
    corpus = context.input(inputs.corpus)
    directory = context.out / "tokenizer"
    trained = train_sentencepiece(corpus, directory, vocabulary_size=config.vocabulary_size)
    tokenizer = load_chat_format(directory).tokenizer
    with corpus.open(encoding="utf-8") as file:
        sample = [line.strip() for _, line in zip(range(2000), file, strict=False)]
    characters = sum(map(len, sample))
    tokens = sum(map(len, tokenizer.encode_batch(sample)))
    return {
        **trained._asdict(),
        "vocabulary_size": tokenizer.vocabulary_size,
        "characters_per_token": characters / max(1, tokens),
        "words_per_token": sum(len(text.split()) for text in sample) / max(1, tokens),
    }
