"""Studies: variants that match, a whole tiny study, and its numbers against plain loops."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from camelid.cli import main
from camelid.cli.plans import plan_of, read_plan
from camelid.errors import ConfigError
from camelid.formats.folder import load_transformer
from camelid.inference.generation import cache_type
from camelid.model.attention import KVCache
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.plan import Plan
from camelid.run.finished import FinishedRun
from camelid.simulation.config import WorldConfig
from camelid.sources import tokenizer_training
from camelid.stages import pretraining
from camelid.studies import comparing, study_data, throughput
from camelid.studies.attention import matched_ffn_dim
from camelid.studies.known import STUDIES
from camelid.studies.throughput import stage as throughput_stage
from camelid.studies.variants import training
from camelid.tokenization.chat import load_chat_format

KNOWN = dict(STUDIES)


def tiny(name: str) -> Plan:
    """The study with settings that take seconds."""
    plan = KNOWN[name]()
    world = WorldConfig(
        people=12, towns=12, creatures=12, documents=300, exercises=20, validation_documents=20
    )
    for index, stage in enumerate(plan.stages):
        config = stage.config
        if isinstance(config, study_data.Config):
            config = replace(config, world=world, questions=5)
        elif isinstance(config, tokenizer_training.Config):
            config = replace(config, vocabulary_size=512)
        elif isinstance(config, throughput.Config):
            config = throughput.Config(contexts=(8, 24), new_tokens=4, memory_gib=0.0005, rounds=1)
        elif isinstance(config, pretraining.Config):
            full = ModelConfig(
                dim=32, layers=1, heads=4, kv_heads=4, ffn_dim=96, vocabulary_size=512,
                context=config.model.context, tied_embeddings=True,
            )  # fmt: skip
            heads = min(4, config.model.kv_heads)
            width = matched_ffn_dim(full, heads, multiple_of=1)
            model = replace(full, kv_heads=heads, ffn_dim=width)
            config = replace(config, model=model, tokens=3_000, validate_every=2)
        plan.stages[index] = replace(stage, config=config)
    return plan


def variants_of(plan: Plan) -> dict[str, pretraining.Config]:
    return {
        stage.name.partition("/")[0]: stage.config
        for stage in plan.stages
        if isinstance(stage.config, pretraining.Config)
    }


@pytest.mark.parametrize("name", STUDIES)
def test_variants_match_and_are_trained_alike(name: str) -> None:
    plan = STUDIES[name]()
    plan.check()
    variants = variants_of(plan)
    counts = [config.model.parameter_count for config in variants.values()]
    assert max(counts) <= 1.01 * min(counts)
    assert len({config.tokens for config in variants.values()}) == 1
    assert len({config.optimizer for config in variants.values()}) == 1
    assert len(variants) == len(plan.models) >= 3
    # The last one has the first one's shape: what another seed alone changes.
    first, *_, last = variants.values()
    assert first == last
    compared = next(s.inputs for s in plan.stages if isinstance(s.inputs, comparing.Inputs))
    assert [variant for variant, _ in compared.models] == list(variants)
    assert [folder.stage for _, folder in compared.models] == [f"{v}/pretraining" for v in variants]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_survives_its_json(name: str, tmp_path: Path) -> None:
    plan = tiny(name)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(plan.description()), encoding="utf-8")
    again = read_plan(path, "")
    assert again.stages == plan.stages
    assert again.settings == plan.settings
    assert again.models == plan.models


def test_matched_width_against_the_paper() -> None:
    """At the shape of 34B the match lies below the paper's factor of 1.3."""
    full = ModelConfig(
        dim=6656, layers=48, heads=52, kv_heads=52, ffn_dim=17920, vocabulary_size=32000,
        context=4096,
    )  # fmt: skip
    for kv_heads in (1, 4):
        exact = matched_ffn_dim(full, kv_heads, multiple_of=1)
        other = replace(full, kv_heads=kv_heads, ffn_dim=exact)
        assert abs(other.parameter_count / full.parameter_count - 1) < 1e-4
        even = matched_ffn_dim(full, kv_heads)
        assert even % 8 == 0
        assert abs(even - exact) <= 4
        assert 1.2 < other.ffn_dim / full.ffn_dim < 1.3


