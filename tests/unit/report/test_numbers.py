import itertools
import json
import math
import statistics

import pytest

from camelid.data.records import STRENGTHS
from camelid.evaluation.statistics import proportion
from camelid.report import figures
from camelid.report.energy import Power, carbon_tonnes, energy_kwh, stated_power
from camelid.report.figures import expected_max, expected_median
from camelid.report.inputs import Run
from camelid.report.pipeline_graph import dependencies, direct_edges
from camelid.report.summary import accuracy, summarize


def test_carbon_is_table_2():
    sizes = {
        "7B": (184_320, 400, 31.2238),
        "13B": (368_640, 400, 62.4476),
        "34B": (1_038_336, 350, 153.9074),
        "70B": (1_720_320, 400, 291.4222),
    }
    total = 0.0
    for hours, watts, tonnes in sizes.values():
        assert carbon_tonnes(hours, watts) == pytest.approx(tonnes, abs=5e-5)
        total += carbon_tonnes(hours, watts)
    assert total == pytest.approx(539.0010, abs=5e-5)
    assert energy_kwh(3600, 1000, 1.5) == pytest.approx(1.5)


def test_power_comes_from_the_manifest():
    stated = {"watts": 65, "power_usage_effectiveness": 1.2, "carbon_kg_per_kwh": 0.1}
    assert stated_power(stated) == Power(watts=65.0, pue=1.2, intensity=0.1)
    assert stated_power({}) is None


def test_expectations_over_subsets_equal_the_plain_average():
    values = [0.3, 0.9, 0.1, 0.5, 0.7]
    for n in range(1, 6):
        subsets = list(itertools.combinations(values, n))
        assert expected_max(values, n) == pytest.approx(statistics.fmean(map(max, subsets)))
        middle = statistics.fmean(map(statistics.median, subsets))
        assert expected_median(values, n) == pytest.approx(middle)


def test_only_direct_edges_are_drawn():
    stages = {
        "data": {"fingerprint_parts": {"inputs": {}}},
        "sft": {"fingerprint_parts": {"inputs": {"data/prompts.jsonl": "h"}}},
        "v1/rejection_sampling": {
            "fingerprint_parts": {"inputs": {"sft/model": "h", "data/prompts.jsonl": "h"}}
        },
    }
    found = direct_edges(dependencies(stages))
    assert found == [("data", "sft"), ("sft", "v1/rejection_sampling")]


def _pair(chosen, rejected, kind="helpfulness", strength="better", prompt=None):
    scores = {"chosen_scores": {"helpfulness_rm": chosen}}
    return {
        "kind": kind,
        "strength": strength,
        "prompt_key": prompt,
        **scores,
        "rejected_scores": {"helpfulness_rm": rejected},
    }


def test_a_tie_is_not_accurate_and_kinds_stay_apart(tmp_path):
    folder = tmp_path / "v1/reward_modeling"
    folder.mkdir(parents=True)
    rows = [
        _pair(1, 0, prompt=1),
        _pair(1, 1, prompt=2),
        _pair(0, 1, prompt=2),
        _pair(2, 1, strength="slightly_better", prompt=3),
    ]
    rows += [_pair(9, 0, kind="safety")] * 6
    (folder / "test_scores.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = accuracy(Run(tmp_path), "v1", "helpfulness_rm", None, "helpfulness")
    assert found == proportion(2, 4, clusters=3)
    found = accuracy(Run(tmp_path), "v1", "helpfulness_rm", "better", "helpfulness")
    assert (found.value, found.n) == (pytest.approx(1 / 3), 3)


def _replies(model, name, judgements):
    return [
        {
            "model": model,
            "set": name,
            "prompt_id": f"p{i}",
            "prompt": [{"role": "user", "content": "?"}],
            "reply": "same",
            "reply_tokens": 4,
            "stop_reason": "stop",
            "judge": {"name": "exact judge", **judgement},
        }
        for i, judgement in enumerate(judgements)
    ]


def test_paired_figures_by_hand(tmp_path):
    def scores(*values):
        return [{"score": v, "exact": v == 1} for v in values]

    def violations(*values):
        return [{"violating": bool(v)} for v in values]

    rows = [
        *_replies("sft", "helpful", scores(0, 0, 1, 0.5)),
        *_replies("final", "helpful", scores(1, 0, 1, 0)),
        *_replies("sft", "adversarial", violations(1, 1, 1, 0)),
        *_replies("final", "adversarial", violations(1, 0, 0, 0)),
    ]
    (tmp_path / "evaluating").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in reversed(rows))
    (tmp_path / "evaluating/replies.jsonl").write_text(text)
    found = {m.key: m for m in summarize(Run(tmp_path))}
    # One win, two ties (half each), one loss of four.
    assert found["final.win_rate_vs_sft"].value == pytest.approx(0.5)
    assert found["final.exact_helpfulness"].value == 0.5
    assert found["final.violation_rate_change"].value == pytest.approx(-0.5)
    assert found["final.violation_halved_margin"].value == pytest.approx(0.25 - 0.375)
    assert found["final.distinct_replies"].value == 0.25
    assert found["final.false_refusal_rate"].value is None
    assert found["final.win_rate_vs_sft"].judge == "exact judge"


def test_what_ppo_changed_is_counted_from_the_model_that_it_started_from(tmp_path):
    rows = [
        {**row, "reward": value, "guard_rm": -value}
        for model, values in {"sft": (0, 0), "v1": (1, 3), "final": (4, 4)}.items()
        for row, value in zip(_replies(model, "helpful", [{}] * 2), values, strict=True)
    ]
    (tmp_path / "evaluating").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "evaluating/replies.jsonl").write_text(text)
    result = {"models": {"sft": "a", "v1": "b", "final": "c"}, "references": {"final": "v1"}}
    (tmp_path / "evaluating/result.json").write_text(json.dumps(result))
    found = {m.key: m.value for m in summarize(Run(tmp_path))}
    assert found["final.reward_gain_over_start"] == 2.0
    assert found["final.guard_gain_over_start"] == -2.0


def test_an_answer_that_was_cut_counts_as_zero():
    rows = [
        {"prompt_id": "a", "reward": reward, "stop_reason": reason}
        for reward, reason in ((0.0, "stop"), (9.0, "length"))
    ]
    assert figures._by_prompt(rows) == [[0.5, 0.0]]


def test_summary_has_the_keys_of_the_issue(written):
    found = {m["key"]: m for m in json.loads((written / "reporting/summary.json").read_text())}
    expected = {"pretraining.validation_perplexity", "run.seconds", "run.peak_memory_gib"}
    expected |= {f"{m}.exact_helpfulness" for m in ("base", "sft", "final")}
    for name in ("v1", "v2", "v3"):
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
    assert expected <= found.keys()
    for measure in found.values():
        assert set(measure) == {"key", "value", "low", "high", "n", "unit", "judge"}
        if measure["low"] is not None:
            assert measure["low"] - 1e-9 <= measure["value"] <= measure["high"] + 1e-9
    assert found["run.seconds"]["value"] == sum(30 + i for i in range(20))
    assert found["ppo.reward"]["value"] == pytest.approx(0.6 + 20 / 22)
    assert found["ppo.reward"]["unit"] == "logit, validation prompts, iteration 20"
    assert math.isclose(found["ppo.kl"]["value"], (18 + 19 + 20) / 4 / 3)
