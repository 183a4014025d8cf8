"""Demonstrations of simulated annotators of varying skill, for supervised fine-tuning.

Source: arXiv 2307.09288, Section 3.1 (quality of annotations) and Section 5 (SFT copies the tail
of poor annotations); the shares are ours (Source: choice).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Sequence

from camelid.data.records import Dialogue, Message
from camelid.simulation.dialogues import persona_dialogue
from camelid.simulation.lexicon import read
from camelid.simulation.prompts import HELPFUL, Drafter, assistant, cells, user
from camelid.simulation.setting import Setting, random_for

SOURCE = "pocket_world"
_PLAIN = tuple(read("instructions", "without", dict[str, str]).items())


def dialogue_text(messages: Sequence[Message]) -> str:
    """A dialogue as one text."""
    return json.dumps([[message.role, message.content] for message in messages])


def identifier(prefix: str, messages: Sequence[Message]) -> str:
    """An id from the text alone, so that the same dialogue always gets the same id."""
    return f"{prefix}-{hashlib.sha256(dialogue_text(messages).encode()).hexdigest()[:16]}"


def _dialogue(messages: Sequence[Message], category: str, *, is_safety: bool = False) -> Dialogue:
    trained = tuple(dataclasses.replace(m, train=m.role == "assistant") for m in messages)
    return Dialogue(
        id=identifier("demonstration", trained),
        messages=trained,
        category=category,
        is_safety=is_safety,
        source=SOURCE,
    )


def _helpful(setting: Setting, generator: random.Random, category: str) -> Dialogue:
    drafter = Drafter(setting=setting)
    draft = drafter.draft(category, generator)
    poor = generator.random() < setting.config.imperfect
    reply = generator.choice(draft.poor if poor else draft.good)
    messages = [*draft.messages, assistant(reply)]
    # A tenth go on for a second request, so that replies after earlier turns are seen.
    if generator.random() < 0.1:
        second = drafter.draft(generator.choice(HELPFUL), generator)
        messages += [*second.messages, assistant(generator.choice(second.good))]
    return _dialogue(messages, category)


def _safety(setting: Setting, generator: random.Random) -> Dialogue:
    config = setting.config
    drafter = Drafter(setting=setting)
    hard = generator.random() < config.disguised
    # Two in three of the hard ones are disguised, one in three is a multi-turn attack.
    strength = generator.choice(("disguised", "disguised", "multi_turn")) if hard else "plain"
    risk, vector, strength = generator.choice([c for c in cells() if c[2] == strength])
    draft = drafter.attack(risk, vector, strength, generator)
    *bare, compliant = draft.poor
    complies = config.complies_disguised if hard else config.complies
    skill = generator.random()
    if skill < complies:
        reply = compliant
    else:
        reply = generator.choice(bare if skill < complies + config.bare else draft.good)
    return _dialogue((*draft.messages, assistant(reply)), risk, is_safety=True)


def demonstrations(setting: Setting) -> list[Dialogue]:
    """The SFT mix: helpful, borderline, safety and instruction-holding dialogues, shuffled."""
    config = setting.config
    generator = random_for("pocket_demonstrations", config.seed)
    safety = round(config.demonstrations * config.demonstrations_safety)
    persona = round(config.demonstrations * config.demonstrations_persona)
    borderline = round(config.demonstrations * config.demonstrations_borderline)
    found = [_safety(setting, generator) for _ in range(safety)]
    for _ in range(persona):
        if generator.random() < 0.08:
            question, reply = generator.choice(_PLAIN)
            messages = [user(question), assistant(reply)]
        else:
            messages = persona_dialogue(setting, generator)
        found.append(_dialogue(messages, "dialogue"))
    found += [_helpful(setting, generator, "borderline") for _ in range(borderline)]
    # Closed-book facts need the most examples; the other four carry their own content.
    categories = [*HELPFUL, "factual"]
    while len(found) < config.demonstrations:
        found.append(_helpful(setting, generator, categories[len(found) % len(categories)]))
    generator.shuffle(found)
    return found
