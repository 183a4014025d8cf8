"""Recipes in a user's file: found, run, found again by their run, and mistakes in them named."""

from __future__ import annotations

import json
import re

import pytest

from camelid.cli import main
from camelid.cli.recipe_files import load_recipe
from camelid.errors import ConfigError, MissingInputError

GOOD = """
from camelid.plan import Plan
from camelid.recipes.pocket import smoke


def mine(*, rounds: int = 1) -> Plan:
    \"\"\"A recipe of a user.

    Args:
        rounds: How many.
    \"\"\"
    plan = smoke(rounds=rounds)
    plan.name = "mine"
    return plan


def helper() -> int:
    return 1
"""


@pytest.fixture
def write(tmp_path):
    def write_one(text, name="recipe.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_one


def test_a_recipe_is_found_by_what_it_returns(write):
    path = write(GOOD)
    name, recipe = load_recipe(str(path))
    assert name == f"{path}:mine"
    assert recipe(rounds=1).stages[0].name == "world_data"
    assert load_recipe(name)[0] == name


def test_it_runs_with_its_options_and_its_run_finds_it(write, tmp_path, capsys):
    path, run = write(GOOD), tmp_path / "run"
    arguments = [str(path), "--rounds", "2", "--until", "world_data", "--threads", "1"]
    assert main(["run", *arguments, "--out", str(run)]) == 0
    described = json.loads((run / "recipe.json").read_text())
    assert described["recipe"] == f"{path}:mine"
    assert described["options"] == {"rounds": 2}
    capsys.readouterr()
    assert main(["show", str(run)]) == 0
    assert re.search(r"--rounds +2\n +How many\.", capsys.readouterr().out)
    assert main(["show", str(path)]) == 0
    assert re.search(r"--rounds +1\n", capsys.readouterr().out)
    path.unlink()
    assert main(["show", str(run)]) == 2
    assert "a run needs the file that it was made by" in capsys.readouterr().err


def test_mistakes_in_the_file_are_named_with_their_line(write, capsys):
    for text, said in (
        ("x = 1\ny = z\n", r"line 2: NameError: name 'z' is not defined"),
        ("def f(:\n", r"line 1: SyntaxError"),
        ("x = 1\n", r"holds no function that is declared to return a Plan"),
        (f"{GOOD}\n\ndef other() -> Plan:\n    return mine()\n",
         r"holds several recipes \(mine, other\)\. Name one: .*recipe\.py:FUNCTION"),
        (GOOD.replace("rounds=rounds", "rounds=1 / 0"), r"line \d+: ZeroDivisionError"),
    ):  # fmt: skip
        path = write(text, f"recipe{abs(hash(text))}.py")
        assert main(["run", str(path)]) == 2
        assert re.search(said.replace("recipe\\.py", path.name), capsys.readouterr().err)


def test_what_is_not_there_is_said(write, tmp_path):
    with pytest.raises(MissingInputError, match=r"no such recipe file"):
        load_recipe(str(tmp_path / "none.py"))
    with pytest.raises(ConfigError, match=r"holds no function 'yours' that is declared"):
        load_recipe(f"{write(GOOD)}:yours")
