"""How numbers are written for people: one rule for every table, tile, card and terminal line.

- A share: in percent with one decimal.
- A count: whole, thousands set apart.
- Anything else (scores, losses, sizes, seconds): two decimals; none from 1,000 on; below 0.01 two
  significant digits, never an exponent.
- The ends of an interval: as many decimals as their value. A difference carries its sign.

Files for machines hold the unrounded numbers. Source: choice.
"""

from __future__ import annotations

import math

NOTHING = "–"
"""Stands where there is no number."""


def number(value: float | None, *, percent: bool = False) -> str:
    """Write one number; a dash for None and what is not finite.

    Args:
        value: An `int` is a count.
        percent: Whether it is a percentage: one decimal, whatever its type.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if isinstance(value, int) and not percent:
        return f"{value:,}"
    return _written(value, 1 if percent else _decimals(value))


def interval(
    value: float,
    low: float | None,
    high: float | None,
    *,
    percent: bool = False,
    sign: bool = False,
) -> str:
    """Write a number with the ends of its interval in brackets, where it has one.

    Args:
        value: The number; for a percentage 12.5, not 0.125.
        low: Lower end.
        high: Upper end.
        percent: As in `number`.
        sign: Whether it is a difference.
    """
    decimals = 1 if percent else _decimals(value)
    text = _written(value, decimals, sign=sign)
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} ({_written(low, decimals, sign=sign)} to {_written(high, decimals, sign=sign)})"


def duration(seconds: float) -> str:
    """Write a time as a person says it."""
    for size, unit, upto in ((1, "s", 120), (60, "minutes", 7200), (3600, "hours", 172_800)):
        if seconds < upto:
            return f"{seconds / size:.{0 if size < 3600 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def _decimals(value: float) -> int:
    size = abs(value)
    if size >= 1000:
        return 0
    return 2 if size >= 0.01 or size == 0 else 1 - math.floor(math.log10(size))


def _written(value: float, decimals: int, *, sign: bool = False) -> str:
    # Adding zero turns the -0.0 of rounding into 0.0.
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if sign and rounded else ''},.{decimals}f}"
