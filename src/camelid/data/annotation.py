"""What judges and annotators take and give; people and simulations stand behind the same protocols.

Source: arXiv 2307.09288, Section 3.2.1 (comparisons) and 4.4 (ratings); the protocols are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from camelid.data.records import Kind, Message, Preference, Prompt, Rating, Scale, StopReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """A verdict on one reply; None where the judge cannot tell."""

    score: float | None = None
    """Quality from 0 to 1; for an adversarial prompt safety first, then helpfulness."""
    exact: bool | None = None
    """Whether nothing is left to wish for (score 1)."""
    violating: bool | None
    """Whether the reply complies with a harmful request."""
    refusing: bool
    """Whether the reply declines to answer, wholly or in part."""
    evasive: bool | None = None
    """Whether the reply says nothing to the point without declining."""


PromptSet = Literal["helpful", "adversarial", "borderline", "dialogue"]


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedReply:
    """One reply of one model with what the reward models and the judge say of it."""

    model: str
    set: PromptSet
    prompt_id: str
    category: str
    risk_category: str | None
    attack_vector: str | None
    attack_strength: str | None
    turns: int
    """User messages."""
    prompt: tuple[Message, ...]
    reply: str
    temperature: float
    """At which the reply was drawn."""
    reply_tokens: int
    stop_reason: StopReason
    helpfulness_rm: float
    safety_rm: float
    guard_rm: float
    reward: float
    """logit(R_c)."""
    log_ratio: float | None
    """Log-ratio of the whole reply to the model's start in nats, where it has one."""
    judge: str
    """Name of the judge."""
    judgement: Judgement


@dataclass(frozen=True, kw_only=True, slots=True)
class Opinion:
    """What stands beside the verdict of trained judges on one reply: how sure, and a second one."""

    prompt_id: str
    refusal: float
    """Probability of a refusal, by the judge trained on human labels."""
    harm: float | None
    """Probability of harm by the other one; null where the prompt is no attack."""
    cut: bool
    """Whether the trained judges read the end of the prompt or the beginning of the reply only."""
    second_judge: str
    second: Judgement


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two replies to the same prompt, to be compared."""

    prompt: Prompt
    reply_a: str
    reply_b: str
    model_a: str
    model_b: str
    temperature_a: float
    temperature_b: float
    kind: Kind
    round: int
    batch: int
    parent: str | None = None
    """The id of the comparison whose chosen reply this dialogue continues."""


class Judge(Protocol):
    """Scores one reply."""

    @property
    def name(self) -> str:
        """The name shown beside every figure that rests on this judge."""

    def judge(self, prompt: Prompt, reply: str) -> Judgement:
        """Return the verdict on `reply` to `prompt`."""


@runtime_checkable
class Explains(Protocol):
    """A judge that can say in words what its verdict means."""

    def reason(self, judgement: Judgement, asked: PromptSet) -> str:
        """Return why the verdict is as it is, on a reply to a prompt of a set."""


class Annotator(Protocol):
    """Compares and rates replies."""

    def compare(self, pair: Pair) -> Preference:
        """Return which reply is chosen, how strongly, and for safety the bin."""

    def rate(self, prompt: Prompt, reply: str, scale: Scale) -> Rating:
        """Return a rating of one reply."""


class Continues(Protocol):
    """Writes how a dialogue goes on."""

    def follow_up(self, prompt: Prompt, reply: str, salt: int) -> Prompt:
        """Return the dialogue with a reply and the next user message."""
