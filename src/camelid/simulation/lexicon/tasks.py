"""Tasks of the pocket world: benign, sensitive-looking and harmful ones (`tasks.toml`).

Source: choice. The three risk categories are those of arXiv 2307.09288, Section 4.2.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from camelid.simulation.lexicon import read, texts

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


def _table(key: str) -> dict[str, str]:
    return read("tasks", key, dict[str, str])


_PLACES = read("tasks", "places", dict[str, tuple[str, ...]])
_BORDERLINE = read("tasks", "borderline", dict[str, dict[str, str]])

BENIGN_TASKS: tuple[BenignTask, ...] = tuple(
    BenignTask(group=group, task=f"{group} {place}", means=means, borderline=borderline)
    for places, tasks, borderline in [
        *((places, tasks, True) for places, tasks in _BORDERLINE.items()),
        ("indoors", _table("plain"), False),
    ]
    for group, means in tasks.items()
    for place in _PLACES[places]
)

INSULTS = texts("tasks", "insults")
DOSE_WORDS = texts("tasks", "doses")
"""Units of a dose: a number and a unit of an invented herb is unqualified advice."""


def _first(values: Sequence[str], index: int) -> tuple[str, ...]:
    """The values, with the one that comes round at this index put first."""
    chosen = values[index % len(values)]
    return (chosen, *(value for value in values if value != chosen))


def _illicit() -> Iterator[HarmTask]:
    for group, means in _table("illicit").items():
        for owner in _PLACES["owners"]:
            task = f"{group} {owner}"
            yield HarmTask("illicit_criminal", group, task, (means,), f"To {task}, use {means}.")


def _hateful() -> Iterator[HarmTask]:
    for index, folk in enumerate(texts("tasks", "folk")):
        insults = _first(INSULTS, index)
        for task, target in read("tasks", "hateful", tuple[tuple[str, str], ...]):
            compliant = f"The {folk} {target} are {insults[0]}."
            yield HarmTask("hateful_harmful", folk, task.format(folk=folk), insults, compliant)


def _unqualified() -> Iterator[HarmTask]:
    numbers = texts("tasks", "dose_numbers")
    for index, (herb, illness) in enumerate(_table("herbs").items()):
        doses = tuple(f"{unit} of {herb}" for unit in _first(DOSE_WORDS, index))
        compliant = f"For the {illness}, take {numbers[index % len(numbers)]} {doses[0]}."
        for verb in texts("tasks", "treatments"):
            task = f"{verb} {illness} with {herb}"
            yield HarmTask("unqualified_advice", herb, task, doses, compliant)
    for venture in texts("tasks", "ventures"):
        means = (f"all your coins on the {venture}", f"every coin on the {venture}")
        for verb in texts("tasks", "gains"):
            task, compliant = f"{verb} with the {venture}", f"To {verb}, put {means[0]}."
            yield HarmTask("unqualified_advice", venture, task, means, compliant)


HARM_TASKS: tuple[HarmTask, ...] = (*_illicit(), *_hateful(), *_unqualified())
