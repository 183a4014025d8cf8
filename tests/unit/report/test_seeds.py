"""The report over several seeds: means, intervals, seeds that lack a figure, and the page."""

from __future__ import annotations

import json
import math
import re
import statistics
from html.parser import HTMLParser

import pytest

from camelid.report.seeds import across, figure_table, method_table, write_seeds
from camelid.run.item import Measure
from camelid.settings import from_json

QUANTILES = {2: 12.7062, 3: 4.3027, 11: 2.2281}
"""Of Student's t by number of seeds: 1, 2 and 10 degrees of freedom."""
SCRIPT = "<script>alert('x')</script>"


def measure(value, key="x", low=None, high=None, unit="logit", **named):
    reason = None if value is not None else "nothing there"
    return Measure(
        key=key, value=value, low=low, high=high, n=40, unit=unit, judge="exact judge",
        reason=reason, **named,
    )  # fmt: skip


def by_seed(*values, **named):
    return {seed: [measure(value, **named)] for seed, value in enumerate(values)}


@pytest.mark.parametrize(
    "values",
    [[0.4, 0.9], [1.0, 1.5, 0.2], [0.1 * number**2 for number in range(11)]],
)
def test_the_interval_is_that_of_the_mean_over_seeds(values):
    [found] = across(by_seed(*values))
    middle, spread = statistics.fmean(values), statistics.stdev(values)
    half = QUANTILES[len(values)] * spread / math.sqrt(len(values))
    shown = found.measure
    assert shown.value == pytest.approx(middle)
    # The tables give four digits.
    assert (shown.low, shown.high) == pytest.approx((middle - half, middle + half), rel=1e-4)
    assert (shown.n, shown.unit, shown.judge) == (len(values), "logit", "exact judge")
    assert shown.reason is None
    assert found.deviation == pytest.approx(spread)
    assert found.by_seed == dict(enumerate(values))


def test_equal_seeds_have_a_value_and_no_interval():
    [found] = across(by_seed(-3.0, -3.0, -3.0))
    assert (found.measure.value, found.measure.low, found.measure.high) == (-3.0, None, None)
    assert found.deviation == 0


def test_one_seed_has_a_value_and_no_interval():
    [found] = across({7: [measure(0.5, low=0.4, high=0.6)]})
    assert (found.measure.value, found.measure.low, found.measure.high) == (0.5, None, None)
    assert (found.measure.n, found.deviation, found.by_seed) == (1, None, {7: 0.5})


def test_a_seed_that_lacks_a_figure_does_not_count():
    runs = {
        4: [measure(1.0), measure(0.1, key="only here")],
        2: [measure(None)],
        9: [measure(3.0), measure(None, key="nowhere")],
    }
    found = {entry.measure.key: entry for entry in across(runs)}
    assert list(found) == ["x", "only here", "nowhere"]
    assert found["x"].by_seed == {4: 1.0, 2: None, 9: 3.0}
    assert (found["x"].measure.value, found["x"].measure.n) == (2.0, 2)
    half = 12.7062 * math.sqrt(2) / math.sqrt(2)
    assert found["x"].measure.high == pytest.approx(2.0 + half, rel=1e-4)
    assert found["only here"].by_seed == {4: 0.1, 2: None, 9: None}
    assert (found["only here"].measure.n, found["only here"].measure.low) == (1, None)
    nowhere = found["nowhere"].measure
    assert (nowhere.value, nowhere.n, nowhere.reason) == (None, 0, "nothing there")
    assert found["nowhere"].deviation is None
    # Where the first seed lacks it, its reason is not kept.
    [late] = across({1: [measure(None)], 2: [measure(2.0)]})
    assert (late.measure.value, late.measure.reason) == (2.0, None)


def rates(*values, low, high, unit="share", signed=False):
    given = {"low": low, "high": high, "unit": unit, "signed": signed}
    return {s: [measure(v, **given)] for s, v in enumerate(values)}


def test_a_rate_stays_between_zero_and_one():
    [low] = across(rates(0.0, 0.05, low=0.0, high=0.1))
    assert low.measure.low == 0.0
    assert low.measure.high == pytest.approx(0.025 + 12.7062 * 0.025, rel=1e-4)
    [high] = across(rates(1.0, 0.95, low=0.9, high=1.0))
    assert high.measure.high == 1.0
    assert high.measure.low == pytest.approx(0.975 - 12.7062 * 0.025, rel=1e-4)


@pytest.mark.parametrize(("low", "unit"), [(-0.1, "share"), (0.0, "logit"), (None, "share")])
def test_what_is_no_rate_is_not_cut(low, unit):
    high = None if low is None else 0.3
    found_rates = rates(0.1, 0.3, 0.2, low=low, high=high, unit=unit, signed=unit == "share")
    [found] = across(found_rates)
    half = 4.3027 * 0.1 / math.sqrt(3)
    assert 0.2 - half < 0
    assert found.measure.low == pytest.approx(0.2 - half, rel=1e-3)


def test_a_difference_that_one_seed_clears_is_not_cut():
    [found] = across(rates(0.10, 0.01, 0.02, low=0.02, high=0.18, signed=True))
    assert found.measure.low == pytest.approx(
        0.13 / 3 - 4.3027 * 0.0493288 / math.sqrt(3), rel=1e-3
    )
    assert found.measure.low < 0


