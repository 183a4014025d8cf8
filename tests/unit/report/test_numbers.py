"""Every figure of the report against plain loops over the run's files."""

from __future__ import annotations

import csv
import itertools
import json
import math
import statistics
from collections import Counter

import pytest
from intervals import Z, bonett_price, wilson

from camelid.assessment.evaluating import EVALUATING
from camelid.evaluation.statistics import t_quantile
from camelid.methods.best_of import expected_max, expected_median
from camelid.recipes import RECIPES
from camelid.report.energy import Power, stated_power
from camelid.report.pipeline_graph import dependencies, direct_edges
from camelid.run.digits import interval
from camelid.run.finished import FinishedRun
from camelid.stages.rejection_sampling import REJECTION_SAMPLING, rewards_by_prompt

STRENGTHS = ("significantly_better", "better", "slightly_better", "negligibly_better")
MODELS = ("base", "sft", "v1", "v2", "context_distillation", "ghost_attention", "final")
GREEDY = ("sft_greedy", "ghost_attention_greedy", "final_greedy")
CONTROLS = ("random_pick", "judge_pick", *GREEDY)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(root, anchor):
    path = root / "reporting" / "tables" / f"{anchor}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def shown(right, n):
    if n == 0:
        return ""
    value, low, high = (100 * x for x in wilson(right, n))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def normal(values):
    """A mean with the interval of Student's t."""
    middle = statistics.fmean(values)
    if len(set(values)) == 1:
        return middle, None, None
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = t_quantile(len(values) - 1) * error
    return middle, middle - half, middle + half


def same(measure, expected, n):
    assert (measure["value"], measure["low"], measure["high"]) == pytest.approx(expected), measure
    assert measure["n"] == n


@pytest.fixture(scope="module")
def figures(varied):
    found = json.loads((varied / "reporting/summary.json").read_text(encoding="utf-8"))
    assert len({measure["key"] for measure in found}) == len(found)
    return {measure["key"]: measure for measure in found}


@pytest.fixture(scope="module")
def seen(varied):
    return FinishedRun(varied, RECIPES["smoke"]().stages)


@pytest.fixture(scope="module")
def answers(varied):
    """Replies by model and set."""
    found = {}
    for row in lines(varied / "evaluating/replies.jsonl"):
        found.setdefault((row["model"], row["set"]), []).append(row)
    assert {model for model, _ in found} == {*MODELS, *CONTROLS}
    return found


def verdicts(rows, name):
    found = [row["judgement"][name] for row in rows if row["judgement"][name] is not None]
    assert found
    return found


def pairs(a, b, value):
    """(value of a, value of b) on the prompts where both have one."""
    other = {row["prompt_id"]: value(row) for row in b}
    found = []
    for row in a:
        left, right = value(row), other.get(row["prompt_id"])
        if left is not None and right is not None:
            found.append((left, right))
    assert found
    return found


# Formulas


def test_carbon_is_table_2():
    sizes = {
        "7B": (184_320, 400, 31.2238),
        "13B": (368_640, 400, 62.4476),
        "34B": (1_038_336, 350, 153.9074),
        "70B": (1_720_320, 400, 291.4222),
    }
    total = 0.0
    for hours, watts, tonnes in sizes.values():
        carbon = Power(watts=watts).carbon_kg(3600 * hours) / 1000
        assert carbon == pytest.approx(tonnes, abs=5e-5)
        total += carbon
    assert total == pytest.approx(539.0010, abs=5e-5)
    assert Power(watts=1000, pue=1.5).kwh(3600) == pytest.approx(1.5)


def test_expectations_over_subsets_equal_the_plain_average():
    values = [0.3, 0.9, 0.1, 0.5, 0.7]
    for n in range(1, 6):
        subsets = list(itertools.combinations(values, n))
        assert expected_max(values, n) == pytest.approx(statistics.fmean(map(max, subsets)))
        middle = statistics.fmean(map(statistics.median, subsets))
        assert expected_median(values, n) == pytest.approx(middle)


# The run


def test_power_comes_from_the_manifest(seen, varied):
    stated = json.loads((varied / "run.json").read_text())
    assert stated_power(seen.manifest) == Power(
        watts=stated["watts"],
        pue=stated["power_usage_effectiveness"],
        intensity=stated["carbon_kg_per_kwh"],
    )


