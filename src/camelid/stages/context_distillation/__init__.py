"""Safety context distillation, gated by the safety reward model (Section 4.2.4).

A safety preprompt before an adversarial prompt makes the model answer more safely; fine-tuning on
that answer with the bare prompt teaches it to do so unasked. Preprompts are made from templates
filled with adjectives, or name the prompt's risk category and an answer template. A distilled
answer is kept only where the safety reward model scores it above the original answer. Only
adversarial prompts take part.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, DistilledPair, MetricsRow, Prompt
from camelid.inference.sampling import Sampling
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
from camelid.stages.reward_modeling import RewardModels
from camelid.train.config import FineTuned, FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the distillation."""

    prompts: int
    """Adversarial prompts (not specified in the paper)."""
    sampling: Sampling
    """Temperature and length of the answers."""
    helpful_share: float = 1.0
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


CONTEXT_DISTILLATION = StageKind(
    name="context_distillation",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.context_distillation.stage:run",
    report="camelid.stages.context_distillation.report:REPORT",
)
