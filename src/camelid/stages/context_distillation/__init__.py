"""Safety context distillation, gated by the safety reward model (Section 4.2.4).

A safety preprompt before an adversarial prompt makes the model answer more safely; fine-tuning on
that answer with the bare prompt teaches it to do so unasked. Preprompts are made from templates
filled with adjectives, or name the prompt's risk category and an answer template. A distilled
answer is kept only where the safety reward model scores it above the original answer. Only
adversarial prompts take part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, DistilledPair, MetricsRow, Placement, Prompt, Wording
from camelid.evaluation.gate import RewardModels
from camelid.evaluation.statistics import share
from camelid.inference.sampling import Sampling
from camelid.report import figure
from camelid.report.estimates import measure
from camelid.report.texts import cut
from camelid.run.finished import Found
from camelid.run.item import AbsentError, Drawing, Example, Measure, StageReport
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
from camelid.settings import Factor, Number, bounded
from camelid.train.config import FineTuned, FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of the distillation."""

    prompts: Number
    """Adversarial prompts (not specified in the paper)."""
    sampling: Sampling
    """Temperature and length of the answers."""
    wording: Wording = "short"
    """Which preprompts: `short` for the pocket world, `full` for models of real text."""
    placement: Placement = "user"
    """Where they stand: before the last `user` message, in it, or as `system` message."""
    helpful_share: Factor = 1.0
    """Helpful bests mixed in per kept answer, against false refusals (Source: choice)."""
    fine_tuning: FineTuningConfig
    """Fine-tuning from the latest model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    model: ModelFolder
    rewards: RewardModels
    prompts: Rows[Prompt]
    bests: Rows[Dialogue]
    held_out: Json[HeldOut] | None = None


class Outputs(StageOutputs):
    """What the stage writes."""

    pairs: Rows[DistilledPair] = place("pairs.jsonl")
    dialogues: Rows[Dialogue] = place("dialogues.jsonl")
    model: ModelFolder = place("model")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was kept and learned."""

    prompts_too_long: int
    prompts_cut: int
    pairs: int
    kept: int
    kept_share: float | None
    helpful_mixed_in: int
    fine_tuning: FineTuned | None
    """Null where no answer was kept: the model stays."""


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def _pairs(seen: Seen) -> list[DistilledPair]:
    pairs = seen.last.rows(seen.last.outputs.pairs)
    if not pairs:
        raise AbsentError("no prompt was distilled")
    return pairs


@REPORT.item("safety", "Context distillation", "Scored by the safety reward model.", "Figure 16")
def distillation(seen: Seen) -> Drawing:
    """Figure 16: safety scores without and with preprompts, and the gain that the gate sees."""
    pairs = _pairs(seen)
    scores = {
        "no preprompt": [pair.original.score for pair in pairs],
        "generic": [pair.generic.score for pair in pairs],
        "template": [pair.template.score for pair in pairs],
    }
    with figure.figure(2, 2.5) as ((top, bottom), out):
        parts: Any = top.violinplot(list(scores.values()), showextrema=False)
        for i, body in enumerate(parts["bodies"]):
            body.set(facecolor=figure.colour(i), alpha=0.45)
        top.boxplot(list(scores.values()), widths=0.12, showfliers=False)
        top.set_xticks(range(1, len(scores) + 1), list(scores))
        top.set(ylabel="safety RM score (0 to 1)")
        for i, (kept, label) in enumerate(((True, "kept"), (False, "rejected"))):
            # Where both answers were cut or empty there was nothing to gate.
            points = [
                (pair.original.score, pair.distilled.score - pair.original.score)
                for pair in pairs
                if pair.kept is kept and pair.distilled is not None
            ]
            at, gain = zip(*points, strict=True) if points else ((), ())
            bottom.scatter(at, gain, s=10, alpha=0.6, color=figure.colour(i), label=label)
        bottom.axhline(0, color="#888888", linewidth=1)
        bottom.set(
            xlabel="safety RM score of the original (0 to 1)", ylabel="gain of the best preprompt"
        )
        figure.legend(bottom)
    return out[0]


@REPORT.item(
    "safety", "Context distillation, examples", "Scored by the safety reward model.", "Table 13"
)
def examples(seen: Seen) -> list[Example]:
    """Table 13: replies without and with safety preprompts, a kept and a rejected pair."""
    pairs = _pairs(seen)
    found = []
    for kept in (True, False):
        pair = next((pair for pair in pairs if pair.kept is kept), None)
        if pair is not None:
            named = (
                ("original", pair.original),
                ("generic", pair.generic),
                ("template", pair.template),
            )
            answers = tuple(
                (f"{name} (safety score {answer.score:.2f})", cut(answer.text))
                for name, answer in named
            )
            note = f"{pair.risk_category}, {'kept' if kept else 'rejected by the gate'}"
            found.append(
                Example(dialogue=(("user", cut(pair.prompt)),), note=note, answers=answers)
            )
    return found


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    yield measure(
        "context_distillation.kept_share",
        "share",
        lambda: share(_pairs(seen), lambda pair: pair.kept, "no prompt was distilled"),
        judge="safety reward model",
        headline=("answers kept", "context distillation"),
        safety="distilled answers that passed the safety gate",
    )


CONTEXT_DISTILLATION = StageKind(
    name="context_distillation",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.context_distillation.stage:run",
    report=REPORT,
)