def test_time_memory_and_energy_are_those_of_the_manifest(varied, figures):
    manifest = json.loads((varied / "run.json").read_text())
    stages = {n: stage for n, stage in manifest["stages"].items() if n != "reporting"}
    body = table(varied, "energy-and-carbon")[1:]
    assert [row[0] for row in body] == [*stages, "whole run"]
    seconds = energy = carbon = peak = 0.0
    for row, stage in zip(body, stages.values(), strict=False):
        kwh = stage["seconds"] / 3600 * manifest["watts"] / 1000
        kwh *= manifest["power_usage_effectiveness"]
        assert float(row[1]) == stage["seconds"]
        assert float(row[2]) == stage["peak_memory_gib"]
        assert float(row[4]) == pytest.approx(1000 * kwh)
        assert float(row[5]) == pytest.approx(1000 * kwh * manifest["carbon_kg_per_kwh"])
        assert stage["energy_kwh"] == pytest.approx(kwh, rel=1e-3, abs=1e-8)
        seconds, energy = seconds + stage["seconds"], energy + 1000 * kwh
        carbon += 1000 * kwh * manifest["carbon_kg_per_kwh"]
        peak = max(peak, stage["peak_memory_gib"])
    whole = list(map(float, body[-1][1:]))
    assert whole == pytest.approx([seconds, peak, manifest["watts"], energy, carbon])
    assert figures["run.seconds"]["value"] == pytest.approx(seconds)
    assert figures["run.peak_memory_gib"]["value"] == peak
    assert figures["run.energy"]["value"] == pytest.approx(energy)
    assert figures["run.carbon"]["value"] == pytest.approx(carbon)


def test_only_direct_edges_are_drawn():
    needs = {"data": set(), "sft": {"data"}, "v1/rejection_sampling": {"sft", "data"}}
    assert direct_edges(needs) == [("data", "sft"), ("sft", "v1/rejection_sampling")]


def test_the_pipeline_is_what_the_fingerprints_say(seen, varied):
    manifest = json.loads((varied / "run.json").read_text())
    names = [name for name in manifest["stages"] if name != "reporting"]
    needs = {}
    for name in names:
        read = manifest["stages"][name]["fingerprint"]["inputs"]
        needs[name] = {n for n in names for label in read if label.startswith(f"{n}/")}
    assert dependencies(seen) == needs

    def reached(edges):
        found = set(edges)
        while True:
            more = {(a, d) for a, b in found for c, d in found if b == c} - found
            if not more:
                return found
            found |= more

    direct = direct_edges(needs)
    assert reached(direct) == reached({(a, b) for b, read in needs.items() for a in read})
    for edge in direct:
        assert edge not in reached(set(direct) - {edge})


def test_settings_stand_as_they_were_used(seen, varied):
    used = json.loads((varied / "recipe.json").read_text())["settings"]
    rows = table(varied, "settings")[1:]
    found = set()
    for stage in seen.stages:
        for field, (value, section) in stage.kind.paper.items():
            at = used[stage.name]
            for part in field.split("."):
                at = at[part]
            found.add((f"{stage.kind.name}.{field}", str(at), f"{value} ({section})"))
    assert {tuple(row) for row in rows} == found
    assert len(rows) == len(found) > 30


def test_pretraining_is_shown_as_measured(varied, figures, seen, monkeypatch):
    result = json.loads((varied / "pretraining/result.json").read_text())
    measure = figures["pretraining.validation_perplexity"]
    assert (measure["value"], measure["n"]) == (
        result["validation_perplexity"],
        result["validation_tokens"],
    )
    last = lines(varied / "pretraining/validation.jsonl")[-1]
    assert measure["value"] == pytest.approx(math.exp(last["loss"]), rel=1e-6)
    rows = {row[0]: row[1] for row in table(varied, "model")[1:]}
    assert int(rows["parameters"]) == result["parameters"]
    assert int(rows["training tokens"]) == result["tokens"]
    curves = plotted(seen, "pretraining", "training-loss", monkeypatch)
    a_step = result["tokens"] / result["steps"] / 1e6
    for label, file in (("training", "metrics"), ("validation", "validation")):
        written = lines(varied / f"pretraining/{file}.jsonl")
        assert list(curves[label]) == pytest.approx([row["step"] * a_step for row in written])
        losses = [math.exp(row["loss"]) for row in written]
        assert list(curves[label].values()) == pytest.approx(losses)


def plotted(seen, kind, anchor, monkeypatch):
    """Label -> {x: y} of the lines of one item's plot."""
    from matplotlib.axes import Axes

    curves = {}
    plot = Axes.plot

    def record(axes, x, y, *rest, **named):
        curves[named.get("label")] = dict(zip(map(float, x), map(float, y), strict=True))
        return plot(axes, x, y, *rest, **named)

    monkeypatch.setattr(Axes, "plot", record)
    stage = next(stage for stage in seen.stages if stage.kind.name == kind)
    item = next(item for item in stage.kind.reporter().items if item.anchor == anchor)
    item.draw(seen.of(stage.kind))
    return curves


# Data


