"""Corrected rates: the arithmetic against plain counts, the intervals against simulated truth."""

from __future__ import annotations

import math
import random

import pytest

from camelid.evaluation.correction import (
    Found,
    JudgeError,
    corrected_difference,
    corrected_rate,
    counted,
    judge_error,
)
from camelid.run.item import AbsentError

Z = 1.959963984540054


def error(sensitivity, specificity, positive=200, negative=150):
    def found(share, n):
        return Found(right=round(share * n), replies=n, groups=n)

    return JudgeError(positive=found(sensitivity, positive), negative=found(specificity, negative))


def test_errors_are_counted_by_label():
    verdicts = [True, True, False, False, True, False]
    labels = [True, True, True, False, False, False]
    found = judge_error(verdicts, labels, ["a", "a", "b", "c", "d", "d"])
    assert found.positive == Found(right=2, replies=3, groups=2)
    assert found.negative == Found(right=2, replies=3, groups=2)
    assert found.accuracy.value == pytest.approx(4 / 6)
    assert found.positive.share.n == 3
    # Two prompts say less than three independent replies.
    alone = Found(right=2, replies=3, groups=3).share
    assert found.positive.share.low < alone.low
    assert found.positive.share.high > alone.high


@pytest.mark.parametrize("truth", [0.0, 0.13, 0.5, 1.0])
def test_the_point_is_the_rate_that_a_population_with_these_errors_shows(truth):
    # 10,000 people: the true ones are found with 80 %, the others wrongly with 10 %.
    true = round(10_000 * truth)
    positives = round(true * 0.8) + round((10_000 - true) * 0.1)
    found = corrected_rate(positives, 10_000, error(0.8, 0.9))
    assert found.value == pytest.approx(truth)
    assert found.low <= truth <= found.high
    assert found.n == 10_000


def test_the_interval_by_hand():
    judge = JudgeError(
        positive=Found(right=45, replies=50, groups=50),
        negative=Found(right=32, replies=40, groups=40),
    )
    found = corrected_rate(30, 100, judge)
    assert found.value == pytest.approx((0.3 + 0.8 - 1) / (0.9 + 0.8 - 1))
    se, sp, p = 46 / 52, 33 / 42, (30 + Z**2 / 2) / (100 + Z**2)
    t = (p + sp - 1) / (se + sp - 1)
    vse, vsp = se * (1 - se) / 52, sp * (1 - sp) / 42
    shift = 2 * Z**2 * (t * vse - (1 - t) * vsp)
    total = p * (1 - p) / (100 + Z**2) + t**2 * vse + (1 - t) ** 2 * vsp
    half = Z * math.sqrt(total) / (se + sp - 1)
    assert found.low == pytest.approx(max(0, t + shift - half))
    assert found.high == pytest.approx(t + shift + half)


@pytest.mark.parametrize(("positives", "value"), [(0, 0.0), (100, 1.0)])
def test_rates_stay_between_0_and_1(positives, value):
    found = corrected_rate(positives, 100, error(0.7, 0.7))
    assert found.value == value
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.5, 0.5), (0.2, 0.6), (0.0, 1.0)])
def test_a_judge_no_better_than_chance_gives_no_rate(sensitivity, specificity):
    judge = error(sensitivity, specificity)
    for compute in (
        lambda: corrected_rate(3, 10, judge),
        lambda: corrected_difference([True], [False], judge),
    ):
        with pytest.raises(
            AbsentError, match=rf"sensitivity \({sensitivity:.2f}\) and specificity"
        ):
            compute()
    raw, corrected, second = counted([True, False], [False, False], judge)
    assert (raw.value, corrected, second.value) == (0.5, None, 0.0)


def test_nothing_to_correct():
    with pytest.raises(AbsentError, match="no reply was judged"):
        corrected_rate(0, 0, error(0.9, 0.9))
    with pytest.raises(AbsentError, match="no prompt was judged for both"):
        corrected_difference([], [], error(0.9, 0.9))
    nobody = JudgeError(
        positive=Found(right=0, replies=0, groups=0),
        negative=Found(right=3, replies=4, groups=4),
    )
    with pytest.raises(AbsentError, match="people labelled no reply of one"):
        corrected_rate(1, 2, nobody)


def drawn_error(chance, sensitivity, specificity, n=120):
    def count(share):
        return Found(right=sum(chance.random() < share for _ in range(n)), replies=n, groups=n)

    return JudgeError(positive=count(sensitivity), negative=count(specificity))


@pytest.mark.parametrize("judge", [(0.8, 0.85), (0.7, 0.65), (0.97, 0.95)], ids=str)
@pytest.mark.parametrize("truth", [0.03, 0.2, 0.5, 0.85])
def test_the_corrected_interval_covers_the_true_rate(judge, truth):
    chance = random.Random(f"{judge}/{truth}")
    sensitivity, specificity = judge
    covered = 0
    for _ in range(200):
        known = drawn_error(chance, sensitivity, specificity)
        true = [chance.random() < truth for _ in range(150)]
        says = [chance.random() < (sensitivity if t else 1 - specificity) for t in true]
        found = corrected_rate(sum(says), len(says), known)
        covered += found.low <= truth <= found.high
    assert covered >= 180
    # Uncorrected, such a rate is simply off.
    raw = truth * sensitivity + (1 - truth) * (1 - specificity)
    assert found.value != pytest.approx(raw, abs=1e-9)


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize(("after", "before"), [(0.1, 0.4), (0.3, 0.3), (0.6, 0.8)])
def test_the_corrected_difference_covers_the_true_one(after, before, share):
    chance = random.Random(f"{after}/{before}/{share}")
    sensitivity, specificity = 0.8, 0.75

    def judged(true):
        return [chance.random() < (sensitivity if t else 1 - specificity) for t in true]

    covered = 0
    for _ in range(200):
        # A prompt is as hard for one model as for the other, half of the time.
        hard = [(chance.random(), chance.random()) for _ in range(150)]
        a = judged([x < after for x, _ in hard])
        b = judged([(x if chance.random() < 0.5 else y) < before for x, y in hard])
        known = drawn_error(chance, sensitivity, specificity)
        found = corrected_difference(a, b, known, share=share)
        covered += found.low <= after - share * before <= found.high
    assert covered >= 180


def test_the_difference_is_that_of_the_corrected_rates():
    judge = error(0.8, 0.9)
    a, b = [True] * 30 + [False] * 70, [False] * 50 + [True] * 45 + [False] * 5
    rates = [corrected_rate(sum(x), len(x), judge).value for x in (a, b)]
    for share in (1.0, 0.5):
        found = corrected_difference(a, b, judge, share=share)
        assert found.value == pytest.approx(rates[0] - share * rates[1])
    whole = corrected_difference(a, b, judge)
    assert whole.value == pytest.approx((0.3 - 0.45) / (0.8 + 0.9 - 1))
    # The same verdicts: no difference, but a width, since more prompts could tell them apart.
    same = corrected_difference(a, a, judge)
    assert same.value == 0
    assert -0.1 < same.low < 0 < same.high < 0.1
