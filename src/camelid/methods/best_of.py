"""Expected best and median of N samples, without a random draw.

Source: arXiv 2307.09288, Figures 7 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def order_statistic(values: Sequence[float], n: int, rank: int) -> float:
    """Expected `rank`-th smallest of `n` values drawn without replacement (no random draw)."""
    ordered, total = sorted(values), math.comb(len(values), n)
    weights = (
        math.comb(i, rank - 1) * math.comb(len(ordered) - i - 1, n - rank)
        for i in range(len(ordered))
    )
    return sum(w * v for w, v in zip(weights, ordered, strict=True)) / total


def expected_max(values: Sequence[float], n: int) -> float:
    """Expected maximum of `n` of the values."""
    return order_statistic(values, n, n)


def expected_median(values: Sequence[float], n: int) -> float:
    """Expected median of `n` of the values."""
    return (order_statistic(values, n, (n + 1) // 2) + order_statistic(values, n, n // 2 + 1)) / 2
