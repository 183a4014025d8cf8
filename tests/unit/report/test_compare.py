"""Two runs side by side, and the command that prints them."""

from __future__ import annotations

import json
import math
import re

import pytest

from camelid import cli
from camelid.evaluation.statistics import Estimate, paired_difference, proportion
from camelid.evaluation.statistics import unpaired_difference as unpaired
from camelid.report.compare import Side, compare, rows
from camelid.run.item import Measure, Values


def side(run, figures, items=None, judge="exact judge", **settings):
    measures = {}
    for key, (right, n) in figures.items():
        found = proportion(right, n)
        measures[key] = Measure(
            key=key, value=found.value, low=found.low, high=found.high, n=n, unit="share",
            judge=judge, headline=(key, "final"),
        )  # fmt: skip
    values = {key: Values(key=key, by_item=of, largest=1.0) for key, of in (items or {}).items()}
    return Side(run=run, recipe="r", seed=0, measures=measures, values=values, settings=settings)


def test_the_same_prompts_are_paired():
    a = {"p": 1.0, "q": 0.0, "r": 0.0, "only in a": 1.0}
    b = {"r": 1.0, "q": 1.0, "p": 1.0}
    found = compare(side("a", {"x": (2, 4)}, {"x": a}), side("b", {"x": (3, 3)}, {"x": b}))
    [figure] = found.figures
    expected = paired_difference([1, 1, 1], [1, 0, 0], largest=1.0)
    assert figure.how == "paired"
    assert figure.pairs == 3
    assert "3 of 4" in figure.note
    assert (figure.difference.value, figure.difference.low, figure.difference.high) == (
        expected.value, expected.low, expected.high
    )  # fmt: skip
    [_, row] = rows(found, every=False)
    assert row[3].startswith("+66.7 (")


@pytest.mark.parametrize("items", [None, {"x": {"p": 1.0}}])
def test_other_prompts_are_two_samples_and_called_so(items):
    other = items and {"x": {"another": 1.0}}
    found = compare(side("a", {"x": (6, 20)}, items), side("b", {"x": (14, 20)}, other))
    [figure] = found.figures
    assert figure.how == "unpaired"
    assert "unpaired" in figure.note
    # Newcombe's method 10 by hand: 70 % less 30 %, Wilson intervals of 20 trials.
    low, high = 0.4809, 0.8545
    half = math.hypot(0.7 - low, 0.7 - low)
    assert figure.difference.low == pytest.approx(0.4 - half, abs=1e-3)
    assert figure.difference.high == pytest.approx(
        0.4 + math.hypot(high - 0.7, high - 0.7), abs=1e-3
    )


def test_newcombes_published_example():
    """56 of 70 less 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, Table II, method 10)."""
    found = unpaired(proportion(56, 70), proportion(48, 80))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert math.isnan(unpaired(Estimate(1, math.nan, math.nan, 3), Estimate(1, 0, 2, 3)).low)


def test_other_judges_and_missing_figures_are_named():
    a = side("a", {"x": (2, 4), "mine": (1, 4)}, steps=3, same=1)
    b = side("b", {"x": (3, 4), "theirs": (1, 4)}, judge="people", steps=5, same=1, new=2)
    found = compare(a, b)
    [figure] = found.figures
    assert figure.difference is None
    assert figure.note == "not comparable: the judge is exact judge and people"
    assert (found.only_a, found.only_b) == (("mine",), ("theirs",))
    assert found.settings == {"steps": (3, 5), "new": (None, 2)}
    assert rows(found, every=True)[1][3] == "–"


def call(capsys, *words):
    code = cli._call(["compare", *map(str, words)])
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return code, out.out, out.err


def test_two_runs_of_one_recipe(varied, smoke_run, capsys):
    code, out, _ = call(capsys, smoke_run, varied)
    assert code == 0
    assert "exactly right: final" in out
    assert "paired on " in out
    code, out, _ = call(capsys, smoke_run, varied, "--json")
    found = json.loads(out)
    assert code == 0
    by_key = {figure["key"]: figure for figure in found["figures"]}
    figure = by_key["final.violation_rate"]
    summaries = [
        {m["key"]: m for m in json.loads((run / "reporting/summary.json").read_text())}
        for run in (smoke_run, varied)
    ]
    assert figure["a"]["value"] == summaries[0]["final.violation_rate"]["value"]
    assert figure["b"]["value"] == summaries[1]["final.violation_rate"]["value"]
    for name in ("exact_helpfulness", "violation_rate", "false_refusal_rate"):
        assert by_key[f"final.{name}"]["how"] == "paired"
    assert by_key["ghost_attention.turn6.after"]["how"] == "paired"
    assert by_key["v1.helpfulness_rm.accuracy"]["how"] == "unpaired"


def test_values_of_items_are_those_of_the_figures(varied):
    """What is paired on must be what the figure is the mean of."""
    from camelid.recipes import RECIPES
    from camelid.run.finished import FinishedRun

    run = FinishedRun(varied, RECIPES["smoke"]().stages)
    known = {m["key"]: m for m in json.loads((varied / "reporting/summary.json").read_text())}
    seen = set()
    for kind in {s.kind.name: s.kind for s in run.stages if not s.kind.shows}.values():
        for values in kind.reporter().find_values(run.of(kind)):
            if values.key in known:
                mean = sum(values.by_item.values()) / len(values.by_item)
                assert mean == pytest.approx(known[values.key]["value"]), values.key
                assert len(values.by_item) == known[values.key]["n"]
                seen.add(values.key)
    assert {"sft.exact_helpfulness", "final.reply_length", "final.win_rate_vs_sft"} <= seen
    assert "ghost_attention.turn2.before" in seen


def test_case_figures_of_one_run_alone_are_named_in_words(varied, smoke_copy, capsys):
    path = smoke_copy / "reporting/summary.json"
    kept = [m for m in json.loads(path.read_text()) if "violations" not in m["key"]]
    path.write_text(json.dumps(kept))
    code, out, _ = call(capsys, varied, smoke_copy)
    assert code == 0
    only = out.partition("Only A has:")[2].partition("\n\n")[0]
    assert ": violations %: control" in only
    assert not re.search(r"\w[._]\w", re.sub(r"v\d\.\d", "", only)), only


def test_mistakes_are_explained(varied, smoke_run, smoke_copy, tmp_path, capsys):
    assert call(capsys, smoke_run, tmp_path / "none")[0] == 2
    code, _, errors = call(capsys, smoke_run, smoke_run)
    assert (code, "are the same run; name two" in errors) == (2, True)
    manifest = smoke_copy / "run.json"
    kept = json.loads(manifest.read_text())
    del kept["stages"]["reporting"]
    manifest.write_text(json.dumps(kept))
    code, _, errors = call(capsys, varied, smoke_copy)
    assert (code, f"camelid report {smoke_copy}" in errors) == (2, True)
    (tmp_path / "several").mkdir()
    (tmp_path / "several/seed0").symlink_to(varied)
    code, _, errors = call(capsys, smoke_run, tmp_path / "several")
    assert (code, "holds runs of several seeds; name one, such as" in errors) == (2, True)
