"""Words of the pocket world that are not closed-book facts (`words.toml`)."""

from __future__ import annotations

from camelid.simulation.lexicon import read, texts


def _pairs(firsts: tuple[str, ...], seconds: tuple[str, ...]) -> tuple[str, ...]:
    """Every first with every second.

    Names made of common words are many: to use one means to copy it, not to remember a list.
    """
    return tuple(f"{first} {second}" for first in firsts for second in seconds)


USER_NAMES = texts("words", "user_names")
COLOURS = texts("words", "colours")
ITEMS = texts("words", "items")
COUNTED = texts("words", "counted")
NUMBERS = texts("words", "numbers")
KIN = texts("words", "kin")
KIN_TRADES = texts("words", "kin_trades")
DRINKS = texts("words", "drinks")
TELLABLE = {"item": ITEMS, "colour": COLOURS, "things": COUNTED, "number": NUMBERS}
TELLABLE |= {"kin": KIN, "trade": KIN_TRADES, "drink": DRINKS}
"""What users tell of, and what of it."""

SUBJECTS = tuple(read("words", "subjects", dict[str, str]).items())
"""(singular, plural)."""
VERBS = read("words", "verbs", tuple[tuple[str, str, str], ...])
"""(base form, present, past)."""
OBJECTS = tuple(read("words", "objects", dict[str, str]).items())
"""(singular, plural)."""

CHOICES = texts("words", "choices")
"""What a recommendation can be about."""
OPTIONS = read("words", "options", dict[str, tuple[str, ...]])
"""Verb of a recommendation to what can be recommended by name; of the rest facts decide."""
QUALITIES = read("words", "qualities", dict[str, tuple[tuple[str, str], ...]])
"""Verb of a recommendation to (what the user says, what the right option is)."""

TOPICS = texts("words", "topics")
TOPIC_ADJECTIVES = texts("words", "topic_adjectives")
_FAMILIES = read("words", "rhymes", tuple[dict[str, tuple[str, ...]], ...])
RHYME_LINES = tuple((family["first"], family["second"]) for family in _FAMILIES)
"""Ends of first lines and of second lines that rhyme with each other."""
RHYMES = tuple(
    tuple(dict.fromkeys(text.split()[-1] for texts in family.values() for text in texts))
    for family in _FAMILIES
)
"""Families of words that rhyme."""

FIGURES = _pairs(texts("words", "ranks"), USER_NAMES[::2])
HOBBIES = _pairs(texts("words", "activities"), tuple(many for _, many in OBJECTS[::3]))
CLOSING_WORDS = texts("words", "closing_words")
SPOTS = texts("words", "spots")
FEELINGS = texts("words", "feelings")
"""Moods in stories."""
GROCERIES = texts("words", "groceries")
"""Words of shopping lists, repeated within one document."""
