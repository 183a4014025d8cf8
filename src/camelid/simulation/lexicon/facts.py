"""Names and closed-book attributes of the pocket world (`names.toml`, `facts.toml`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from camelid.simulation.lexicon import read

EntityKind = Literal["person", "town", "creature"]

NAMES = read("names", "entities", dict[EntityKind, tuple[str, ...]])


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """One closed-book property of a kind of entity; {s} is the entity, {v} the value."""

    name: str
    kind: EntityKind
    values: tuple[str, ...]
    statements: tuple[str, ...]
    """Sentence forms of the pretraining text."""
    replies: tuple[str, ...]
    """Phrasings of a good reply."""
    vague: str
    """A reply that says nothing."""


ATTRIBUTES = read("facts", "attributes", tuple[Attribute, ...])
ATTRIBUTE: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}
