"""Sentences and their rewritings: tense, number, question, negation, word order, misspelling."""

from __future__ import annotations

import random

from camelid.simulation.lexicon import read
from camelid.simulation.lexicon.words import OBJECTS, SUBJECTS, VERBS

_FORMS = read("templates", "rewritings", dict[str, tuple[str, ...]])
REWRITES = tuple(_FORMS)


def misspell(text: str, generator: random.Random) -> str:
    """Swap two inner letters of the longest word."""
    word = max(text.split(), key=len)
    at = generator.randrange(1, len(word) - 2)
    return text.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :])


def rewrite(task: str, generator: random.Random) -> tuple[str, list[str], str]:
    """A source sentence, the accepted rewritings (the usual one first) and a wrong one."""
    slots = dict(zip(("singular", "plural"), generator.choice(SUBJECTS), strict=True))
    slots |= zip(("base", "present", "past"), generator.choice(VERBS), strict=True)
    slots |= zip(("thing", "things"), generator.choice(OBJECTS), strict=True)
    forms = {key: [text.format(**slots) for text in texts] for key, texts in _FORMS.items()}
    source = forms["order"][0]
    wrong = generator.choice([texts[0] for key, texts in forms.items() if key != task])
    if task == "order":
        words = source.lower().rstrip(".").split()
        first = words[1:3]
        while words[1:3] == first:
            generator.shuffle(words)
        return " ".join(words), forms[task], wrong
    return source, forms[task], wrong
