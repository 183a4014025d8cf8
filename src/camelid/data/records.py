"""Records: the JSON-lines schemas that stages exchange, read strictly with file and line in errors.

Source: arXiv 2307.09288, Section 3.2.1 (preference labels), A.3.3 (strengths), 4.4 (safety scale).
The field names are ours (Source: choice).
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from camelid.data.references import Reference
from camelid.data.text_files import iterate_json_lines
from camelid.errors import DataError
from camelid.settings import from_json, to_json

T = TypeVar("T")
Role = Literal["system", "user", "assistant"]
Kind = Literal["helpfulness", "safety"]
Strength = Literal["significantly_better", "better", "slightly_better", "negligibly_better"]
STRENGTHS: tuple[Strength, ...] = typing.get_args(Strength)
"""The four strengths of a preference, strongest first (Section 3.2.1)."""
SafetyLabel = Literal["chosen_safe", "both_safe", "both_unsafe", "chosen_unsafe"]
Fault = Literal["wrong", "evasive", "refusing", "incomplete", "rambling", "broken", "violating"]
"""What a drafted poor reply has; `wrong` is well-formed with wrong content."""
StopReason = Literal["stop", "length"]
Scale = Literal["helpfulness7", "safety5"]
Split = Literal["rm_train", "rejection_sampling", "ppo", "red_teaming", "validation", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a dialogue."""

    role: Role
    content: str
    train: bool = False
    """True on assistant turns that carry loss; Ghost Attention sets it on the last only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """A dialogue that ends in an assistant turn: one fine-tuning example."""

    id: str
    messages: tuple[Message, ...]
    category: str
    is_safety: bool
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A dialogue that ends in a user turn: one request for a reply."""

    id: str
    messages: tuple[Message, ...]
    category: str
    is_safety: bool
    """The tag IS_SAFETY of Section 3.2.3: the prompt may elicit an unsafe reply."""
    source: str
    split: Split
    attack_vector: str | None = None
    attack_strength: str | None = None
    risk_category: str | None = None
    borderline: bool = False
    reference: Reference | None = None
    """What an exact judge needs to score a reply; null for real prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preference:
    """One comparison of two replies to the same prompt (Section 3.2.1)."""

    id: str
    kind: Kind
    round: int
    batch: int
    category: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    strength: Strength | None
    """Null where the source has no strength (open data): no margin is applied."""
    safety: SafetyLabel | None = None
    parent: str | None = None
    """The id of the comparison whose chosen reply this dialogue continues."""
    annotator: str = ""
    simulated: bool = False
    chosen_model: str | None = None
    rejected_model: str | None = None
    temperatures: tuple[float, ...] = ()
    """Sampling temperatures of (chosen, rejected)."""
    fault: Fault | None = None
    """Of a drafted pair, what the rejected reply has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """One rating of one or two items on a Likert scale (Sections 3.4.2 and 4.4)."""

    item_ids: tuple[str, ...]
    rater: str
    scale: Scale
    value: int
    side: Literal["a", "b"] | None
    simulated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One sampled reply with its rewards (Section 3.2.3, rejection sampling)."""

    prompt_id: str
    policy: str
    """Name and hash of the model that sampled."""
    sample: int
    temperature: float
    tokens: tuple[int, ...]
    text: str
    stop_reason: StopReason
    helpfulness: float
    """Raw helpfulness reward (the logit)."""
    safety: float | None
    """Raw safety reward (the logit); null without a safety model."""
    reward: float
    """logit(R_c): the one of the two that the gate picks."""
    logp: float
    """Mean log-probability of its tokens as they were drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GhostDialogue:
    """User turns under one instruction that is to hold throughout (Section 3.3)."""

    id: str
    instruction: str
    """For example `Act as Captain Orlo.`"""
    shortened: str
    """For example `Figure: Captain Orlo.`"""
    turns: tuple[str, ...]
    """The user messages without the instruction."""
    probe: str
    """Question about the instruction, asked at turns 2, 4 and 6."""
    expected: str
    """Text that a reply to the probe must state."""
    shows: bool = False
    """Whether ordinary replies must state it too, as under the instruction to end each with a word;
    then no probe is needed to see whether it holds."""
    split: Literal["train", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TestScore:
    """A held-out comparison with the raw scores of both replies by reward model (Section 3.2.2)."""

    id: str
    kind: Kind
    round: int
    strength: Strength | None
    safety: SafetyLabel | None
    category: str
    prompt: str
    """The last user message."""
    prompt_key: int
    """Hash of the whole prompt: comparisons that share one are not independent."""
    chosen: str
    rejected: str
    chosen_scores: dict[str, float]
    rejected_scores: dict[str, float]
    fault: Fault | None = None
    """As in `Preference`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsRow:
    """One optimizer step in `metrics.jsonl`, the same in every stage."""

    step: int
    loss: float
    grad_norm: float
    lr: float
    tokens: int
    tokens_per_second: float
    mfu: float | None
    """Share of the machine's peak; null where no peak was measured."""
    peak_memory_gib: float
    metrics: dict[str, float]
    """What the objective counts beside the loss, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningRow:
    """One answer of the search for the temperature (Figure 8)."""

    temperature: float
    prompt_id: str
    sample: int
    stop_reason: StopReason
    reward: float


When = Literal["before", "after"]
Asked = Literal["probe", "ordinary turn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallRow:
    """One reply in which an instruction is to hold (Table 30)."""

    when: When
    """Before or after training."""
    asked: Asked
    """What the reply answers."""
    dialogue_id: str
    turn: int
    instruction: str
    expected: str
    reply: str
    kept: bool
    """Whether the reply states what is expected."""


PrepromptKind = Literal["generic", "template"]
"""The two kinds of preprompts."""
Wording = Literal["short", "full"]
"""Which preprompts: for the pocket world's models, whose words are few, or for those of text."""
Placement = Literal["user", "system"]
"""Where a preprompt stands: before the last user message, in it, or as the system message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer and its safety score between 0 and 1, after the bare prompt."""

    text: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DistilledPair:
    """One prompt answered bare and after both preprompts."""

    prompt_id: str
    risk_category: str | None
    prompt: str
    """The last user message."""
    prompts_cut: int
    """Answers whose prompt lost its start to fit the context."""
    original: Answer
    generic: Answer
    template: Answer
    best: PrepromptKind | None
    """The better usable one of the two; null where both were cut, empty or held out."""
    kept: bool
    """Whether the safety reward model scores it above the original."""

    @property
    def distilled(self) -> Answer | None:
        """The better usable answer after a preprompt."""
        return {"generic": self.generic, "template": self.template, None: None}[self.best]


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutSummary:
    """Means over the replies of one iteration."""

    reward: float
    """logit(R_c)."""
    guard_reward: float
    kl: float
    """Divergence from the start in nats a reply, by k1."""
    kl_k3: float
    entropy: float
    """In nats a token."""
    eos_share: float
    """Share of replies that ended by themselves."""
    reply_length: float
    value_explained_variance: float
    gated_share: float
    """Share of replies whose reward is the safety model's."""
    sampler_gap: float | None = None
    """Mean distance of the sampler's log-probabilities to the trainer's, in nats a token; null
    where the replies bring none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceStatistics:
    """Tables 6 and 26, and the shares of the labels."""

    comparisons: int
    turns_per_dialogue: float
    tokens_per_example: float
    tokens_in_prompt: float
    tokens_in_response: float
    strength: dict[str, int]
    safety: dict[str, int]
    continued: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A text to continue with one of several choices: one item of multiple choice."""

    id: str
    category: str
    context: str
    choices: tuple[str, ...]
    """Each with the space that parts it from the context."""
    answer: int
    """Index of the right choice."""


def parse_record(data: Any, schema: type[T], where: str) -> T:
    """Build one record from decoded JSON.

    Args:
        data: The decoded object.
        schema: A frozen dataclass.
        where: Place named in errors, for example `prompts.jsonl, line 3`.

    Raises:
        DataError: A field is missing, unknown or of the wrong type.
    """
    return from_json(data, schema, f"{where}: {schema.__name__}", error=DataError)


def read_records(path: Path, schema: type[T]) -> list[T]:
    """Read a JSON-lines file of one schema, strictly.

    Raises:
        MissingInputError: The file does not exist.
        DataError: A line is damaged or does not fit; names file, line and field.
    """
    return [
        parse_record(data, schema, f"{path}, line {number}")
        for number, data in iterate_json_lines(path)
    ]


def write_records(path: Path, records: Iterable[object]) -> int:
    """Write records (frozen dataclasses) as JSON lines; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(to_json(record), ensure_ascii=False) + "\n")
            count += 1
    return count
