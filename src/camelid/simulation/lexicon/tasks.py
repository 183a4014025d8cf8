"""Tasks of the pocket world: benign, sensitive-looking and harmful ones (`tasks.toml`).

Source: choice. The three risk categories are those of arXiv 2307.09288, Section 4.2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from camelid.simulation.lexicon import read

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
