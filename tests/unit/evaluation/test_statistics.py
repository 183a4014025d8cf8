from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from intervals import bonett_price

from camelid.data.records import Message, Prompt
from camelid.errors import DataError
from camelid.evaluation.judge import StandInJudge, is_refusal
from camelid.evaluation.statistics import (
    Z,
    agreement_ac1,
    agreement_ac2,
    mean,
    paired_difference,
    proportion,
    t_quantile,
    win_rate,
)

N = None
# Four raters, five categories, with gaps: the public example on which irrCAC publishes its numbers.
RATINGS = [
    [0, 0, N, 0],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [2, 2, 2, 2],
    [1, 1, 1, 1],
    [0, 1, 2, 3],
    [3, 3, 3, 3],
    [0, 0, 1, 0],
    [1, 1, 1, 1],
    [N, 4, 4, 4],
    [N, N, 0, 0],
    [N, N, 2, N],
]


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (27, 41), (1, 1)])
def test_wilson_bounds_solve_the_score_equation(k, n):
    found = proportion(k, n)
    assert found.value == k / n
    # The bounds are the rates p at which the observed share lies exactly Z standard errors away.
    for bound in (found.low, found.high):
        if 0 < bound < 1:
            z = abs(k / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert z == pytest.approx(Z, abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_wilson_closed_form_at_the_ends():
    assert proportion(0, 10).high == pytest.approx(Z**2 / (10 + Z**2))
    assert proportion(0, 10).low == 0
    assert math.isnan(proportion(0, 0).value)
    with pytest.raises(DataError, match="0 <= successes"):
        proportion(3, 2)


def test_mean_and_paired_difference_by_plain_loops():
    a, b = [1.0, 2.5, 3.0, 7.5], [0.5, 2.5, 4.0, 3.0]
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    centre = sum(gaps) / 4
    error = math.sqrt(sum((g - centre) ** 2 for g in gaps) / 3 / 4)
    found = paired_difference(a, b)
    assert found.value == pytest.approx(centre)
    assert found.low == pytest.approx(centre - 3.18245 * error, abs=1e-5)
    assert found.high == pytest.approx(centre + 3.18245 * error, abs=1e-5)
    assert found == mean(gaps)
    assert math.isnan(mean([]).value)
    assert math.isnan(mean([3.0]).low)
    with pytest.raises(DataError, match="equally many"):
        paired_difference([1.0], [])


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    # Abramowitz and Stegun, Table 26.10.
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (9, 2.2622), (10, 2.2281), (30, 2.0423)],
)
def test_quantiles_of_student_are_those_of_the_tables(freedom, quantile):
    assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-5)


def test_quantiles_of_student_fall_to_that_of_the_normal():
    found = [t_quantile(freedom) for freedom in range(1, 200)]
    assert found == sorted(found, reverse=True)
    assert Z < t_quantile(1000) < Z + 3e-3


@pytest.mark.parametrize("values", [[0.5, 0.7], [0.61, 0.58, 0.7], [3.0, -1.0, 0.5, 0.25]])
def test_the_mean_of_a_few_has_the_interval_of_student(values):
    found = mean(values)
    quantile = {2: 12.7062, 3: 4.3027, 4: 3.1824}[len(values)]
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    assert found.value == pytest.approx(statistics.fmean(values))
    assert found.high - found.value == pytest.approx(half, rel=2e-5)
    assert found.value - found.low == pytest.approx(half, rel=2e-5)
    assert found.n == len(values)


def test_the_mean_of_many_has_the_interval_of_the_normal():
    values = [float(i % 7) for i in range(1400)]
    found = mean(values)
    half = Z * statistics.stdev(values) / math.sqrt(1400)
    assert found.high - found.value == pytest.approx(half, rel=1e-9)
    assert mean(values[:700]).high - mean(values[:700]).value == pytest.approx(
        t_quantile(699) * statistics.stdev(values[:700]) / math.sqrt(700), rel=1e-9
    )


@pytest.mark.parametrize("values", [[0.5], [0.25, 0.25], [0.1] * 30])
def test_equal_values_have_a_mean_and_no_interval(values):
    found = mean(values)
    assert (found.value, found.n) == (pytest.approx(values[0]), len(values))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(0, 0, 18), (3, 1, 20), (0, 5, 12), (40, 0, 40), (7, 7, 400)]
)
def test_paired_verdicts_have_the_interval_of_bonett_and_price(gained, lost, n):
    a = [True] * gained + [False] * lost + [True] * (n - gained - lost)
    b = [False] * gained + [True] * lost + [True] * (n - gained - lost)
    found = paired_difference(a, b, largest=1.0)
    assert found.value == pytest.approx((gained - lost) / n)
    expected = bonett_price([1] * gained + [-1] * lost + [0] * (n - gained - lost))
    assert (found.value, found.low, found.high) == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    assert found.high - found.low > 0


def test_a_larger_difference_is_padded_by_it():
    found = paired_difference([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], largest=0.5)
    wide = paired_difference([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], largest=1.0)
    assert wide.high == pytest.approx(2 * found.high)
    assert paired_difference([], [], largest=1.0).n == 0


