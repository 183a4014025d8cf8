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
from camelid.run.item import AbsentError, Measure, StageReport, Table
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

Picker = Literal["random", "judge"]


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
    exact: int
    """Of these picks, those that the judge finds exactly right."""
    exact_rewarded: int
    """The same of the reward models' picks for the same prompts."""
    gate: GateWork


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    for stage in seen.stages:
        found = stage.result
        yield _exact(f"{stage.part}.exact_picks", found.exact, found)
    for stage in seen.stages[:1]:
        yield _exact("rewarded_pick.exact_picks", stage.result.exact_rewarded, stage.result)
        gate = stage.result.gate
        for key, of in (("precision", gate.closed), ("recall", gate.unsafe)):
            compute = partial(_share, gate.closed_unsafe, of)
            yield measure(f"gate.{key}", "share", compute, judge=stage.result.judge)


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


def _exact(key: str, number: int, result: Result) -> Measure:
    def compute() -> Estimate:
        return proportion(number, result.picks)

    return measure(key, "share", compute, judge=result.judge)


PICK_CONTROL = StageKind(
    name="pick_control",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.assessment.pick_control.stage:run",
    report=REPORT,
)