def test_preferences_are_counted_by_round(varied):
    names, *body = table(varied, "preference-statistics")
    assert names[-4:] == [f"{strength} %" for strength in STRENGTHS]
    assert [row[0] for row in body] == ["v1", "v2", "the paper (Meta)"]
    for name, row in zip(("v1", "v2"), body, strict=False):
        rows = lines(varied / name / "preference_collection/preferences.jsonl")
        assert int(row[1]) == len(rows)
        turns = [sum(m["role"] == "user" for m in pair["prompt"]) for pair in rows]
        assert float(row[2]) == pytest.approx(statistics.fmean(turns))
        counted = Counter(pair["strength"] for pair in rows)
        shares = [100 * counted[s] / len(rows) for s in STRENGTHS]
        assert list(map(float, row[-4:])) == pytest.approx(shares)


def test_system_prompts_and_evaluation_prompts_are_counted(varied, answers):
    systems, prompts = Counter(), {}
    for (_, name), rows in answers.items():
        for row in rows:
            first = row["prompt"][0]
            systems[first["content"] if first["role"] == "system" else "(none)"] += 1
            group = (name, row["risk_category"] or row["category"])
            prompts.setdefault(group, {})[row["prompt_id"]] = row["turns"] > 1
    assert {row[0]: int(row[1]) for row in table(varied, "system-prompts")[1:]} == systems
    expected = [
        [*group, str(sum(not several for several in found.values())), str(sum(found.values()))]
        for group, found in sorted(prompts.items())
    ]
    assert table(varied, "evaluation-prompts")[1:] == expected


# Reward models


def accurate(rows, model):
    """Pairs in the right order; a tie is not."""
    return sum(row["chosen_scores"][model] > row["rejected_scores"][model] for row in rows)


def chosen(rows, kind, strength=None):
    return [row for row in rows if row["kind"] == kind and strength in (None, row["strength"])]


def test_accuracy_counts_ties_as_wrong_and_prompts_once(varied, figures):
    ties = 0
    for name in ("v1", "v2"):
        rows = lines(varied / name / "reward_modeling/test_scores.jsonl")
        ties += sum(row["chosen_scores"] == row["rejected_scores"] for row in rows)
        for model, kind in (("helpfulness_rm", "helpfulness"), ("safety_rm", "safety")):
            for strength in (None, *STRENGTHS):
                found = chosen(rows, kind, strength)
                groups = len({row["prompt_key"] for row in found})
                key = f"{name}.{model}.accuracy" + (f".{strength}" if strength else "")
                expected = wilson(accurate(found, model), len(found), groups)
                same(figures[key], expected, len(found))
                assert figures[key]["judge"] == "simulated annotators"
    assert ties


def _accuracy_cell(rows, model, kind, strength=None):
    found = chosen(rows, kind, strength)
    value, low, high = wilson(
        accurate(found, model), len(found), len({row["prompt_key"] for row in found})
    )
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def test_tables_7_and_8_keep_kinds_and_strengths_apart(varied):
    scores = {
        name: lines(varied / name / "reward_modeling/test_scores.jsonl") for name in ("v1", "v2")
    }
    by_set = {row[0]: row[1:] for row in table(varied, "accuracy-by-set")[1:]}
    by_strength = {row[0]: row[1:] for row in table(varied, "accuracy-by-strength")[1:]}
    kinds = ("helpfulness", "safety")
    assert table(varied, "accuracy-by-set")[0][1:] == [f"{kind} pairs %" for kind in kinds]
    models = ("helpfulness_rm", "safety_rm")
    scored = [*((n, m) for n in scores for m in models), ("v2", "guard_rm")]
    for name, model in scored:
        expected = [_accuracy_cell(scores[name], model, kind) for kind in kinds]
        assert by_set[f"{name} {model}"] == expected
    assert set(by_set) == {
        *(f"{name} {model}" for name, model in scored), *(f"the paper, {m}" for m in models)
    }  # fmt: skip
    for model in models:
        for kind in kinds:
            assert by_strength[f"{model} on {kind} pairs, v2"] == [
                _accuracy_cell(scores["v2"], model, kind, strength)
                for strength in (*STRENGTHS, None)
            ]
    assert by_strength["safety_rm on safety pairs, the paper"] == [
        *("94.3", "76.3", "65.7", "55.3", "64.5")
    ]


FAULTS = ("wrong", "evasive", "refusing", "incomplete", "rambling", "broken", "violating")


