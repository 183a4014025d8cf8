"""The drawn facts of a pocket world and its two pools: open to training, held out for test."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from camelid.simulation.config import WorldConfig
from camelid.simulation.lexicon.facts import ATTRIBUTES, NAMES, EntityKind
from camelid.simulation.lexicon.tasks import BENIGN_TASKS, HARM_TASKS, RISKS, BenignTask, HarmTask
from camelid.simulation.lexicon.templates import TEMPLATES
from camelid.simulation.lexicon.words import FIGURES, HOBBIES, OPTIONS

K = TypeVar("K")
T = TypeVar("T")


def random_for(*parts: object) -> random.Random:
    """A generator seeded from the sha256 of its parts, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big") >> 1)


def with_article(noun: str) -> str:
    """`cat` -> `a cat`, `owl` -> `an owl`."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def capitalise(text: str) -> str:
    """Upper-case the first letter only."""
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """The terms that one side (training or test) may use; plain words are in neither pool."""

    entities: dict[EntityKind, tuple[str, ...]]
    benign: tuple[BenignTask, ...]
    harm: dict[str, tuple[HarmTask, ...]]
    options: dict[str, tuple[str, ...]]
    """Verb of a recommendation (`wear`, `eat`, `stay at`) to what can be recommended."""
    figures: tuple[str, ...]
    hobbies: tuple[str, ...]

    def terms(self) -> list[str]:
        """Every term that can be held out, as it is spelled; plain words are on both sides."""
        found = [name for names in self.entities.values() for name in names]
        found += sorted({task.group for task in self.benign})
        found += sorted({task.group for tasks in self.harm.values() for task in tasks})
        found += [*self.figures, *self.hobbies]
        return found + [option for options in self.options.values() for option in options]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Facts, pools and templates; everything else in the world is written from it."""

    config: WorldConfig
    facts: dict[tuple[str, str], str]
    """(entity, attribute) to value."""
    pools: tuple[Pool, Pool]
    """Open to training; held out for test prompts."""
    templates: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]
    """Open; held out."""


def _divide(
    values: Sequence[T], share: float, generator: random.Random
) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Split into (open, held out), order kept, at least one on each side."""
    count = min(max(1, round(share * len(values))), len(values) - 1)
    held = set(generator.sample(range(len(values)), count))
    return (
        tuple(value for i, value in enumerate(values) if i not in held),
        tuple(value for i, value in enumerate(values) if i in held),
    )


def _side(divided: dict[K, tuple[T, T]], side: int) -> dict[K, T]:
    return {key: sides[side] for key, sides in divided.items()}


def build_setting(config: WorldConfig) -> Setting:
    """Draw the facts and divide terms and templates between training and test."""
    generator = random_for("pocket_world", config.seed)
    sizes: dict[EntityKind, int] = {
        "person": config.people,
        "town": config.towns,
        "creature": config.creatures,
    }
    entities = {kind: NAMES[kind][:size] for kind, size in sizes.items()}
    facts: dict[tuple[str, str], str] = {}
    for attribute in ATTRIBUTES:
        names = entities[attribute.kind]
        # Every value is equally frequent, so the best guess without knowledge scores 1 / values.
        deck = [attribute.values[i % len(attribute.values)] for i in range(len(names))]
        generator.shuffle(deck)
        facts |= {(name, attribute.name): v for name, v in zip(names, deck, strict=True)}

    def divide(values: Sequence[T]) -> tuple[tuple[T, ...], tuple[T, ...]]:
        return _divide(values, config.held_out, generator)

    names_of = {kind: divide(entities[kind]) for kind in sizes}
    groups: dict[bool | str, dict[str, None]] = {}
    for kind, group in [
        *((t.borderline, t.group) for t in BENIGN_TASKS),
        *((t.risk, t.group) for t in HARM_TASKS),
    ]:
        groups.setdefault(kind, {})[group] = None
    tasks = {kind: divide(list(found)) for kind, found in groups.items()}
    options = {verb: divide(names) for verb, names in OPTIONS.items()}
    figures, hobbies = map(divide, (FIGURES, HOBBIES))

    def pool(side: int) -> Pool:
        return Pool(
            entities=_side(names_of, side),
            benign=tuple(t for t in BENIGN_TASKS if t.group in tasks[t.borderline][side]),
            harm={
                risk: tuple(t for t in HARM_TASKS if t.group in tasks[risk][side]) for risk in RISKS
            },
            options=_side(options, side),
            figures=figures[side],
            hobbies=hobbies[side],
        )

    share = config.held_out_templates
    divided = {key: _divide(texts, share, generator) for key, texts in TEMPLATES.items()}
    return Setting(
        config=config,
        facts=facts,
        pools=(pool(0), pool(1)),
        templates=(_side(divided, 0), _side(divided, 1)),
    )
