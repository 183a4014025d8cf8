"""One way to count: shares of rows with a verdict, behind every table and plot of rates.

Source: choice; intervals are those of `camelid.evaluation.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from camelid.evaluation.statistics import Estimate, proportion
from camelid.run.item import AbsentError

K = TypeVar("K")
T = TypeVar("T")


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
