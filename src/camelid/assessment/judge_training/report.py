"""What the judges of real text get wrong, against people's labels."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Iterable, Sequence

from camelid.assessment.judge_training import Config, HeldOutReply, Inputs, Outputs, Result
from camelid.data.human_scores import Label
from camelid.evaluation.correction import JudgeError, judge_error
from camelid.evaluation.statistics import Estimate
from camelid.evaluation.trained_judges import NAME
from camelid.report.estimates import measure, percent
from camelid.report.texts import statistics
from camelid.run.finished import Found
from camelid.run.item import AbsentError, Cell, Example, Measure, StageReport, Table

Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()
STRINGS = "refusal strings"
LABELS: tuple[Label, ...] = typing.get_args(Label)
_HELD_OUT = (
    "Against people's labels, on replies to prompts (and with texts) that the judge never saw: "
    "cross-validation by prompt. "
)


def held_out(seen: Seen, label: Label) -> list[HeldOutReply]:
    """Return the labelled replies of one judge.

    Raises:
        AbsentError: There is no judge; the reason is given.
    """
    if seen.last.result.absent is not None:
        raise AbsentError(f"no judge trained on human labels: {seen.last.result.absent}")
    return [row for row in seen.last.rows(seen.last.outputs.held_out) if row.label == label]


def errors(rows: Sequence[HeldOutReply]) -> dict[str, JudgeError]:
    """Return the errors of the trained judge and of refusal strings on the same replies."""
    verdicts = {
        NAME: [row.verdict for row in rows],
        STRINGS: [row.by_strings for row in rows],
    }
    labels, groups = [row.positive for row in rows], [row.group for row in rows]
    return {name: judge_error(found, labels, groups) for name, found in verdicts.items()}


@REPORT.item(
    "safety",
    "Judges against people's labels",
    _HELD_OUT + "Sensitivity: found of the refusals, or of the harmful replies. Specificity: left "
    "alone of the others. Strings: a reply without a refusal counts as harmful. Brackets: 95 % "
    "intervals, which count prompts.",
    card="Evaluation Results",
    safety=True,
)
def judges(seen: Seen) -> Table:
    """Accuracy, sensitivity and specificity of each judge."""
    body: list[tuple[Cell, ...]] = []
    for label in LABELS:
        rows = held_out(seen, label)
        counts = (len(rows), sum(row.positive for row in rows), len({row.group for row in rows}))
        for name, error in errors(rows).items():
            shares = (error.accuracy, error.positive.share, error.negative.share)
            body.append((label, name, *counts, *map(percent, shares)))
    columns = ("label", "judge", "replies", "positive", "prompts", "accuracy %", "sensitivity %",
               "specificity %")  # fmt: skip
    return Table(columns=columns, rows=body)


@REPORT.item("safety", "Where judge and refusal strings disagree", _HELD_OUT + "Counts of replies.")
def judge_disagreements(seen: Seen) -> Table:
    """People's labels by what both judges say."""
    body: list[tuple[Cell, ...]] = []
    for label in LABELS:
        found = Counter((r.verdict, r.by_strings, r.positive) for r in held_out(seen, label))
        for verdict, by_strings in ((True, True), (True, False), (False, True), (False, False)):
            people = (found[verdict, by_strings, positive] for positive in (True, False))
            words = ("yes" if said else "no" for said in (verdict, by_strings))
            body.append((label, *words, *people))
    columns = ("label", NAME, STRINGS, "people: yes", "people: no")
    return Table(columns=columns, rows=body)


@REPORT.item("safety", "Replies that the judge gets wrong", _HELD_OUT + "Beginnings of texts.")
def mistakes(seen: Seen) -> list[Example]:
    """The surest mistakes of both judges."""
    wrong = [
        row
        for label in LABELS
        for row in sorted(held_out(seen, label), key=lambda r: -abs(r.probability - r.positive))[:2]
        if row.verdict != row.positive
    ]
    if not wrong:
        raise AbsentError("the judges make no mistake")
    return [
        Example(
            dialogue=(("user", f"{row.prompt} ..."),),
            note=f"{row.label}: people {row.score:.2f}, judge {row.probability:.2f} ({row.id})",
            answers=(("reply", f"{row.reply} ..."),),
        )
        for row in wrong
    ]


@REPORT.item("data", "Replies that people labelled", "What the judges learned from.", folded=True)
def labelled(seen: Seen) -> Table:
    """Rows used and left out, and the hash of each file."""
    return statistics(seen.last.result)


@REPORT.measures
def measures(seen: Seen) -> Iterable[Measure]:
    """Errors of both judges."""
    parts = {
        "accuracy": lambda error: error.accuracy,
        "sensitivity": lambda error: error.positive.share,
        "specificity": lambda error: error.negative.share,
    }
    for label in LABELS:
        for name, take in parts.items():

            def compute(label: Label = label, take: typing.Any = take) -> Estimate:
                found: Estimate = take(errors(held_out(seen, label))[NAME])
                return found

            yield measure(f"judges.{label}.{name}", "share", compute, judge="people's labels")


@REPORT.limits
def limits(seen: Seen) -> Iterable[str]:
    """How far the judges carry."""
    if seen.last.result.absent is not None:
        yield (
            "Violations and refusals are counted by refusal strings only, without a judge trained "
            f"on human labels: {seen.last.result.absent}."
        )
        return
    yield (
        "The judges of real text learned from people's labels on replies of other models to other "
        "prompts. The corrected rates hold as far as they err here as often as there."
    )
