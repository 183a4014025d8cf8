"""The command line on a toy recipe: words, exit codes, messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import camelid
import camelid.recipes.studies  # the stand-in for camelid.recipes is no package
from camelid import cli
from camelid.cli import main, make_parser
from camelid.errors import ConfigError, TrainingError
from camelid.options import override
from camelid.run import runner
from camelid.run.runner import Environment, Stage

GOLDEN = Path(__file__).parents[1] / "golden" / "cli_options.txt"
SOURCE = str(Path(camelid.__file__).parents[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    learning_rate: float = 2e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    optimizer: Optimizer = field(default_factory=Optimizer)
    epochs: int = 2
    packed: bool = True
    temperatures: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicData:
    directory: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromWeights:
    public_data: PublicData = field(default_factory=PublicData)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    name: str
    seed: int = 0
    watts: float = 10.0
    threads: int = 1
    precision: str = "float32"
    sft: Settings = field(default_factory=Settings)
    from_weights: FromWeights | None = None


def toy() -> Recipe:
    """The smallest recipe.

    Second paragraph.
    """
    return Recipe(name="toy")


def real() -> Recipe:
    """Takes data."""
    return Recipe(name="real", from_weights=FromWeights())


class World:
    """Stand-ins for the modules that the lead recipes live in."""

    def __init__(self, monkeypatch) -> None:
        self.error: BaseException | None = None
        self.seen: list[Recipe] = []
        self.table = [("stage", "helpful"), ("sft", "0.6")]
        modules = {
            "camelid.plan": types.SimpleNamespace(Recipe=Recipe, stages=self.stages),
            "camelid.recipes": types.SimpleNamespace(RECIPES={"toy": toy, "real": real}),
            "camelid.report": types.SimpleNamespace(final_table=lambda root: self.table),
            "camelid.inference.chat": types.SimpleNamespace(chat_loop=self.chat),
        }
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(
            cli, "_environment", lambda recipe: Environment(precision="float32", threads=1)
        )
        monkeypatch.setattr(runner, "hash_source", lambda: "source")

    def stages(self, recipe):
        return [
            Stage("sft", lambda config, context: self.sft(recipe), recipe.sft, ()),
            Stage("reporting", self.reporting, {}, ("sft",)),
        ]

    def sft(self, recipe):
        self.seen.append(recipe)
        if self.error is not None:
            raise self.error
        return {}

    def reporting(self, config, context):
        (context.out / "summary.json").write_text("[]", encoding="utf-8")
        return {}

    def chat(self, root, models):
        print(f"chat {root} {' '.join(models)}")


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(monkeypatch)


def test_run_ends_with_the_table_and_the_next_command(world, capsys):
    assert main(["run", "toy"]) == 0
    out = capsys.readouterr().out
    assert "stage  helpful\nsft    0.6\n" in out
    assert "Report: runs/toy/report/index.html\nNext:   camelid chat runs/toy\n" in out
    assert main(["run", "toy"]) == 0
    assert len(world.seen) == 1


def test_options_reach_the_recipe(world, tmp_path):
    words = "run toy --out x --seed 5 --sft.optimizer.learning_rate 3e-4 --sft.packed False"
    assert main([*words.split(), "--sft.temperatures", "0.5", "1.5", "--sft.epochs=7"]) == 0
    recipe = world.seen[0]
    assert recipe.seed == 5
    assert recipe.sft == Settings(
        optimizer=Optimizer(learning_rate=3e-4), epochs=7, packed=False, temperatures=(0.5, 1.5)
    )
    saved = json.loads((tmp_path / "x" / "recipe.json").read_text(encoding="utf-8"))
    assert saved["sft"]["epochs"] == 7
    assert main(["run", "--recipe", "x/recipe.json", "--out", "y"]) == 0
    assert world.seen[1] == recipe


def test_data_folder_reaches_the_recipe(world, tmp_path):
    (tmp_path / "d").mkdir()
    assert main(["run", "real", "--data", "d"]) == 0
    assert world.seen[0].from_weights.public_data.directory == str(tmp_path / "d")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run toyy", "There is no recipe 'toyy'. Did you mean 'toy'?"),
        ("run", "Name one recipe"),
        ("run toy --recipe x.json", "Name one recipe"),
        ("run --recipe none.json", "none.json does not exist"),
        ("run toy --sft.optimizer.learningrate 1", "Did you mean 'sft.optimizer.learning_rate'?"),
        ("run toy --redoo sft", "Did you mean 'redo'?"),
        ("run toy --epoch 3", "no option and no field"),
        ("run toy --redo stf", "no stage 'stf' in this recipe. Did you mean 'sft'?"),
        ("run toy --seed x", "argument --seed: invalid int value: 'x'"),
        ("run toy stray", "'stray' is neither an option nor"),
        ("run toy --sft.epochs two", "--sft.epochs is 'two', but must be a whole number."),
        ("run toy --sft.epochs", "--sft.epochs needs a value"),
        ("run toy --data none", "--data: none does not exist"),
        ("run toy --data .", "Recipe toy takes no --data"),
        ("rum toy", "invalid choice: 'rum'"),
        ("list stray", "Unknown words: stray"),
        ("show nothing", "neither a recipe nor a run directory"),
        ("chat runs/none", "There is no run at runs/none"),
        ("report runs/none", "There is no run at runs/none"),
        ("", "required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(world, capsys, words, message):
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("camelid: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_override_leaves_the_recipe_alone():
    recipe = toy()
    assert override(recipe, []) is recipe
    assert override(recipe, ["--sft.epochs", "9"]).sft.epochs == 9
    assert recipe.sft.epochs == 2
    with pytest.raises(ConfigError, match=r"sft\.epochs"):
        override(recipe, ["--sft.epoch", "9"])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (TrainingError("The loss is nan at step 3."), 1, "camelid: The loss is nan at step 3."),
        (KeyboardInterrupt(), 130, "goes on from here"),
        (ZeroDivisionError("x"), 1, "internal error"),
        (OSError(28, "No space left on device"), 2, "The disk is full"),
    ],
)
def test_exit_codes(world, capsys, error, code, message):
    world.error = error
    assert main(["run", "toy"]) == code
    said = capsys.readouterr().err
    assert message in said
    assert ("Traceback" in said) == isinstance(error, ZeroDivisionError)
    world.error = None
    assert main(["run", "toy"]) == 0


def test_an_interruption_that_native_code_made_an_error_is_a_stop(capsys, monkeypatch):
    def interrupted(known, rest):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape") from None

    monkeypatch.setattr(cli, "_run", interrupted)
    assert main(["run", "pocket"]) == 130
    said = capsys.readouterr().err
    assert "goes on from here" in said
    assert "Traceback" not in said


def test_list_show_chat_report(world, capsys):
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("toy: The smallest recipe.\n    sft reporting\n")
    assert main(["show", "toy"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["field", "used", "paper"]
    line = next(line for line in shown if line.startswith("sft.optimizer.learning_rate"))
    assert line.split(maxsplit=2)[1:] == ["2e-05", "2e-5 (Section 3.1)"]
    assert main(["run", "toy", "--sft.epochs", "4"]) == 0
    assert main(["show", "runs/toy"]) == 0
    assert "sft.epochs                   4" in capsys.readouterr().out
    assert main(["chat", "runs/toy"]) == 0
    assert main(["chat", "runs/toy", "--compare", "sft", "final"]) == 0
    assert capsys.readouterr().out == "chat runs/toy final\nchat runs/toy sft final\n"
    Path("runs/toy/report/summary.json").unlink()
    assert main(["report", "runs/toy"]) == 0
    assert Path("runs/toy/report/summary.json").exists()
    assert len(world.seen) == 1


def test_an_empty_final_table_is_no_error(world, capsys):
    world.table = []
    assert main(["run", "toy"]) == 0
    out = capsys.readouterr().out
    assert "Report:" in out
    assert "Next:" not in out


def test_a_damaged_recipe_is_named(world, capsys):
    assert main(["run", "toy"]) == 0
    path = Path("runs/toy/recipe.json")
    path.write_text(path.read_text(encoding="utf-8").replace("epochs", "epocs"), encoding="utf-8")
    assert main(["report", "runs/toy"]) == 2
    assert "recipe.json.sft.epocs is unknown. Did you mean 'epochs'?" in capsys.readouterr().err


def test_help_imports_no_torch():
    program = (
        "import sys\nfrom camelid.cli import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--redo STAGE" in done.stdout


def options() -> str:
    """All commands and options, one a line."""
    parser = make_parser()
    commands = next(a for a in parser._actions if a.dest == "command").choices
    lines = []
    for name, command in commands.items():
        for action in command._actions:
            if action.dest != "help":
                words = ", ".join(action.option_strings) or f"<{action.metavar}>"
                lines.append(f"{name} {words}".rstrip())
        if len(command._actions) == 1:
            lines.append(name)
    return "\n".join(lines) + "\n"


def test_options_are_frozen():
    assert options() == GOLDEN.read_text(encoding="utf-8"), (
        "The commands or options changed; if meant, change tests/golden/cli_options.txt too."
    )