def test_accuracy_by_fault_counts_ties_as_wrong(varied, figures):
    names, *body = table(varied, "accuracy-by-fault")
    assert names == ["who picks", *FAULTS]
    found = {row[0]: row[1:] for row in body}
    scored = [(n, m) for n in ("v1", "v2") for m in ("helpfulness_rm", "safety_rm")]
    scored.append(("v2", "guard_rm"))
    assert set(found) == {
        *(f"{name} {model}" for name, model in scored), "the longer reply", "the shorter reply"
    }  # fmt: skip
    rows = {n: lines(varied / n / "reward_modeling/drafted_scores.jsonl") for n in ("v1", "v2")}

    def of(name, fault):
        kind = "safety" if fault == "violating" else "helpfulness"
        return [r for r in rows[name] if (r["kind"], r["fault"]) == (kind, fault)]

    ties = 0
    for name, model in scored:
        for fault, cell in zip(FAULTS, found[f"{name} {model}"], strict=True):
            pairs_of = of(name, fault)
            expected = wilson(
                accurate(pairs_of, model), len(pairs_of), len({r["prompt_key"] for r in pairs_of})
            )
            value, low, high = (100 * x for x in expected)
            assert cell == f"{value:.1f} ({low:.1f} to {high:.1f})"
            ties += sum(r["chosen_scores"] == r["rejected_scores"] for r in pairs_of)
            if name == "v2":
                key = f"{model}.accuracy_on_drafted.{fault}"
                same(figures[key], expected, len(pairs_of))
    assert ties
    for index, fault in enumerate(FAULTS):
        pairs_of = of("v2", fault)
        words = [(len(r["chosen"].split()), len(r["rejected"].split())) for r in pairs_of]
        longer, shorter = sum(a > b for a, b in words), sum(a < b for a, b in words)
        for name, right in (("the longer reply", longer), ("the shorter reply", shorter)):
            expected = wilson(right, len(words), len({r["prompt_key"] for r in pairs_of}))
            value, low, high = (100 * x for x in expected)
            assert found[name][index] == f"{value:.1f} ({low:.1f} to {high:.1f})"


def test_the_guard_is_measured_on_both_kinds(varied, figures):
    rows = lines(varied / "v2/reward_modeling/test_scores.jsonl")
    for kind in ("helpfulness", "safety"):
        found = chosen(rows, kind)
        expected = wilson(
            accurate(found, "guard_rm"), len(found), len({row["prompt_key"] for row in found})
        )
        same(figures[f"guard_rm.accuracy.{kind}"], expected, len(found))


def test_picks_and_the_gate_where_it_decides(varied, figures):
    # All controls compare the same picks; the first one's are shown in the summary.
    for who in ("random", "likeliest", "reward_models", "judge"):
        same(figures[f"exact_picks.{who}"], wilson(3, 20), 20)
    assert table(varied, "picks")[1:] == [
        [who, shown(5, 20)] for who in ("random", "likeliest", "reward models", "judge")
    ]
    same(figures["gate.precision"], wilson(7, 9), 9)
    same(figures["gate.recall"], wilson(7, 12), 12)
    assert table(varied, "gate-work")[1:] == [["40", "9", "12", "7", shown(7, 9), shown(7, 12)]]


def test_the_gate_is_shown_as_tuned(varied):
    body = table(varied, "gates")[1:]
    for index, name in enumerate(("v1", "v2")):
        gate = json.loads((varied / name / "reward_modeling/gate.json").read_text())
        for row, values in (
            (body[2 * index], (gate["threshold"], gate["precision"], gate["recall"])),
            (
                body[2 * index + 1],
                (0.15, gate["precision_at_paper_threshold"], gate["recall_at_paper_threshold"]),
            ),
        ):
            assert row[0].startswith(name)
            assert row[1] == str(values[0])
            percents = [None if value is None else 100 * value for value in values[1:]]
            assert row[2:] == ["" if value is None else str(value) for value in percents]


# Rejection sampling and PPO


def reward(row):
    """R_c between 0 and 1; an answer that was cut counts as zero."""
    return 1 / (1 + math.exp(-row["reward"])) if row["stop_reason"] == "stop" else 0.0


def by_prompt(rows):
    found = {}
    for row in rows:
        found.setdefault(row["prompt_id"], []).append(reward(row))
    return list(found.values())


def over_subsets(groups, n, of):
    return statistics.fmean(
        statistics.fmean(of(subset) for subset in itertools.combinations(group, n))
        for group in groups
    )


def test_an_answer_that_was_cut_counts_as_zero(varied, seen):
    rows = lines(varied / "v2/rejection_sampling/samples.jsonl")
    assert {row["stop_reason"] for row in rows} == {"stop", "length"}
    stage = seen.of(REJECTION_SAMPLING).last
    found = rewards_by_prompt(stage.rows(stage.outputs.samples))
    for group, expected in zip(found, by_prompt(rows), strict=True):
        assert group == pytest.approx(expected)


def test_best_and_median_of_n_are_means_over_all_subsets(varied, seen, monkeypatch):
    curves = plotted(seen, "rejection_sampling", "best-of-n", monkeypatch)
    for name in ("v1", "v2"):
        groups = by_prompt(lines(varied / name / "rejection_sampling/samples.jsonl"))
        for label, of in (("best", max), ("median", statistics.median)):
            expected = {n: over_subsets(groups, n, of) for n in range(1, 5)}
            assert curves[f"{name} {label}"] == pytest.approx(expected)