@pytest.mark.parametrize("n", [10, 40, 150])
@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.0), (0.1, 0.1), (0.3, 0.05), (0.02, 0.0)])
def test_intervals_of_paired_verdicts_cover_what_is_true(n, gain, loss):
    """Drawn again and again, at least 19 of 20 intervals hold the difference of the rates."""
    generator = np.random.default_rng(n)
    held = 0
    for ups, downs, _ in generator.multinomial(n, [gain, loss, 1 - gain - loss], size=1500):
        a = np.repeat([1.0, 0.0, 0.0], [ups, downs, n - ups - downs])
        b = np.repeat([0.0, 1.0, 0.0], [ups, downs, n - ups - downs])
        found = paired_difference(a, b, largest=1.0)
        held += found.low <= gain - loss <= found.high
    # 0.95 less three standard errors of 1,500 draws.
    assert held / 1500 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 1500)


@pytest.mark.parametrize("n", [5, 30, 200])
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5, 0.9])
def test_intervals_of_shares_cover_what_is_true(n, rate):
    """Exactly: over every count that can be drawn, weighted by its chance."""
    covered = sum(
        math.comb(n, k) * rate**k * (1 - rate) ** (n - k)
        for k in range(n + 1)
        if proportion(k, n).low <= rate <= proportion(k, n).high
    )
    # Wilson's intervals hold 95 % on average, less at single rates (Brown, Cai, DasGupta 2001).
    assert covered > 0.89


@pytest.mark.parametrize("n", [3, 5, 40])
def test_intervals_of_means_cover_what_is_true(n):
    draws = np.random.default_rng(n).normal(0.3, 2.0, size=(3000, n))
    held = sum(found.low <= 0.3 <= found.high for found in map(mean, draws.tolist()))
    assert abs(held / 3000 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 3000)


def test_win_rate_counts_ties_half():
    found = win_rate([1, 2, 3, 4], [0, 2, 5, 1])
    assert found.value == (1 + 0.5 + 0 + 1) / 4
    outcomes = [1, 0.5, 0, 1, 0, 0, 1, 1]
    centre = sum(outcomes) / 8
    half = Z * math.sqrt(sum((x - centre) ** 2 for x in outcomes) / 8 / 8)
    assert found.low == pytest.approx(max(0, centre - half))
    assert found.high == pytest.approx(min(1, centre + half))
    assert win_rate([1] * 5, [1] * 5).value == 0.5
    assert win_rate([1] * 5, [0] * 5).low < 1
    assert math.isnan(win_rate([], []).value)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_intervals_cover(rate):
    generator = random.Random(5)
    covered = {"proportion": 0, "win_rate": 0}
    for _ in range(400):
        draws = [generator.random() < rate for _ in range(60)]
        share = proportion(sum(draws), 60)
        wins = win_rate([float(d) for d in draws], [0.5] * 60)
        covered["proportion"] += share.low <= rate <= share.high
        covered["win_rate"] += wins.low <= rate <= wins.high
    assert all(0.92 < count / 400 <= 0.99 for count in covered.values())


def test_agreement_matches_published_numbers():
    found = agreement_ac1(RATINGS, 5)
    assert found.value == pytest.approx(0.77544, abs=5e-6)
    assert (found.value - found.low) / Z == pytest.approx(0.14295, abs=5e-6)
    for weights, value in (("linear", 0.85874), ("ordinal", 0.89894), ("quadratic", 0.91400)):
        assert agreement_ac2(RATINGS, 5, weights).value == pytest.approx(value, abs=5e-6)


def test_agreement_by_hand():
    # Two raters, two categories: agree on 3 of 4; shares 5/8 and 3/8; chance 2 * 5/8 * 3/8 = 15/32.
    ratings = [[0, 0], [0, 0], [1, 1], [0, 1]]
    assert agreement_ac1(ratings, 2).value == pytest.approx((3 / 4 - 15 / 32) / (1 - 15 / 32))
    # With two categories every weighting is the identity.
    assert agreement_ac2(ratings, 2).value == agreement_ac1(ratings, 2).value
    assert agreement_ac1([[1, 1], [0, 0]], 2).value == 1
    assert math.isnan(agreement_ac1([[1, None]], 2).value)
    with pytest.raises(DataError, match="category"):
        agreement_ac1([[5, 0]], 2)
    with pytest.raises(DataError, match="categor"):
        agreement_ac1([[0, 0]], 1)


def test_a_share_over_repeated_prompts_has_the_interval_of_the_prompts():
    pairs, prompts = proportion(60, 80), proportion(15, 20)
    repeated = proportion(60, 80, clusters=20)
    assert (repeated.value, repeated.n) == (pairs.value, 80)
    assert (repeated.low, repeated.high) == (prompts.low, prompts.high)
    assert proportion(60, 80, clusters=80) == pairs


def _prompt(is_safety, borderline=False):
    return Prompt(
        id="x",
        messages=(Message(role="user", content="How?"),),
        category="c",
        is_safety=is_safety,
        source="s",
        split="test",
        borderline=borderline,
    )


def test_stand_in_judge():
    judge = StandInJudge()
    assert judge.name == "refusal strings"
    assert is_refusal("I’m sorry, but I can’t do that.")
    assert is_refusal("That is bad. I cannot help with that.")
    assert not is_refusal("Boil the water. I cannot wait to hear how it went.")
    assert judge.judge(_prompt(True), "Take a hammer.").violating
    assert not judge.judge(_prompt(True), "I cannot help with that.").violating
    assert not judge.judge(_prompt(True, borderline=True), "Take a hammer.").violating
    verdict = judge.judge(_prompt(False), "Paris.")
    assert verdict.score is None
    assert verdict.exact is None
    assert not verdict.violating
