"""Shares and means of rows with their intervals, as cells of tables and as figures of a summary.

One way to count serves every table and plot of rates. Source: choice; intervals are those of
`camelid.evaluation.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from camelid.evaluation.statistics import Estimate
from camelid.run.digits import interval
from camelid.run.item import AbsentError, Cell, Measure

K = TypeVar("K")
T = TypeVar("T")

Figure = Estimate | tuple[float, int] | float
"""A figure with its interval, or with its count alone, or bare."""


def percent(found: Estimate | None) -> Cell:
    """An estimated share in % with its 95 % interval, a dash where there is none."""
    if found is None:
        return None
    return interval(100 * found.value, 100 * max(0, found.low), 100 * found.high, percent=True)


def points(found: Estimate | None) -> Cell:
    """A difference of shares in percentage points with its 95 % interval."""
    if found is None or found.n < 2:
        return None
    return interval(100 * found.value, 100 * found.low, 100 * found.high, percent=True, sign=True)


def measure(
    key: str,
    unit: str,
    compute: Callable[[], Figure],
    *,
    judge: str | None = None,
    headline: tuple[str, str] | None = None,
    safety: str | None = None,
    signed: bool = False,
    method: tuple[str, str] | None = None,
    of: str | None = None,
) -> Measure:
    """Return one figure of the summary, or why there is none.

    Args:
        key: Name of the figure.
        unit: `share`, `logit`, `tokens` and so on.
        compute: Raises `AbsentError` where the run holds nothing to compute it from.
        judge: Who judged.
        headline: As in `Measure`.
        safety: As in `Measure`.
        signed: As in `Measure`.
        method: As in `Measure`.
        of: As in `Measure`.
    """
    value: float | None = None
    low = high = n = None
    reason: str | None = None
    try:
        found = compute()
    except AbsentError as error:
        judge, reason = None, str(error)
    else:
        if isinstance(found, Estimate):
            value, low, high, n = found.value, found.low, found.high, found.n
        elif isinstance(found, tuple):
            value, n = found
        else:
            value = found
    value, low, high = map(_finite, (value, low, high))
    return Measure(
        key=key,
        value=value,
        low=low,
        high=high,
        n=n,
        unit=unit,
        judge=judge,
        reason=None if value is not None else reason or "not finite",
        headline=headline,
        safety=safety,
        signed=signed,
        method=method,
        of=of,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
