"""Evaluation of every version of the model on held-out prompts (Sections 3.4 and 4.4).

Each model answers the same test prompts with the same settings; a judge that no model was optimised
against says what the replies are worth; the latest reward models and the guard score them beside
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from camelid.data.annotation import Judge, JudgedReply, Opinion
from camelid.data.records import Prompt
from camelid.errors import ConfigError
from camelid.evaluation.gate import RewardModels
from camelid.evaluation.trained_judges import Judges
from camelid.inference.sampling import Sampling
from camelid.run.place import (
    ModelFolder,
    RewardModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.settings import Count, Number, Range, Temperature, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of the evaluation."""

    sampling: Sampling
    """Temperature, top-p and length of the replies; the reference code's are 0.6 and 0.9."""
    helpful: Count = 0
    """Most prompts that an exact judge can score for helpfulness."""
    adversarial: Count = 0
    """Most attack prompts."""
    borderline: Count = 0
    """Most benign prompts that look harmful (A.4.2 has 210)."""
    dialogue: Count = 0
    """Most prompts without an exact answer, judged by reward models only."""
    judge: Judge
    """Who says what the replies are worth; the second opinion where the run has trained judges."""
    other_temperatures: Annotated[tuple[Temperature, ...], Range(0, 100)] = ()
    """At these too the models answer whose sampling could explain what a method seems to gain; 0 is
    greedy."""
    shown: Number = 20
    """Prompts that the report shows with their replies before and after (Source: choice)."""

    def __post_init__(self) -> None:
        if not (self.helpful or self.adversarial or self.borderline or self.dialogue):
            raise ConfigError("helpful, adversarial, borderline and dialogue are all 0; set one.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(StageInputs):
    """What one method changed, beside what explains it away and what it could have reached."""

    method: str
    before: str
    """Name of a model, as the others."""
    after: str
    control: str
    """The same without the method. One that answers at several temperatures counts with the best,
    so that a method gets no credit for what sampling alone does."""
    ceiling: str | None = None
    """The same with the judge in the method's place; None where nothing like it was trained."""


def at(model: str, temperature: float) -> str:
    """Return how the replies of a model at another temperature than its own are called."""
    return f"{model}_at_{temperature:g}" if temperature else f"{model}_greedy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    models: tuple[tuple[str, ModelFolder], ...]
    """Name and weights of each version of the model, in the order of training."""
    references: tuple[tuple[str, str], ...]
    """(name, name of the model it started from): its replies are compared with that one's."""
    rounds: tuple[str, ...]
    """Names of the models after each round."""
    rewards: RewardModels
    guard: RewardModelFolder
    prompts: Rows[Prompt]
    controls: tuple[tuple[str, ModelFolder], ...] = ()
    """Models beside those versions that only comparisons need."""
    sharpened: tuple[str, ...] = ()
    """Models that answer at the other temperatures too."""
    comparisons: tuple[Comparison, ...] = ()
    judges: Judges | None = None
    """Judges of real text, trained on people's labels."""


class Outputs(StageOutputs):
    """What the stage writes."""

    replies: Rows[JudgedReply] = place("replies.jsonl")
    opinions: Rows[Opinion] = place("opinions.jsonl", optional=True)
    """Beside the verdicts of trained judges, one a reply, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Who answered what; the replies hold the rest."""

    judge: str
    prompts: dict[str, dict[str, int]]
    """Prompts answered, by model and set."""
    prompts_too_long: dict[str, int]
    """Prompts that a model's context has no room for, by model."""


EVALUATING = StageKind(
    name="evaluating",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.assessment.evaluating.stage:run",
    report="camelid.assessment.evaluating.report:REPORT",
)
