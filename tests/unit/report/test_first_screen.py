"""The first screen: five tiles and one figure, from the figures of the summary."""

from __future__ import annotations

import re

import pytest

from camelid.report.first_screen import QUESTIONS, answers, change_figure
from camelid.run.item import Line, Measure


def measure(key, value, low=None, high=None, unit="share", **named):
    reason = "nothing there" if value is None else None
    return Measure(
        key=key, value=value, low=low, high=high, unit=unit, judge=None, reason=reason, **named
    )


def figures(low, high):
    return [
        measure("sft.x", 0.4, 0.3, 0.5),
        measure("final.x", 0.6, 0.5, 0.7),
        measure("x", (low + high) / 2, low, high, signed=True),
        measure("gone", None),
        measure("run.seconds", 2593.0, unit="seconds"),
    ]


CHANGE = {"tile": "better", "before": "sft.x", "after": "final.x", "change": "x"}


@pytest.mark.parametrize(
    ("low", "high", "wish", "verdict"),
    [
        (0.1, 0.3, "up", "better"),
        (0.1, 0.3, "down", "worse"),
        (-0.3, -0.1, "down", "better"),
        (-0.3, -0.1, "up", "worse"),
        (-0.1, 0.5, "up", "no clear change"),
        (0.0, 0.4, "up", "no clear change"),
    ],
)
def test_the_interval_of_the_change_decides(low, high, wish, verdict):
    lines = [Line(text="right", wish=wish, **CHANGE)]
    shown = {name: found for name, _, found in answers(lines, figures(low, high))}
    [answer] = shown["better"]
    assert answer.verdict == verdict
    assert answer.text.startswith("right: 40.0\N{NO-BREAK SPACE}% → 60.0\N{NO-BREAK SPACE}%, ")
    assert " points (" in answer.text
    drawing = change_figure(lines, figures(low, high))
    # matplotlib writes each label as a comment.
    assert f"<!-- right: {verdict} -->" in drawing.svg
    assert {"<!-- 40.0 -->", "<!-- 60.0 -->"} <= set(re.findall("<!-- .*? -->", drawing.svg))


def test_a_figure_that_is_missing_takes_its_line_and_an_empty_tile_says_why():
    lines = [
        Line(tile="safe", text="violations: {gone}"),
        Line(tile="cost", text="{run.seconds} of computing"),
        Line(tile="cost", text="{nothing.like.it}"),
    ]
    found = {name: shown for name, _, shown in answers(lines, figures(0.1, 0.2))}
    assert list(found) == list(QUESTIONS)
    assert [a.text for a in found["safe"]] == ["Not measured: nothing there."]
    assert [a.text for a in found["cost"]] == ["43 minutes of computing"]
    assert [a.text for a in found["doubt"]] == ["Not measured in this run."]
    assert change_figure(lines, figures(0.1, 0.2)) is None


def test_case_a_run_whose_figures_mean_nothing_calls_nothing_better():
    lines = [
        Line(tile="trained", text="a model"),
        Line(text="right", **CHANGE),
        Line(tile="trained", text="tests the plumbing", warning=True),
    ]
    found = {name: shown for name, _, shown in answers(lines, figures(0.1, 0.3))}
    assert [(a.text, a.warning) for a in found["trained"]] == [
        ("tests the plumbing", True),
        ("a model", False),
    ]
    assert [a.verdict for a in found["better"]] == [None]
    assert "better" not in change_figure(lines, figures(0.1, 0.3)).svg
