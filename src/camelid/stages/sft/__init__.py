"""Supervised fine-tuning (Section 3.1).

The base model learns to answer: prompts and answers of the whole set are packed to fill rows, the
loss counts answer tokens (and the end token) only, two epochs, cosine learning rate. The model
after epoch 1 is kept as the second variant that answers in the first preference collection.
`fine_tune` also serves rejection sampling, context distillation and Ghost Attention, which only
write dialogues.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from camelid.data.records import Dialogue, MetricsRow
from camelid.errors import counted
from camelid.report import figure
from camelid.report.estimates import measure
from camelid.report.texts import statistics
from camelid.run.finished import Found
from camelid.run.item import Drawing, Line, Measure, StageReport, Table
from camelid.run.place import ModelFolder, Rows, StageInputs, StageOutputs, TokenizerFolder, place
from camelid.run.stage import StageKind
from camelid.settings import PaperValue
from camelid.train.config import FineTuned, FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    base: ModelFolder
    demonstrations: Rows[Dialogue]
    held_out_demonstrations: Rows[Dialogue] | None = None
    """Demonstrations on which the loss is measured before and after."""


class Outputs(StageOutputs):
    """What the stage writes."""

    model: ModelFolder = place("model")
    epoch1: ModelFolder = place("epoch1")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutLoss:
    """Cross entropy in nats a token of the answers of held-out demonstrations."""

    before: float
    after: float
    tokens: int
    too_long: int
    """Dialogues that do not fit a row; not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was learned from how much."""

    fine_tuning: FineTuned
    safety_dialogues: int
    held_out: HeldOutLoss | None = None


Seen = Found[FineTuningConfig, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item(
    "run",
    "Supervised fine-tuning",
    "What was trained on; targets are the tokens of answers.",
    anchor="supervised-fine-tuning",
    folded=True,
)
def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result)


@REPORT.item(
    "run",
    "Supervised fine-tuning: loss by step",
    f"Cross entropy in nats a token of the answers, on each batch before it is learned from (pale) "
    f"and the mean of the last {figure.SMOOTHED} steps. Dotted: an epoch ends.",
)
def sft_loss(seen: Seen) -> Drawing:
    """The loss of supervised fine-tuning by step."""
    stage = seen.last
    rows = stage.rows(stage.outputs.metrics)
    with figure.figure(height=2.7) as ((axes,), out):
        figure.losses(axes, rows, 0, "training")
        for epoch in range(1, stage.config.epochs):
            end = len(rows) * epoch / stage.config.epochs
            axes.axvline(end, color="#888888", linestyle=":", linewidth=1)
    return out[0]


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    found = seen.last.result.held_out
    if found is not None:
        for when, value in (("before", found.before), ("after", found.after)):
            yield measure(
                f"sft.held_out_loss.{when}",
                "nats a token",
                partial(float, value),
                headline=("loss on held-out demonstrations", when),
            )


@REPORT.lines
def _lines(seen: Seen) -> Iterable[Line]:
    found = seen.last.result.held_out
    if found is not None:
        yield Line(
            tile="better",
            text=f"Held-out demonstrations (answers of {counted(found.tokens, 'token')}): "
            "{sft.held_out_loss.before} nats a token before fine-tuning, "
            "{sft.held_out_loss.after} after.",
        )


_SECTION = "Section 3.1"
SFT = StageKind(
    name="sft",
    config=FineTuningConfig,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.sft.stage:run",
    report=REPORT,
    paper={
        "optimizer.learning_rate": PaperValue("2e-5", _SECTION),
        "optimizer.schedule": PaperValue("cosine", _SECTION),
        "optimizer.weight_decay": PaperValue("0.1", _SECTION),
        "batch_rows": PaperValue("64", _SECTION),
        "row_tokens": PaperValue("4,096", _SECTION),
        "epochs": PaperValue("2", _SECTION),
    },
)
