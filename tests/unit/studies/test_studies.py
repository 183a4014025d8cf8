"""Studies: variants that match, a whole tiny study, and its numbers against plain loops."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from camelid.recipes.studies import STUDIES, Study, matched_ffn_dim, study_stages

from camelid import cli
from camelid.cli import main
from camelid.data.records import Question
from camelid.errors import ConfigError
from camelid.formats.folder import load_transformer
from camelid.inference.generation import cache_type
from camelid.model.attention import KVCache
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.recipes import studies
from camelid.run.rows import read_records
from camelid.settings import from_json, to_json
from camelid.simulation.world import WorldConfig
from camelid.stages import throughput
from camelid.tokenization.chat import load_chat_format


def tiny(name: str) -> Study:
    study = STUDIES[name]()
    world = WorldConfig(
        people=12, towns=12, creatures=12, documents=300, exercises=20, validation_documents=20
    )
    variants = []
    for variant in study.variants:
        old = variant.pretraining
        full = ModelConfig(
            dim=32, layers=1, heads=4, kv_heads=4, ffn_dim=96, vocabulary_size=512,
            context=old.model.context, tied_embeddings=True,
        )  # fmt: skip
        heads = min(4, old.model.kv_heads)
        width = matched_ffn_dim(full, heads, multiple_of=1)
        model = replace(full, kv_heads=heads, ffn_dim=width)
        variants.append(
            replace(variant, pretraining=replace(old, model=model, tokens=3_000, validate_every=2))
        )
    return replace(
        study,
        study_data=replace(study.study_data, world=world, questions=5),
        tokenizer_training=replace(study.tokenizer_training, vocabulary_size=512),
        variants=tuple(variants),
        throughput=study.throughput
        and throughput.Config(contexts=(8, 24), new_tokens=4, memory_gib=0.0005, rounds=1),
    )


@pytest.mark.parametrize("name", STUDIES)
def test_variants_match_survive_json_and_read_what_was_written(name: str) -> None:
    study = STUDIES[name]()
    counts = [v.pretraining.model.parameter_count for v in study.variants]
    assert max(counts) <= 1.01 * min(counts)
    assert from_json(to_json(study), Study) == study
    assert len({v.pretraining.tokens for v in study.variants}) == 1
    done: list[str] = []
    for stage in study_stages(study):
        for path in stage.inputs:
            assert any(path == d or path.startswith(f"{d}/") for d in done), (stage.name, path)
        done.append(stage.name)


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


def test_unmatched_variants_and_twice_the_same_name_are_refused() -> None:
    study = studies.attention()
    first, second, *others = study.variants
    wide = replace(
        second, pretraining=replace(second.pretraining, model=replace(
            second.pretraining.model, ffn_dim=second.pretraining.model.ffn_dim + 64)),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="within 1%"):
        replace(study, variants=(first, wide, *others))
    with pytest.raises(ConfigError, match="different names"):
        replace(study, variants=(first, first))
    with pytest.raises(ConfigError, match="two variants"):
        replace(study, variants=(first,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cache_bytes_are_those_of_its_tables(dtype: torch.dtype) -> None:
    model = ModelConfig(
        dim=32, layers=3, heads=4, kv_heads=2, ffn_dim=8, vocabulary_size=16, context=64
    )
    cache = KVCache(model, 5, 40, torch.device("cpu"), dtype)
    held = sum(t.numel() * t.element_size() for t in (*cache.keys, *cache.values))
    assert KVCache.bytes(model, 5, 40, dtype) == held


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


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
    study = replace(tiny(name), precision="float32")
    monkeypatch.setitem(STUDIES, name, lambda: study)
    # The n-th measurement takes n seconds.
    readings = (float(sum(range(n // 2 + 1)) + (n % 2) * (n // 2 + 1)) for n in count())
    clock = SimpleNamespace(perf_counter=lambda: next(readings))
    monkeypatch.setattr(throughput, "time", clock)
    out = tmp_path / "study"
    command = ["study", name, "--out", str(out), "--study-data.questions", "6"]
    assert main(command) == 0
    assert str(out / "report" / "index.html") in capsys.readouterr().out
    _check_scores(out, study)
    result = json.loads((out / "comparing/result.json").read_text())["variants"]
    page = (out / "report/index.html").read_text(encoding="utf-8")
    figures = json.loads((out / "report/summary.json").read_text())
    keys = {figure["key"] for figure in figures}
    for variant in study.variants:
        assert f"{variant.name}.facts" in keys
        assert result[variant.name]["parameters"] == variant.pretraining.model.parameter_count
    if name == "context":
        assert "paper: Table 16" in page
        assert "paper: Table 17" in page
        short, long, _ = (result[v.name]["contexts_cut"] for v in study.variants)
        assert short > long
    else:
        assert "paper: Table 18" in page
        assert "paper: Figure 24" in page
        _check_points(out, study)
    assert "Missing" not in page
    _check_table(out, study, figures)
    # A report is made again without the rest, and a second run finds everything done.
    assert main(["report", str(out)]) == 0
    answers = (out / "comparing/answers.jsonl").stat()
    assert main(command) == 0
    assert (out / "comparing/answers.jsonl").stat() == answers
    # Without answers the report says what is missing.
    shutil.rmtree(out / "comparing")
    assert main(["report", str(out)]) == 0
    assert "Missing" in (out / "report/index.html").read_text(encoding="utf-8")


def _check_table(out: Path, study: Study, figures: list[dict[str, Any]]) -> None:
    """Accuracy and difference of one category, counted from the answers."""
    rows = [json.loads(line) for line in _lines(out / "comparing/answers.jsonl")]
    first, second = (v.name for v in study.variants[:2])
    right = {
        name: [r["right"] for r in rows if (r["variant"], r["category"]) == (name, "dialogue")]
        for name in (first, second)
    }
    shares = {name: sum(found) / 6 for name, found in right.items()}
    with (out / "report/tables/general.csv").open(encoding="utf-8", newline="") as file:
        table = {row["variant"]: row for row in csv.DictReader(file)}
    column = next(name for name in table[first] if name.startswith("dialogue ("))
    for name, share in shares.items():
        assert table[name][column].startswith(f"{100 * share:.1f} (")
        assert {"value": share, "n": 6}.items() <= next(
            f for f in figures if f["key"] == f"{name}.dialogue"
        ).items()
    change = table[f"{second} less {first}, points"][column]
    assert change.split(" (")[0] == f"{100 * (shares[second] - shares[first]):+.1f}"
    assert table["chance"][column] == "25.0"


def _check_scores(out: Path, study: Study) -> None:
    """Scores of all choices against one plain forward pass each."""
    tokenizer = load_chat_format(out / "tokenizer_training/tokenizer").tokenizer
    asked = {q.id: q for q in read_records(out / "study_data/questions.jsonl", Question)}
    rows = [json.loads(line) for line in _lines(out / "comparing/answers.jsonl")]
    assert len(rows) == len(asked) * len(study.variants)
    for variant in study.variants:
        model = load_transformer(out / variant.name / "pretraining/model")
        for row in [row for row in rows if row["variant"] == variant.name][::5]:
            question = asked[row["id"]]
            before = [tokenizer.bos_id, *tokenizer.encode(question.context)]
            ends = []
            for choice in question.choices:
                whole = [tokenizer.bos_id, *tokenizer.encode(question.context + choice)]
                assert whole[: len(before)] == before
                ends.append(whole[len(before) :])
            kept = before[-(model.config.context + 1 - max(map(len, ends))) :]
            for end, score in zip(ends, row["scores"], strict=True):
                expected = _logprob(model, [*kept, *end], len(kept))
                assert score == pytest.approx(expected, abs=2e-3)
            best = max(range(len(row["scores"])), key=row["scores"].__getitem__)
            assert row["right"] == (best == question.answer)


def _check_points(out: Path, study: Study) -> None:
    rows = [json.loads(line) for line in _lines(out / "throughput/throughput.jsonl")]
    settings = study.throughput
    assert settings is not None
    limit = settings.memory_gib * 2**30
    for number, row in enumerate(rows, 1):
        assert row["seconds"] == row["fastest"] == row["slowest"] == number
        assert row["queries_per_second"] == pytest.approx(row["batch"] / number)
        assert row["latency_ms"] == pytest.approx(1e3 * number / 4)
    assert {row["variant"] for row in rows} == {"mha", "mqa", "gqa"}
    for variant in study.variants[:3]:
        shape = variant.pretraining.model
        for length in settings.contexts:
            line = [r for r in rows if r["variant"] == variant.name and r["context"] == length]
            assert [r["batch"] for r in line] == [2**i for i in range(len(line))]
            weights = 4 * shape.parameter_count
            dtype = cache_type(Transformer(shape), "float32")
            sizes = [
                KVCache.bytes(shape, 2**i, length + settings.new_tokens, dtype)
                for i in range(len(line) + 1)
            ]
            assert weights + sizes[-2] <= limit < weights + sizes[-1]


def test_unknown_study_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "atention"]) == 2
    assert "Did you mean 'attention'?" in capsys.readouterr().err
    assert cli.main(["study", "attention", "--tokens", "3"]) == 2
