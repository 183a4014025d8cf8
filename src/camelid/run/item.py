"""What a report shows of a stage: items for the page, figures for machines, limits for readers.

A stage declares them beside its code; the report draws them and knows no stage.
Source: choice; the artefacts are those of arXiv 2307.09288.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from camelid.data.annotation import JudgedReply
from camelid.run.digits import interval, number

F = TypeVar("F")
"""What is found in a run of the stages of one kind (`camelid.run.finished.Found`)."""

Section = Literal[
    "results",
    "run",
    "data",
    "quality",
    "rewards",
    "rlhf",
    "attention",
    "speed",
    "safety",
    "samples",
    "benchmarks",
]
"""Parts of the page, in the order of the paper."""
Card = Literal["Model Details", "Training Data", "Hardware and Software", "Evaluation Results"]
"""Parts of the model card that items fill (Table 52)."""
ARTEFACTS = {"Figure": 33, "Table": 52}
"""How many figures and tables the paper has."""
Cell = str | float | None
COUNTED = ("count", "parameters")
"""Units of figures that are counts."""


class NotApplicableError(Exception):
    """An item makes no sense for this plan: it is left off the page."""


class AbsentError(Exception):
    """The run holds nothing to draw; the text is the reason shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Columns and rows; None shows as a dash."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def write_csv(self, path: Path) -> None:
        """Write the unrounded cells, an empty field where there is none."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows)

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """The cells for people (`camelid.run.digits`); a column with % in its name holds shares."""
        percents = ["%" in column for column in self.columns]
        return [
            tuple(
                cell if isinstance(cell, str) else number(cell, percent=percent)
                for cell, percent in zip(row, percents, strict=True)
            )
            for row in self.rows
        ]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.texts]
        return "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in lines)


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A dialogue and what answered it."""

    dialogue: tuple[tuple[str, str], ...]
    """(role, text) of every message before the answer."""
    note: str = ""
    answers: tuple[tuple[str, str], ...]
    """(label, text) pairs."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot as inline SVG, drawn by this package."""

    svg: str


Content = Drawing | Table | list[Example]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One figure of `summary.json`; `value` is None where the run cannot have it."""

    key: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str
    judge: str | None
    """Who or what judged; None for what is counted or measured."""
    reason: str | None = None
    """Why there is no value."""
    headline: tuple[str, str] | None = None
    """(row, column) in the table at the end of a run."""
    safety: str | None = None
    """How the safety report calls it; None keeps it out."""
    signed: bool = False
    """Whether it is a difference, which may lie below zero."""
    method: tuple[str, str] | None = None
    """(row, column) in the table of methods over several seeds."""
    of: str | None = None
    """Key of the figure that this is a share of: without it there is nothing to have a share of."""

    @property
    def name(self) -> str:
        """What it is of, for people."""
        words = self.headline or self.method or self.key.replace("_", " ").split(".")
        return ": ".join(words)

    @property
    def shown(self) -> str:
        """Value with its 95 % interval for people, or `missing: reason`."""
        if self.value is None:
            return f"missing: {self.reason}"
        return self._written(self.low, self.high)

    @property
    def bare(self) -> str:
        """The same without the interval."""
        return f"missing: {self.reason}" if self.value is None else self._written(None, None)

    def _written(self, low: float | None, high: float | None) -> str:
        value, share = self.value or 0.0, self.unit == "share"
        if self.unit in COUNTED and low is None:
            return number(round(value))
        scale = 100 if share else 1
        low, high = (None if x is None else x * scale for x in (low, high))
        text = interval(value * scale, low, high, percent=share, sign=self.signed)
        # Of a share the sign of percent stands at the value, before the brackets.
        value_text, bracket, ends = text.partition(" (")
        return f"{value_text} %{bracket}{ends}" if share else text


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """The values of single items behind a figure, so that two runs can be paired on them."""

    key: str
    """Of the figure, which is their mean."""
    by_item: dict[str, float]
    """What was asked, whole, to its value: the same text in two runs is the same item."""
    largest: float | None
    """The largest difference that an item can have, 1 for verdicts (`paired_difference`)."""


Tile = Literal["trained", "better", "safe", "cost", "doubt"]
"""What a reader asks first; the first screen of the page answers each in one tile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a tile; every number in it is a figure of the summary."""

    tile: Tile
    text: str
    """May hold figures as `{key}`; the line is left out where one of them has no value."""
    before: str | None = None
    """Key of a figure before training; the first screen draws it beside the one after."""
    after: str | None = None
    """Key of the same figure after training."""
    change: str | None = None
    """Key of the difference whose interval decides whether there is a change."""
    wish: Literal["up", "down"] = "up"
    """Which way is better."""
    warning: bool = False
    """Whether all figures of the run mean nothing: no line is then called better or worse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item(Generic[F]):
    """One table, plot or group of examples of the stages of one kind."""

    section: Section
    """Where on the page."""
    title: str
    anchor: str
    """Its name in links and files; unique on the page."""
    caption: str | Callable[[F], str]
    """What it shows and who judged it."""
    draw: Callable[[F], Content]
    """Raises `AbsentError` where there is nothing to draw."""
    paper: tuple[str, ...] = ()
    """The figures and tables of the paper that it draws again."""
    stands_for: tuple[str, ...] = ()
    """Artefacts that need people and for which this shows a stand-in."""
    card: Card | None = None
    """Part of the model card that shows it too."""
    safety: bool = False
    """Whether the safety report shows it too."""
    folded: bool = False


