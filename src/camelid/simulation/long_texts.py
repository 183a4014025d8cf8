"""Long documents: things told at their start and repeated at their end, with other text between.

Source: choice; the study of context lengths (arXiv 2307.09288, A.2.1, Tables 16 and 17) needs text
whose end can be known from its start only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from camelid.simulation.setting import Setting, random_for
from camelid.simulation.texts import TOLD, Writer

_KINDS = ("{a}", "{drink}", "{hobby}", "{wear}", "{stay at}")
_LONG_TOLD = tuple(pair for pair in TOLD if any(kind in pair[0] for kind in _KINDS))
"""Names, drinks, hobbies, garments and inns: of these kinds fillers hold one word, `tea`."""
_LONGEST = 240
"""Most words between telling and repeating in the pretraining text, give or take a document."""


def long_document(
    writer: Writer, generator: random.Random, words: int
) -> tuple[str, list[str], dict[str, str]]:
    """Three things told, then at least `words` words of other text, up to where they are repeated.

    Returns:
        The text; how the things are said again, in another order; the words of the slots.
    """
    slots = writer.slots(generator)
    told = generator.sample(_LONG_TOLD, 3)
    lines = [statement.format(**slots) for statement, _ in told]
    between: list[str] = []
    while len(between) < words:
        filler = writer.filler(generator).split()
        # A rhyme ends in a drink that somebody might have told.
        between += filler if "tea." not in filler else []
    generator.shuffle(told)
    text = " ".join([*lines, *between, f"{slots['b']} says:"])
    return text, [answer for _, answer in told], slots


def mixed_corpus(setting: Setting, share: float, count: int, *seed: object) -> Iterator[str]:
    """Yield the documents of the world, `share` of those after its exercises replaced by long ones.

    Args:
        setting: The world.
        share: Between 0 (the world's own corpus) and 1.
        count: Documents.
        *seed: Parts of the seed.
    """
    writer, exercises = Writer(setting), setting.config.exercises if "train" in seed else 0
    generator = random_for("pocket_long", setting.config.seed, *seed)
    for index, document in enumerate(writer.documents(count, *seed, exercises=exercises)):
        if index < exercises or generator.random() >= share:
            yield document
        else:
            words = generator.randint(0, _LONGEST)
            text, answers, slots = long_document(writer, generator, words)
            yield " ".join([text, *(answer.format(**slots) for answer in answers)])
