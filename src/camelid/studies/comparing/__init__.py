"""Compares pretrained variants of one model: validation loss and multiple choice.

A choice is scored by the sum of its tokens' log-probabilities after the context, without examples.

Source: arXiv 2307.09288, A.2.1 (Tables 16 to 18, mostly zero-shot). Of a context longer than the
model's, the end is kept; what the paper's short model did with long inputs is not said (Source:
choice).
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.records import Question
from camelid.run.place import (
    Corpus,
    ModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import NoSettings, StageKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    validation: Corpus
    questions: Rows[Question]
    models: tuple[tuple[str, ModelFolder], ...]
    """Name and weights of the variants; the first is the one that others are compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRow:
    """One question answered by one variant."""

    variant: str
    id: str
    category: str
    context_tokens: int
    choices: int
    scores: tuple[float, ...]
    """Log-probability of each choice."""
    answer: int
    """Index of the right choice."""
    right: bool


class Outputs(StageOutputs):
    """What the stage writes."""

    answers: Rows[AnswerRow] = place("answers.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """What is known of one variant."""

    parameters: int
    context: int
    heads: int
    kv_heads: int
    ffn_dim: int
    validation_perplexity: float
    validation_tokens: int
    contexts_cut: int
    """Questions longer than the context."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What is known of each variant, by name."""

    variants: dict[str, Compared]


COMPARING = StageKind(
    name="comparing",
    config=NoSettings,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.studies.comparing.stage:run",
    report="camelid.studies.comparing.report:REPORT",
)
