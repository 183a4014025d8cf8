"""The command line on a toy recipe: words, exit codes, messages."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from camelid.cli import main, plans
from camelid.cli import run as run_command
from camelid.cli import show as show_command
from camelid.cli.parser import elsewhere, make_parsers
from camelid.cli.seeds import run_at_once
from camelid.errors import ConfigError, TrainingError
from camelid.formats.convert import convert
from camelid.plan import Plan
from camelid.recipes import RECIPES
from camelid.run import runner
from camelid.run.directory import RunDirectory
from camelid.run.item import Measure
from camelid.run.place import ModelFolder, StageInputs, StageOutputs, TokenizerFolder, place
from camelid.run.stage import NoInputs, NoSettings, StageKind
from camelid.settings import PaperValue
from camelid.stages import reporting
from camelid.stages.reporting import add_report

GOLDEN = Path(__file__).parents[1] / "golden" / "cli_options.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    learning_rate: float = 2e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    optimizer: Optimizer = field(default_factory=Optimizer)
    epochs: int = 2
    packed: bool = True
    temperatures: tuple[float, ...] = (1.0,)
    data: str | None = None


class Outputs(StageOutputs):
    model: ModelFolder = place("model")
    tokenizer: TokenizerFolder = place("tokenizer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    model: ModelFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    name: str
    config: Any
    seed: int


class World:
    """Two small stages and a report, and what was seen of them."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.seen: list[Row] = []
        self.headline: tuple[str, str] | None = ("helpful", "sft")
        self.values: dict[int, float] = {}
        """Figure by seed."""
        self.sft = StageKind(
            name="sft",
            config=Settings,
            inputs=NoInputs,
            outputs=Outputs,
            result=NoSettings,
            run=self.run,
            paper={"optimizer.learning_rate": PaperValue("2e-5", "Section 3.1")},
        )
        self.tuning = StageKind(
            name="tuning",
            config=Settings,
            inputs=Inputs,
            outputs=Outputs,
            result=NoSettings,
            run=self.run,
        )

    def run(self, config, inputs, outputs, context):
        self.seen.append(Row(name=context.name, config=config, seed=context.run_seed))
        if self.error is not None:
            raise self.error
        for made in outputs.places():
            made.path.mkdir()
        return NoSettings()

    def report(self, config, inputs, outputs, context):
        measure = Measure(
            key="x",
            value=self.values.get(context.run_seed, 0.6),
            unit="share",
            judge=None,
            headline=self.headline,
        )
        outputs.summary.write((measure,))
        outputs.tables.path.mkdir()
        for made in (outputs.page, outputs.model_card, outputs.safety_report):
            made.path.write_text("", encoding="utf-8")
        return reporting.Result(measures=1, measures_missing=0, artefacts={})

    def toy(self, *, rounds: int = 2, data: Path | None = None) -> Plan:
        """The smallest recipe.

        Second paragraph.
        """
        if data is not None and not data.exists():
            raise ConfigError(f"--data: {data} does not exist.")
        plan = Plan("toy")
        made = plan.add(self.sft, Settings(data=str(data) if data else None), NoInputs())
        plan.tokenizer = made.tokenizer
        plan.models["sft"] = made.model
        for number in range(1, rounds + 1):
            made = plan.add(self.tuning, Settings(), Inputs(model=made.model), within=f"v{number}")
        plan.models["final"] = made.model
        add_report(plan)
        return plan

    def config(self, name: str) -> Settings:
        """Return the settings with which a stage ran last."""
        return next(row.config for row in reversed(self.seen) if row.name == name)


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    monkeypatch.chdir(tmp_path)
    made = World()
    for name in list(RECIPES):
        monkeypatch.delitem(RECIPES, name)
    monkeypatch.setitem(RECIPES, "toy", made.toy)
    kind = replace(reporting.REPORTING, run=made.report)
    monkeypatch.setattr(reporting, "REPORTING", kind)
    monkeypatch.setattr(runner, "hash_source", lambda: "source")
    return made


