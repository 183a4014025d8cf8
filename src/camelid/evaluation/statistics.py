"""Intervals and agreement: every figure of the report comes with its uncertainty.

All intervals are 95 %: of shares by Wilson, of differences of verdicts by Bonett and Price, of
means by Student's t. None has no width because a few observations happen to be alike. The paper
gives intervals without a method (Figure 1); ours are Source: choice. Agreement: Gwet's AC1 and AC2,
Sections 3.4.2 and 4.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from camelid.errors import DataError, counted
from camelid.run.item import AbsentError

K = TypeVar("K")
T = TypeVar("T")

Z = 1.959963984540054
"""0.975 quantile of the normal distribution."""
Weights = Literal["linear", "quadratic", "ordinal"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float
    n: int
    """Observations behind it."""


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)
"""The estimate from no observation."""


def proportion(successes: int, n: int, clusters: int | None = None) -> Estimate:
    """Return a share with its Wilson score interval.

    Args:
        successes: How many of `n`.
        n: Trials; 0 gives NaN.
        clusters: Independent groups among the trials, such as prompts that were used several times:
            the interval is that of as many trials, as if those of a group told the same. None: all
            trials are independent.

    Raises:
        DataError: `successes` is not between 0 and `n`.
    """
    if not 0 <= successes <= n:
        raise DataError(f"proportion: found {successes} of {n}, needed 0 <= successes <= n.")
    if n == 0:
        return NOTHING
    share, square, k = successes / n, Z * Z, clusters or n
    centre = (share + square / (2 * k)) / (1 + square / k)
    half = Z / (1 + square / k) * math.sqrt(share * (1 - share) / k + square / (4 * k * k))
    # Rounding must not push a bound past the share itself (0 of n, n of n).
    return Estimate(
        share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), n
    )


def accuracy(leads: Sequence[float], prompts: Sequence[Hashable]) -> Estimate:
    """Return how often the chosen reply of a comparison has the higher score.

    Args:
        leads: Score of the chosen reply less that of the rejected one; a tie counts as wrong.
        prompts: What each pair answers: several may share it, and the interval counts prompts.

    Source: arXiv 2307.09288, Section 3.2.2 (accuracy); the interval: choice.
    """
    return proportion(sum(lead > 0 for lead in leads), len(leads), len(set(prompts)))


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean with its interval by Student's t.

    The bounds are NaN where the values say nothing of how others would differ: there is one, or all
    are equal.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return NOTHING
    centre = float(array.mean())
    if (array == array[0]).all():
        return Estimate(centre, math.nan, math.nan, int(array.size))
    # Beyond a thousand values the two quantiles differ by less than 0.002.
    quantile = t_quantile(array.size - 1) if array.size <= 1000 else Z
    half = quantile * float(array.std(ddof=1)) / math.sqrt(array.size)
    return Estimate(centre, centre - half, centre + half, int(array.size))


def t_quantile(freedom: int) -> float:
    """Return the 0.975 quantile of Student's t.

    Args:
        freedom: Degrees of freedom, at least 1.

    Source: Abramowitz and Stegun (1964), equations 26.7.3 and 26.7.4, solved by bisection.
    """

    def inside(t: float) -> float:
        angle = math.atan(t / math.sqrt(freedom))
        odd = freedom % 2
        term = total = math.cos(angle) if odd else 1.0
        for k in range(2 + odd, freedom - 1, 2):
            term *= math.cos(angle) ** 2 * (k - 1) / k
            total += term
        if not odd:
            return math.sin(angle) * total
        return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))

    low, high = 0.0, 13.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < 0.95 else (low, middle)
    return low


def _differences(a: Sequence[float], b: Sequence[float]) -> NDArray[np.float64]:
    if len(a) != len(b):
        raise DataError(f"paired scores: found {len(a)} and {len(b)}, needed equally many.")
    return np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)


def paired_difference(
    a: Sequence[float], b: Sequence[float], *, largest: float | None = None
) -> Estimate:
    """Return the mean of a - b over the same items with a 95 % interval.

    Args:
        a: One value an item.
        b: The same of others.
        largest: The largest difference that an item can have, 1 for verdicts. The interval adds one
            such gain and one such loss before taking the normal one (Bonett and Price 2012): it
            keeps a width where all pairs agree. None: by Student's t.

    Raises:
        DataError: The lengths differ.
    """
    differences = _differences(a, b)
    n = len(differences)
    if largest is None or n == 0:
        return mean(differences.tolist())
    value = float(differences.mean())
    padded = np.concatenate([differences, [largest, -largest]])
    half, centre = Z * float(padded.std()) / math.sqrt(padded.size), float(padded.mean())
    low, high = max(-largest, centre - half), min(largest, centre + half)
    return Estimate(value, min(value, low), max(value, high), n)


def unpaired_difference(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b of two independent estimates with a 95 % interval.

    The ends come from those of both intervals, so that shares near 0 and 1 keep their skew
    (Newcombe 1998, method 10; Zou and Donner 2008). NaN where one has none.

    Args:
        a: An estimate.
        b: Another, of other observations.
    """
    value = a.value - b.value
    down = math.hypot(a.value - a.low, b.high - b.value)
    up = math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, value - down, value + up, min(a.n, b.n))


