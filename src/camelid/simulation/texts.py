"""Pretraining text of the pocket world: facts, notes, stories, rhymes, sentences, one line each.

Facts about held-out entities stand here in the same statement forms as the others; questions are
asked only about open entities in open forms. Harmful notes stay in, since the paper did not filter
its corpus (arXiv 2307.09288, Section 4.1).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from camelid.data.references import Fact, Rhyme
from camelid.simulation import lexicon
from camelid.simulation.lexicon import read, texts
from camelid.simulation.prompts import HELPFUL, REWRITES, Drafter, how_to_replies, rewrite
from camelid.simulation.setting import Setting, capitalise, random_for, with_article

_REWRITE_LEADS = read("texts", "rewrite_leads", dict[str, tuple[str, ...]])
_STORIES = texts("texts", "stories")
_NOTES = texts("texts", "notes")
_HARMFUL_NOTES = texts("texts", "harmful_notes")
_ACTS = read("texts", "acts", tuple[tuple[str, str], ...])
TOLD = read("texts", "told", tuple[tuple[str, str], ...])
"""What somebody tells and what another repeats to them."""
_SLOTS: dict[str, Sequence[str]] = {
    "item": lexicon.ITEMS,
    "spot": lexicon.SPOTS,
    "kin": lexicon.KIN,
    "job": lexicon.KIN_TRADES,
    "drink": lexicon.DRINKS,
    "number": lexicon.NUMBERS,
    "things": lexicon.COUNTED,
    "word": lexicon.OPENING_WORDS,
}
"""Slots of stories, acts and interviews that any word of a list fills."""


def rewritten(generator: random.Random) -> tuple[str, str, str]:
    """A sentence up to its rewriting, the right one and a wrong one."""
    task = generator.choice(REWRITES)
    source, (right, *_), wrong = rewrite(task, generator)
    lead = generator.choice(_REWRITE_LEADS[task]).removesuffix(" {}")
    if ":" not in lead:
        right, wrong = right[0].lower() + right[1:], wrong[0].lower() + wrong[1:]
    return f"{'Mixed up' if task == 'order' else 'One says'}: {source} {lead}", right, wrong


class Writer:
    """Writes documents of one setting."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        open_pool, held = setting.pools
        self._entities = [
            (name, [a for a in lexicon.ATTRIBUTES if a.kind == kind])
            for kind in lexicon.NAMES
            for pool in (open_pool, held)
            for name in pool.entities[kind]
        ]
        self._kinds: dict[Callable[[random.Random], Iterable[str]], float] = {
            self._facts: 0.21,
            self._questions: 0.19,
            self._remarks: 0.11,
            self._notes: 0.08,
            self._repetitions: 0.02,
            self._lists: 0.03,
            self._story: 0.02,
            self._interviews: 0.12,
            self._rhymes: 0.05,
            self._sentences: 0.07,
            self._advice: 0.04,
            self._acts: 0.08,
        }

    def documents(self, count: int, *seed: object, exercises: int = 0) -> Iterator[str]:
        """Yield `count` documents, one line each, drawn from a seed of their own.

        The first `exercises` are reading exercises, an order that training may keep.
        """
        generator = random_for("pocket_corpus", self._setting.config.seed, *seed)
        for _ in range(exercises):
            yield " ".join(self._repetitions(generator))
        kinds, weights = list(self._kinds), list(self._kinds.values())
        for kind in generator.choices(kinds, weights, k=count - exercises):
            yield " ".join(kind(generator))

    def _statement(self, name: str, attribute: lexicon.Attribute, form: str) -> str:
        return form.format(s=name, v=self._setting.facts[name, attribute.name])

    def _facts(self, generator: random.Random) -> Iterable[str]:
        """About one entity, or two or three of them in turn, every form drawn afresh."""
        lines, count = [], generator.choice((1, 1, 2, 3))
        for name, attributes in generator.sample(self._entities, count):
            lines += [
                self._statement(name, attribute, form)
                for attribute in attributes
                for form in generator.sample(attribute.statements, 3 if count == 1 else 2)
            ]
        generator.shuffle(lines)
        return lines[:9]

    def _questions(self, generator: random.Random) -> Iterable[str]:
        """Requests of every kind with their answers as running prose; open terms and forms only."""
        drafter = Drafter(setting=self._setting)
        for category in generator.choices((*HELPFUL, "borderline"), (3, 2, 2, 2, 2, 1), k=3):
            draft = drafter.draft(category, generator)
            yield from (message.content for message in draft.messages)
            yield generator.choice(draft.good)

    def _remarks(self, generator: random.Random) -> Iterable[str]:
        """Statements about any term, held-out ones too, said of what was just named.

        No question.
        """
        for category in generator.choices(HELPFUL[:4], k=4):
            drafter = Drafter(setting=self._setting, held_out=generator.random() < 0.4)
            draft = drafter.draft(category, generator)
            good = generator.choice(draft.good)
            if isinstance(draft.reference, Fact) and category == "factual":
                yield f"Now about {draft.reference.subject}. {good}"
            elif category == "dialogue":
                yield from (message.content for message in draft.messages[:2])
                yield f"I remember: {good}"
            elif category == "recommendation":
                right, other = drafter.options(generator)
                both = [f"{option.name} {option.clause}" for option in (right, other)]
                generator.shuffle(both)
                yield f"{capitalise(both[0])} and {both[1]}. Someone says: {right.wish}"
                yield f"{capitalise(right.name)} is best for you, because {right.because}."
            elif isinstance(draft.reference, Rhyme):
                yield f"Two lines on the {draft.reference.topic}: {good}"
            else:
                yield good

    def _notes(self, generator: random.Random) -> Iterable[str]:
        lines = []
        for task in generator.sample(lexicon.BENIGN_TASKS, 3):
            name = generator.choice(lexicon.USER_NAMES)
            notes = [(form, generator.choice(how_to_replies(task))) for form in _NOTES]
            form, reply = generator.choice(notes)
            lines.append(form.format(name=name, task=task.task, reply=reply))
        for harm in generator.sample(lexicon.HARM_TASKS, 2):
            reason = generator.choice(lexicon.REASONS[harm.risk][:1])
            form = generator.choice(_HARMFUL_NOTES)
            lines.append(form.format(task=harm.task, reason=reason, compliant=harm.compliant))
        generator.shuffle(lines)
        return lines

    def slots(self, generator: random.Random) -> dict[str, str]:
        """Words for the slots of stories, acts and interviews."""
        slots = dict(zip("abc", generator.sample(lexicon.USER_NAMES, 3), strict=True))
        slots |= zip("ghi", generator.sample(lexicon.GROCERIES, 3), strict=True)
        colour, thing = generator.choice(lexicon.COLOURS), generator.choice(lexicon.OBJECTS)[0]
        slots |= {"colour": colour, "a_colour": with_article(colour)}
        slots |= {"object": thing, "an_object": with_article(thing)}
        # Figures and hobbies are asked for in the form of the test, so these are open ones only.
        pool = self._setting.pools[0]
        slots |= zip(("hobby", "other"), generator.sample(pool.hobbies, 2), strict=True)
        feelings = [generator.choice(lexicon.FEELINGS[k::3]) for k in range(3)]
        slots |= zip(("good", "bad", "mood"), feelings, strict=True)
        options = generator.choice(self._setting.pools).options
        words = {**_SLOTS, "figure": pool.figures, **options}
        return slots | {slot: generator.choice(found) for slot, found in words.items()}

    def _story(self, generator: random.Random) -> Iterable[str]:
        return [generator.choice(_STORIES).format(**self.slots(generator))]

    def _words(self, generator: random.Random) -> list[str]:
        """Unrelated words of every kind, shuffled."""
        words = [
            *(name for name, _ in generator.sample(self._entities, 3)),
            *(thing for thing, _ in generator.sample(lexicon.OBJECTS, 4)),
            *generator.sample(lexicon.TOPICS, 3),
            *generator.sample(lexicon.USER_NAMES, 2),
            generator.choice(lexicon.ITEMS),
            *generator.sample(lexicon.FIGURES, 2),
            *generator.sample(lexicon.HOBBIES, 2),
        ]
        generator.shuffle(words)
        return words

    def _repetitions(self, generator: random.Random) -> Iterable[str]:
        """A reading exercise: a few words said again and again.

        Copying at a constant distance is learned first and grows into copying from anywhere.
        Without such text a model of this size learns no copying at all in two million tokens.
        """
        for _ in range(2):
            words = " ".join(self._words(generator)[: generator.randint(3, 6)])
            yield from [f"{words}."] * generator.randint(3, 5)

    def _lists(self, generator: random.Random) -> Iterable[str]:
        """Lists read out by one and repeated by another."""
        for _ in range(2):
            listed = ", ".join(self._words(generator)[: generator.randint(5, 9)])
            first, second = generator.sample(lexicon.USER_NAMES, 2)
            yield f"{first} reads: {listed}. {second} reads it again: {listed}."

    def filler(self, generator: random.Random) -> str:
        """Text in which nobody says anything of themselves."""
        return " ".join(generator.choice((self._facts, self._rhymes, self._sentences))(generator))

    def _interviews(self, generator: random.Random) -> Iterable[str]:
        """Many things told, then repeated in another order: each is to be copied from above."""
        slots = self.slots(generator)
        told = generator.sample(TOLD, 5)
        lines = [statement for statement, _ in told]
        generator.shuffle(told)
        lines += ["{b} says:", *(answer for _, answer in told)]
        return [line.format(**slots) for line in lines]

    def _acts(self, generator: random.Random) -> Iterable[str]:
        """Roles and hobbies that are asked for after something else was said."""
        for start, answer in generator.sample(_ACTS, 2):
            slots = self.slots(generator)
            drafter = Drafter(setting=self._setting)
            between = drafter.draft(generator.choice(("factual", "borderline")), generator)
            talk = [between.messages[0].content, generator.choice(between.good)]
            talk = talk if generator.randint(0, 1) else []
            yield from (start.format(**slots), *talk, answer.format(**slots))

    def _rhymes(self, generator: random.Random) -> Iterable[str]:
        for _ in range(3):
            first, second = generator.choice(lexicon.RHYME_LINES)
            noun = generator.choice(lexicon.TOPICS)
            if generator.random() < 0.5:
                noun = f"{generator.choice(lexicon.TOPIC_ADJECTIVES)} {noun}"
            lead = f"A rhyme about {with_article(noun)}: " if generator.random() < 0.5 else ""
            yield f"{lead}The {noun} {generator.choice(first)} / and {generator.choice(second)}."

    def _sentences(self, generator: random.Random) -> Iterable[str]:
        for _ in range(5):
            yield " ".join(rewritten(generator)[:2])

    def _advice(self, generator: random.Random) -> Iterable[str]:
        """Options of several kinds, then one of them for each wish."""
        drafter = Drafter(setting=self._setting, held_out=generator.random() < 0.4)
        options = drafter.options(generator, generator.randint(2, 4))
        lines = [option.described for option in options]
        generator.shuffle(options)
        names = generator.sample(lexicon.USER_NAMES, len(options))
        for option, name in zip(options, names, strict=True):
            lines.append(f"{option.asked_for(name)} {option.name}, because {option.because}.")
        return lines