def test_run_ends_with_the_figures_and_the_next_command(world, capsys):
    assert main(["run", "toy"]) == 0
    out = capsys.readouterr().out
    assert "\nhelpful: sft  60.0 %\n" in out
    assert "Report: runs/toy/report/index.html\nNext:   camelid chat runs/toy\n" in out
    assert main(["run", "toy"]) == 0
    assert [row.name for row in world.seen] == ["sft", "v1/tuning", "v2/tuning"]


def test_settings_reach_the_stages(world, tmp_path):
    words = "run toy --out x --seed 5 --sft.optimizer.learning_rate 3e-4 --sft.packed False"
    assert main([*words.split(), "--sft.temperatures", "0.5", "1.5", "--sft.epochs=7"]) == 0
    assert world.seen[0].seed == 5
    assert world.config("sft") == Settings(
        optimizer=Optimizer(learning_rate=3e-4), epochs=7, packed=False, temperatures=(0.5, 1.5)
    )
    assert world.config("v1/tuning") == Settings()
    saved = json.loads((tmp_path / "x" / "recipe.json").read_text(encoding="utf-8"))
    assert saved["options"] == {"rounds": 2, "data": None}
    assert saved["run"]["seed"] == 5
    assert saved["settings"]["sft"]["epochs"] == 7
    before = list(world.seen)
    assert main(["run", "--recipe", "x/recipe.json", "--out", "y"]) == 0
    assert world.seen == [*before, *before]
    assert (
        main(
            [
                "run",
                "--recipe",
                "x/recipe.json",
                "--out",
                "z",
                "--seed",
                "6",
                "--tuning.epochs",
                "1",
            ]
        )
        == 0
    )
    assert (world.seen[-1].seed, world.config("v2/tuning").epochs) == (6, 1)


def test_one_stage_wins_over_its_kind(world):
    for words in (
        "--tuning.epochs 5 --v2.tuning.epochs 8 --v2.tuning.packed False",
        "--v2.tuning.packed=False --v2.tuning.epochs=8 --tuning.epochs 5",
    ):
        assert main(["run", "toy", *words.split(), "--redo", "sft"]) == 0
        assert world.config("v1/tuning") == Settings(epochs=5)
        assert world.config("v2/tuning") == Settings(epochs=8, packed=False)


def test_options_of_the_recipe(world, tmp_path, capsys):
    (tmp_path / "d").mkdir()
    assert main(["run", "toy", "--rounds", "3", "--data", "d", "--out", "x"]) == 0
    assert [row.name for row in world.seen[1:]] == ["v1/tuning", "v2/tuning", "v3/tuning"]
    assert world.config("sft").data == str(tmp_path / "d")
    saved = json.loads((tmp_path / "x" / "recipe.json").read_text(encoding="utf-8"))
    assert saved["options"] == {"rounds": 3, "data": str(tmp_path / "d")}
    assert main(["run", "--recipe", "x/recipe.json", "--out", "y"]) == 0
    assert len(world.seen) == 8