def win_rate(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Return the share of items where a scores above b, ties half, with a 95 % interval.

    The interval adds two wins and two losses before taking the normal one (Agresti and Coull 1998,
    with ties): ties narrow it as they should, and it keeps a width where all items are alike.

    Raises:
        DataError: The lengths differ.
    """
    # A win is 1, a tie 0.5, a loss 0.
    outcomes = (1 + np.sign(_differences(a, b))) / 2
    n = len(outcomes)
    if n == 0:
        return NOTHING
    padded = np.concatenate([outcomes, [0.0, 0.0, 1.0, 1.0]])
    half = Z * float(padded.std()) / math.sqrt(padded.size)
    centre = float(padded.mean())
    return Estimate(float(outcomes.mean()), max(0.0, centre - half), min(1.0, centre + half), n)


def agreement_ac1(ratings: Sequence[Sequence[int | None]], categories: int) -> Estimate:
    """Return Gwet's AC1: agreement beyond chance of unordered categories.

    Args:
        ratings: A row an item, a column a rater; categories are 0 to `categories` - 1, None
        missing.
        categories: How many there are.
    """
    return _agreement(ratings, np.eye(categories))


def agreement_ac2(
    ratings: Sequence[Sequence[int | None]], categories: int, weights: Weights = "quadratic"
) -> Estimate:
    """Return Gwet's AC2: as AC1, with partial credit for categories close to each other.

    Args:
        ratings: A row an item, a column a rater; categories are ordered, 0 to `categories` - 1.
        categories: How many there are.
        weights: How credit falls with distance; the paper does not say which it uses.
    """
    index = np.arange(categories)
    distance = np.abs(index[:, None] - index[None, :]).astype(np.float64)
    if weights == "linear":
        table = 1 - distance / (categories - 1)
    elif weights == "quadratic":
        table = 1 - (distance / (categories - 1)) ** 2
    else:
        steps = distance * (distance + 1) / 2
        table = 1 - steps / steps.max()
    return _agreement(ratings, table)


def _agreement(
    ratings: Sequence[Sequence[int | None]], weights_QQ: NDArray[np.float64]
) -> Estimate:
    """AC = (p_a - p_e) / (1 - p_e), p_e = T_w / (q (q - 1)) sum pi_k (1 - pi_k); Q categories.

    The interval uses the variance over items of Gwet (2014, Handbook of Inter-Rater Reliability,
    chapter 5).
    """
    q = len(weights_QQ)
    if q < 2:
        raise DataError(f"agreement: found {counted(q, 'category')}, needed at least 2.")
    counts_NQ: NDArray[np.float64] = np.zeros((len(ratings), q))
    for row, item in enumerate(ratings):
        for category in item:
            if category is not None and not 0 <= category < q:
                raise DataError(f"agreement: found category {category}, needed 0 to {q - 1}.")
            if category is not None:
                counts_NQ[row, category] += 1
    raters_N = counts_NQ.sum(axis=1)
    counts_NQ, raters_N = counts_NQ[raters_N > 0], raters_N[raters_N > 0]
    n, several = len(counts_NQ), raters_N > 1
    if not several.any():
        return NOTHING
    credit_NQ = counts_NQ * (counts_NQ @ weights_QQ - 1)
    own_N = np.zeros(n)
    own_N[several] = credit_NQ[several].sum(axis=1) / (raters_N[several] * (raters_N[several] - 1))
    observed = float(own_N.sum() / several.sum())
    shares_NQ = counts_NQ / raters_N[:, None]
    shares_Q = shares_NQ.mean(axis=0)
    scale = weights_QQ.sum() / (q * (q - 1))
    chance = float(scale * (shares_Q * (1 - shares_Q)).sum())
    if chance == 1:
        return Estimate(math.nan, math.nan, math.nan, n)
    value = (observed - chance) / (1 - chance)
    if n < 2:
        return Estimate(value, math.nan, math.nan, n)
    # Linearised over items: agreement of an item, and its share in the chance agreement.
    kept_N = n / several.sum() * (own_N - chance * several) / (1 - chance)
    chance_N = scale * (shares_NQ * (1 - shares_Q)).sum(axis=1)
    linear_N = kept_N - 2 * (1 - value) * (chance_N - chance) / (1 - chance)
    error = math.sqrt(float(((linear_N - value) ** 2).sum()) / (n * (n - 1)))
    return Estimate(value, value - Z * error, min(1.0, value + Z * error), n)


def shares(
    rows: Iterable[T], by: Callable[[T], K], verdict: Callable[[T], bool | None]
) -> dict[K, Estimate]:
    """Return the share of rows with a verdict in each group, with its 95 % interval.

    Args:
        rows: What was judged.
        by: The group of a row; groups stand in the order of their first rows.
        verdict: None where the judge gave none: the row is left out, and a group of such rows too.
    """
    groups: dict[K, list[bool]] = {}
    for row in rows:
        found = verdict(row)
        if found is not None:
            groups.setdefault(by(row), []).append(found)
    return {key: proportion(sum(found), len(found)) for key, found in groups.items()}


def share(rows: Iterable[T], verdict: Callable[[T], bool | None], reason: str) -> Estimate:
    """Return the share of all rows with a verdict (errors as `one`)."""
    return one(shares(rows, lambda _: None, verdict), None, reason)


def one(found: dict[K, Estimate], key: K, reason: str) -> Estimate:
    """Return the share of one group.

    Raises:
        AbsentError: No row of the group has a verdict; the reason is given.
    """
    if key not in found:
        raise AbsentError(reason)
    return found[key]


def attempt(compute: Callable[[], T]) -> T | None:
    """Return what a function computes, None where the run holds nothing to compute it from."""
    try:
        return compute()
    except AbsentError:
        return None