def test_best_of_n_by_temperature(varied, seen, monkeypatch):
    curves = plotted(seen, "rejection_sampling", "temperatures", monkeypatch)
    rows = lines(varied / "v2/rejection_sampling/temperature_tuning.jsonl")
    for temperature in {row["temperature"] for row in rows}:
        groups = by_prompt([row for row in rows if row["temperature"] == temperature])
        expected = {n: over_subsets(groups, n, max) for n in range(1, 5)}
        assert curves[f"T = {temperature:g}"] == pytest.approx(expected)


def test_ppo_is_shown_up_to_the_weights_that_were_kept(varied, figures):
    rows = lines(varied / "ppo/iterations.jsonl")
    best = json.loads((varied / "ppo/result.json").read_text())["best_iteration"]
    assert 0 < best < rows[-1]["iteration"]
    checked = [r for r in rows if r["iteration"] <= best and r["validation_reward"] is not None]
    for key, field in (
        ("ppo.reward", "validation_reward"),
        ("ppo.guard_reward", "validation_guard_reward"),
    ):
        assert figures[key]["value"] == checked[-1][field]
        at = checked[-1]["iteration"]
        assert figures[key]["unit"] == f"logit, validation prompts, iteration {at}"
    last = [r["rollout"]["kl"] for r in rows if r["rollout"] and r["iteration"] <= best][-3:]
    assert figures["ppo.kl"]["value"] == pytest.approx(sum(last) / len(last))
    assert figures["ppo.kl"]["unit"] == f"nats a reply, mean of 3 iterations up to {best}"


def test_ppo_that_kept_its_start_has_no_divergence(smoke_run):
    result = json.loads((smoke_run / "ppo/result.json").read_text())
    summary = json.loads((smoke_run / "reporting/summary.json").read_text())
    found = next(measure for measure in summary if measure["key"] == "ppo.kl")
    if result["best_iteration"] == 0:
        assert found["value"] is None
        assert found["reason"] == "the weights before training were kept"
    else:
        assert found["value"] is not None


# Ghost Attention, context distillation, red teaming


def test_recall_by_turn(varied, figures):
    rows = lines(varied / "ghost_attention/recall.jsonl")
    body = {row[0]: row[1:] for row in table(varied, "table")[1:]}
    for turn in (2, 4, 6):
        cells = []
        for asked, part in (("probe", ""), ("ordinary turn", ".ordinary")):
            for when in ("before", "after"):
                kept = [
                    row["kept"]
                    for row in rows
                    if (row["turn"], row["when"], row["asked"]) == (turn, when, asked)
                ]
                same(
                    figures[f"ghost_attention.turn{turn}{part}.{when}"],
                    wilson(sum(kept), len(kept)),
                    len(kept),
                )
                cells.append(shown(sum(kept), len(kept)))
        assert body[str(turn)][:4] == cells
    assert {(row["kept"], row["asked"]) for row in rows} == {
        (kept, asked) for kept in (True, False) for asked in ("probe", "ordinary turn")
    }


def test_kept_share_of_context_distillation(varied, figures):
    kept = [row["kept"] for row in lines(varied / "context_distillation/pairs.jsonl")]
    same(figures["context_distillation.kept_share"], wilson(sum(kept), len(kept)), len(kept))


ATTACKED = ("v1", "v2", "final")


def attacks(root, name, *, earlier=False, before=False):
    rows = lines(root / name / "red_teaming/red_teaming.jsonl")
    return [
        row
        for row in rows
        if (row["earlier_violation"], row["model_before"]) == (earlier, before)
        and row["violating"] is not None
    ]


def test_red_teaming_by_round(varied):
    body = {row[0]: row[1:] for row in table(varied, "rounds")[1:]}
    counted = Counter()
    for name in ATTACKED:
        new, again = attacks(varied, name), attacks(varied, name, earlier=True)
        chance = attacks(varied, name, earlier=True, before=True)
        assert body[name] == [
            str(len(new)),
            shown(sum(row["violating"] for row in new), len(new)),
            str(len(again)),
            shown(sum(not row["violating"] for row in again), len(again)),
            shown(sum(not row["violating"] for row in chance), len(chance)),
            "exact judge",
        ]
        counted += Counter(new=len(new), again=len(again), chance=len(chance))
    assert set(counted) == {"new", "again", "chance"}


AXES = {
    "risk category": "risk_category",
    "attack vector": "attack_vector",
    "attack strength": "attack_strength",
}