def test_settings_of_the_run(world):
    words = "run toy --seed 1 --threads 1 --precision float32 --watts 10.5"
    assert main(words.split()) == 0
    manifest = json.loads(Path("runs/toy/run.json").read_text(encoding="utf-8"))
    found = {name: manifest[name] for name in ("seed", "threads", "precision", "watts")}
    assert found == {"seed": 1, "threads": 1, "precision": "float32", "watts": 10.5}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run toyy", "There is no recipe 'toyy'. Did you mean 'toy'?"),
        ("study attentoin", "There is no study 'attentoin'. Did you mean 'attention'?"),
        ("run", "Name one recipe"),
        ("run toy --recipe x.json", "Name one recipe"),
        ("run --recipe none.json", "none.json does not exist"),
        ("run toy --sft.optimizer.learningrate 1", "Did you mean 'optimizer.learning-rate'?"),
        ("run toy --stf.epochs 1", "no setting of toy. Did you mean '--sft.epochs'?"),
        ("run toy --v3.tuning.epochs 1", "no setting of toy. Did you mean '--tuning.epochs'?"),
        ("run toy --v2.tuning.epoch 1", "--v2.tuning.epoch: there is no field 'epoch'."),
        ("run toy --sft.optimizer 1", "is a group; give a field of it: optimizer.learning-rate."),
        ("run toy --redoo sft", "Did you mean '--redo'?"),
        ("run toy --round 3", "Did you mean '--rounds'?"),
        ("run toy --zzz 3", "`camelid show toy` lists them"),
        ("run toy --rounds two", "--rounds is 'two', but must be a whole number."),
        ("run toy --rounds 1 2", "--rounds is [1, 2], but must be a whole number."),
        ("run toy --redo stf", "no stage 'stf' in this plan. Did you mean 'sft'?"),
        ("run toy --until stf", "no stage 'stf' in this plan. Did you mean 'sft'?"),
        ("run toy --seed x", "--seed is 'x', but must be a whole number."),
        ("run toy --seeds 0", "--seeds is 0, but must be from 1 to 1,000."),
        ("run toy --seeds -2", "--seeds is -2, but must be from 1 to 1,000."),
        ("run toy --seeds x", "--seeds is 'x', but must be a whole number."),
        ("run toy --seeds 2 --jobs 0", "--jobs is 0, but must be from 1 to 1,000."),
        (
            "run toy --jobs 2",
            "--jobs is how many of several seeds run at once; it needs --seeds N.",
        ),
        ("run toy --precision float16", "--precision is 'float16', but must be one of 'auto'"),
        ("run toy --threads 1.5", "--threads is 1.5, but must be a whole number."),
        ("run toy stray", "'stray' is neither an option nor"),
        ("run toy --sft.epochs two", "--sft.epochs is 'two', but must be a whole number."),
        ("run toy --sft.epochs", "--sft.epochs needs a value"),
        ("run toy --data none", "none does not exist"),
        ("rum toy", "There is no command 'rum'. Did you mean 'run'?"),
        ("xyz toy", "There is no command 'xyz'. There are: list, run, init, study, show,"),
        ("convert a b --to gguff", "Did you mean 'gguf'?"),
        ("list stray", "Unknown words: stray"),
        ("show nothing", "neither a recipe nor a run directory"),
        ("show toyy", "Did you mean 'toy'?"),
        ("chat runs/none", "There is no run and no model at runs/none"),
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


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (TrainingError("The loss is nan at step 3."), 1, "camelid: The loss is nan at step 3."),
        (KeyboardInterrupt(), 130, "goes on from here"),
        (ZeroDivisionError("x"), 1, "internal error"),
        (OSError(28, "No space left on device"), 2, "The disk is full"),
        (PermissionError(13, "Permission denied", "runs"), 2, "camelid: runs: Permission denied."),
        (OSError(36, "File name too long", "x"), 2, "camelid: x: File name too long."),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "internal error"),
    ],
)
def test_exit_codes(world, capsys, error, code, message):
    world.error = error
    assert main(["run", "toy"]) == code
    said = capsys.readouterr().err
    assert message in said
    assert ("Traceback" in said) == ("internal error" in said)
    world.error = None
    assert main(["run", "toy"]) == 0


def test_an_interruption_that_native_code_made_an_error_is_a_stop(capsys, monkeypatch):
    def interrupted(known, rest):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape") from None

    monkeypatch.setattr(run_command, "call", interrupted)
    assert main(["run", "pocket"]) == 130
    said = capsys.readouterr().err
    assert "goes on from here" in said
    assert "Traceback" not in said


def test_an_interruption_while_a_text_is_executed_exits_alike(tmp_path):
    """Dataclasses execute texts on import; Python would end by the signal itself afterwards."""
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from camelid import cli\n"
        "from camelid.cli import list as command\n"
        "text = 'import signal; signal.raise_signal(signal.SIGINT)'\n"
        "command.call = lambda *_: exec(text)\n"
        "sys.exit(cli.main(['list']))\n"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    signal.signal(signal.SIGINT, before)
    assert "camelid: stopped." in done.stderr
    assert done.returncode == 130


