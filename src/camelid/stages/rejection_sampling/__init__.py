"""Rejection-sampling fine-tuning (Section 3.2.3).

The latest model answers each prompt K times; the reward models pick the best answer; the bests of
this and all earlier rounds, with demonstrations, fine-tune the base model for a constant number of
steps. The sampling temperature is tuned anew each round on some of the prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, MetricsRow, Prompt, Sample, TuningRow
from camelid.errors import ConfigError, counted
from camelid.evaluation.gate import RewardModels
from camelid.methods.best_of import expected_max, expected_median
from camelid.report import figure
from camelid.run.finished import Found
from camelid.run.item import Drawing, StageReport
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
from camelid.settings import (
    Count,
    Number,
    PaperValue,
    Range,
    SomeShare,
    Temperatures,
    Tokens,
    bounded,
)
from camelid.train.config import FineTuned, FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of one round of rejection sampling."""

    prompts: Number
    """Prompts answered a round (not specified in the paper)."""
    samples: Annotated[int, Range(1, 10_000)]
    """Answers K a prompt (the paper plots 10 to 100)."""
    temperatures: Temperatures = (0.8, 1.0, 1.2)
    """Candidates; the paper's best lie in [1.2, 1.3] for its models."""
    tuning_prompts: Number = 24
    """Prompts on which the temperature is tuned."""
    max_new_tokens: Tokens = 64
    """Longest answer in tokens."""
    demonstrations: Count | None = None
    """Demonstrations mixed in, drawn anew each round; null for all (not specified in the paper)."""
    demonstrations_kept: SomeShare = 1.0
    """Share of the demonstrations of each category among which they are drawn, those with the best
    reward: fine-tuning on all would teach the poor tail again that the picks leave out."""
    fine_tuning: FineTuningConfig
    """Fine-tuning from the base model, with a constant number of steps."""

    def __post_init__(self) -> None:
        if self.tuning_prompts > self.prompts:
            raise ConfigError(
                f"tuning_prompts is {self.tuning_prompts}, but `prompts` are only "
                f"{counted(self.prompts, 'prompt')}; set fewer."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    base: ModelFolder
    policy: ModelFolder
    rewards: RewardModels
    prompts: Rows[Prompt]
    demonstrations: Rows[Dialogue] | None = None
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
    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl")
    """Those that were mixed in."""
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


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item(
    "rlhf",
    "Best and median of N",
    "Scored by that round's reward models. Mean over all subsets of N samples; a "
    "cut answer counts as 0.",
    "Figure 7",
)
def best_of_n(seen: Seen) -> Drawing:
    """Figure 7: mean of the best and of the median reward of N samples a prompt."""
    with figure.figure(height=3.2) as ((axes,), out):
        for i, stage in enumerate(seen.stages):
            samples = stage.rows(stage.outputs.samples)
            groups = rewards_by_prompt(samples)
            counts = _counts(groups)
            for style, compute, label in (
                ("o-", expected_max, "best"),
                ("s--", expected_median, "median"),
            ):
                values = [np.mean([compute(g, n) for g in groups]) for n in counts]
                axes.plot(
                    counts, values, style, color=figure.colour(i), label=f"{stage.part} {label}"
                )
        axes.set(xlabel="samples a prompt, N", ylabel="mean reward R_c (0 to 1)")
        figure.whole_numbers(axes.xaxis)
        figure.legend(axes)
    return out[0]


def rewards_by_prompt(rows: Sequence[Sample | TuningRow]) -> list[list[float]]:
    """Rewards R_c by prompt; an answer that was cut cannot win and counts as 0."""
    groups: dict[str, list[float]] = defaultdict(list)
    scores = figure.scores([row.reward for row in rows]).tolist()
    for row, score in zip(rows, scores, strict=True):
        groups[row.prompt_id].append(score if row.stop_reason == "stop" else 0.0)
    return list(groups.values())


def _counts(groups: Iterable[Sequence[float]]) -> range:
    return range(1, min(len(values) for values in groups) + 1)


@REPORT.item(
    "rlhf", "Best of N by temperature", "Scored by the last round's reward models.", "Figure 8"
)
def temperatures(seen: Seen) -> Drawing:
    """Figure 8: mean best reward against N for each temperature."""
    by_temperature: dict[float, list[TuningRow]] = defaultdict(list)
    for row in seen.last.rows(seen.last.outputs.tuning):
        by_temperature[row.temperature].append(row)
    with figure.figure(height=3.2) as ((axes,), out):
        for i, (temperature, rows) in enumerate(sorted(by_temperature.items())):
            groups = rewards_by_prompt(rows)
            counts = _counts(groups)
            values = [np.mean([expected_max(g, n) for g in groups]) for n in counts]
            axes.plot(counts, values, "o-", color=figure.colour(i), label=f"T = {temperature:g}")
        axes.set(xlabel="samples a prompt, N", ylabel="mean best reward R_c (0 to 1)")
        figure.whole_numbers(axes.xaxis)
        figure.legend(axes)
    return out[0]


_SECTION = "Section 3.2.3"
REJECTION_SAMPLING = StageKind(
    name="rejection_sampling",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.rejection_sampling.stage:run",
    report=REPORT,
    paper={
        "samples": PaperValue("10 to 100 explored, K not stated", _SECTION),
        "temperatures": PaperValue("1.2 to 1.3 best, re-tuned", _SECTION),
    },
)
