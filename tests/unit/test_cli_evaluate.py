"""`camelid evaluate` tells what is wrong before it loads anything."""

from __future__ import annotations

import sys

import pytest

from camelid.cli import main
from camelid.errors import MissingInputError
from camelid.inference.models import find_model


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x", "--suite", "table33"], "no benchmark or suite 'table33'"),
        (["x", "--suite", "gsm8k@many"], "needed a whole number"),
        (["x", "--limit", "0"], "--limit 0: at least 1"),
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
    assert "pip install 'camelid[eval]'" in capsys.readouterr().err


def test_models_are_named_by_run_or_path(tmp_path):
    run = tmp_path / "pocket"
    for place in ("sft/model", "ppo/model"):
        (run / place).mkdir(parents=True)
    (run / "run.json").write_text("{}")
    assert find_model(str(run)).path == run / "ppo" / "model"
    named = find_model(f"{run}:sft")
    assert (named.name, named.path, named.run) == ("sft", run / "sft" / "model", run)
    with pytest.raises(MissingInputError, match=r"no model 'stf'.*sft"):
        find_model(f"{run}:stf")
    file = tmp_path / "weights.gguf"
    file.write_bytes(b"GGUF")
    assert (find_model(str(file)).name, find_model(str(file)).run) == ("weights", None)
    with pytest.raises(MissingInputError, match="no model here"):
        find_model(str(tmp_path / "nothing")).load()
    with pytest.raises(MissingInputError, match="does not exist"):
        find_model(str(tmp_path / "nothing")).digest()
