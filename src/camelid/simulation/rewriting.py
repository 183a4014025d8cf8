"""Sentences and their rewritings: tense, number, question, negation, word order, misspelling."""

from __future__ import annotations

import random

from camelid.simulation.lexicon.words import OBJECTS, SUBJECTS, VERBS

REWRITES: tuple[str, ...] = ("past", "plural", "question", "future", "negation", "order")


def misspell(text: str, generator: random.Random) -> str:
    """Swap two inner letters of the longest word."""
    word = max(text.split(), key=len)
    at = generator.randrange(1, len(word) - 2)
    return text.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :])


def rewrite(task: str, generator: random.Random) -> tuple[str, list[str], str]:
    """A source sentence, the accepted rewritings (the usual one first) and a wrong one."""
    singular, plural = generator.choice(SUBJECTS)
    base, present, past = generator.choice(VERBS)
    thing, things = generator.choice(OBJECTS)
    source = f"The {singular} {present} the {thing}."
    forms = {
        "past": [f"The {singular} {past} the {thing}."],
        "plural": [f"The {plural} {base} the {thing}.", f"The {plural} {base} the {things}."],
        "question": [f"Does the {singular} {base} the {thing}?"],
        "future": [
            f"The {singular} will {base} the {thing}.",
            f"The {singular} is going to {base} the {thing}.",
        ],
        "negation": [
            f"The {singular} does not {base} the {thing}.",
            f"The {singular} doesn't {base} the {thing}.",
        ],
        "order": [source],
    }
    wrong = generator.choice([texts[0] for key, texts in forms.items() if key != task])
    if task == "order":
        words = ["the", singular, present, "the", thing]
        while words[1:3] == [singular, present]:
            generator.shuffle(words)
        return " ".join(words), forms[task], wrong
    return source, forms[task], wrong
