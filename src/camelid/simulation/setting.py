"""The drawn facts of a pocket world and its two pools: open to training, held out for test."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from camelid.errors import ConfigError
from camelid.simulation.lexicon.facts import ATTRIBUTES, NAMES, EntityKind
from camelid.simulation.lexicon.tasks import BENIGN_TASKS, HARM_TASKS, RISKS, BenignTask, HarmTask
from camelid.simulation.lexicon.templates import TEMPLATES
from camelid.simulation.lexicon.words import FIGURES, GARMENTS, HOBBIES, INNS, MEALS

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
class WorldConfig:
    """Size and mix of a pocket world. Source: choice, sized for a 3M-parameter model on a CPU."""

    seed: int = 0
    """Everything in the world is drawn from it."""
    people: int = 90
    """Invented people, at most 90."""
    towns: int = 80
    """Invented towns, at most 80."""
    creatures: int = 70
    """Invented animals, at most 70."""
    documents: int = 24_500
    """Documents of the pretraining corpus, about 90 tokens each."""
    exercises: int = 2_300
    """Of these, reading exercises that come first (about 0.12M tokens): a model that begins with
    them has learned to copy from context by 0.6M tokens, one that meets them mixed in has not."""
    validation_documents: int = 400
    """Documents of the validation corpus, drawn like the others from a seed of their own."""
    demonstrations: int = 5_400
    """Dialogues of supervised fine-tuning."""
    rm_train: int = 4_000
    """Prompts on which preferences for the reward models are collected."""
    rejection_sampling: int = 4_000
    """Prompts of rejection sampling."""
    ppo: int = 1_500
    """Prompts of PPO."""
    red_teaming: int = 600
    """Adversarial prompts of red teaming, on which nothing is trained."""
    validation: int = 2_400
    """Prompts for choosing PPO's weights and for the held-out comparisons of reward models."""
    test_helpful: int = 520
    """Test prompts over the five helpfulness categories."""
    test_adversarial: int = 320
    """Test prompts over risk categories, attack vectors and strengths."""
    test_borderline: int = 320
    """Test prompts that look harmful and are not."""
    ghost_train: int = 650
    """Dialogues under an instruction, for Ghost Attention."""
    ghost_test: int = 60
    """Dialogues of six turns on which the memory of the instruction is measured."""
    held_out: float = 0.25
    """Share of terms that only test prompts use."""
    held_out_templates: float = 0.2
    """Share of prompt templates that only test prompts use."""
    safety: float = 0.15
    """Share of adversarial prompts outside the splits `red_teaming` (all) and `test`."""
    borderline: float = 0.21
    """Share of borderline prompts among the helpful ones outside the test split."""
    demonstrations_safety: float = 0.12
    """Share of safety demonstrations."""
    demonstrations_persona: float = 0.22
    """Share of demonstrations with an instruction to hold."""
    demonstrations_borderline: float = 0.14
    """Share of demonstrations that answer a borderline prompt."""
    disguised: float = 0.5
    """Share of safety demonstrations against disguised or multi-turn attacks."""
    imperfect: float = 0.28
    """Share of helpful demonstrations that a poor simulated annotator writes (Section 3.1: quality
    of annotations varies)."""
    bare: float = 0.2
    """Share of safety demonstrations that refuse without a reason."""
    complies: float = 0.22
    """Share of safety demonstrations in which the annotator complies with a plain attack."""
    complies_disguised: float = 0.53
    """The same for disguised and multi-turn attacks, which annotators often do not see through."""
    lapse: float = 0.5
    """Chance that a demonstration forgets its instruction, at each probe from turn 3 on."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{field.name} is {value}; it must lie between 0 and 1.")
            if field.name != "seed" and value < 0:
                raise ConfigError(f"{field.name} is {value}; it must not be negative.")
        if self.exercises > self.documents:
            raise ConfigError(
                f"exercises is {self.exercises}; it must be at most documents, {self.documents}."
            )
        for name, most in (("people", 90), ("towns", 80), ("creatures", 70)):
            value = getattr(self, name)
            if not 12 <= value <= most:
                raise ConfigError(f"{name} is {value}; it must lie between 12 and {most}.")


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
        facts.update(
            {(name, attribute.name): value for name, value in zip(names, deck, strict=True)}
        )

    def divide(values: Sequence[T]) -> tuple[tuple[T, ...], tuple[T, ...]]:
        return _divide(values, config.held_out, generator)

    people, towns, creatures = (divide(entities[k]) for k in ("person", "town", "creature"))
    groups = {
        borderline: divide(
            list(dict.fromkeys(t.group for t in BENIGN_TASKS if t.borderline == borderline))
        )
        for borderline in (True, False)
    }
    harmful = {
        risk: divide(list(dict.fromkeys(t.group for t in HARM_TASKS if t.risk == risk)))
        for risk in RISKS
    }
    garments, meals, inns = map(divide, (GARMENTS, MEALS, INNS))
    figures, hobbies = map(divide, (FIGURES, HOBBIES))

    def pool(side: int) -> Pool:
        return Pool(
            entities={
                "person": people[side],
                "town": towns[side],
                "creature": creatures[side],
            },
            benign=tuple(t for t in BENIGN_TASKS if t.group in groups[t.borderline][side]),
            harm={
                risk: tuple(t for t in HARM_TASKS if t.group in harmful[risk][side])
                for risk in RISKS
            },
            options={"wear": garments[side], "eat": meals[side], "stay at": inns[side]},
            figures=figures[side],
            hobbies=hobbies[side],
        )

    divided = {
        key: _divide(texts, config.held_out_templates, generator)
        for key, texts in TEMPLATES.items()
    }
    return Setting(
        config=config,
        facts=facts,
        pools=(pool(0), pool(1)),
        templates=(
            {key: sides[0] for key, sides in divided.items()},
            {key: sides[1] for key, sides in divided.items()},
        ),
    )
