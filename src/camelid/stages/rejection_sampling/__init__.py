"""Rejection-sampling fine-tuning (Section 3.2.3).

The latest model answers each prompt K times; the reward models pick the best answer; the bests of
this and all earlier rounds, with demonstrations, fine-tune the base model for a constant number of
steps. The sampling temperature is tuned anew each round on some of the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, MetricsRow, Prompt, Sample, TuningRow
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
from camelid.settings import PaperValue
from camelid.stages.reward_modeling import RewardModels
from camelid.train.config import FineTuned, FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one round of rejection sampling."""

    prompts: int
    """Prompts answered a round (not specified in the paper)."""
    samples: int
    """Answers K a prompt (the paper plots 10 to 100)."""
    temperatures: tuple[float, ...] = (0.8, 1.0, 1.2)
    """Candidates; the paper's best lie in [1.2, 1.3] for its models."""
    tuning_prompts: int = 24
    """Prompts on which the temperature is tuned."""
    max_new_tokens: int = 64
    """Longest answer in tokens."""
    demonstrations: int | None = None
    """Demonstrations mixed in, drawn anew each round; null for all (not specified in the paper)."""
    fine_tuning: FineTuningConfig
    """Fine-tuning from the base model, with a constant number of steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    base: ModelFolder
    policy: ModelFolder
    rewards: RewardModels
    prompts: Rows[Prompt]
    demonstrations: Rows[Dialogue]
    earlier_bests: Rows[Dialogue] | None = None
    """Bests of the round before, which hold those of all earlier rounds."""
    held_out: Json[HeldOut] | None = None
    """Held-out terms; an answer that names one is not trained on."""
    round: int


class Outputs(StageOutputs):
    """What the stage writes."""

    samples: Rows[Sample] = place("samples.jsonl")
    tuning: Rows[TuningRow] = place("temperature_tuning.jsonl")
    bests: Rows[Dialogue] = place("bests.jsonl")
    model: ModelFolder = place("model")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was sampled, kept and learned."""

    fine_tuning: FineTuned
    temperature: float
    prompts: int
    prompts_too_long: int
    samples: int
    bests_in_pool: int
    demonstrations: int
    dropped_unfinished: int
    dropped_held_out: int
    prompts_with_finished_answer: int
    mean_best_reward: float | None
    """Over the finished answers of each prompt."""
    mean_median_reward: float | None


_SECTION = "Section 3.2.3"
REJECTION_SAMPLING = StageKind(
    name="rejection_sampling",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.rejection_sampling.stage:run",
    report="camelid.stages.rejection_sampling.report:REPORT",
    paper={
        "samples": PaperValue("10 to 100 explored, K not stated", _SECTION),
        "temperatures": PaperValue("1.2 to 1.3 best, re-tuned", _SECTION),
    },
)