def test_unmatched_variants_are_refused() -> None:
    plan = STUDIES["attention"]()
    wide = variants_of(plan)["mqa"].model.ffn_dim + 64
    plan.override(["--mqa.pretraining.model.ffn_dim", str(wide)])
    with pytest.raises(ConfigError, match="within 1%"):
        plan.check()


def test_twice_the_same_name_is_refused() -> None:
    plan = STUDIES["attention"]()
    stage = next(stage for stage in plan.stages if stage.name == "mqa/pretraining")
    with pytest.raises(ConfigError, match="'mqa/pretraining' is there already"):
        plan.add(stage.kind, stage.config, stage.inputs, within="mqa")


def test_a_variant_is_trained_at_its_own_context() -> None:
    shape = variants_of(STUDIES["context"]())["context_512"].model
    config = training(shape, tokens=10, batch_rows=3)
    assert (config.row_tokens, config.micro_rows, config.order) == (512, 3, "as_written")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cache_bytes_are_those_of_its_tables(dtype: torch.dtype) -> None:
    model = ModelConfig(
        dim=32, layers=3, heads=4, kv_heads=2, ffn_dim=8, vocabulary_size=16, context=64
    )
    cache = KVCache(model, 5, 40, torch.device("cpu"), dtype)
    held = sum(t.numel() * t.element_size() for t in (*cache.keys, *cache.values))
    assert KVCache.bytes(model, 5, 40, dtype) == held


def _logprob(model: Transformer, ids: list[int], start: int) -> float:
    """Sum of the log-probabilities of ids[start:], one forward pass, in float64."""
    double = model.double()
    with torch.no_grad():
        hidden = double(torch.tensor([ids[:-1]]))
        table = double.logits(hidden)[0].log_softmax(-1)
    return sum(float(table[i - 1, ids[i]]) for i in range(start, len(ids)))


