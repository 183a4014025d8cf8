"""Logistic regression with an L2 penalty, cross-validated so that no prompt stands on both sides.

Convex and small: Newton's method finds the optimum to rounding, so nothing depends on a seed.
Source: Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, Sections 4.4.1
(the method) and 7.10 (cross-validation); the folds and the penalties tried: choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camelid.errors import DataError, counted
from camelid.seeds import derive_seed

Floats = NDArray[np.float64]
PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
"""Tried for squared weights of standardised features."""
_STEPS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Logistic:
    """P(positive) = sigmoid(bias + weights x features)."""

    bias: float
    weights: tuple[float, ...]
    penalty: float

    def probabilities(self, features_ND: Floats) -> Floats:
        """Return the probability of each row, shape (N,)."""
        found: Floats = _sigmoid(features_ND @ np.asarray(self.weights) + self.bias)
        return found


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float64)


def fit(
    features_ND: Floats, labels_N: Sequence[bool], penalty: float, *, light: int = 0
) -> Logistic:
    """Fit the weights; both classes count the same, however many rows they have.

    Args:
        features_ND: One row a reply.
        labels_N: The labels.
        penalty: Of squared weights.
        light: How many of the last features have a penalty of 1 instead, at most the other's: a few
            that are known to tell much would drown among hundreds.

    Raises:
        DataError: All labels are alike.
    """
    positive = np.asarray(labels_N, dtype=np.float64)
    share = float(positive.mean())
    if share in (0, 1):
        raise DataError(
            f"a judge cannot learn from {counted(len(positive), 'reply')} that all have the label "
            f"{bool(share)}; needed replies of both."
        )
    importance = np.where(positive == 1, 0.5 / share, 0.5 / (1 - share))
    centre, scale = features_ND.mean(axis=0), features_ND.std(axis=0)
    scale[scale == 0] = 1.0
    rows = np.hstack([np.ones((len(positive), 1)), (features_ND - centre) / scale])
    shrunk = np.full(rows.shape[1], penalty)
    shrunk[len(shrunk) - light :] = min(1.0, penalty)
    shrunk[0] = 0.0  # The bias is free.

    def loss(weights: Floats) -> float:
        margins = (rows @ weights) * (1 - 2 * positive)
        losses = importance * np.logaddexp(0, margins)
        return float(losses.sum() + 0.5 * (shrunk * weights**2).sum())

    weights = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        found = _sigmoid(rows @ weights)
        gradient = rows.T @ (importance * (found - positive)) + shrunk * weights
        if np.abs(gradient).max() < 1e-8 * len(positive):
            break
        curvature = importance * found * (1 - found)
        step = np.linalg.solve((rows.T * curvature) @ rows + np.diag(shrunk), gradient)
        # Far from the optimum a whole step can overshoot.
        while loss(weights - step) > loss(weights) and np.abs(step).max() > 1e-12:
            step = step / 2
        weights = weights - step
    plain = weights[1:] / scale
    return Logistic(
        bias=float(weights[0] - plain @ centre), weights=tuple(plain.tolist()), penalty=penalty
    )


def linked(*columns: Sequence[Hashable]) -> list[Hashable]:
    """Return a group of each row: rows that share a value of any column are of one group.

    So are rows that a third one links.
    """
    above: dict[Hashable, Hashable] = {}

    def top(value: Hashable) -> Hashable:
        while above.setdefault(value, value) != value:
            value = above[value]
        return value

    for row in zip(*columns, strict=True):
        first, *others = enumerate(row)
        for other in others:
            above[top(other)] = top(first)
    return [top((0, value)) for value in columns[0]]


def assign_folds(groups: Sequence[Hashable], count: int) -> NDArray[np.int64]:
    """Return the fold of each row: whole groups, the largest first, to the smallest fold.

    Raises:
        DataError: There are fewer groups than folds.
    """
    sizes = Counter(groups)
    if len(sizes) < count:
        raise DataError(
            f"cross-validation: found {counted(len(sizes), 'different prompt')}, needed at least "
            f"{count}, one for each fold. Set fewer folds, or give more scored replies."
        )
    filled, fold_of = [0] * count, {}
    for group in sorted(sizes, key=lambda g: (-sizes[g], derive_seed("fold", g))):
        fold = min(range(count), key=filled.__getitem__)
        filled[fold] += sizes[group]
        fold_of[group] = fold
    return np.asarray([fold_of[group] for group in groups])


def out_of_fold(
    features_ND: Floats,
    labels_N: NDArray[np.bool_],
    folds_N: NDArray[np.int64],
    penalty: float,
    *,
    light: int = 0,
) -> Floats:
    """Return the probability of each row by a regression that saw no row of its fold."""
    found = np.zeros(len(labels_N))
    for fold in np.unique(folds_N):
        seen = folds_N != fold
        regression = fit(features_ND[seen], labels_N[seen].tolist(), penalty, light=light)
        found[~seen] = regression.probabilities(features_ND[~seen])
    return found


def choose_penalty(
    features_ND: Floats, labels_N: NDArray[np.bool_], folds_N: NDArray[np.int64], *, light: int = 0
) -> float:
    """Return the penalty with the smallest log-loss on rows that were not fitted."""

    def loss(penalty: float) -> float:
        found = out_of_fold(features_ND, labels_N, folds_N, penalty, light=light)
        right = np.where(labels_N, found, 1 - found)
        # Both classes count the same here too.
        by_class = [-np.log(np.maximum(right[labels_N == k], 1e-12)).mean() for k in (True, False)]
        return float(sum(by_class))

    return min(PENALTIES, key=loss)


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """A regression fitted on all rows, and what its like say of rows that they never saw."""

    regression: Logistic
    probabilities_N: Floats
    """Of each row, by a regression fitted, penalty included, on the other folds."""
    folds_N: NDArray[np.int64]


def cross_validate(
    features_ND: Floats,
    labels: Sequence[bool],
    groups: Sequence[Hashable],
    *,
    folds: int,
    light: int = 0,
) -> CrossValidated:
    """Fit a regression on all rows and say how well its like do on groups that they never saw.

    The penalty is chosen inside each fold's other folds, so the held-out rows have no part in it.

    Raises:
        DataError: There are fewer groups than folds, or rows to learn from are all alike.
    """
    labels_N, folds_N = np.asarray(labels, dtype=np.bool_), assign_folds(groups, folds)
    found = np.zeros(len(labels))
    for fold in range(folds):
        seen = folds_N != fold
        penalty = choose_penalty(features_ND[seen], labels_N[seen], folds_N[seen], light=light)
        regression = fit(features_ND[seen], labels_N[seen].tolist(), penalty, light=light)
        found[~seen] = regression.probabilities(features_ND[~seen])
    penalty = choose_penalty(features_ND, labels_N, folds_N, light=light)
    return CrossValidated(fit(features_ND, labels, penalty, light=light), found, folds_N)
