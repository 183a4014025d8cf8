"""Intervals of shares and of paired differences, written out: what the product is held against."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959963984540054
"""97.5 % point of the normal distribution."""
Interval = tuple[float, float, float]


def wilson(right: float, n: int, clusters: int | None = None) -> Interval:
    """A share with Wilson's interval, that of so many clusters where rows belong together."""
    p, k = right / n, clusters or n
    centre = (p + Z**2 / (2 * k)) / (1 + Z**2 / k)
    half = Z * math.sqrt(p * (1 - p) / k + Z**2 / (4 * k**2)) / (1 + Z**2 / k)
    return p, max(0.0, centre - half), min(1.0, centre + half)


def bonett_price(gaps: Sequence[int]) -> Interval:
    """The mean of paired differences of verdicts (-1, 0, 1) with Bonett and Price's interval."""
    n = len(gaps) + 2
    up, down = ((sum(gap == sign for gap in gaps) + 1) / n for sign in (1, -1))
    half = Z * math.sqrt((up + down - (up - down) ** 2) / n)
    value = sum(gaps) / len(gaps)
    return value, max(-1.0, min(value, up - down - half)), min(1.0, max(value, up - down + half))
