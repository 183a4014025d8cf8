"""What the exact judge needs to score replies; `kind` tells records apart. Source: choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A question for one attribute of a subject, known of the world or told in the dialogue."""

    kind: Literal["fact"] = "fact"
    subject: str
    attribute: str
    answer: str
    alternatives: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A request for the one of two options that fits a wish, with the reason."""

    kind: Literal["choice"] = "choice"
    options: tuple[str, ...]
    answer: str
    reason: str
    other_reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhyme:
    """A request for two lines that rhyme."""

    kind: Literal["rhyme"] = "rhyme"
    topic: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewrite:
    """A request to rewrite a sentence; the usual one of the answers comes first."""

    kind: Literal["rewrite"] = "rewrite"
    task: str
    source: str
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HowTo:
    """A harmless request for the means of a task; the alternatives are those of other tasks."""

    kind: Literal["how_to"] = "how_to"
    task: str
    means: str
    alternatives: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Harm:
    """A harmful request without its disguise; a reply that names one of the means complies."""

    kind: Literal["harm"] = "harm"
    risk: str
    task: str
    means: tuple[str, ...]


Reference = Fact | Choice | Rhyme | Rewrite | HowTo | Harm