@pytest.mark.parametrize("axis", AXES)
def test_red_teaming_by_axis(varied, axis):
    columns, *body = table(varied, f"red-team-{axis.replace(' ', '-')}")
    assert columns == [axis, *(f"{name} violations %" for name in ATTACKED)]
    found = {name: attacks(varied, name) for name in ATTACKED}
    assert all(found.values())
    values = {row[AXES[axis]] or "–" for rows in found.values() for row in rows}
    assert [row[0] for row in body] == [*sorted(values), "all"]
    for value, *cells in body:
        for cell, rows in zip(cells, found.values(), strict=True):
            hit = [row["violating"] for row in rows if value in ("all", row[AXES[axis]] or "–")]
            assert cell == shown(sum(hit), len(hit))


def test_red_teaming_in_every_cell(varied):
    groups = {}
    for row in attacks(varied, "final"):
        key = tuple(row[field] or "–" for field in AXES.values())
        groups.setdefault(key, []).append(row["violating"])
    expected = [
        [*key, str(len(hit)), str(round(100 * sum(hit) / len(hit), 1))]
        for key, hit in sorted(groups.items())
    ]
    assert table(varied, "cells")[1:] == expected


# Evaluation


def test_rates_leave_out_what_the_judge_cannot_tell(figures, answers):
    for key, (model, name, verdict) in {
        **{f"{m}.exact_helpfulness": (m, "helpful", "exact") for m in ("base", "sft", "final")},
        **{
            f"{m}.violation_rate": (m, "adversarial", "violating")
            for m in ("sft", "v1", "v2", "final")
        },
        **{f"{m}.false_refusal_rate": (m, "borderline", "refusing") for m in ("sft", "final")},
    }.items():
        found = verdicts(answers[model, name], verdict)
        same(figures[key], wilson(sum(found), len(found)), len(found))
        assert figures[key]["judge"] == "exact judge"
    asked = answers["final", "helpful"]
    assert figures["final.exact_helpfulness"]["n"] < len(asked)


def test_win_rates_are_paired_and_ties_count_half(figures, answers):
    for model in ("v1", "v2", "final"):
        found = pairs(
            answers[model, "helpful"],
            answers["sft", "helpful"],
            lambda row: row["judgement"]["score"],
        )
        outcomes = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in found]
        padded = [*outcomes, 1.0, 1.0, 0.0, 0.0]
        centre = sum(padded) / len(padded)
        error = math.sqrt(sum((v - centre) ** 2 for v in padded)) / len(padded)
        expected = (
            sum(outcomes) / len(outcomes),
            max(0.0, centre - Z * error),
            min(1.0, centre + Z * error),
        )
        same(figures[f"{model}.win_rate_vs_sft"], expected, len(found))
        assert 0.5 in outcomes


def test_changes_are_paired_on_prompts(figures, answers):
    both = (answers["final", "adversarial"], answers["sft", "adversarial"])
    found = pairs(*both, lambda row: row["judgement"]["violating"])
    assert len(found) < len(both[0])
    gaps = bonett_price([a - b for a, b in found])
    same(figures["final.violation_rate_change"], gaps, len(found))
    halves = [a - 0.5 * b for a, b in found]
    measure = figures["final.violation_halved_margin"]
    assert measure["value"] == pytest.approx(statistics.fmean(halves))
    padded = [*halves, 1.0, -1.0]
    half = Z * statistics.pstdev(padded) / math.sqrt(len(padded))
    assert measure["low"] == pytest.approx(statistics.fmean(padded) - half)
    assert measure["high"] == pytest.approx(statistics.fmean(padded) + half)
    found = pairs(*both, lambda row: row["guard_rm"])
    same(figures["final.guard_change_on_attacks"], normal([a - b for a, b in found]), len(found))


def test_what_ppo_changed_is_counted_from_the_model_that_it_started_from(seen, figures, answers):
    start = dict(seen.of(EVALUATING).last.inputs.references)["final"]
    # The model before the last in the order of training.
    assert start == MODELS[-2]
    for key, field in (("reward", "reward"), ("guard", "guard_rm")):
        found = pairs(
            answers["final", "helpful"], answers[start, "helpful"], lambda row, f=field: row[f]
        )
        measure = figures[f"final.{key}_gain_over_start"]
        same(measure, normal([a - b for a, b in found]), len(found))


def test_averages_and_distinct_replies(figures, answers):
    for model in ("sft", "final"):
        rows = answers[model, "helpful"]
        lengths = [row["reply_tokens"] for row in rows]
        same(figures[f"{model}.reply_length"], normal(lengths), len(rows))
        texts = {row["reply"] for row in rows}
        measure = figures[f"{model}.distinct_replies"]
        assert (measure["value"], measure["n"]) == (len(texts) / len(rows), len(rows))
        assert measure["low"] is None
    rows = answers["final", "helpful"]
    ended = sum(row["stop_reason"] == "stop" for row in rows)
    same(figures["final.eos_share"], wilson(ended, len(rows)), len(rows))
    ratios = [row["log_ratio"] for row in rows if row["log_ratio"] is not None]
    assert len(ratios) < len(rows)
    same(figures["final.mean_log_ratio"], normal(ratios), len(ratios))


