"""The drawn facts of a pocket world and its two pools: open to training, held out for test."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from camelid.seeds import derive_seed
from camelid.simulation import lexicon
from camelid.simulation.config import WorldConfig
from camelid.simulation.lexicon import BENIGN_TASKS, FIGURES, HOBBIES, OPTIONS, RISKS

K = TypeVar("K")


def random_for(*parts: object) -> random.Random:
    """A generator seeded from the sha256 of its parts, the same on every machine."""
    return random.Random(derive_seed(*parts))


def with_article(noun: str) -> str:
    """`cat` -> `a cat`, `owl` -> `an owl`."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def capitalise(text: str) -> str:
    """Upper-case the first letter only."""
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """The terms that one side (training or test) may use; plain words are in neither pool."""

    entities: dict[lexicon.EntityKind, tuple[str, ...]]
    benign: tuple[lexicon.BenignTask, ...]
    harm: dict[str, tuple[lexicon.HarmTask, ...]]
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


def _drawn(values: Sequence[str], share: float, generator: random.Random) -> set[str]:
    """Draw what is held out of these, at least one on each side."""
    count = min(max(1, round(share * len(values))), len(values) - 1)
    return set(generator.sample(values, count))


def build_setting(config: WorldConfig) -> Setting:
    """Draw the facts and divide terms and templates between training and test."""
    generator = random_for("pocket_world", config.seed)
    entities: dict[lexicon.EntityKind, tuple[str, ...]] = {
        "person": lexicon.NAMES["person"][: config.people],
        "town": lexicon.NAMES["town"][: config.towns],
        "creature": lexicon.NAMES["creature"][: config.creatures],
    }
    facts: dict[tuple[str, str], str] = {}
    for attribute in lexicon.ATTRIBUTES:
        names = entities[attribute.kind]
        # Every value is equally frequent, so the best guess without knowledge scores 1 / values.
        deck = [attribute.values[i % len(attribute.values)] for i in range(len(names))]
        generator.shuffle(deck)
        facts |= {(name, attribute.name): v for name, v in zip(names, deck, strict=True)}
    # The groups of tasks of one kind; the world's draws depend on the order of all of these.
    groups = [[t.group for t in BENIGN_TASKS if t.borderline == looks] for looks in (True, False)]
    groups += [[t.group for t in lexicon.HARM_TASKS if t.risk == risk] for risk in RISKS]
    kinds = [tuple(dict.fromkeys(found)) for found in groups]
    held: set[str] = set()
    for terms in (*entities.values(), *kinds, *OPTIONS.values(), FIGURES, HOBBIES):
        held |= _drawn(terms, config.held_out, generator)
    for texts in lexicon.TEMPLATES.values():
        held |= _drawn(texts, config.held_out_templates, generator)

    def side(values: Iterable[str], held_out: bool) -> tuple[str, ...]:
        return tuple(value for value in values if (value in held) == held_out)

    def sides(named: Mapping[K, Iterable[str]], held_out: bool) -> dict[K, tuple[str, ...]]:
        return {key: side(values, held_out) for key, values in named.items()}

    def pool(held_out: bool) -> Pool:
        own_harm = [task for task in lexicon.HARM_TASKS if (task.group in held) == held_out]
        return Pool(
            entities=sides(entities, held_out),
            benign=tuple(task for task in BENIGN_TASKS if (task.group in held) == held_out),
            harm={risk: tuple(task for task in own_harm if task.risk == risk) for risk in RISKS},
            options=sides(OPTIONS, held_out),
            figures=side(FIGURES, held_out),
            hobbies=side(HOBBIES, held_out),
        )

    return Setting(
        config=config,
        facts=facts,
        pools=(pool(False), pool(True)),
        templates=(sides(lexicon.TEMPLATES, False), sides(lexicon.TEMPLATES, True)),
    )
