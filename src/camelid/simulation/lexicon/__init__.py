"""Words, names and templates of the pocket world: data files beside this module, read strictly.

One entry of a TOML file is one list or table; who uses a template reads it by file and key, so
`texts("texts", "stories")` stands where stories are told. Everything is authored for this
project, no real persons. Source: choice; the three risk categories are those of arXiv 2307.09288,
Section 4.2.1.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from camelid.errors import ConfigError, DataError
from camelid.settings import from_json, suggestion

T = TypeVar("T")

FOLDER = Path(__file__).parent


def read(file: str, key: str, kind: type[T]) -> T:
    """Return an entry of a data file.

    Args:
        file: Name of the file without `.toml`.
        key: Entry on its top level.
        kind: Type of the entry: tuples, dicts with string keys, dataclasses, strings.

    Raises:
        DataError: The file or the entry is missing or of another type; an unknown field; a text
            that is empty, stands in white space or comes twice in one list.
    """
    entries = _entries(file)
    where = f"lexicon/{file}.toml, {key}"
    if key not in entries:
        raise DataError(f"{where}: no such entry.{suggestion(key, entries)}")
    _require_clean(entries[key], where)
    try:
        return from_json(entries[key], kind, where)
    except ConfigError as error:
        raise DataError(str(error)) from None


def texts(file: str, key: str) -> tuple[str, ...]:
    """Return a list of texts of a data file; raises like `read`."""
    return read(file, key, tuple[str, ...])


@cache
def _entries(file: str) -> dict[str, Any]:
    path = FOLDER / f"{file}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable TOML file ({error}).") from None


def _require_clean(value: Any, where: str) -> None:
    """A slip of the hand must not become a word of the world."""
    if isinstance(value, str) and (not value or value != " ".join(value.split())):
        raise DataError(f"{where}: found {value!r}, needed words with single spaces between.")
    if isinstance(value, dict):
        for key, below in value.items():
            _require_clean(key, where)
            _require_clean(below, f"{where}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            _require_clean(below, f"{where}[{index}]")
            if below in value[:index]:
                raise DataError(f"{where}[{index}]: {below!r} stands in this list twice.")


EntityKind = Literal["person", "town", "creature"]

NAMES = read("names", "entities", dict[EntityKind, tuple[str, ...]])


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """One closed-book property of a kind of entity; {s} is the entity, {v} the value."""

    name: str
    kind: EntityKind
    values: tuple[str, ...]
    statements: tuple[str, ...]
    """Sentence forms of the pretraining text."""
    replies: tuple[str, ...]
    """Phrasings of a good reply."""
    vague: str
    """A reply that says nothing."""


ATTRIBUTES = read("facts", "attributes", tuple[Attribute, ...])
ATTRIBUTE: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """One kind of thing that users tell; {v} is what is asked for, {n} what it is told of."""

    attribute: str
    """What is asked for: a key of `TELLABLE`, or the name; of the judge's reference."""
    of: str = ""
    """What it is told of: a key of `TELLABLE`; empty where it is told of oneself."""
    told: tuple[str, ...]
    heard: str
    """The assistant's acknowledgement."""
    replies: tuple[str, ...]
    """Phrasings of a good reply."""


TALKS = read("talks", "talks", dict[str, Talk])
"""Key of the question's templates to the talk."""
OPENINGS = texts("talks", "openings")


Risk = Literal["illicit_criminal", "hateful_harmful", "unqualified_advice"]
RISKS: tuple[Risk, ...] = ("illicit_criminal", "hateful_harmful", "unqualified_advice")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenignTask:
    """A harmless task and the one means that does it."""

    group: str
    """The task without its place; held out as a whole."""
    task: str
    means: str
    borderline: bool
    """Whether the words look dangerous (Section 4.2.3, false refusal)."""


@dataclass(frozen=True, slots=True)
class HarmTask:
    """A harmful task; a reply that states one of `means` complies with it."""

    risk: Risk
    group: str
    """The words that identify the task; held out as a whole."""
    task: str
    means: tuple[str, ...]
    """Phrases that give a compliant reply away; the usual one first."""
    compliant: str
    """The usual compliant (violating) reply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Harmful:
    """Harmful tasks that differ in their group only; the slots of texts are fields of the group."""

    risk: Risk
    requests: tuple[tuple[str, str], ...]
    """The task and the usual compliant reply to it."""
    means: tuple[str, ...]
    groups: dict[str, dict[str, str]]

    def tasks(self) -> Iterator[HarmTask]:
        """Every group with every request."""
        for group, fields in self.groups.items():
            means = [form.format(group=group, **fields) for form in self.means]
            for request, reply in self.requests:
                task = request.format(group=group, **fields)
                compliant = reply.format(group=group, task=task, **fields)
                usual_first = sorted(means, key=lambda phrase: phrase not in compliant)
                yield HarmTask(self.risk, group, task, tuple(usual_first), compliant)


_PLACES = read("tasks", "places", dict[str, tuple[str, ...]])
_BORDERLINE = read("tasks", "borderline", dict[str, dict[str, str]])

BENIGN_TASKS: tuple[BenignTask, ...] = tuple(
    BenignTask(group=group, task=f"{group} {place}", means=means, borderline=borderline)
    for places, tasks, borderline in [
        *((places, tasks, True) for places, tasks in _BORDERLINE.items()),
        ("indoors", read("tasks", "plain", dict[str, str]), False),
    ]
    for group, means in tasks.items()
    for place in _PLACES[places]
)
HARM_TASKS: tuple[HarmTask, ...] = tuple(
    task for family in read("tasks", "harmful", tuple[_Harmful, ...]) for task in family.tasks()
)


TEMPLATES = read("templates", "prompts", dict[str, tuple[str, ...]])
"""Key of a prompt kind to its templates; a fifth of each key is held out for test."""
VECTORS = texts("templates", "vectors")
"""Attack vectors; a key of `TEMPLATES` each but for the first."""

HOW_TO_REPLIES = texts("replies", "how_to")
RECOMMENDATIONS = texts("replies", "recommendation")
REFUSALS = texts("replies", "refusals")
"""Openings of a refusal; a reason and an alternative follow."""
EVASIONS = texts("replies", "evasions")
ASIDES = texts("replies", "asides")
"""Sentences that nobody asked for."""
REASONS = read("replies", "reasons", dict[Risk, tuple[str, ...]])
ALTERNATIVES = read("replies", "alternatives", dict[Risk, tuple[str, ...]])


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
OPENING_WORDS = texts("words", "opening_words")
SPOTS = texts("words", "spots")
FEELINGS = texts("words", "feelings")
"""Moods in stories."""
GROCERIES = texts("words", "groceries")
"""Words of shopping lists, repeated within one document."""
