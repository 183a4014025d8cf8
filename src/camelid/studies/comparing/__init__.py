"""Compares pretrained variants of one model: validation loss and multiple choice.

A choice is scored by the sum of its tokens' log-probabilities after the context, without examples.

Source: arXiv 2307.09288, A.2.1 (Tables 16 to 18, mostly zero-shot). Of a context longer than the
model's, the end is kept; what the paper's short model did with long inputs is not said (Source:
choice).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from camelid.data.records import Question
from camelid.evaluation.statistics import paired_difference, share, shares
from camelid.report.estimates import measure, percent, points
from camelid.report.texts import table_of
from camelid.run.finished import Found
from camelid.run.item import Cell, Measure, NotApplicableError, StageReport, Table
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


Seen = Found[NoSettings, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()

LIMITS = (
    "Small models and questions about a simulated world stand where the paper has benchmarks.",
    "Intervals cover the questions, not the seed: the first variant from another stands beside.",
    "A category where all variants are always right, or right by chance only, tells nothing.",
)
_LONG = "recall"
"""Start of the categories that ask for what was told long before."""
_ACCURACY = "Right choices in % (95 % intervals)."
_HOW = "Sum of the log-probabilities of a choice's tokens, no examples."
_JUDGE = "the world's right answers"


def _answers(seen: Seen) -> list[AnswerRow]:
    return seen.last.rows(seen.last.outputs.answers)


def _is_right(row: AnswerRow) -> bool:
    return row.right


def _is_long(row: AnswerRow) -> bool:
    return row.category.startswith(_LONG)


def _right(rows: Sequence[AnswerRow], variant: str, category: str | None) -> list[float]:
    return [
        float(row.right)
        for row in rows
        if row.variant == variant and category in (None, row.category)
    ]


def comparison(rows: Sequence[AnswerRow], variants: Sequence[str]) -> Table:
    """Tables 16 to 18: accuracy of every variant by category, then differences from the first."""
    categories = list(dict.fromkeys(row.category for row in rows))
    first, *others = variants
    found = shares(rows, lambda row: (row.variant, row.category), _is_right)
    whole = shares(rows, lambda row: row.variant, _is_right)
    body: list[tuple[Cell, ...]] = [
        (name, *(percent(found.get((name, c))) for c in categories), percent(whole.get(name)))
        for name in (first, *others)
    ]
    for name in others:
        changes = (
            paired_difference(_right(rows, name, c), _right(rows, first, c), largest=1.0)
            for c in (*categories, None)
        )
        body.append((f"{name} less {first}, points", *map(points, changes)))
    one_of = {row.category: row.choices for row in reversed(rows)}
    body.append(("chance", *(f"{100 / one_of[c]:.1f}" for c in categories), None))
    names = []
    for category in categories:
        sizes = [row.context_tokens for row in rows if row.category == category]
        names.append(f"{category} ({min(sizes)}–{max(sizes)} tokens)")
    return Table(columns=("variant", *names, "all"), rows=body)


@REPORT.item(
    "quality",
    "The variants",
    "Contexts cut: questions longer than the context, of which the end is kept. "
    "Perplexity: documents cut to the context; the first token of a piece is not "
    "predicted.",
)
def variants(seen: Seen) -> Table:
    """Shape, size and validation perplexity of the variants."""
    return table_of(seen.last.result.variants)


def _asked(seen: Seen, *, long: bool, of_length: bool = True) -> Table:
    """Compare on one sort of questions, in a study that varies the context or one that does not."""
    rows = _answers(seen)
    chosen = [row for row in rows if _is_long(row) == long]
    if not chosen or any(map(_is_long, rows)) != of_length:
        raise NotApplicableError("this study varies something else")
    return comparison(chosen, list(seen.last.result.variants))


@REPORT.item("quality", "What was told long before", _ACCURACY, "Table 16")
def long_before(seen: Seen) -> Table:
    """Table 16: questions about what was told long before."""
    return _asked(seen, long=True)


@REPORT.item(
    "quality", "What every variant knows, by length of context", f"{_ACCURACY} {_HOW}", "Table 17"
)
def by_context(seen: Seen) -> Table:
    """Table 17: general questions, by length of context."""
    return _asked(seen, long=False)


@REPORT.item(
    "quality", "What every variant knows, by kind of attention", f"{_ACCURACY} {_HOW}", "Table 18"
)
def by_attention(seen: Seen) -> Table:
    """Table 18: general questions, by kind of attention."""
    return _asked(seen, long=False, of_length=False)


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    rows = _answers(seen)
    for name, result in seen.last.result.variants.items():
        perplexity = result.validation_perplexity
        yield measure(f"{name}.parameters", "count", partial(float, result.parameters))
        yield measure(f"{name}.validation_perplexity", "perplexity", partial(float, perplexity))
        for category in dict.fromkeys(row.category for row in rows):
            mine = [row for row in rows if (row.variant, row.category) == (name, category)]
            right = partial(share, mine, _is_right, "no question")
            key = f"{name}.{category.replace(', ', '_')}"
            yield measure(key, "share", right, judge=_JUDGE)


REPORT.limits(lambda _: LIMITS)


COMPARING = StageKind(
    name="comparing",
    config=NoSettings,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.studies.comparing.stage:run",
    report=REPORT,
)