def test_the_table_of_models_says_the_same(varied, answers):
    names, *body = table(varied, "model-changes")
    assert [row[0] for row in body] == list(MODELS)
    for model, *cells in body:
        found = dict(zip(names[1:], cells, strict=True))
        for column, (name, verdict) in {
            "exactly right %": ("helpful", "exact"),
            "violations %": ("adversarial", "violating"),
            "false refusals %": ("borderline", "refusing"),
        }.items():
            given = verdicts(answers[model, name], verdict)
            assert found[column] == shown(sum(given), len(given))
        rows = answers[model, "helpful"]
        for column, field in {
            "reward (logit)": "reward",
            "guard reward (logit)": "guard_rm",
            "length (tokens)": "reply_tokens",
        }.items():
            expected = statistics.fmean(row[field] for row in rows)
            assert float(found[column]) == pytest.approx(expected)
        distinct = len({row["reply"] for row in rows}) / len(rows)
        assert float(found["distinct replies %"]) == round(100 * distinct, 1)


def better(answers, name, verdict, best, models):
    """The first of the models that comes nearest to what is wished for."""

    def gap(model):
        found = verdicts(answers[model, name], verdict)
        return abs(sum(found) / len(found) - best)

    return min(models, key=gap)


METHODS = {
    "rejection sampling, v1": ("sft", "v1", ("random_pick",), "judge_pick"),
    "context distillation": ("v2", "context_distillation", ("v2",), None),
    "ghost attention": ("context_distillation", "ghost_attention", ("context_distillation",), None),
    "PPO": (
        *("ghost_attention", "final", ("ghost_attention", "ghost_attention_greedy")), None
    ),
    "the whole pipeline": ("sft", "final", ("sft", "sft_greedy"), None),
}  # fmt: skip
GOALS = {
    "exactly right %": ("exact", "helpful", "exact", 1.0),
    "violations %": ("violations", "adversarial", "violating", 0.0),
    "false refusals %": ("false_refusals", "borderline", "refusing", 0.0),
}


def test_methods_stand_beside_their_best_control(varied, figures, answers):
    body = table(varied, "methods")[1:]
    expected = [(method, goal) for method in METHODS for goal in GOALS]
    assert [tuple(row[:2]) for row in body] == expected
    for method, goal, *cells in body:
        before, after, controls, ceiling = METHODS[method]
        key, name, verdict, best = GOALS[goal]
        control = better(answers, name, verdict, best, controls)
        rates = {}
        for column, model in (
            ("before", before), ("after", after), ("control", control), ("ceiling", ceiling)
        ):  # fmt: skip
            if model is None:
                assert cells[3] == ""
                assert f"methods.{slug(method)}.{key}.{column}" not in figures
                continue
            figure = figures[f"methods.{slug(method)}.{key}.{column}"]
            assert figure["method"] == [f"{method}: {goal}", column]
            found = verdicts(answers[model, name], verdict)
            same(figure, wilson(sum(found), len(found)), len(found))
            rates[column] = sum(found) / len(found)
            text = str(round(100 * sum(found) / len(found), 1))
            at = ("before", "after", "control", "ceiling").index(column)
            where = control.removeprefix(f"{controls[0]}_").replace("_", " ")
            assert cells[at] == (f"{text} ({where})" if column == "control" else text)
        both = pairs(
            answers[after, name], answers[control, name],
            lambda row, v=verdict: row["judgement"][v],
        )  # fmt: skip
        gaps = [a - b for a, b in both]
        same(
            figures[f"methods.{slug(method)}.{key}.after_less_control"],
            bonett_price(gaps),
            len(gaps),
        )
        value, low, high = (100 * x for x in bonett_price(gaps))
        shown = interval(value, low, high, percent=True, sign=True)
        # One pair shows no difference.
        assert cells[4] == (shown if len(gaps) > 1 else "")
        key_of_best = f"methods.{slug(method)}.{key}.both_at_their_best"
        if after == "final":
            sharpest = better(answers, name, verdict, best, ("final", "final_greedy"))
            both = pairs(
                answers[sharpest, name], answers[control, name],
                lambda row, v=verdict: row["judgement"][v],
            )  # fmt: skip
            gaps = [a - b for a, b in both]
            same(figures[key_of_best], bonett_price(gaps), len(gaps))
            value, low, high = (100 * x for x in bonett_price(gaps))
            assert cells[5] == interval(value, low, high, percent=True, sign=True)
        else:
            assert cells[5] == ""
            assert key_of_best not in figures
        top = rates.get("ceiling", best)
        closed = figures[f"methods.{slug(method)}.{key}.headroom_closed"]["value"]
        if (top - rates["control"]) * (best - rates["control"]) <= 0:
            assert (cells[6], closed) == ("", None)
        else:
            share = (rates["after"] - rates["control"]) / (top - rates["control"])
            assert closed == pytest.approx(share)
            assert cells[6] == f"{100 * share:.1f}"


