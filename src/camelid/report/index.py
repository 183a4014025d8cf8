"""The 33 figures and 52 tables of the paper, and what a run can say about each.

Source: arXiv 2307.09288v2, all pages; what each shows and how to get it stands in `artefacts.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from camelid.errors import DataError
from camelid.settings import from_json

Status = Literal["here", "not in this run", "needs people", "cannot be regenerated"]

_PEOPLE = "people rate the replies; this run's judge is shown in their place where linked"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """An artefact as the data file describes it, with one of the three last fields."""

    shows: str
    get: str | None = None
    """How to get it; None where no run can."""
    needs: Literal["people"] | None = None
    closed: str | None = None
    """Why nobody can make it again."""

    def __post_init__(self) -> None:
        if sum(field is not None for field in (self.get, self.needs, self.closed)) != 1:
            raise DataError(f"{self.shows!r} needs one of `get`, `needs` and `closed`.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Artefact:
    """One figure or table of the paper and where this run stands on it."""

    name: str
    description: str
    status: Status
    note: str
    anchor: str | None


@cache
def _entries() -> dict[str, _Entry]:
    path = Path(__file__).with_name("artefacts.toml")
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return from_json(data, dict[str, _Entry], path.name, error=DataError)


def index(here: Mapping[str, str], absent: Mapping[str, str]) -> list[Artefact]:
    """State for each of the 85 artefacts whether this report has it.

    Args:
        here: Name such as `Figure 5` -> anchor or file in the report; for an artefact that needs
            people, what stands in for it.
        absent: Name -> reason why this run does not have it.
    """
    found = []
    for name, entry in _entries().items():
        status: Status = "here" if name in here else "not in this run"
        note = "" if name in here else f"to get it: {entry.get}"
        if entry.needs:
            status, note = "needs people", _PEOPLE
        elif entry.closed:
            status, note = "cannot be regenerated", entry.closed
        elif name in absent and name not in here:
            note = f"{absent[name]}; {note}"
        found.append(
            Artefact(
                name=name, description=entry.shows, status=status, note=note, anchor=here.get(name)
            )
        )
    return found