def test_list_and_show(world, capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("toy: The smallest recipe.\n    sft v1/tuning v2/tuning reporting\n")
    assert "study attention: Multi-head" in said
    assert main(["show", "toy"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1:3] == ["options of toy", "--rounds  2"]
    line = next(line for line in shown if line.startswith("--sft.optimizer.learning-rate"))
    assert line.split(maxsplit=2)[1:] == ["2e-05", "paper 2e-5 (Section 3.1)"]
    assert main(["show", "toy", "--changed"]) == 0
    assert capsys.readouterr().out == ""
    # Rounds with equal settings are shown once, others each.
    assert [line.split()[:2] for line in shown if "tuning.epochs" in line] == [
        ["--tuning.epochs", "2"]
    ]
    assert main(["run", "toy", "--v2.tuning.epochs", "4"]) == 0
    capsys.readouterr()
    assert main(["show", "runs/toy"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown if "tuning.epochs" in line] == [
        ["--v1.tuning.epochs", "2"],
        ["--v2.tuning.epochs", "4"],
    ]


def test_chat(world, capsys, monkeypatch):
    def chat(name, speakers, sampling):
        shown = " ".join(f"{model}={found.model}" for model, found in speakers.items())
        print(f"chat {name} {shown} {sampling.temperature}")

    monkeypatch.setattr("camelid.inference.chat.chat_loop", chat)
    monkeypatch.setattr("camelid.tokenization.chat.chat_format_of", lambda tokenizer: tokenizer)
    load = lambda self, runtime, chat_format: (self.path, chat_format)  # noqa: E731
    monkeypatch.setattr("camelid.inference.models.NamedModel.load", load)
    assert main(["run", "toy", "--until", "v1/tuning"]) == 0
    capsys.readouterr()
    sft = "runs/toy/sft/model"
    # The last model that there is, under its name.
    assert main(["chat", "runs/toy"]) == 0
    said = capsys.readouterr()
    assert said.out == f"chat runs/toy sft={sft} 0.6\n"
    assert said.err == "runs/toy: no final model yet; this is sft, the newest.\n"
    assert main(["run", "toy"]) == 0
    capsys.readouterr()
    final = "runs/toy/v2/tuning/model"
    for words, models in (
        ("", f"final={final}"),
        ("--model sft", f"sft={sft}"),
        ("--model v2/tuning", f"v2/tuning={final}"),
        ("--compare sft final", f"sft={sft} final={final}"),
        (f"--compare sft {sft}", f"sft={sft} model={sft}"),
        (f"--compare {sft} {final}", f"model={sft} {final}={final}"),
    ):
        assert main(["chat", "runs/toy", *words.split()]) == 0
        assert capsys.readouterr().out == f"chat runs/toy {models} 0.6\n"
    # Weights of any kind, and a model of a run by its name.
    for words, models in (
        (f"{sft} --temperature 0", f"model={sft} 0.0"),
        ("runs/toy:sft", f"sft={sft} 0.6"),
    ):
        assert main(["chat", *words.split()]) == 0
        assert capsys.readouterr().out == f"chat {words.split()[0]} {models}\n"
    assert main(["chat", "runs/toy", "--model", "stf"]) == 2
    assert "no model 'stf'. Did you mean 'sft'? There are: sft, final." in capsys.readouterr().err


def test_a_folder_of_the_name_of_a_model_is_not_it(world, capsys):
    assert main(["run", "toy"]) == 0
    Path("final").mkdir()
    shutil.rmtree("runs/toy/v2/tuning/model")
    assert main(["chat", "runs/toy"]) == 2
    assert "stage v2/tuning makes it" in capsys.readouterr().err
    assert main(["chat", "runs/toy:sft", "--model", "final2"]) == 2
    assert "names the model 'sft', --model 'final2'; name one." in capsys.readouterr().err


def test_case_chat_without_the_final_model_talks_to_no_other(world, capsys):
    assert main(["run", "toy"]) == 0
    shutil.rmtree("runs/toy/v2/tuning/model")
    capsys.readouterr()
    for words in ("chat runs/toy", "chat runs/toy --model final", "evaluate runs/toy"):
        assert main(words.split()) == 2
        said = capsys.readouterr().err
        assert "v2/tuning/model does not exist; stage v2/tuning makes it" in said
        assert "--redo v2/tuning" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("chat w --model sft", "w is no run, so it has no model 'sft'. Leave the name out."),
        ("chat w --temperature hot", "--temperature is 'hot', but must be a number."),
        ("chat w --temperature -1", "--temperature is -1.0, but must be from 0 to 100."),
        ("chat w --chat-format x", "invalid choice: 'x'"),
        ("chat w --model a --model b", "--model is given twice"),
        ("report w", "There is no run at w: it has no run.json."),
        ("report w/weights", "There is no run at w/weights: a file."),
        ("show w", "There is no run at w: it has no run.json."),
    ],
)
def test_case_a_folder_that_is_no_run_is_left_alone(world, capsys, words, message):
    Path("w").mkdir()
    Path("w/weights").write_text("precious", encoding="utf-8")
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "emove" not in said
    assert "elete" not in said


@pytest.mark.parametrize(
    "command", ["chat runs/toy", "report runs/toy", "run toy", "show runs/toy"]
)
def test_case_a_damaged_manifest_does_not_advise_to_remove_the_run(world, capsys, command):
    assert main(["run", "toy"]) == 0
    Path("runs/toy/run.json").write_text('{"recipe": "to', encoding="utf-8")
    capsys.readouterr()
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert "runs/toy/run.json: not valid JSON" in said
    assert "put run.json back from a copy" in said
    assert "emove" not in said


def test_case_a_recipe_file_holds_everything(world, capsys):
    assert main(["run", "toy"]) == 0
    capsys.readouterr()
    whole = json.loads(Path("runs/toy/recipe.json").read_text(encoding="utf-8"))
    for path in (("settings", "sft", "epochs"), ("run", "seed"), ("options", "rounds")):
        written = json.loads(json.dumps(whole))
        *above, last = path
        part = written
        for name in above:
            part = part[name]
        del part[last]
        Path("own.json").write_text(json.dumps(written), encoding="utf-8")
        assert main(["run", "--recipe", "own.json", "--out", "y"]) == 2
        said = capsys.readouterr().err
        assert f"own.json: {'.'.join(path)} is missing; the file must hold every setting" in said
    # A run that an earlier version made is still one to talk to.
    del whole["settings"]["sft"]["epochs"]
    Path("runs/toy/recipe.json").write_text(json.dumps(whole), encoding="utf-8")
    assert main(["show", "runs/toy"]) == 0


@pytest.mark.parametrize("out", ["file/below", "/proc/x/y", "file", "/dev/null/x"])
def test_case_no_folder_can_be_made(world, capsys, out):
    Path("file").write_text("x", encoding="utf-8")
    assert main(["run", "toy", "--out", out]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"camelid: {out}")
    assert "Choose another" in said
    assert said.count("\n") == 1
    assert Path("file").read_text(encoding="utf-8") == "x"


def test_case_chat_with_a_closed_input(world, capsys, monkeypatch):
    assert main(["run", "toy"]) == 0
    monkeypatch.setattr("sys.stdin", None)
    assert main(["chat", "runs/toy"]) == 2
    assert "standard input is closed" in capsys.readouterr().err


def test_case_what_does_not_go_on_is_not_said_to(capsys, monkeypatch):
    def interrupted(known, rest):
        raise KeyboardInterrupt

    for command, words in ((show_command, "show pocket"), (run_command, "run pocket")):
        monkeypatch.setattr(command, "call", interrupted)
        assert main(words.split()) == 130
        assert ("goes on from here" in capsys.readouterr().err) == (command is run_command)


def test_case_advice_is_for_the_command_that_gave_it(world, capsys):
    assert main(["run", "toy"]) == 0
    for command in ("report", "run"):
        name, more = ("runs/toy", []) if command == "report" else ("toy", [])
        with RunDirectory(Path("runs/toy")).lock():
            assert main([command, name, *more]) == 2
        said = capsys.readouterr().err
        assert "Wait for it to end, stop it, or take another folder." in said
        assert "--" not in said
    shutil.rmtree("runs/toy/sft")
    assert main(["compare", "runs/toy", "runs/other"]) == 2
    capsys.readouterr()
    assert main(["chat", "runs/toy:sft"]) == 2
    assert "--redo sft (--redo: of `camelid run`)" in capsys.readouterr().err
    assert main(["run", "toy"]) == 2
    said = capsys.readouterr().err
    assert "--redo sft" in said
    assert "of `camelid" not in said


@pytest.mark.parametrize(
    ("message", "command", "remark"),
    [
        ("Make it with --redo x or --out DIR.", "report", " (--redo, --out: of `camelid run`)"),
        ("Take --to hf.", "chat", " (--to: of `camelid convert`)"),
        ("Name it: --tokenizer PATH of `camelid convert`.", "chat", ""),
        ("Run `camelid run toy --redo x`.", "chat", ""),
        ("Set --ppo.iterations, or --no-such.", "chat", ""),
        ("--model is not needed.", "chat", ""),
    ],
)
def test_options_of_other_commands_are_called_so(message, command, remark):
    assert elsewhere(message, command) == remark


def of_other_code(root: Path, *lost: str) -> None:
    """Make a run one of other code, whose recipe lacks some settings."""
    for name, change in (("run.json", '"source": "older'), ("recipe.json", "")):
        text = (root / name).read_text(encoding="utf-8")
        if change:
            text = text.replace('"source": "source', change)
        else:
            recipe = json.loads(text)
            for stage in lost:
                del recipe["settings"][stage]
            text = json.dumps(recipe)
        (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "words", ["compare runs/toy runs/other", "report runs/toy", "chat runs/toy"]
)
def test_case_a_run_of_older_code_is_called_so(world, capsys, monkeypatch, words):
    monkeypatch.setattr(plans, "hash_source", lambda: "source")
    assert main(["run", "toy"]) == 0
    assert main(["run", "toy", "--out", "runs/other"]) == 0
    recipe = Path("runs/toy/recipe.json")
    whole = recipe.read_text(encoding="utf-8")
    of_other_code(Path("runs/toy"), "v2/tuning")
    capsys.readouterr()
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert "made by another version of the package (camelid 0.1.0, source older; this is" in said
    assert "settings of v2/tuning are missing" in said
    assert "It lacks v2/tuning.optimizer.learning_rate, v2/tuning.epochs, v2/tuning.packed" in said
    assert "make it anew with `camelid run toy --out DIR`" in said
    assert "Did you mean" not in said
    recipe.write_text(whole, encoding="utf-8")
    assert main(["report", "runs/toy"]) == 0
    # A file that older code wrote otherwise is no damage either.
    Path("runs/toy/report/summary.json").write_text('[{"key": "x"}]', encoding="utf-8")
    capsys.readouterr()
    assert main(["compare", "runs/toy", "runs/other"]) == 2
    said = capsys.readouterr().err
    assert "made by another version" in said
    assert "is missing and has no default" in said


def test_an_installed_package_names_its_weights(tiny_weights, tmp_path, monkeypatch, capsys):
    convert(tiny_weights, tmp_path / "made.gguf", to="gguf")
    package = tmp_path / "llm_tiny"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError", encoding="utf-8")
    (tmp_path / "made.gguf").rename(package / "tiny.gguf")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setattr(sys, "stdin", io.StringIO("/exit\n"))
    assert main(["chat", "llm-tiny"]) == 0
    assert "llm-tiny: tiny. Commands" in capsys.readouterr().out
    assert main(["convert", "llm_tiny", "out", "--to", "hf"]) == 0
    assert Path("out/model.safetensors").is_file()


def test_a_report_is_made_again(world):
    assert main(["run", "toy"]) == 0
    Path("runs/toy/report/summary.json").unlink()
    assert main(["report", "runs/toy"]) == 0
    assert Path("runs/toy/report/summary.json").exists()
    assert len(world.seen) == 3


def by_seed(root: Path) -> dict[str, float | None]:
    """What the report over seeds says of each."""
    written = json.loads((root / "report/seeds.json").read_text(encoding="utf-8"))
    assert written["recipe"] == "toy"
    [figure] = written["figures"]
    found: dict[str, float | None] = figure["by_seed"]
    return found


def test_several_seeds_are_runs_of_their_own_in_one_folder(world, capsys):
    world.values = {5: 0.5, 6: 0.7}
    assert main(["run", "toy", "--seeds", "2", "--seed", "5", "--sft.epochs", "3"]) == 0
    root = Path("runs/toy")
    assert sorted(path.name for path in root.iterdir()) == ["report", "seed5", "seed6"]
    assert [(row.name, row.seed) for row in world.seen] == [
        (name, seed) for seed in (5, 6) for name in ("sft", "v1/tuning", "v2/tuning")
    ]
    assert {row.config.epochs for row in world.seen if row.name == "sft"} == {3}
    for seed in (5, 6):
        saved = json.loads((root / f"seed{seed}/recipe.json").read_text(encoding="utf-8"))
        assert saved["run"]["seed"] == seed
    assert by_seed(root) == {"5": 0.5, "6": 0.7}
    out = capsys.readouterr().out
    assert "Seed 5 (1 of 2)" in out
    assert "Seed 6 (2 of 2)" in out
    # The interval of two seeds is wide: 12.7 standard errors of 0.1.
    assert "Means over the seeds 5, 6:\nhelpful: sft  60.0 % (0.0 to 100.0)\n" in out
    assert out.endswith(f"\nReport: {root}/report/seeds.html\n")
    page = (root / "report/seeds.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)">seed (\d)', page)
    assert [seed for _, seed in links] == ["5", "6"]
    assert all((root / "report" / link).is_file() for link, _ in links)


def test_more_seeds_are_added_to_those_that_are_done(world):
    assert main(["run", "toy", "--seeds", "1"]) == 0
    first = list(world.seen)
    assert {row.seed for row in first} == {0}
    assert main(["run", "toy", "--seeds", "3"]) == 0
    assert world.seen[: len(first)] == first
    assert [row.seed for row in world.seen[len(first) :]] == [1, 1, 1, 2, 2, 2]
    assert by_seed(Path("runs/toy")) == {"0": 0.6, "1": 0.6, "2": 0.6}
    # Fewer seeds take none away.
    assert main(["run", "toy", "--seeds", "1"]) == 0
    assert by_seed(Path("runs/toy")) == {"0": 0.6, "1": 0.6, "2": 0.6}
    assert len(world.seen) == 9


def test_a_folder_with_one_run_takes_no_seeds(world, capsys):
    assert main(["run", "toy"]) == 0
    before = sorted(Path("runs/toy").rglob("*"))
    assert main(["run", "toy", "--seeds", "2"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "camelid: runs/toy is a run with one seed; choose another folder for several with --out.\n"
    )
    assert sorted(Path("runs/toy").rglob("*")) == before
    assert main(["run", "toy", "--seeds", "2", "--out", "other"]) == 0
    assert by_seed(Path("other")) == {"0": 0.6, "1": 0.6}


def test_seeds_that_stop_early_are_not_reported_over(world, capsys):
    assert main(["run", "toy", "--seeds", "2", "--until", "sft"]) == 0
    assert [(row.name, row.seed) for row in world.seen] == [("sft", 0), ("sft", 1)]
    assert not Path("runs/toy/report").exists()
    assert main(["report", "runs/toy"]) == 2
    assert "runs/toy: no run of a seed has finished its report yet." in capsys.readouterr().err
    # One of them goes on; the other does not count.
    assert main(["run", "toy", "--seeds", "1"]) == 0
    assert by_seed(Path("runs/toy")) == {"0": 0.6}


def test_a_report_over_seeds_is_made_again(world, capsys):
    world.headline = ("<b>helpful</b>", "<i>sft</i>")
    assert main(["run", "toy", "--seeds", "3"]) == 0
    folder = Path("runs/toy/report")
    made = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert set(made) == {"seeds.html", "seeds.json"}
    for path in folder.iterdir():
        path.unlink()
    capsys.readouterr()
    assert main(["report", "runs/toy"]) == 0
    out = capsys.readouterr().out
    assert "Means over the seeds 0, 1, 2:\n<b>helpful</b>: <i>sft</i>  60.0 %" in out
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == made
    page = made["seeds.html"]
    assert "<b>helpful" not in page
    assert "&lt;b&gt;helpful&lt;/b&gt;: &lt;i&gt;sft&lt;/i&gt;" in page
    # Nothing was trained again, and the report of one seed is still made as before.
    assert len(world.seen) == 9
    Path("runs/toy/seed1/report/summary.json").unlink()
    assert main(["report", "runs/toy/seed1"]) == 0
    assert Path("runs/toy/seed1/report/summary.json").exists()


def test_no_figures_are_no_error(world, capsys):
    world.headline = None
    assert main(["run", "toy"]) == 0
    out = capsys.readouterr().out
    assert "%" not in out
    assert "Report:" in out


def test_a_run_without_its_report_ends_well(world, capsys):
    assert main(["run", "toy", "--until", "sft"]) == 0
    assert "Report:" not in capsys.readouterr().out


def test_a_damaged_recipe_is_named(world, capsys):
    assert main(["run", "toy"]) == 0
    path = Path("runs/toy/recipe.json")
    path.write_text(path.read_text(encoding="utf-8").replace("epochs", "epocs"), encoding="utf-8")
    assert main(["report", "runs/toy"]) == 2
    said = capsys.readouterr().err
    assert "recipe.json: sft.epocs is unknown. Did you mean 'epochs'?" in said
    path.write_text('{"recipe": ', encoding="utf-8")
    assert main(["report", "runs/toy"]) == 2
    assert "finished stages are kept" in capsys.readouterr().err


def options() -> str:
    """All commands and options, one a line."""
    lines = []
    for name, command in make_parsers()[1].items():
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


def python(code: str) -> list[str]:
    """A command that runs a line of Python."""
    return [sys.executable, "-c", code]


def test_seeds_run_at_once_with_their_lines_marked_and_failures_named(capfd):
    commands = {
        3: python("print('three')"),
        4: python("import sys; print('four', file=sys.stderr); sys.exit(2)"),
        5: python("print('five')"),
    }
    assert run_at_once(commands, 2) == [4]
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == ["seed 3: three", "seed 4: four", "seed 5: five"]


def test_seeds_run_at_once_as_many_as_jobs(tmp_path):
    # Each waits for a file that only the other writes; one after the other would never end.
    code = """
import pathlib, sys, time
here, there = map(pathlib.Path, sys.argv[1:])
here.touch()
until = time.monotonic() + 60
while not there.exists():
    time.sleep(0.01)
    if time.monotonic() > until: sys.exit(1)
"""
    files = [str(tmp_path / name) for name in "ab"]
    assert run_at_once({0: [*python(code), *files], 1: [*python(code), *files[::-1]]}, 2) == []


def test_ctrl_c_reaches_seeds_that_run_at_once_and_starts_no_more(tmp_path):
    code = f"""
import signal, sys
from camelid.cli.seeds import run_at_once
# Started in the background, a process would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
child = '''
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path(sys.argv[1]).write_text("stopped")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1]).write_text("on")
time.sleep(60)
'''
names = [{str(tmp_path)!r} + f"/{{seed}}" for seed in range(3)]
try:
    run_at_once({{i: [sys.executable, "-c", child, name] for i, name in enumerate(names)}}, 2)
except KeyboardInterrupt:
    sys.exit(130)
"""
    with subprocess.Popen(python(code), process_group=0) as parent:
        until = time.monotonic() + 60
        while not all((tmp_path / name).exists() for name in "01"):
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.2)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(30) == 130
    found = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert found == {"0": "stopped", "1": "stopped"}


def test_jobs_of_one_recipe_are_runs_of_its_settings(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["--jobs", "2", "--until", "world_data", "--world_data.demonstrations", "120"]
    assert main(["run", "smoke", "--seeds", "2", "--seed", "4", "--threads", "1", *words]) == 0
    for seed in (4, 5):
        folder = Path(f"runs/smoke/seed{seed}")
        saved = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        assert (saved["run"]["seed"], saved["run"]["threads"]) == (seed, 1)
        assert len((folder / "world_data/demonstrations.jsonl").read_bytes().splitlines()) == 120
    capfd.readouterr()
    # A setting that does not fit is an error of each seed, named by it.
    assert main(["run", "smoke", "--seeds", "2", "--jobs", "2", "--redo", "nosuch"]) == 1
    out, error = capfd.readouterr()
    assert "seed 0: camelid: " in out
    assert "runs/smoke: failed with seed 0, 1; the lines above say why." in error