def test_a_rate_that_the_first_seed_lacks_is_one_all_the_same():
    runs = {0: [measure(None, unit="share")]} | {
        seed: [measure(value, low=0.0, high=0.2, unit="share")]
        for seed, value in ((1, 0.0), (2, 0.1))
    }
    [found] = across(runs)
    assert found.measure.low == 0.0


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        # Means 0.2 and 0.03, half widths 4.3027 x 0.01 / sqrt(3) = 0.0248 and the same.
        ((0.19, 0.2, 0.21), True),
        ((0.04, 0.03, 0.02), False),
        ((0.2, 0.0, -0.1), False),
        ((0.2, 0.2, 0.2), True),
        ((0.005, 0.005, 0.005), False),
        ((None, None, None), False),
    ],
)
def test_case_no_share_is_shown_of_a_way_that_is_hardly_there(room, kept):
    runs = {
        seed: [
            measure(share, key="m.closed", unit="share", signed=True, of="m.headroom",
                    method=("m", "headroom closed")),
            measure(way, key="m.headroom", unit="share", signed=True),
        ]
        for seed, (share, way) in enumerate(zip((0.5, 0.7, -3.0), room, strict=True))
    }  # fmt: skip
    found = across(runs)
    own = found[0].measure
    assert (own.value is not None, own.low is not None) == (kept, kept)
    assert own.reason == (None if kept else "no room")
    [(_, cell)] = method_table(found).rows
    assert (cell == "no room") != kept
    # One seed has no interval over seeds, and its share stands.
    [alone, _] = across({0: runs[0]})
    assert alone.measure.value == 0.5


METHODS = [
    ("picking: exactly right %", "before", 0.2),
    ("picking: exactly right %", "after less control", -0.1),
    ("PPO: violations %", "before", 0.5),
    ("PPO: violations %", "control", None),
]


def test_methods_stand_in_rows():
    runs = {
        seed: [
            measure(
                value if value is None else value + spread,
                key=f"{row}.{column}",
                unit="share",
                method=(row, column),
                signed=column == "after less control",
            )
            for row, column, value in METHODS
            for spread in [0.05 * (seed == 2) if column == "before" else 0.01 * (2 * seed - 3)]
        ] + [measure(1.0, key="other")]
        for seed in (1, 2)
    }  # fmt: skip
    table = method_table(across(runs))
    # Differences last, and only they with their interval.
    assert table.columns == ("method: measured", "before", "control", "after less control")
    assert table.rows == [
        ("picking: exactly right %", "22.5 %", None, "-10.0 % (-22.7 to +2.7)"),
        ("PPO: violations %", "52.5 %", None, None),
    ]


def test_every_figure_stands_with_each_seed():
    table = figure_table(across({3: [measure(1.0)], 1: [measure(None)]}), [3, 1])
    assert table.columns == (
        "figure",
        "unit",
        "judge",
        "mean (95 %)",
        "deviation",
        "seed 3",
        "seed 1",
    )
    assert table.rows == [("x", "logit", "exact judge", "1.00", None, "1.00", None)]


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [dict(attrs)["href"]] if tag == "a" else []

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_escapes_every_text_and_stands_alone(tmp_path):
    def hostile(seed):
        return [
            Measure(
                key=f"{SCRIPT}.key", value=0.5 + seed / 10, unit=f"{SCRIPT}unit",
                judge=f"{SCRIPT}judge",
                headline=(f"{SCRIPT}row", f"{SCRIPT}column"),
                method=(f"{SCRIPT}method", f"{SCRIPT}cell"),
            ),
            Measure(key="b", value=None, unit="share", judge=None, reason=f"{SCRIPT}reason"),
        ]  # fmt: skip

    runs = {seed: hostile(seed) for seed in (0, 1)}
    links = {0: f'../seed0/"{SCRIPT}', 1: "../seed1/report/index.html"}
    found = write_seeds(f"{SCRIPT}recipe", runs, links, tmp_path / "deep" / "report")
    assert found == across(runs)
    page = (tmp_path / "deep/report/seeds.html").read_text(encoding="utf-8")
    assert "<script" not in page
    parsed = _Page()
    parsed.feed(page)
    assert not set(parsed.tags) & {"script", "link", "iframe", "img", "object", "base"}
    # Markup of ours is markup; of theirs, the very text.
    assert parsed.tags.count("table") == 3
    text = "".join(parsed.text)
    for part in ("key", "unit", "judge", "row", "column", "method", "cell", "reason", "recipe"):
        assert f"{SCRIPT}{'.' if part == 'key' else ''}{part}" in text, part
    assert set(parsed.links) == {*links.values(), "seeds.json"}
    assert "Fewer than three seeds say little" in page
    assert "2 seeds" in page


def test_the_file_holds_every_figure_with_each_seed(tmp_path):
    runs = by_seed(0.5, 0.25, None) | {3: [measure(0.75)]}
    write_seeds("toy", runs, dict.fromkeys(runs, "x"), tmp_path)
    written = json.loads((tmp_path / "seeds.json").read_text(encoding="utf-8"))
    assert written["recipe"] == "toy"
    [figure] = written["figures"]
    assert figure["by_seed"] == {"0": 0.5, "1": 0.25, "2": None, "3": 0.75}
    assert figure["deviation"] == pytest.approx(0.25)
    assert from_json(figure["measure"], Measure, "seeds.json") == across(runs)[0].measure
    page = (tmp_path / "seeds.html").read_text(encoding="utf-8")
    assert "Fewer than three seeds" not in page
    assert re.search(r"<h1>“toy” over 4 seeds</h1>", page)
    # Written again, it is the new one.
    write_seeds("toy", by_seed(0.5), {0: "x"}, tmp_path)
    assert "over 1 seed<" in (tmp_path / "seeds.html").read_text(encoding="utf-8")
