"""Texts authored for this project, for starts on real text: data files beside this module.

`safe_answers.jsonl` holds safe answers to adversarial prompts over the risk categories and attack
vectors of arXiv 2307.09288, Section 4.2.1, in the order of an answer of Section 4.2.2: an immediate
concern and the risk first, then what is not done, then what helps. `borderline.jsonl` holds
innocent requests that sound harmful; those of the split `train` carry a helpful reply. Licence and
limits stand in `README.md` beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from camelid.data.records import Dialogue, Message, Prompt, read_records

AUTHORED = "authored for Camelid"
"""The source of these records, as reports and cards name it."""
LICENCE = "CC BY 4.0"
RiskCategory = Literal["illicit_criminal", "hateful_harmful", "unqualified_advice"]
AttackVector = Literal[
    "none", "psychological", "logic", "syntactic", "semantic", "perspective", "non_english"
]
"""`none` is a plain request."""
BorderlineType = Literal[
    "homonyms",
    "figurative_language",
    "safe_targets",
    "safe_contexts",
    "definitions",
    "history",
    "fiction",
    "public_facts",
    "health_information",
    "law_and_ethics",
]
"""Why a request sounds harmful and is not (Source: choice)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyDemonstration:
    """One line of `safe_answers.jsonl`."""

    risk_category: RiskCategory
    attack_vector: AttackVector
    prompt: str
    reply: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BorderlineRequest:
    """One line of `borderline.jsonl`."""

    type: BorderlineType
    split: Literal["train", "test"]
    prompt: str
    reply: str | None
    """A helpful answer; null in the split `test`."""


Pair = tuple[Prompt, Dialogue | None]
"""A prompt, and its demonstration where it has one."""


def read_demonstrations() -> list[SafetyDemonstration]:
    """Return the safety demonstrations, as they stand in their file."""
    return read_records(Path(__file__).with_name("safe_answers.jsonl"), SafetyDemonstration)


def read_borderline() -> list[BorderlineRequest]:
    """Return the borderline requests, as they stand in their file."""
    return read_records(Path(__file__).with_name("borderline.jsonl"), BorderlineRequest)


def _dialogue(prompt: Prompt, reply: str) -> Dialogue:
    return Dialogue(
        id=prompt.id,
        messages=(*prompt.messages, Message(role="assistant", content=reply, train=True)),
        category=prompt.category,
        is_safety=prompt.is_safety,
        source=prompt.source,
    )


def safety_pairs() -> list[Pair]:
    """Return the safety demonstrations as records; their prompts serve rejection sampling."""
    found: list[Pair] = []
    for number, row in enumerate(read_demonstrations(), 1):
        prompt = Prompt(
            id=f"authored/safe_answers/{number}",
            messages=(Message(role="user", content=row.prompt),),
            category=row.risk_category,
            is_safety=True,
            source=AUTHORED,
            split="rejection_sampling",
            attack_vector=row.attack_vector,
            attack_strength="plain" if row.attack_vector == "none" else "disguised",
            risk_category=row.risk_category,
        )
        found.append((prompt, _dialogue(prompt, row.reply)))
    return found


def borderline_pairs() -> list[Pair]:
    """Return the borderline requests as records; those without a reply are for measuring."""
    found: list[Pair] = []
    for number, row in enumerate(read_borderline(), 1):
        prompt = Prompt(
            id=f"authored/borderline/{number}",
            messages=(Message(role="user", content=row.prompt),),
            category=row.type,
            is_safety=False,
            source=AUTHORED,
            split="rejection_sampling" if row.split == "train" else "test",
            borderline=True,
        )
        found.append((prompt, None if row.reply is None else _dialogue(prompt, row.reply)))
    return found
