"""Tokenizer training (Section 2.2).

SentencePiece byte-pair encoding: numbers split into digits, unknown characters to bytes. The
paper's vocabulary has 32,000 pieces; its training corpus is not specified, here it is the
pretraining corpus.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated

from camelid.run.place import Corpus, StageInputs, StageOutputs, TokenizerFolder, place
from camelid.run.stage import StageContext, StageKind
from camelid.settings import PaperValue, Range, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of the tokenizer."""

    vocabulary_size: Annotated[int, Range(300, 2**20)] = 32000
    """Pieces (Section 2.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    corpus: Corpus


class Outputs(StageOutputs):
    """What the stage writes."""

    tokenizer: TokenizerFolder = place("tokenizer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was trained, and on a sample of the corpus how it fares."""

    vocabulary_size: int
    lines: int
    cut_lines: int
    """Lines too long for the trainer, cut at spaces; nothing is skipped."""
    characters_per_token: float
    words_per_token: float


def run(config: Config, inputs: Inputs, outputs: Outputs, _: StageContext) -> Result:
    """Train SentencePiece on the corpus."""
    from camelid.tokenization.chat import load_chat_format
    from camelid.tokenization.training import train_sentencepiece

    trained = train_sentencepiece(
        inputs.corpus.path, outputs.tokenizer.path, vocabulary_size=config.vocabulary_size
    )
    tokenizer = load_chat_format(outputs.tokenizer.path).tokenizer
    sample = list(itertools.islice(inputs.corpus.documents(), 2000))
    tokens = max(1, sum(map(len, tokenizer.encode_batch(sample))))
    return Result(
        **trained._asdict(),
        vocabulary_size=tokenizer.vocabulary_size,
        characters_per_token=sum(map(len, sample)) / tokens,
        words_per_token=sum(len(text.split()) for text in sample) / tokens,
    )


TOKENIZER_TRAINING = StageKind(
    name="tokenizer_training",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run=run,
    paper={"vocabulary_size": PaperValue("32,000", "Section 2.2")},
)
