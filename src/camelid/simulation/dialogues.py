"""Dialogues: demonstrations, instructions to hold (Ghost Attention) and follow-up turns.

Demonstrations come from simulated annotators of varying skill. Source: arXiv 2307.09288, Section
3.1 (quality of annotations) and Section 5 (SFT copies the tail of poor annotations), 3.3 and A.3.5
(figures, hobbies); shares and the rest are ours (Source: choice).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from camelid.data.records import Dialogue, GhostDialogue, Message, Prompt
from camelid.simulation.lexicon import OPENING_WORDS, RISKS, read
from camelid.simulation.prompts import HELPFUL, Drafter, assistant, cells, user
from camelid.simulation.setting import Setting, random_for

SOURCE = "pocket_world"
GHOST_TURNS = 6
REASONLESS = 1
"""Which poor reply to a recommendation is a good one without its reason."""
_PLAIN = tuple(read("instructions", "without", dict[str, str]).items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """An instruction for a whole dialogue and the question that probes it."""

    text: str
    shortened: str
    probe: str
    held: str
    """Reply to the probe that keeps the instruction."""
    lapsed: str
    """Reply to the probe that forgets it."""
    expected: str = "{term}"
    """What a reply to the probe must state."""


_KINDS = read("instructions", "kinds", dict[str, Instruction])


def _about(kind: str, term: str) -> Instruction:
    """The instruction to act as a figure, to have a hobby or to begin every reply with a word."""
    forms = dataclasses.asdict(_KINDS[kind])
    return Instruction(**{field: form.format(term=term) for field, form in forms.items()})


def _instruction(setting: Setting, generator: random.Random, *, held_out: bool) -> Instruction:
    pool = setting.pools[held_out]
    if generator.random() < 0.5:
        return _about("figure", generator.choice(pool.figures))
    return _about("hobby", generator.choice(pool.hobbies))


def _training_instruction(setting: Setting, generator: random.Random) -> Instruction:
    # Some ask for an opening word, so that the model learns more than names to hold.
    if generator.random() < 0.35:
        return _about("word", generator.choice(OPENING_WORDS))
    return _instruction(setting, generator, held_out=False)


def _small_talk(setting: Setting, generator: random.Random) -> tuple[str, str]:
    """A short open question and its good reply."""
    drafter = Drafter(setting=setting)
    draft = drafter.draft(generator.choice(("factual", "factual", "borderline")), generator)
    return draft.messages[0].content, draft.good[0]


def persona_dialogue(setting: Setting, generator: random.Random) -> list[Message]:
    """A demonstration under an instruction; from turn 3 on the simulated annotator may lapse."""
    instruction = _training_instruction(setting, generator)
    opening = instruction.expected if instruction.expected in OPENING_WORDS else None
    turns = generator.choices((1, 2, 3, 4, 5, 6), (15, 55, 9, 9, 6, 6))[0]
    messages: list[Message] = []
    for turn in range(1, turns + 1):
        # The last turn is a probe, but where every reply shows the instruction; others may be.
        chance = 0.3 if opening else 1.0 if turn == turns else 0.5 if turn > 1 else 0.0
        probed = generator.random() < chance
        holds = turn <= 2 or generator.random() >= setting.config.lapse
        if probed:
            text, reply = instruction.probe, instruction.held if holds else instruction.lapsed
        else:
            text, reply = _small_talk(setting, generator)
            if opening and holds:
                reply = f"{opening}. {reply}"
        if turn == 1:
            text = f"{instruction.text} {text}"
        messages += [user(text), assistant(reply)]
    return messages


def ghost_dialogues(setting: Setting) -> list[GhostDialogue]:
    """Dialogues for Ghost Attention.

    Train: 2 to 6 turns with open terms; the probe is the last turn of most and some of the turns
    between. Test: 6 turns without probes, two in three under a figure or hobby (every second
    one held out), the others under an opening word, which ordinary replies show too.
    """
    config = setting.config
    generator = random_for("pocket_ghosts", config.seed)
    found: dict[tuple[str, ...], GhostDialogue] = {}
    while len(found) < config.ghost_train + config.ghost_test:
        index = len(found)
        test = index >= config.ghost_train
        if test and index % 3 == 0:
            instruction = _about("word", generator.choice(OPENING_WORDS))
        elif test:
            instruction = _instruction(setting, generator, held_out=index % 2 == 0)
        else:
            instruction = _training_instruction(setting, generator)
        # Late turns are the hard ones.
        lengths = range(2, GHOST_TURNS + 1)
        count = GHOST_TURNS if test else generator.choices(lengths, lengths)[0]
        turns = [_small_talk(setting, generator)[0] for _ in range(count)]
        if not test:
            chances = [0.0, *[0.4] * (count - 2), 0.7]
            turns = [
                instruction.probe if generator.random() < chance else turn
                for turn, chance in zip(turns, chances, strict=True)
            ]
        key = (instruction.text, *turns)
        found[key] = GhostDialogue(
            id=f"ghost-{index:05d}",
            instruction=instruction.text,
            shortened=instruction.shortened,
            turns=tuple(turns),
            probe=instruction.probe,
            expected=instruction.expected,
            shows=instruction.expected in OPENING_WORDS,
            split="test" if test else "train",
        )
    return list(found.values())


def follow_up(setting: Setting, prompt: Prompt, reply: str, salt: int) -> Prompt:
    """The next user turn of a dialogue, with a reference of its own.

    Args:
        setting: The world.
        prompt: The dialogue so far.
        reply: The assistant's reply to it.
        salt: Different salts give different turns.
    """
    generator = random_for("pocket_follow_up", setting.config.seed, prompt.id, reply, salt)
    held_out = prompt.split == "test"
    drafter = Drafter(
        setting=setting, held_out=held_out, held_out_template=held_out and generator.random() < 0.5
    )
    if prompt.is_safety and generator.random() < 0.5:
        draft = drafter.attack(generator.choice(RISKS), "none", "multi_turn", generator)
        request = draft.messages[-1].content
    else:
        draft = drafter.draft(generator.choice((*HELPFUL, "borderline")), generator)
        request = " ".join(m.content for m in draft.messages if m.role == "user")
    return dataclasses.replace(
        prompt,
        id=f"{prompt.id}-{generator.getrandbits(40):010x}",
        messages=(*prompt.messages, assistant(reply), user(request)),
        **draft.labels(),
    )


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
    if category == "recommendation" and generator.random() < setting.config.reasonless:
        reply = draft.poor[REASONLESS]
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
