"""Items as they stand on the page: which share columns, what is folded, which words are explained.

Source: choice.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid.run.item import AnyItem, Content, Drawing, Example, Table

MOST_ROWS = 12
"""A longer table is folded."""
ABREAST = {48: 3, 80: 2, 10_000: 1}
"""How many stand side by side, by their width in characters."""
_EM = 23
"""Height of a line of a table in points of a plot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """An item with its content, or with the reason why it has none."""

    item: AnyItem
    caption: str
    content: Content | None = None
    missing: str | None = None

    @property
    def drawing(self) -> Drawing | None:
        """Its plot, where it is one."""
        return self.content if isinstance(self.content, Drawing) else None

    @property
    def svg(self) -> str | None:
        """Its plot as it stands on the page."""
        return placed(self.drawing.svg, self.item.anchor) if self.drawing else None

    @property
    def table(self) -> Table | None:
        """Its table, where it is one."""
        return self.content if isinstance(self.content, Table) else None

    @property
    def examples(self) -> list[Example]:
        """Its examples, where it has some."""
        return self.content if isinstance(self.content, list) else []

    @property
    def folded(self) -> bool:
        """Whether its table must be unfolded to be seen."""
        table = self.table
        return table is not None and (self.item.folded or len(table.rows) > MOST_ROWS)

    @property
    def abreast(self) -> int:
        """How many of its kind stand side by side."""
        width = 60 if self.examples else 40
        if self.table is not None and not self.folded:
            columns = zip(self.table.columns, *self.table.texts, strict=True)
            width = sum(
                3 + max([*map(len, name.replace("_", " ").split(" ")), *map(len, cells)])
                for name, *cells in columns
            )
        return next(most for widest, most in ABREAST.items() if width <= widest)

    @property
    def height(self) -> float:
        """About how high it is, in points of a plot."""
        if self.drawing is not None:
            box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', self.drawing.svg)
            return 360 * float(box[2]) / float(box[1]) if box else 0.0
        table = self.table
        return 0.0 if table is None or self.folded else _EM * (1 + len(table.rows))


def in_groups(entries: Sequence[Drawn]) -> list[tuple[int, list[Drawn]]]:
    """Return items in groups of like width, each with how many columns it fills.

    What would stand alone in its group joins the next wider one, so that no column stays empty;
    what is folded comes last.
    """
    groups: dict[int, list[Drawn]] = {most: [] for most in ABREAST.values()}
    for entry in entries:
        if not entry.folded:
            groups[entry.abreast].append(entry)
    if len(groups[2]) == 1 and len(groups[3]) in (1, 2):
        groups[2] += groups.pop(3)
    for most, wider in ((3, 2), (2, 1)):
        if len(groups.get(most, ())) == 1:
            groups[wider] = [*groups.pop(most), *groups[wider]]
    found = []
    for most, group in groups.items():
        if most == 1:
            found += [(1, [entry]) for entry in group]
        elif group:
            columns = min(len(group), most)
            found.append((columns, sorted(group, key=lambda entry: -entry.height)))
    folded = [entry for entry in entries if entry.folded]
    return [*found, *([(min(3, len(folded)), folded)] if folded else [])]


_NAMED = re.compile(r'\bid="|\b(?:xlink:)?href="#|url\(#')


def placed(svg: str, anchor: str) -> str:
    """Return a plot whose names are no other plot's on the page."""
    return _NAMED.sub(lambda match: f"{match[0]}{anchor}-", svg)


def words() -> dict[str, tuple[re.Pattern[str], str]]:
    """Return the words that a page explains: how each is found, and what it means."""
    path = Path(__file__).with_name("words.toml")
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: (re.compile(entry["found"]), entry["means"]) for name, entry in entries.items()}


def explained(entries: Sequence[Drawn]) -> dict[str, list[tuple[str, str]]]:
    """Return by anchor the words that first stand in an item, with what they mean.

    Args:
        entries: Items in the order of the page.
    """
    waiting, found = words(), {}
    for entry in entries:
        text = _text(entry)
        here = [name for name, (pattern, _) in waiting.items() if pattern.search(text)]
        found[entry.item.anchor] = [(name, waiting.pop(name)[1]) for name in here]
    return found


def _text(entry: Drawn) -> str:
    """Return what an item says, without the texts of models and people."""
    parts = [entry.item.title, entry.caption]
    if entry.table is not None:
        parts += [*entry.table.columns, *(str(row[0]) for row in entry.table.rows)]
    if entry.drawing is not None:
        # matplotlib writes the text of each label as a comment beside its outlines.
        parts += re.findall(r"<!-- (.*?) -->", entry.drawing.svg, re.DOTALL)
    return "\n".join(parts)
