"""Red teaming (Section 4.3).

Attack prompts over risk category x attack vector x strength, of a split on which nothing is
trained, are put to the latest model; a judge says which replies violate. Prompts that got a
violating reply in earlier rounds are asked again: the share now resisted is the paper's rejection
rate, model over model.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.annotation import Judge
from camelid.data.records import Message, Prompt
from camelid.inference.sampling import Sampling
from camelid.run.place import (
    ModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one exercise."""

    prompts: int
    """New attack prompts a round."""
    sampling: Sampling
    """Temperature and length of the replies."""
    judge: Judge
    """Who says what violates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RedTeamRow:
    """One attack with its reply and verdict."""

    prompt_id: str
    risk_category: str | None
    attack_vector: str | None
    attack_strength: str | None
    prompt: tuple[Message, ...]
    reply: str
    violating: bool | None
    """The judge's verdict; null where it cannot tell."""
    judge: str
    earlier_violation: bool
    """Whether the prompt drew a violating reply in an earlier round."""
    sample: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    model: ModelFolder
    prompts: Rows[Prompt]
    earlier: tuple[Rows[RedTeamRow], ...] = ()
    """Attacks of earlier rounds."""
    round: int


class Outputs(StageOutputs):
    """What the stage writes."""

    attacks: Rows[RedTeamRow] = place("red_teaming.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Rates of the exercise."""

    prompts: int
    prompts_too_long: int
    violations: int
    violation_rate: float | None
    earlier_violations: int
    earlier_now_resisted_share: float | None


RED_TEAMING = StageKind(
    name="red_teaming",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.red_teaming.stage:run",
    report="camelid.stages.red_teaming.report:REPORT",
)
