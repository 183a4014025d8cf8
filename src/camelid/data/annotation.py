"""What judges and annotators take and give; people and simulations stand behind the same protocols.

Source: arXiv 2307.09288, Section 3.2.1 (comparisons) and 4.4 (ratings); the protocols are ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from camelid.data.records import (
    Kind,
    Message,
    Preference,
    Prompt,
    SafetyLabel,
    StopReason,
    Strength,
)


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
    safety_rm: float | None
    """Null without a safety model."""
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

    @property
    def messages(self) -> list[list[str]]:
        """(role, content) of every message of the prompt."""
        return [[message.role, message.content] for message in self.prompt.messages]

    @property
    def key(self) -> str:
        """A hash of what is compared, whichever reply is shown first."""
        return digest(self.kind, self.messages, sorted((self.reply_a, self.reply_b)))

    @property
    def swapped(self) -> Pair:
        """The same with the replies on the other sides."""
        return replace(
            self,
            reply_a=self.reply_b,
            reply_b=self.reply_a,
            model_a=self.model_b,
            model_b=self.model_a,
            temperature_a=self.temperature_b,
            temperature_b=self.temperature_a,
        )

    def decided(
        self,
        choice: Literal["a", "b"],
        *,
        strength: Strength,
        unsafe: tuple[bool, bool] | None,
        annotator: str,
        key: object,
        simulated: bool = False,
    ) -> Preference:
        """Return the comparison with its labels.

        Args:
            choice: The better reply.
            strength: How much better it is.
            unsafe: Whether a and b are unsafe; None where nobody said so.
            annotator: Who compared, as shown.
            key: Who compared, as part of the id.
            simulated: Whether a simulation compared.
        """
        shown = self if choice == "a" else self.swapped
        if unsafe is not None and choice == "b":
            unsafe = unsafe[::-1]
        chosen = (shown.reply_a, shown.model_a, shown.temperature_a)
        rejected = (shown.reply_b, shown.model_b, shown.temperature_b)
        content = (self.kind, self.round, self.batch, self.parent, self.messages, chosen, rejected)
        return Preference(
            id=f"preference-{digest(key, *content)}",
            kind=self.kind,
            round=self.round,
            batch=self.batch,
            category=self.prompt.category,
            prompt=self.prompt.messages,
            chosen=chosen[0],
            rejected=rejected[0],
            strength=strength,
            safety=LABELS[unsafe] if unsafe is not None and self.kind == "safety" else None,
            parent=self.parent,
            annotator=annotator,
            simulated=simulated,
            chosen_model=chosen[1],
            rejected_model=rejected[1],
            temperatures=(chosen[2], rejected[2]),
        )


LABELS: dict[tuple[bool, bool], SafetyLabel] = {
    (False, True): "chosen_safe",
    (False, False): "both_safe",
    (True, True): "both_unsafe",
    (True, False): "chosen_unsafe",
}
"""(chosen, rejected) is unsafe to the label."""


def group(annotator: str) -> str:
    """Return who compared without the name of a single person, as reports call them."""
    return annotator.partition(" (")[0]


def digest(*parts: Any) -> str:
    """Return a short hash of JSON values."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where the labels of one round come from."""

    annotator: str
    """Who compared, as shown; an imitation of people is called that."""
    source: str | None = None
    """File of people's answers, address of an endpoint or folder of a model."""
    sha256: str | None = None
    """Hash of that file or folder."""
    learned_from: int | None = None
    """Human comparisons that an imitation was trained on."""
    asked: int = 0
    """Pairs that were put to the annotator."""
    compared: int = 0
    """Pairs that came back with a choice; those of them that are left out then are counted by
    reason beside this."""
    by: dict[str, int] = field(default_factory=dict)
    """Comparisons that are used, by the name that each carries."""
    requests: int = 0
    """Requests to an endpoint, earlier ones of an interrupted run and failed ones included."""
    failed: dict[str, int] = field(default_factory=dict)
    """Requests that gave no usable answer, by reason."""
    prompt_tokens: int = 0
    """As the endpoint reports them, of all its answers."""
    completion_tokens: int = 0


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
    """Who compares, as settings name it; `camelid.annotators` opens it for a stage."""

    @property
    def name(self) -> str:
        """As shown beside what rests on it."""


@runtime_checkable
class Comparer(Annotator, Protocol):
    """Compares replies; a simulation is one as it stands."""

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Preference | None]:
        """Return for each pair which reply is chosen, how strongly, and for safety the bin.

        None where no comparison came of it, which the comparer counts by reason. Pairs that are
        asked together or apart, in whatever order, are answered alike.
        """


class Continues(Protocol):
    """Writes how a dialogue goes on."""

    def follow_up(self, prompt: Prompt, reply: str, salt: int) -> Prompt:
        """Return the dialogue with a reply and the next user message."""