@pytest.mark.parametrize("name", STUDIES)
def test_a_tiny_study_from_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(STUDIES, name, lambda: tiny(name))
    # The n-th measurement takes n seconds.
    readings = (float(sum(range(n // 2 + 1)) + (n % 2) * (n // 2 + 1)) for n in count())
    clock = SimpleNamespace(perf_counter=lambda: next(readings))
    monkeypatch.setattr(throughput_stage, "time", clock)
    out = tmp_path / "study"
    command = ["study", name, "--out", str(out), "--study_data.questions", "6"]
    # Of its own accord a study computes in bf16 where the machine has it.
    command += ["--precision", "float32", "--threads", "1"]
    assert main(command) == 0
    run = FinishedRun(out, plan_of(out).stages)
    assert f"Report: {out / 'report' / 'index.html'}" in capsys.readouterr().out
    variants = variants_of(tiny(name))
    _check_scores(run, variants)
    result = run.of(comparing.COMPARING).last.result.variants
    page = (out / "report/index.html").read_text(encoding="utf-8")
    figures = json.loads((out / "report/summary.json").read_text())
    keys = {figure["key"] for figure in figures}
    for variant, config in variants.items():
        assert f"{variant}.facts" in keys
        assert result[variant].parameters == config.model.parameter_count
    if name == "context":
        assert "paper: Table 16" in page
        assert "paper: Table 17" in page
        short, long, _ = (result[variant].contexts_cut for variant in variants)
        assert short > long
    else:
        assert "paper: Table 18" in page
        assert "paper: Figure 24" in page
        _check_points(run, variants)
    # Items of a single model, and those of the other study.
    reasons = {"this run holds several models", "this study varies something else"}
    assert set(re.findall(r"Missing: (.*?)\.<", page)) <= reasons
    _check_table(run, list(variants), figures)
    # A report is made again without the rest, and a second run finds everything done.
    assert main(["report", str(out)]) == 0
    answers = run.of(comparing.COMPARING).last.outputs.answers.path
    before = answers.stat()
    assert main(command) == 0
    assert answers.stat() == before
    # An output that a finished stage should hold and does not is an error; the stage is named.
    shutil.rmtree(out / "comparing")
    capsys.readouterr()
    assert main(["report", str(out)]) == 2
    assert "--redo comparing" in capsys.readouterr().err


def _check_table(run: FinishedRun, variants: list[str], figures: list[dict[str, Any]]) -> None:
    """Accuracy and difference of one category, counted from the answers."""
    rows = run.of(comparing.COMPARING).last.outputs.answers.read()
    first, second = variants[:2]
    right = {
        name: [row.right for row in rows if (row.variant, row.category) == (name, "dialogue")]
        for name in (first, second)
    }
    shares = {name: sum(found) / 6 for name, found in right.items()}
    [path] = (run.root / "report/tables").glob("by-*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        table = {row["variant"]: row for row in csv.DictReader(file)}
    column = next(name for name in table[first] if name.startswith("dialogue ("))
    for name, share in shares.items():
        assert table[name][column].startswith(f"{100 * share:.1f} (")
        assert {"value": share, "n": 6}.items() <= next(
            f for f in figures if f["key"] == f"{name}.dialogue"
        ).items()
    change = table[f"{second} less {first}, points"][column]
    expected = f"{100 * (shares[second] - shares[first]):+.1f}"
    assert change.split(" (")[0] == ("0.0" if expected in ("+0.0", "-0.0") else expected)
    assert table["chance"][column] == "25.0"


def _check_scores(run: FinishedRun, variants: dict[str, pretraining.Config]) -> None:
    """Scores of all choices against one plain forward pass each."""
    [compared] = run.of(comparing.COMPARING).stages
    tokenizer = load_chat_format(compared.inputs.tokenizer.path).tokenizer
    asked = {question.id: question for question in compared.inputs.questions.read()}
    rows = compared.outputs.answers.read()
    assert len(rows) == len(asked) * len(variants)
    for variant, folder in compared.inputs.models:
        model = load_transformer(folder.path)
        for row in [row for row in rows if row.variant == variant][::5]:
            question = asked[row.id]
            before = [tokenizer.bos_id, *tokenizer.encode(question.context)]
            ends = []
            for choice in question.choices:
                whole = [tokenizer.bos_id, *tokenizer.encode(question.context + choice)]
                assert whole[: len(before)] == before
                ends.append(whole[len(before) :])
            kept = before[-(model.config.context + 1 - max(map(len, ends))) :]
            for end, score in zip(ends, row.scores, strict=True):
                expected = _logprob(model, [*kept, *end], len(kept))
                assert score == pytest.approx(expected, abs=2e-3)
            best = max(range(len(row.scores)), key=row.scores.__getitem__)
            assert row.right == (best == question.answer)


def _check_points(run: FinishedRun, variants: dict[str, pretraining.Config]) -> None:
    [timed] = run.of(throughput.THROUGHPUT).stages
    rows, settings = timed.outputs.points.read(), timed.config
    limit = settings.memory_gib * 2**30
    for number, row in enumerate(rows, 1):
        assert row.seconds == row.fastest == row.slowest == number
        assert row.queries_per_second == pytest.approx(row.batch / number)
        assert row.latency_ms == pytest.approx(1e3 * number / 4)
    assert {row.variant for row in rows} == {"mha", "mqa", "gqa"}
    for variant in ("mha", "mqa", "gqa"):
        shape = variants[variant].model
        for length in settings.contexts:
            line = [r for r in rows if r.variant == variant and r.context == length]
            assert [r.batch for r in line] == [2**i for i in range(len(line))]
            weights = 4 * shape.parameter_count
            dtype = cache_type(Transformer(shape))
            sizes = [
                KVCache.bytes(shape, 2**i, length + settings.new_tokens, dtype)
                for i in range(len(line) + 1)
            ]
            assert weights + sizes[-2] <= limit < weights + sizes[-1]


def test_unknown_study_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "atention"]) == 2
    assert "Did you mean 'attention'?" in capsys.readouterr().err
    assert main(["study", "attention", "--tokens", "3"]) == 2
