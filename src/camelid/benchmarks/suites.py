"""The paper's benchmarks (`benchmarks.toml`) and the names that stand for several of them.

Each becomes one task of lm-evaluation-harness, made from a plain dictionary.

Source: arXiv 2307.09288, Section 2.3 and Tables 3 and 19-25 (members, shots, metrics). Which
examples are shown (the first ones), and how likelihoods are normalised, is Source: choice: choices
of several words are compared by log-likelihood per character (`acc_norm`), letters and yes or no by
log-likelihood (`acc`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from camelid.benchmarks import items, scoring
from camelid.benchmarks.data import Hub, Place, Row, Source
from camelid.benchmarks.items import Item
from camelid.benchmarks.scoring import CATEGORIES, FILE, MEMBERS
from camelid.errors import ConfigError, DataError
from camelid.settings import from_json, suggestion


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One task."""

    reader: str
    """Function of `items` that makes an item of a row."""
    files: tuple[str, ...]
    """Relative paths of the test, the first that is there is read."""
    public: str
    """Where the public gets the files."""
    hub: Hub | None = None
    shots: int = 0
    """The paper's number of examples in the prompt; fewer where the file has fewer."""
    example_files: tuple[str, ...] = ()
    """Where the examples of the prompt are. Where they are missing, the first items of the test
    stand in and are not scored."""
    example_split: str = "train"
    """Where they are on the hub."""
    answer: str = "choice"
    """`choice`: one of several; `context_choice`: one of several contexts of one text; `programs`:
    code that is run; else a key of `scoring.SCORES`: generated and compared with the references."""
    metric: str = "acc"
    until: tuple[str, ...] = ("\n",)
    """Strings that end a generated answer."""
    max_tokens: int = 32
    temperature: float = 0.0
    samples: int = 1
    description: str = ""
    preamble: str | None = None
    """File of the text that stands before every question, with the examples in it."""
    chain: bool = False
    """Whether the examples of the preamble keep their chains of thought."""
    column: str | None = None
    """Column of the examples that holds the rows."""
    test_ids: tuple[int, int] | None = None
    """First `task_id` of the test's rows and the one after the last, where one file holds others
    too."""
    example_ids: tuple[int, int] | None = None
    """The same of the examples."""

    @property
    def test(self) -> Source:
        """Where the items are."""
        return Source(files=self.files, hub=self.hub, public=self.public)

    @property
    def examples(self) -> Source | None:
        """Where the examples of the prompt are; None where there are none."""
        hub = None if self.hub is None else replace(self.hub, split=self.example_split)
        shown = Source(files=self.example_files, hub=hub, public=self.public)
        return shown if self.example_files else None

    def item(self, row: Row) -> Item:
        """Make an item of a row."""
        found: Item = getattr(items, self.reader)(row)
        return found

    def iterate_items(self, places: Sequence[Place], ids: tuple[int, int] | None) -> Iterator[Item]:
        """Yield the items of some rows.

        Args:
            places: The rows.
            ids: `test_ids` or `example_ids`.

        Raises:
            DataError: A row is no item of this benchmark; file, line and reason are named.
        """
        for row, where in places:
            try:
                if ids is None or items.field(row, "task_id", int) in range(*ids):
                    yield self.item(row)
            except (DataError, ValueError) as error:
                reason = str(error).rstrip(".")
                raise DataError(f"{where}: not an item of this benchmark ({reason}).") from None

    def score(self, item: Item, found: Sequence[str]) -> float:
        """Return the value of an item from its generated answers."""
        if self.answer == "programs":
            return items.passed_share(item, found, k=self.samples)
        return scoring.SCORES[self.answer](found[0], item["answers"])


def _filled(entry: dict[str, Any], task: str) -> dict[str, Any]:
    """The entry of one member of a family."""
    text = json.dumps({**entry, "tasks": None})
    filled = text.replace("{task}", task).replace("{words}", task.replace("_", " "))
    found: dict[str, Any] = json.loads(filled)
    return found


def _benchmarks() -> dict[str, Benchmark]:
    found: dict[str, dict[str, Any]] = {}
    for name, entry in FILE["benchmarks"].items():
        found[name] = whole = {"tasks": None, **found.get(entry.get("like"), {}), **entry}
        for task in MEMBERS[whole["tasks"]] if whole["tasks"] else ():
            found[f"{name}_{task}"] = _filled(whole, task)
    return {
        name: from_json(
            {field: value for field, value in entry.items() if field not in ("like", "tasks")},
            Benchmark,
            f"benchmarks.toml, {name}",
        )
        for name, entry in found.items()
        if not entry["tasks"]
    }


BENCHMARKS = _benchmarks()
_FAMILIES = {
    family: tuple(name for name in BENCHMARKS if name.startswith(f"{family}_"))
    for family in ("mmlu", "bbh", "bbh-chain", "agieval")
}
SUITES: dict[str, tuple[str, ...]] = {
    **_FAMILIES,
    "table3": tuple(name for tasks in CATEGORIES.values() for name in tasks),
    **{name: tuple(members) for name, members in FILE["suites"].items()},
    "table20": ("boolq@0", *CATEGORIES["Commonsense reasoning"]),
}
"""What one name stands for."""


def tasks_of(suite: str) -> list[tuple[str, int]]:
    """Return the benchmarks behind a name, each with its shots.

    Args:
        suite: A suite or a benchmark, `NAME` or `NAME@SHOTS`; several joined by commas.

    Raises:
        ConfigError: There is none of this name (the nearest is named).
    """
    found: list[tuple[str, int]] = []
    for entry in suite.split(","):
        name, mark, number = entry.partition("@")
        if mark and not number.isdecimal():
            raise ConfigError(f"--suite {entry}: found {number!r} shots, needed a whole number.")
        if name in SUITES:
            for member in SUITES[name]:
                found += tasks_of(member if "@" in member else f"{member}{mark}{number}")
        elif name in BENCHMARKS:
            found.append((name, int(number) if mark else BENCHMARKS[name].shots))
        else:
            known = [*SUITES, *BENCHMARKS]
            raise ConfigError(
                f"There is no benchmark or suite '{name}'.{suggestion(name, known)} Suites: "
                f"{', '.join(SUITES)}; `camelid list` shows what is in them."
            )
    return list(dict.fromkeys(found))
