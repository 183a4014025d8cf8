"""How items stand on the page."""

from __future__ import annotations

import re

import pytest

from camelid.evaluation.statistics import Estimate
from camelid.report import figure
from camelid.report.drawn import Drawn, explained, in_groups, placed, words
from camelid.run.item import Drawing, Example, Item, Table


def drawn(anchor, content, *, folded=False, title="title", caption="caption"):
    item = Item(
        section="results", title=title, anchor=anchor, caption=caption, draw=lambda _: content,
        folded=folded,
    )  # fmt: skip
    return Drawn(item=item, caption=caption, content=content)


def plot(anchor, height=200):
    return drawn(anchor, Drawing(f'<svg viewBox="0 0 360 {height}"></svg>'))


def table(anchor, columns, rows=3, **named):
    cells = Table(columns=("column",) * columns, rows=[("a cell of text",) * columns] * rows)
    return drawn(anchor, cells, **named)


def groups(*entries):
    return [(columns, [d.item.anchor for d in group]) for columns, group in in_groups(entries)]


def test_no_column_stays_empty():
    assert groups(plot("a")) == [(1, ["a"])]
    assert groups(plot("a"), plot("b", 300)) == [(2, ["b", "a"])]
    assert groups(*map(plot, "abcde")) == [(3, list("abcde"))]
    # A table of middle width beside three plots stands alone; two of them share.
    wide, middle = table("w", 9), table("m", 4)
    assert groups(middle, *map(plot, "abc"), wide) == [(3, list("abc")), (1, ["m"]), (1, ["w"])]
    assert groups(middle, plot("a"), wide) == [(2, ["a", "m"]), (1, ["w"])]
    examples = drawn("e", [Example(dialogue=(("user", "Hi"),), answers=())])
    assert groups(middle, examples) == [(2, ["m", "e"])]


def test_long_tables_and_those_that_ask_for_it_are_folded_and_come_last():
    long, asked = table("long", 9, rows=13), table("asked", 2, folded=True)
    assert long.folded
    assert asked.folded
    assert not table("short", 9, rows=12).folded
    assert groups(long, asked, plot("a")) == [(1, ["a"]), (2, ["long", "asked"])]


def test_names_in_plots_are_no_other_plots():
    svg = '<svg><path id="p1"/><use xlink:href="#p1" clip-path="url(#c)"/><a href="#x"/></svg>'
    assert placed(svg, "loss") == (
        '<svg><path id="loss-p1"/><use xlink:href="#loss-p1" clip-path="url(#loss-c)"/>'
        '<a href="#loss-x"/></svg>'
    )


def test_case_gate_guard_and_reward_are_explained_where_they_first_stand():
    first = drawn("one", Table(columns=("model", "guard reward (logit)"), rows=[]))
    label = drawn("two", Drawing("<svg><!-- mean reward R_c (0 to 1) --></svg>"))
    again = drawn("three", Table(columns=("guard",), rows=[]), title="The gate")
    found = {k: [w for w, _ in v] for k, v in explained([first, label, again]).items()}
    assert found == {"one": ["reward", "guard"], "two": [], "three": ["gate"]}
    assert {"gate", "guard", "reward"} <= words().keys()
    assert "R_c" in words()["reward"][1]


def test_texts_of_models_explain_nothing():
    example = drawn("x", [Example(dialogue=(("user", "the guard at the gate"),), answers=())])
    assert explained([example]) == {"x": []}


@pytest.mark.parametrize("name", words())
def test_every_word_has_a_sentence(name):
    pattern, meaning = words()[name]
    assert isinstance(pattern, re.Pattern)
    assert meaning.endswith(".")


def test_case_no_line_joins_models():
    shares = [(name, Estimate(0.5, 0.4, 0.6, 10)) for name in ("sft", "v1", "final")]
    with figure.figure(2) as ((models, rounds), _):
        figure.intervals(models, shares, 0, "x", down=True)
        figure.intervals(rounds, shares, 0, "x")
        styles = [panel.containers[0].lines[0].get_linestyle() for panel in (models, rounds)]
    assert styles == ["None", "-"]
