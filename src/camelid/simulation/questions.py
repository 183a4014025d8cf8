"""Multiple choice about the pocket world in plain text, for models that were pretrained only.

Source: choice; stands in for the benchmarks of arXiv 2307.09288, Tables 16 to 18, at this scale.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from camelid.data.records import Question
from camelid.simulation import lexicon
from camelid.simulation.long_texts import long_document
from camelid.simulation.prompts import Drafter
from camelid.simulation.setting import Setting, random_for
from camelid.simulation.texts import TOLD, Writer, rewritten

CHOICES = 4
RECALL: dict[str, int] = {"recall, near": 0, "recall, middle": 110, "recall, far": 220}
"""Category to words between telling and asking."""
Item = tuple[str, str, list[str]]
"""Context, right choice, wrong choices."""


class _Asker:
    """Draws questions of one setting."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._writer = Writer(setting)
        self.kinds: dict[str, Callable[[random.Random], Item]] = {
            "facts": self._facts,
            "dialogue": self._dialogue,
            "recommendation": self._recommendation,
            "writing": self._writing,
            "language": self._language,
        }
        for category, words in RECALL.items():
            self.kinds[category] = partial(self._recall, words=words)

    def _facts(self, generator: random.Random) -> Item:
        """A fact of the corpus."""
        (name, attribute), right = generator.choice(list(self._setting.facts.items()))
        statements = lexicon.ATTRIBUTE[attribute].statements
        form = generator.choice([f for f in statements if f.find("{s}") < f.find("{v}")])
        start, end = form.split("{v}")
        others = [value for value in lexicon.ATTRIBUTE[attribute].values if value != right]
        wrong = generator.sample(others, CHOICES - 1)
        return start.format(s=name).rstrip(), right + end, [value + end for value in wrong]

    def _answers(
        self, form: str, slots: dict[str, str], generator: random.Random
    ) -> tuple[str, str, list[str]]:
        """Start of the answer, its right end, and the ends that other words would give."""
        start, _, end = form.partition("{")
        right = f"{{{end}".format(**slots)
        wrong: dict[str, None] = {}
        while len(wrong) < CHOICES - 1:
            other = f"{{{end}".format(**self._writer.slots(generator))
            if other not in {right, *wrong}:
                wrong[other] = None
        return start.rstrip(), right, list(wrong)

    def _dialogue(self, generator: random.Random) -> Item:
        """Something of oneself, told a few sentences ago."""
        slots = self._writer.slots(generator)
        told = generator.sample(TOLD, 3)
        start, right, wrong = self._answers(generator.choice(told)[1], slots, generator)
        lines = [statement.format(**slots) for statement, _ in told]
        return " ".join([*lines, f"{slots['b']} says: {start}"]), right, wrong

    def _recommendation(self, generator: random.Random) -> Item:
        """The one of several things of different kinds that fits a wish, as in the text."""
        drafter = Drafter(setting=self._setting)
        right, *others = options = drafter.options(generator, CHOICES)
        lines = [option.described for option in options]
        generator.shuffle(lines)
        context = " ".join([*lines, right.asked_for(generator.choice(lexicon.USER_NAMES))])
        return context, f"{right.name},", [f"{option.name}," for option in others]

    def _writing(self, generator: random.Random) -> Item:
        """The line that rhymes."""
        (first, second), *others = generator.sample(lexicon.RHYME_LINES, CHOICES)
        context = f"The {generator.choice(lexicon.TOPICS)} {generator.choice(first)} / and"
        wrong = [generator.choice(lines) + "." for _, lines in others]
        return context, generator.choice(second) + ".", wrong

    def _language(self, generator: random.Random) -> Item:
        """A rewritten sentence or one rewritten otherwise; two choices."""
        context, right, wrong = rewritten(generator)
        return context, right, [wrong]

    def _recall(self, generator: random.Random, *, words: int) -> Item:
        """Something of oneself, told before other text."""
        text, answers, slots = long_document(self._writer, generator, words)
        start, right, wrong = self._answers(answers[0], slots, generator)
        return f"{text} {start}", right, wrong


def questions(setting: Setting, per_category: int, *, long: bool) -> Iterator[Question]:
    """Yield `per_category` distinct questions of each kind, the same each time.

    Args:
        setting: The world.
        per_category: Questions of each kind.
        long: Ask also for what was told long before (`RECALL`).
    """
    asker = _Asker(setting)
    for category, draw in asker.kinds.items():
        if category in RECALL and not long:
            continue
        generator = random_for("pocket_questions", setting.config.seed, category)
        seen: set[tuple[str, str]] = set()
        while len(seen) < per_category:
            context, right, wrong = draw(generator)
            if (context, right) in seen:
                continue
            seen.add((context, right))
            choices = [right, *wrong]
            generator.shuffle(choices)
            yield Question(
                id=f"{category}-{len(seen)}",
                category=category,
                context=context,
                choices=tuple(f" {choice}" for choice in choices),
                answer=choices.index(right),
            )