CardField = Literal["license", "license_name", "base_model", "datasets", "language", "about"]
"""Fields of the hub's front matter of a model card; `about` is a sentence on data and licence."""

Draw = TypeVar("Draw", bound=Callable[..., Content])
Many = TypeVar("Many", bound=Callable[..., Iterable[Any]])


class StageReport(Generic[F]):
    """Everything that a report shows of the stages of one kind; functions join by decoration."""

    def __init__(self) -> None:
        self.items: list[Item[F]] = []
        self.find_measures: Callable[[F], Iterable[Measure]] = lambda _: ()
        self.find_notices: Callable[[F], Iterable[str]] = lambda _: ()
        self.find_limits: Callable[[F], Iterable[str]] = lambda _: ()
        self.find_lines: Callable[[F], Iterable[Line]] = lambda _: ()
        self.find_card: Callable[[F], Iterable[tuple[CardField, str]]] = lambda _: ()
        self.find_values: Callable[[F], Iterable[Values]] = lambda _: ()
        self.find_replies: Callable[[F], Iterable[tuple[JudgedReply, str]]] = lambda _: ()
        self.find_main: Callable[[F], Iterable[str]] = lambda _: ()

    def item(
        self,
        section: Section,
        title: str,
        caption: str | Callable[[F], str],
        *paper: str,
        anchor: str | None = None,
        **marks: Any,
    ) -> Callable[[Draw], Draw]:
        """Declare the decorated function as what draws an item.

        Args:
            section: As in `Item`.
            title: As in `Item`.
            caption: As in `Item`.
            paper: As in `Item`.
            anchor: As in `Item`; the function's name where it is not given.
            marks: Other fields of `Item`.
        """
        if section not in get_args(Section):
            raise ValueError(f"{title}: no section {section!r}; there are {get_args(Section)}.")
        for name in paper:
            kind, _, number = name.partition(" ")
            if not number.isdecimal() or not 1 <= int(number) <= ARTEFACTS.get(kind, 0):
                raise ValueError(f"{title}: the paper has no {name!r}; it has {ARTEFACTS}.")

        def add(draw: Draw) -> Draw:
            name = anchor or draw.__name__.strip("_").replace("_", "-")
            made: Item[F] = Item(
                section=section, title=title, anchor=name, caption=caption, draw=draw, paper=paper,
                **marks,
            )  # fmt: skip
            self.items.append(made)
            return draw

        return add

    def measures(self, find: Many) -> Many:
        """Declare the decorated function as what yields the figures of `summary.json`."""
        self.find_measures = find
        return find

    def notices(self, find: Many) -> Many:
        """Declare the decorated function as what a reader must know first."""
        self.find_notices = find
        return find

    def limits(self, find: Many) -> Many:
        """Declare the decorated function as what says which conclusions a reader must not draw."""
        self.find_limits = find
        return find

    def lines(self, find: Many) -> Many:
        """Declare the decorated function as what yields lines of the first screen."""
        self.find_lines = find
        return find

    def card(self, find: Many) -> Many:
        """Declare the decorated function as what yields fields of the model card's head."""
        self.find_card = find
        return find

    def values(self, find: Many) -> Many:
        """Declare the decorated function as what yields the items behind figures."""
        self.find_values = find
        return find

    def replies(self, find: Many) -> Many:
        """Declare the decorated function as what yields judged replies with the judge's reasons."""
        self.find_replies = find
        return find

    def main(self, find: Many) -> Many:
        """Declare the decorated function as what yields the models whose replies come first."""
        self.find_main = find
        return find


AnyItem = Item[Any]
