"""The regression of the judges, against plain gradient descent; folds that share no prompt."""

from __future__ import annotations

import math

import numpy as np
import pytest

from camelid.errors import DataError
from camelid.evaluation.classifier import (
    PENALTIES,
    assign_folds,
    choose_penalty,
    cross_validate,
    fit,
    linked,
)


def sample(rows=60, width=3, seed=0):
    drawn = np.random.default_rng(seed)
    features = drawn.normal(size=(rows, width)) * [1, 5, 0.1][:width] + [0, 3, -1][:width]
    truth = features @ [2, -0.2, 4][:width] + 3 + drawn.normal(size=rows) > 0.5
    return features, truth.tolist()


def descended(features, labels, penalty, last=None):
    """Weights by gradient descent on the loss written out row by row."""
    rows = [list(map(float, row)) for row in features]
    n, width = len(rows), len(rows[0])
    centres = [sum(row[k] for row in rows) / n for k in range(width)]
    scales = [math.sqrt(sum((r[k] - centres[k]) ** 2 for r in rows) / n) for k in range(width)]
    rows = [[1.0] + [(r[k] - centres[k]) / scales[k] for k in range(width)] for r in rows]
    share = sum(labels) / n
    weights = [0.0] * (width + 1)
    for _ in range(4000):
        penalties = [0.0] + [penalty] * (width - 1) + [penalty if last is None else last]
        slopes = [p * w for p, w in zip(penalties, weights, strict=True)]
        for row, label in zip(rows, labels, strict=True):
            p = 1 / (1 + math.exp(-sum(w * x for w, x in zip(weights, row, strict=True))))
            importance = 0.5 / share if label else 0.5 / (1 - share)
            for k, x in enumerate(row):
                slopes[k] += importance * (p - label) * x
        weights = [w - 0.02 * s for w, s in zip(weights, slopes, strict=True)]
    plain = [w / s for w, s in zip(weights[1:], scales, strict=True)]
    return weights[0] - sum(w * c for w, c in zip(plain, centres, strict=True)), plain


@pytest.mark.parametrize("penalty", [1.0, 20.0])
def test_the_optimum_is_that_of_gradient_descent(penalty):
    features, labels = sample(rows=40)
    bias, weights = descended(features, labels, penalty)
    found = fit(features, labels, penalty)
    assert found.bias == pytest.approx(bias, rel=1e-6, abs=1e-8)
    assert found.weights == pytest.approx(weights, rel=1e-6, abs=1e-8)
    expected = 1 / (1 + np.exp(-(features @ weights + bias)))
    assert found.probabilities(features) == pytest.approx(expected)


def test_the_last_features_can_have_a_penalty_of_one():
    features, labels = sample(rows=40)
    bias, weights = descended(features, labels, 20.0, last=1.0)
    found = fit(features, labels, 20.0, light=1)
    assert found.bias == pytest.approx(bias, rel=1e-6, abs=1e-8)
    assert found.weights == pytest.approx(weights, rel=1e-6, abs=1e-8)


def test_a_column_that_never_changes_has_no_weight():
    features, labels = sample()
    found = fit(np.hstack([features, np.full((60, 1), 7.0)]), labels, 1.0)
    assert found.weights[-1] == 0
    assert found.weights[:-1] == pytest.approx(fit(features, labels, 1.0).weights)


def test_separable_rows_are_learned_whatever_the_shares():
    features = np.linspace(-1, 1, 50)[:, None]
    labels = (features[:, 0] > 0.8).tolist()
    assert 0 < sum(labels) < 10
    # Both classes count the same: the few positive ones are not passed over.
    verdicts = fit(features, labels, 1e-6).probabilities(features) >= 0.5
    assert verdicts.tolist() == labels


@pytest.mark.parametrize("label", [True, False])
def test_labels_that_are_all_alike_teach_nothing(label):
    with pytest.raises(DataError, match=f"4 replies that all have the label {label}"):
        fit(np.zeros((4, 2)), [label] * 4, 1.0)


def test_rows_that_share_a_prompt_or_a_text_are_linked():
    prompts = ["a", "a", "b", "c", "d", "e"]
    replies = ["1", "2", "2", "3", "4", "3"]
    groups = linked(prompts, replies)
    same = {(i, j) for i in range(6) for j in range(i) if groups[i] == groups[j]}
    # The third is linked to the first by the second.
    assert same == {(1, 0), (2, 1), (2, 0), (5, 3)}
    # A prompt and a text that read alike are not the same thing.
    assert len(set(linked(["a", "b"], ["b", "a"]))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_folds_never_share_a_group(seed):
    groups = [int(g) for g in np.random.default_rng(seed).integers(0, 23, size=90)]
    folds = assign_folds(groups, 5)
    assert len(set(zip(groups, folds.tolist(), strict=True))) == len(set(groups))
    counts = np.bincount(folds, minlength=5)
    assert counts.max() - counts.min() <= 3
    # The order of the rows does not matter.
    turned = assign_folds(groups[::-1], 5)
    assert dict(zip(groups[::-1], turned.tolist(), strict=True)) == dict(
        zip(groups, folds.tolist(), strict=True)
    )


def test_fewer_groups_than_folds():
    with pytest.raises(DataError, match="found 2 different prompts, needed at least 5"):
        assign_folds(["a", "b", "a"], 5)


def test_held_out_probabilities_are_of_regressions_that_never_saw_the_group():
    """Labels that only a row's own group gives away are not learned."""
    drawn = np.random.default_rng(1)
    groups = [number // 4 for number in range(120)]
    labels = [bool(drawn.integers(2)) for _ in range(30)]
    labels = [labels[group] for group in groups]
    # One column a group: known groups are told apart perfectly, others not at all.
    features = np.eye(30)[groups]
    found = cross_validate(features, labels, groups, folds=5)
    seen = (found.regression.probabilities(features) >= 0.5) == np.asarray(labels)
    unseen = (found.probabilities_N >= 0.5) == np.asarray(labels)
    assert seen.mean() == 1
    assert unseen.mean() < 0.75


def test_a_rule_that_holds_everywhere_is_learned():
    features, labels = sample(rows=200)
    groups = [number // 2 for number in range(200)]
    found = cross_validate(features, labels, groups, folds=5)
    right = (found.probabilities_N >= 0.5) == np.asarray(labels)
    assert right.mean() > 0.85
    assert found.regression.penalty in PENALTIES
    assert found.regression == fit(features, labels, found.regression.penalty)
    assert found.regression.penalty == choose_penalty(features, np.asarray(labels), found.folds_N)
