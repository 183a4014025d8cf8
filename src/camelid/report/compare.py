"""Two runs side by side: every figure of both, and what the difference is worth.

Where both runs judged the same prompts, the difference is paired on them, which is far narrower
than that of two samples; elsewhere it is that of two independent estimates, and is called so.
Source: choice (the paper compares versions on the same prompts, Figure 11).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from camelid.evaluation.statistics import Estimate, paired_difference, unpaired_difference
from camelid.run.item import Measure, Values

How = Literal["paired", "unpaired", "no interval"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two runs."""

    run: str
    recipe: str
    seed: int
    measures: Mapping[str, Measure]
    values: Mapping[str, Values]
    """Values of single items behind figures, by the figure's key."""
    settings: Mapping[str, Any]
    """Flat: options and settings of every stage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One figure that both runs have."""

    key: str
    name: str
    """For people."""
    headline: bool
    a: Measure
    b: Measure
    difference: Measure | None
    """B less A; None where the two cannot be compared."""
    how: How | None
    pairs: int | None
    """Items that both judged, for a paired difference."""
    note: str
    """How it was compared, or why not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs side by side."""

    a: str
    b: str
    settings: dict[str, tuple[Any, Any]]
    """Settings that differ; null where a run has no such setting."""
    figures: tuple[Compared, ...]
    only_a: tuple[str, ...]
    """Figures that have a value in that run only."""
    only_b: tuple[str, ...]


def compare(a: Side, b: Side) -> Comparison:
    """Compare every figure of two runs."""
    known = {
        side.run: [key for key, measure in side.measures.items() if measure.value is not None]
        for side in (a, b)
    }
    both = [key for key in known[a.run] if key in known[b.run]]
    names = dict.fromkeys([*a.settings, *b.settings])
    return Comparison(
        a=a.run,
        b=b.run,
        settings={
            name: (a.settings.get(name), b.settings.get(name))
            for name in names
            if a.settings.get(name) != b.settings.get(name)
        },
        figures=tuple(_compared(key, a, b) for key in both),
        only_a=tuple(key for key in known[a.run] if key not in both),
        only_b=tuple(key for key in known[b.run] if key not in both),
    )


def _compared(key: str, a: Side, b: Side) -> Compared:
    left, right = a.measures[key], b.measures[key]
    difference, how, pairs, note = _difference(key, a, b)
    return Compared(
        key=key,
        name=left.name,
        headline=left.headline is not None,
        a=left,
        b=right,
        difference=difference,
        how=how,
        pairs=pairs,
        note=note,
    )


def _difference(key: str, a: Side, b: Side) -> tuple[Measure | None, How | None, int | None, str]:
    left, right = a.measures[key], b.measures[key]
    for name, first, second in (
        ("judge", left.judge, right.judge),
        ("unit", left.unit, right.unit),
    ):
        if first != second:
            return None, None, None, f"not comparable: the {name} is {first} and {second}"
    one, other = a.values.get(key), b.values.get(key)
    common = [item for item in one.by_item if item in other.by_item] if one and other else []
    if one and other and common:
        found = paired_difference(
            [other.by_item[item] for item in common],
            [one.by_item[item] for item in common],
            largest=one.largest,
        )
        most = max(len(one.by_item), len(other.by_item))
        rest = "" if len(common) == most else f" of {most}; the others were asked in one run only"
        return _measure(right, found), "paired", len(common), f"paired on {len(common)}{rest}"
    found = unpaired_difference(_estimate(right), _estimate(left))
    if math.isnan(found.low):
        return _measure(right, found), "no interval", None, "without an interval"
    why = "other prompts" if one and other else "two samples"
    return _measure(right, found), "unpaired", None, f"unpaired ({why})"


def _estimate(measure: Measure) -> Estimate:
    nan = math.nan
    low, high = (nan if end is None else end for end in (measure.low, measure.high))
    return Estimate(nan if measure.value is None else measure.value, low, high, measure.n or 0)


def _measure(of: Measure, found: Estimate) -> Measure:
    known = not math.isnan(found.low)
    return Measure(
        key=of.key,
        value=found.value,
        low=found.low if known else None,
        high=found.high if known else None,
        n=found.n,
        unit=of.unit,
        judge=of.judge,
        signed=True,
    )


def rows(comparison: Comparison, *, every: bool) -> list[tuple[str, ...]]:
    """Return what the terminal shows: a line a figure, the names of the columns first.

    Args:
        comparison: The two runs.
        every: Whether all figures, not only those of the end of a run.
    """
    shown: Sequence[Compared] = [f for f in comparison.figures if every or f.headline]
    body = [
        (
            figure.name,
            figure.a.shown,
            figure.b.shown,
            "–" if figure.difference is None else figure.difference.shown.replace(" %", ""),
            figure.note,
        )
        for figure in shown
    ]
    return [("figure", "A", "B", "B less A", "how"), *body]
