"""`camelid evaluate` tells what is wrong before it loads anything."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from camelid.cli import main
from camelid.cli.evaluate import find_model
from camelid.errors import MissingInputError
from camelid.recipes import pocket
from camelid.run.directory import Manifest, RunDirectory
from camelid.runtime import Runtime


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x", "--suite", "table33"], "no benchmark or suite 'table33'"),
        (["x", "--suite", "arc"], "Did you mean 'arc_easy'? Suites: mmlu, bbh, "),
        (["x", "--suite", "zzz"], "'zzz'. Suites: mmlu, bbh, "),
        (["nowhere"], "There is no run and no model at nowhere"),
        (["x", "--suite", "gsm8k@many"], "needed a whole number"),
        (["x", "--limit", "0"], "--limit is 0, but must be from 1"),
        (["x", "--data", "nowhere"], "--data: nowhere is no folder"),
    ],
)
def test_mistakes(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_extra_is_named_where_it_is_missing(capsys, tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.startswith(("lm_eval", "camelid.benchmarks.evaluating")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert main(["evaluate", str(tmp_path), "--suite", "piqa", "--data", str(tmp_path)]) == 2
    assert (
        "pip install 'lm-eval>=0.4.13', or pip install '.[eval]' in the" in capsys.readouterr().err
    )


@pytest.fixture
def run(tmp_path) -> Path:
    """A run in which two stages have made their models."""
    made = RunDirectory(tmp_path / "pocket")
    made.create()
    made.write_manifest(
        Manifest(
            recipe="pocket",
            seed=0,
            camelid_version="0",
            python="3",
            torch="2",
            platform="x",
            device="cpu",
            threads=1,
            precision="float32",
            watts=65.0,
            power_usage_effectiveness=1.1,
            carbon_kg_per_kwh=0.385,
        )
    )
    plan = pocket()
    made.write_recipe(plan.description())
    for name in ("sft", "v1"):
        plan.models[name].at(made.root).path.mkdir(parents=True)
    return made.root


def test_models_are_named_by_run_or_path(tmp_path, run):
    models = {name: place.at(run).path for name, place in pocket().models.items()}
    newest = find_model(str(run))
    assert (newest.name, newest.path) == ("v1", models["v1"])
    named = find_model(f"{run}:sft")
    assert (named.name, named.path, named.run) == ("sft", models["sft"], run)
    assert find_model(f"{run}:v1/rejection_sampling").path == models["v1"]
    with pytest.raises(MissingInputError, match=r"no model 'stf'.*Did you mean 'sft'.*: sft, v1"):
        find_model(f"{run}:stf")
    with pytest.raises(MissingInputError, match="no model 'ppo'"):
        find_model(f"{run}:ppo")
    file = tmp_path / "weights.gguf"
    file.write_bytes(b"GGUF")
    assert (find_model(str(file)).name, find_model(str(file)).run) == ("weights", None)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(MissingInputError, match="no model here"):
        find_model(str(tmp_path / "nothing")).load(Runtime())
    with pytest.raises(MissingInputError, match="There is no run and no model at"):
        find_model(str(tmp_path / "gone"))


def test_a_run_without_a_model_says_so(run):
    shutil.rmtree(run / "sft")
    shutil.rmtree(run / "v1")
    with pytest.raises(MissingInputError, match="no model yet"):
        find_model(str(run))
