"""The same recipe over several seeds: every figure's mean, its interval over seeds, each seed.

The interval of one run covers the choice of prompts; training itself varies more. Source: choice
(the paper reports one run of each model).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from camelid.evaluation.statistics import mean
from camelid.report.page import headlines, templates
from camelid.run.files import write_json
from camelid.run.item import Cell, Measure, Table
from camelid.settings import to_json

SEEDS = "seeds.json"
PAGE = "seeds.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Across:
    """One figure over the seeds."""

    measure: Measure
    """With the mean as its value, the interval over seeds, and the number of seeds as `n`."""
    deviation: float | None
    """Standard deviation over the seeds."""
    by_seed: dict[int, float | None]


LEAST_ROOM = 0.01
"""A share of a way is shown where the way is surely longer than this. Source: choice."""
NO_ROOM = "no room"


def _has_room(by_seed: Mapping[int, float | None] | None) -> bool:
    """Tell whether there is a way to have gone a share of, over all seeds.

    Where the control is near the ceiling, a share of what is left between them is noise over next
    to nothing: the interval of its mean says nothing of the method. Source: choice.
    """
    if by_seed is None:
        return True
    found = mean([value for value in by_seed.values() if value is not None])
    # Equal in all seeds, they have no interval.
    low = found.low if math.isfinite(found.low) else found.value
    return low > LEAST_ROOM


def across(runs: Mapping[int, Sequence[Measure]]) -> list[Across]:
    """Return every figure over the seeds; a seed that lacks it does not count and shows as null.

    Args:
        runs: Seed to the figures of its run.
    """
    values: dict[str, dict[int, float | None]] = {}
    first: dict[str, Measure] = {}
    for seed, measures in runs.items():
        for measure in measures:
            first.setdefault(measure.key, measure)
            values.setdefault(measure.key, dict.fromkeys(runs))[seed] = measure.value
    found = []
    for key, by_seed in values.items():
        known = [value for value in by_seed.values() if value is not None]
        reason = first[key].reason
        if known and len(runs) > 1 and not _has_room(values.get(first[key].of or "")):
            known, reason = [], NO_ROOM
        estimate = mean(known)
        low, high = estimate.low, estimate.high
        own = first[key]
        if own.unit == "share" and not own.signed:
            low, high = max(low, 0.0), min(high, 1.0)
        several = len(known) > 1
        found.append(
            Across(
                measure=replace(
                    own,
                    value=estimate.value if known else None,
                    low=low if math.isfinite(low) else None,
                    high=high if math.isfinite(high) else None,
                    n=len(known),
                    reason=None if known else reason,
                ),
                deviation=statistics.stdev(known) if several else None,
                by_seed=by_seed,
            )
        )
    return found


def method_table(found: Sequence[Across]) -> Table:
    """Return each method beside its control and its ceiling, over the seeds.

    Only the differences have their intervals: those of the levels hide them on a narrow page, and
    stand in the table of every figure.
    """
    rows: dict[str, dict[str, Cell]] = {}
    differences: dict[str, bool] = {}
    for entry in found:
        own = entry.measure
        if own.method is not None:
            row, column = own.method
            bare = own if own.signed else replace(own, low=None, high=None)
            known = own.value is not None
            missing = NO_ROOM if own.reason == NO_ROOM else None
            rows.setdefault(row, {})[column] = bare.shown if known else missing
            differences[column] = own.signed
    columns = sorted(differences, key=differences.__getitem__)
    return Table(
        columns=("method: measured", *columns),
        rows=[(row, *(cells.get(column) for column in columns)) for row, cells in rows.items()],
    )


def figure_table(found: Sequence[Across], seeds: Sequence[int]) -> Table:
    """Return every figure with mean, deviation and each seed."""
    names = [f"seed {seed}" for seed in seeds]
    return Table(
        columns=("figure", "unit", "judge", "mean (95 %)", "deviation", *names),
        rows=[
            (
                own.key,
                own.unit,
                own.judge,
                own.shown,
                *(
                    None if value is None else replace(own, value=value, signed=signed).bare
                    for value, signed in (
                        (entry.deviation, False),
                        *((entry.by_seed[seed], own.signed) for seed in seeds),
                    )
                ),
            )
            for entry in found
            for own in [entry.measure]
        ],
    )


_METHODS = (
    "Control: the same without the method; a model that answers at several temperatures counts "
    "with the best of each seed. Ceiling: the judge in the method's place. Headroom: the way from "
    f"control to ceiling; where the interval of its mean reaches down to {100 * LEAST_ROOM:g} "
    "point, there is no room to close a share of."
)


def write_seeds(
    recipe: str, runs: Mapping[int, Sequence[Measure]], links: Mapping[int, str], to: Path
) -> list[Across]:
    """Write the page and `seeds.json`; return the figures.

    Args:
        recipe: Its name.
        runs: Seed to the figures of its run.
        links: Seed to the page of its run, as seen from the new page.
        to: Folder of both files.
    """
    found = across(runs)
    to.mkdir(parents=True, exist_ok=True)
    write_json(to / SEEDS, {"recipe": recipe, "figures": to_json(tuple(found))})
    changed = headlines([entry.measure for entry in found])
    tables = (
        (
            "What each stage changed",
            "Arrows lead from version to version.",
            Table(columns=("figure", "mean over seeds"), rows=list(changed)),
        ),
        ("Each method beside its control and its ceiling", _METHODS, method_table(found)),
        (
            "Every figure",
            "Means, deviations over seeds, and each seed.",
            figure_table(found, list(runs)),
        ),
    )
    template = templates().get_template("seeds.html")
    page = template.render(recipe=recipe, seeds=links, file=SEEDS, tables=tables)
    (to / PAGE).write_text(page, encoding="utf-8")
    return found
