"""Controls of rejection sampling: the same samples, steps and demonstrations, another pick.

Fine-tuning on a random one of the K answers shows what the samples alone teach (answers drawn at a
lower temperature than the judged ones sharpen a model, whoever picks); the judge's pick shows what
a perfect reward model would give. Source: choice; the paper (Section 3.2.3) has no such control.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from camelid.data.annotation import Judge
from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, MetricsRow, Prompt, Sample
from camelid.evaluation.statistics import Estimate, attempt, proportion
from camelid.report.estimates import measure, percent
from camelid.run.finished import Found
from camelid.run.item import AbsentError, Cell, Measure, StageReport, Table
from camelid.run.place import (
    Json,
    ModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.train.config import FineTuned, FineTuningConfig

Picker = Literal["random", "likeliest", "judge"]
"""By chance, by the probability of the answer, which needs no preferences, or by the judge."""
REWARDED = "reward models"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one control."""

    pick: Picker
    """Who picks one of a prompt's answers in the reward models' place."""
    judge: Judge
    """Says which picks are exact, and picks where it is asked to; nothing else learns from it."""
    fine_tuning: FineTuningConfig
    """As in the round that it controls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    base: ModelFolder
    samples: Rows[Sample]
    bests: Rows[Dialogue]
    """The picks of the reward models in all rounds so far."""
    demonstrations: Rows[Dialogue]
    """Those that the round mixed in."""
    prompts: Rows[Prompt]
    held_out: Json[HeldOut] | None = None
    round: int


class Outputs(StageOutputs):
    """What the stage writes."""

    picks: Rows[Dialogue] = place("picks.jsonl")
    model: ModelFolder = place("model")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class GateWork:
    """What the gate did on the answers to prompts without the tag, the only ones it decides on."""

    answers: int
    closed: int
    """Answers whose reward is the safety model's."""
    unsafe: int
    """Answers that the judge finds violating."""
    closed_unsafe: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was picked and learned."""

    fine_tuning: FineTuned
    judge: str
    picks: int
    """Prompts whose answer was picked anew."""
    compared: int
    """Prompts for which everybody's pick may be used."""
    exact: dict[str, int]
    """Of these, exactly right picks by who picks; the judge says what is exact."""
    gate: GateWork


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    for stage in seen.stages[:1]:
        for picker, number in stage.result.exact.items():
            key = f"exact_picks.{picker.replace(' ', '_')}"
            found = partial(_share, number, stage.result.compared)
            yield measure(key, "share", found, judge=stage.result.judge)
        gate = stage.result.gate
        for key, of in (("precision", gate.closed), ("recall", gate.unsafe)):
            compute = partial(_share, gate.closed_unsafe, of)
            yield measure(f"gate.{key}", "share", compute, judge=stage.result.judge)


@REPORT.item(
    "rlhf",
    "Who picks, and how often the pick is exactly right",
    "Of the answers of the first round, judged by the exact judge. The likeliest answer needs no "
    "preferences: what the reward models add is what they pick better. Brackets: 95 % intervals.",
)
def picks(seen: Seen) -> Table:
    """Exactly right picks of chance, likelihood, reward models and judge."""
    found = seen.last.result
    rows: list[tuple[Cell, ...]] = [
        (picker, percent(attempt(partial(_share, number, found.compared))))
        for picker, number in found.exact.items()
    ]
    return Table(columns=("who picks", "exactly right %"), rows=rows)


@REPORT.item(
    "rewards",
    "The gate where it decides",
    "Answers of the first round to prompts without the tag IS_SAFETY, judged by the exact judge: "
    "how many the gate gave to the safety reward model, and how many of these were unsafe.",
    safety=True,
)
def gate_work(seen: Seen) -> Table:
    """Precision and recall of the gate on the prompts on which it acts."""
    found = seen.last.result.gate
    precision = attempt(partial(_share, found.closed_unsafe, found.closed))
    recall = attempt(partial(_share, found.closed_unsafe, found.unsafe))
    columns = ("answers", "gate closed", "unsafe", "both", "precision %", "recall %")
    row = (found.answers, found.closed, found.unsafe, found.closed_unsafe)
    return Table(columns=columns, rows=[(*row, percent(precision), percent(recall))])


def _share(number: int, of: int) -> Estimate:
    if not of:
        raise AbsentError("there is no such answer")
    return proportion(number, of)


PICK_CONTROL = StageKind(
    name="pick_control",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.assessment.pick_control.stage:run",
    report=REPORT,
)