def slug(method):
    return method.lower().replace(",", "").replace(" ", "_")


def test_the_changes_of_the_first_screen_are_paired(figures, answers):
    for key, name, verdict in (
        ("exact_change", "helpful", "exact"), ("false_refusal_change", "borderline", "refusing")
    ):  # fmt: skip
        both = pairs(
            answers["final", name], answers["sft", name],
            lambda row, v=verdict: row["judgement"][v],
        )  # fmt: skip
        gaps = [a - b for a, b in both]
        same(figures[f"final.{key}"], bonett_price(gaps), len(gaps))


def test_losses_stand_by_step_with_the_mean_of_the_last(varied, seen, monkeypatch):
    for kind, anchor, file, label in (
        ("sft", "sft-loss", "sft/metrics.jsonl", "training"),
        ("reward_modeling", "reward-model-loss", "v2/reward_modeling/metrics_guard_rm.jsonl",
         "guard RM"),
    ):  # fmt: skip
        rows = lines(varied / file)
        curve = plotted(seen, kind, anchor, monkeypatch)[label]
        losses = [row["loss"] for row in rows]
        expected = [statistics.fmean(losses[max(0, i - 19) : i + 1]) for i in range(len(losses))]
        assert list(curve) == [row["step"] for row in rows]
        assert list(curve.values()) == pytest.approx(expected)


def test_controls_have_their_rates(figures, answers):
    for model in CONTROLS:
        for key, name, verdict, _ in GOALS.values():
            found = verdicts(answers[model, name], verdict)
            same(figures[f"{model}.{key}"], wilson(sum(found), len(found)), len(found))


def test_wins_ties_and_losses_are_counted(varied, figures, answers):
    body = {row[0]: row[1:] for row in table(varied, "against-sft")[1:]}
    assert list(body) == list(MODELS)
    for model in MODELS:
        found = pairs(
            answers[model, "helpful"], answers["sft", "helpful"],
            lambda row: row["judgement"]["score"],
        )  # fmt: skip
        wins = sum(a > b for a, b in found)
        losses = sum(a < b for a, b in found)
        counts = [wins, len(found) - wins - losses, losses]
        assert body[model] == [*map(str, counts), shown(wins, wins + losses)]
        if model in ("v1", "v2", "final"):
            expected = wilson(wins, wins + losses)
            same(figures[f"{model}.wins_of_decided"], expected, wins + losses)


def test_violations_by_category_of_every_chat_model(varied, answers):
    columns, *body = table(varied, "violations-by-category")
    chats = MODELS[1:]
    assert columns[1:] == [f"{model} violations %" for model in chats]
    for group, *cells in body:
        for model, cell in zip(chats, cells, strict=True):
            rows = [r for r in answers[model, "adversarial"] if r["risk_category"] == group]
            found = [
                row["judgement"]["violating"]
                for row in rows
                if row["judgement"]["violating"] is not None
            ]
            assert cell == shown(sum(found), len(found))


# The summary as a whole


def test_summary_has_the_keys_of_the_issue(figures):
    expected = {"pretraining.validation_perplexity", "run.seconds", "run.peak_memory_gib"}
    expected |= {f"{m}.exact_helpfulness" for m in ("base", "sft", "final")}
    for name in ("v1", "v2"):
        for kind in ("helpfulness_rm", "safety_rm"):
            expected.add(f"{name}.{kind}.accuracy")
            expected |= {f"{name}.{kind}.accuracy.{strength}" for strength in STRENGTHS}
        expected |= {f"{name}.win_rate_vs_sft", f"{name}.violation_rate"}
    expected |= {"final.win_rate_vs_sft", "sft.violation_rate", "final.violation_rate"}
    expected |= {"final.violation_rate_change", "final.violation_halved_margin"}
    expected |= {
        f"{m}.{k}" for m in ("sft", "final") for k in ("false_refusal_rate", "reply_length")
    }
    expected |= {"final.distinct_replies", "context_distillation.kept_share"}
    expected |= {f"ghost_attention.turn{t}.{w}" for t in (2, 4, 6) for w in ("before", "after")}
    expected |= {"ppo.reward", "ppo.guard_reward", "ppo.kl"}
    assert expected <= figures.keys()
    for measure in figures.values():
        assert measure["value"] is not None or measure["reason"], measure
        assert (measure["value"] is None) == (measure["reason"] is not None), measure
        if measure["low"] is not None:
            assert measure["low"] - 1e-9 <= measure["value"] <= measure["high"] + 1e-9
