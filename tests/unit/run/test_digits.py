"""The one rule of digits."""

from __future__ import annotations

import math

import pytest

from camelid.run.digits import duration, interval, number
from camelid.run.item import Measure, Table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (1418091, "1,418,091"),
        (0.2616, "0.26"),
        (34.0, "34.00"),
        (-0.001, "-0.0010"),
        (3.563e-6, "0.0000036"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (2593.198, "2,593"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_case_digits_by_one_rule(value, text):
    assert number(value) == text


def test_percentages_have_one_decimal_and_intervals_those_of_their_value():
    assert number(89, percent=True) == "89.0"
    assert interval(54.42, 50.1, 58.66, percent=True) == "54.4 (50.1 to 58.7)"
    assert interval(1234.5, 0.001, 2000.04) == "1,234 (0 to 2,000)"
    assert interval(0.387, 0.2, 0.571, sign=True) == "+0.39 (+0.20 to +0.57)"
    assert interval(-0.01, -0.04, 0.01, percent=True, sign=True) == "0.0 (0.0 to 0.0)"
    assert interval(1.5, math.nan, math.nan) == interval(1.5, None, None) == "1.50"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "7 s"), (119.4, "119 s"), (2593.2, "43 minutes"), (9000, "2.5 hours"), (2e5, "2.3 days")],
)
def test_times_are_said_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_a_column_with_a_percent_sign_holds_percentages():
    table = Table(columns=("a %", "b", "c"), rows=[(12.345, 12.345, 7), (None, None, "text")])
    assert table.texts == [("12.3", "12.35", "7"), ("–", "–", "text")]
    assert table.markdown().splitlines()[2] == "| 12.3 | 12.35 | 7 |"


def test_figures_follow_the_rule_by_their_unit():
    def shown(value, unit, *, signed=False):
        known = {"key": "x", "judge": None, "unit": unit, "signed": signed}
        return Measure(value=value, low=value - 0.05, high=value + 0.05, **known).shown

    assert shown(0.5442, "share") == "54.4 % (49.4 to 59.4)"
    assert shown(-0.1, "share", signed=True) == "-10.0 % (-15.0 to -5.0)"
    assert shown(1.964, "perplexity") == "1.96 (1.91 to 2.01)"
    counted = Measure(key="x", value=2934528.0, unit="parameters", judge=None)
    assert counted.shown == "2,934,528"
    assert Measure(key="x", value=0.5, low=0.4, high=0.6, unit="share", judge=None).bare == "50.0 %"
