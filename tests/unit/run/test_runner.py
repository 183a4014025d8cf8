"""The runner on toy stages: skip, resume, compare, redo, record."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from camelid.errors import CamelidError, CheckpointError, ConfigError, DataError, MissingInputError
from camelid.run import runner
from camelid.run.directory import RunDirectory
from camelid.run.files import append_jsonl
from camelid.run.finished import FinishedRun
from camelid.run.item import AbsentError
from camelid.run.place import (
    Corpus,
    Json,
    ModelFolder,
    Place,
    StageFolder,
    StageInputs,
    StageOutputs,
    place,
)
from camelid.run.progress import RunProgress
from camelid.run.runner import Execution
from camelid.run.stage import NoInputs, NoSettings, PlannedStage, RunSettings, StageKind
from camelid.seeds import derive_seed
from camelid.settings import to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    steps: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    name: str = "toy"
    seed: int = 0
    watts: float | None = 100.0
    sft: Settings = field(default_factory=Settings)


class DataOutputs(StageOutputs):
    rows: Corpus = place("rows.txt")
    notes: Json[Count] = place("notes.json", optional=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class SftInputs(StageInputs):
    rows: Corpus
    notes: Json[Count] | None = None
    wired: str = "a"


class SftOutputs(StageOutputs):
    model: ModelFolder = place("model")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportInputs(StageInputs):
    stages: tuple[StageFolder, ...]


class ReportOutputs(StageOutputs):
    page: Place = place("index.html")


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    resumed_at: int
    seed: int


class Toy:
    """Three stages that count how often they run and stop where they are told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stop: BaseException | None = None
        self.wired = "a"
        self.needs_notes = False
        self.forgets = False
        kinds = {"config": NoSettings, "result": NoSettings}
        self.data_kind = StageKind(
            **kinds | {"result": Count},
            name="data",
            inputs=NoInputs,
            outputs=DataOutputs,
            run=self.data,
        )
        self.sft_kind = StageKind(
            name="sft",
            config=Settings,
            inputs=SftInputs,
            outputs=SftOutputs,
            result=Trained,
            run=self.sft,
        )
        self.report_kind = StageKind(
            **kinds,
            name="reporting",
            inputs=ReportInputs,
            outputs=ReportOutputs,
            run=self.reporting,
            shows=True,
        )

    def data(self, config, inputs, outputs, context):
        self.calls.append(context.name)
        outputs.rows.write([f"{context.run_seed}"])
        return Count(rows=1)

    def sft(self, config, inputs, outputs, context):
        self.calls.append(context.name)
        steps = context.work / "steps.jsonl"
        done = len(steps.read_text(encoding="utf-8").splitlines()) if steps.exists() else 0
        for step in range(done, config.steps):
            append_jsonl(steps, {"step": step})
            context.progress.update(step + 1, config.steps, loss=1.0)
            time.sleep(0.01)
            if self.stop is not None and step == 1:
                raise self.stop
        if not self.forgets:
            outputs.model.path.mkdir()
            weights = outputs.model.path / "weights"
            weights.write_text(next(inputs.rows.documents()), encoding="utf-8")
        return Trained(resumed_at=done, seed=context.seed)

    def reporting(self, config, inputs, outputs, context):
        self.calls.append(context.name)
        if self.stop is not None:
            raise self.stop
        outputs.page.path.write_text("report", encoding="utf-8")
        return NoSettings()

    def stages(self, recipe: Recipe) -> list[PlannedStage]:
        data = PlannedStage("data", self.data_kind, NoSettings(), NoInputs())
        made = data.outputs()
        notes = made.notes if self.needs_notes else None
        inputs = SftInputs(rows=made.rows, notes=notes, wired=self.wired)
        sft = PlannedStage("v1/sft", self.sft_kind, recipe.sft, inputs)
        everything = ReportInputs(stages=(StageFolder("data", ""), StageFolder("v1/sft", "")))
        report = PlannedStage("reporting", self.report_kind, NoSettings(), everything)
        return [data, sft, report]


@dataclass(frozen=True)
class Machine:
    """Stands for a `Runtime`, which imports torch."""

    precision: str = "float32"
    threads: int = 1
    device_name: str = "cpu"
    torch_version: str = "2"


class Runner:
    def __init__(self, root: Path) -> None:
        self.toy = Toy()
        self.root = root
        self.machine = Machine()

    def __call__(self, recipe: Recipe | None = None, **choices: Any) -> list[str]:
        recipe = recipe or Recipe()
        self.toy.calls.clear()
        only = choices.pop("only", None)
        execution = Execution(
            stages=self.toy.stages(recipe),
            directory=RunDirectory(self.root),
            name=recipe.name,
            recipe=to_json(recipe),
            settings=RunSettings(seed=recipe.seed, watts=recipe.watts),
            runtime=self.machine,
            progress=choices.pop("progress", RunProgress()),
        )
        if only is not None:
            execution.perform_only(only)
        else:
            execution.perform_all(**choices)
        return list(self.toy.calls)

    def manifest(self) -> dict[str, Any]:
        return json.loads((self.root / "run.json").read_text(encoding="utf-8"))

    def result(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / name / "result.json").read_text(encoding="utf-8"))

    def finished(self) -> FinishedRun:
        return FinishedRun(self.root, self.toy.stages(Recipe()))


@pytest.fixture
def run(tmp_path, monkeypatch) -> Runner:
    monkeypatch.setattr(runner, "hash_source", lambda: "source")
    return Runner(tmp_path / "runs" / "toy")


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_run_records_what_it_did(run):
    assert run() == ["data", "v1/sft", "reporting"]
    manifest = run.manifest()
    assert manifest["recipe"] == "toy"
    assert list(manifest["stages"]) == ["data", "v1/sft", "reporting"]
    record = manifest["stages"]["v1/sft"]
    assert record["seconds"] > 0
    assert record["peak_memory_gib"] > 0
    assert record["energy_kwh"] == pytest.approx(record["seconds"] * 100 * 1.1 / 3.6e6, rel=0.05)
    assert record["co2_kg"] == pytest.approx(record["energy_kwh"] * 0.385)
    assert record["started"] <= record["finished"]
    assert record["fingerprint"]["inputs"].keys() == {"data/rows.txt"}
    # An optional output that the stage did not make.
    assert record["fingerprint"]["wiring"] == {
        "rows": "data/rows.txt",
        "notes": None,
        "wired": "a",
    }
    assert run.result("v1/sft") == {"resumed_at": 0, "seed": derive_seed(0, "v1/sft")}
    assert (run.root / "report").readlink() == Path("reporting")
    assert (run.root / "report" / "index.html").read_text(encoding="utf-8") == "report"
    assert not list((run.root / ".partial").rglob("*.json"))
    recipe = json.loads((run.root / "recipe.json").read_text(encoding="utf-8"))
    assert recipe == {"name": "toy", "seed": 0, "watts": 100.0, "sft": {"steps": 3}}


def test_a_second_run_does_nothing(run):
    run()
    before = snapshot(run.root)
    assert run() == []
    assert snapshot(run.root) == before


@pytest.mark.parametrize("stop", [ValueError("bad"), KeyboardInterrupt()])
def test_a_stopped_stage_goes_on(run, stop):
    run.toy.stop = stop
    with pytest.raises(type(stop)):
        run()
    assert not (run.root / "v1").exists()
    assert not (run.root / ".partial" / "v1" / "sft" / "out").exists()
    first = float((run.root / ".partial/v1/sft/seconds.json").read_text(encoding="utf-8"))
    run.toy.stop = None
    assert run() == ["v1/sft", "reporting"]
    assert run.result("v1/sft")["resumed_at"] == 2
    assert run.manifest()["stages"]["v1/sft"]["seconds"] > first > 0


def test_a_stopped_stage_does_not_go_on_with_other_settings(run):
    run.toy.stop = ValueError("bad")
    with pytest.raises(ValueError, match="bad"):
        run()
    run.toy.stop = None
    changed = Recipe(sft=Settings(steps=5))
    with pytest.raises(
        ConfigError, match=r"v1/sft is interrupted.*sft\.steps: 3 -> 5.*--redo v1/sft"
    ):
        run(changed)
    assert run(changed, redo="v1/sft") == ["v1/sft", "reporting"]
    assert run.result("v1/sft")["resumed_at"] == 0


def test_a_folder_without_a_record_is_made_again(run):
    run(until="data")
    manifest = run.manifest()
    manifest["stages"].clear()
    (run.root / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert run(until="data") == ["data"]


def change_threads(run: Runner) -> None:
    run.machine = replace(run.machine, threads=2)


def change_precision(run: Runner) -> None:
    run.machine = replace(run.machine, precision="bfloat16")


def change_device(run: Runner) -> None:
    run.machine = replace(run.machine, device_name="cuda")


def change_wiring(run: Runner) -> None:
    run.toy.wired = "b"


def change_source(run: Runner) -> None:
    runner.hash_source = lambda: "other"  # restored by the fixture's monkeypatch


@pytest.mark.parametrize(
    ("change", "recipe", "message"),
    [
        (
            lambda run: None,
            Recipe(sft=Settings(steps=4)),
            r"Stage v1/sft is finished.*sft\.steps: 3 -> 4",
        ),
        (lambda run: None, Recipe(seed=1), r"Stage data .*seed 0 -> 1.*--redo data"),
        (lambda run: None, Recipe(name="other"), "is a run of recipe 'toy', not of 'other'"),
        (change_threads, Recipe(), r"threads 1 -> 2 \(--threads 1 undoes it\)"),
        (change_precision, Recipe(), "precision float32 -> bfloat16"),
        (change_device, Recipe(), "device cpu -> cuda"),
        (change_wiring, Recipe(), "Stage v1/sft .*its wired: 'a' -> 'b'"),
        (change_source, Recipe(), "source of the camelid package has changed"),
    ],
)
def test_a_difference_is_named_and_changes_nothing(run, change, recipe, message):
    run()
    change(run)
    before = snapshot(run.root)
    with pytest.raises(ConfigError, match=message):
        run(recipe)
    after = snapshot(run.root)
    for files in (before, after):
        files.pop(".hashes.json")
        files.pop("run.lock")
    assert after == before
    assert run.toy.calls == []


def test_case_watts_of_a_finished_run_change_what_it_cost(run):
    run()
    before = run.manifest()["stages"]["v1/sft"]
    # Only the report is made again, which shows them.
    assert run(Recipe(watts=5.0)) == ["reporting"]
    assert run.manifest()["watts"] == 5.0
    after = run.manifest()["stages"]["v1/sft"]
    for cost in ("energy_kwh", "co2_kg"):
        assert after[cost] == pytest.approx(before[cost] / 20)
    assert run(Recipe(watts=None)) == []
    assert run.manifest()["watts"] == 5.0


def test_redo_makes_a_stage_and_all_after_it(run):
    run()
    assert run(Recipe(sft=Settings(steps=4)), redo="v1/sft") == ["v1/sft", "reporting"]
    assert run(Recipe(sft=Settings(steps=4))) == []


def test_only_makes_one_stage_without_comparing(run):
    run()
    change_source(run)
    (run.root / "data" / "rows.txt").write_text("other", encoding="utf-8")
    assert run(only="reporting") == ["reporting"]


def test_case_newcomer_1_a_report_made_on_the_way_is_made_again(run):
    run(until="data")
    assert run(only="reporting") == ["reporting"]
    assert run() == ["v1/sft", "reporting"]


@pytest.mark.parametrize(
    ("path", "stage"),
    [("data/rows.txt", "data"), ("v1/sft/model/weights", "v1/sft"), ("data/result.json", "data")],
)
def test_case_newcomer_4_the_damaged_stage_is_named(run, path, stage):
    """Also where a later stage read the file, and where none does."""
    run()
    (run.root / path).write_text("other", encoding="utf-8")
    before = snapshot(run.root)
    with pytest.raises(CheckpointError, match=rf"{stage} is .* changed since.*--redo {stage}$"):
        run()
    assert snapshot(run.root) == before
    redone = ["data", "v1/sft", "reporting"]
    assert run(redo=stage) == redone[redone.index(stage) :]
    assert run() == []


def test_case_newcomer_4_what_a_stage_stumbles_over_is_damage_where_there_is_some(run):
    run()
    run.toy.stop = ZeroDivisionError("division by zero")
    with pytest.raises(ZeroDivisionError):
        run(only="reporting")
    # The message of who read the file names file and line; it stays.
    run.toy.stop = CheckpointError("rows.jsonl, line 3: wrong. --redo data")
    with pytest.raises(CheckpointError, match="line 3"):
        run(only="reporting")
    run.toy.stop = ZeroDivisionError("division by zero")
    (run.root / "v1/sft/model/weights").write_text("other", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"v1/sft/model has changed since.*--redo v1/sft$"):
        run(only="reporting")


def test_a_run_made_before_hashes_were_kept_goes_on(run):
    run()
    manifest = run.manifest()
    for record in manifest["stages"].values():
        del record["outputs"]
    (run.root / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert run() == []
    (run.root / "data" / "rows.txt").write_text("other", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"Stage v1/sft .*input data/rows\.txt has changed"):
        run()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), DataError("replies.jsonl:3: bad")])
def test_a_report_that_is_not_made_leaves_the_old_one(run, stop):
    run()
    before = snapshot(run.root / "reporting"), run.manifest()["stages"]
    run.toy.stop = stop
    with pytest.raises(type(stop)):
        run(only="reporting")
    assert (snapshot(run.root / "reporting"), run.manifest()["stages"]) == before
    run.toy.stop = None
    assert run(only="reporting") == ["reporting"]


def test_what_would_be_deleted_and_not_made_is_refused(run):
    run()
    before = snapshot(run.root)
    with pytest.raises(ConfigError, match="--until data comes before --redo v1/sft"):
        run(redo="v1/sft", until="data")
    assert snapshot(run.root) == before


def test_case_redo_that_until_would_not_make_again_deletes_nothing(run):
    run()
    before = snapshot(run.root)
    with pytest.raises(ConfigError, match=r"--redo data deletes v1/sft too, and --until data"):
        run(redo="data", until="data")
    assert snapshot(run.root) == before
    # Only the report is left, which shows the run.
    assert run(redo="v1/sft", until="v1/sft") == ["v1/sft"]
    assert run() == ["reporting"]


@pytest.mark.parametrize("error", [DataError("rows: bad"), ZeroDivisionError("x")])
def test_case_redo_that_fails_deletes_nothing(run, error):
    run()
    run.toy.stop = error
    before = snapshot(run.root)
    with pytest.raises(type(error)):
        run(Recipe(sft=Settings(steps=4)), redo="v1/sft")
    after = snapshot(run.root)
    assert {path: after[path] for path in before} == before
    run.toy.stop = None
    assert run() == []
    assert run(Recipe(sft=Settings(steps=4)), redo="v1/sft") == ["v1/sft", "reporting"]


def test_a_redo_that_is_interrupted_goes_on(run):
    run()
    run.toy.stop = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(Recipe(sft=Settings(steps=4)), redo="v1/sft")
    run.toy.stop = None
    assert run(Recipe(sft=Settings(steps=4))) == ["v1/sft", "reporting"]


def test_a_report_made_elsewhere_keeps_where_the_model_was_trained(run):
    run()
    change_device(run)
    change_threads(run)
    assert run(only="reporting") == ["reporting"]
    assert (run.manifest()["device"], run.manifest()["threads"]) == ("cpu", 1)


def test_until_stops_after_a_stage(run):
    assert run(until="v1/sft") == ["data", "v1/sft"]
    assert run() == ["reporting"]


@pytest.mark.parametrize("choice", ["redo", "until", "only"])
def test_an_unknown_stage_names_the_nearest(run, choice):
    with pytest.raises(ConfigError, match=r"no stage 'v1/stf'.*'v1/sft'"):
        run(**{choice: "v1/stf"})
    assert not run.root.exists()


def test_a_missing_input_names_its_stage(run):
    # An optional output, which the settings of its stage decided against.
    run.toy.needs_notes = True
    with pytest.raises(
        MissingInputError,
        match=r"Stage v1/sft cannot start: .*notes\.json does not exist; stage data makes it",
    ):
        run()


def test_a_lost_output_is_noticed_before_anything_runs(run):
    run(until="data")
    (run.root / "data" / "rows.txt").unlink()
    with pytest.raises(CheckpointError, match=r"data is recorded .*rows\.txt is gone.*--redo data"):
        run()
    assert not (run.root / "v1").exists()


def test_a_lost_folder_is_noticed(run):
    run()
    (run.root / "v1" / "sft" / "result.json").unlink()
    with pytest.raises(CheckpointError, match=r"v1/sft is recorded .*--redo v1/sft"):
        run()
    assert run(redo="v1/sft") == ["v1/sft", "reporting"]


def test_case_report_of_a_stage_that_is_out_of_date(run):
    """As after a run that was put together from two."""
    run()
    known = run.manifest()
    known["stages"]["data"]["outputs"]["rows.txt"] = "0" * 64
    (run.root / "run.json").write_text(json.dumps(known), encoding="utf-8")
    message = r"v1/sft is out of date: .* another data/rows\.txt than data .*--redo v1/sft"
    with pytest.raises(CheckpointError, match=message):
        run(only="reporting")
    assert (run.root / "reporting" / "index.html").is_file()


def test_a_damaged_manifest_is_named(run):
    run()
    (run.root / "run.json").write_text('{"recipe": "toy", "sta', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"run\.json: not valid JSON.*damaged.*--out"):
        run()


def test_a_damaged_hash_cache_costs_nothing(run):
    run()
    for text in ("{", "[1]", '{"a": 1}', "null", "\xff", "[" * 100_000):
        (run.root / ".hashes.json").write_text(text, encoding="latin-1")
        assert run() == []
    assert json.loads((run.root / ".hashes.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["", "null", "[]", "NaN", "-3", "1" * 5000])
def test_a_damaged_clock_starts_anew(run, text):
    run.toy.stop = ValueError("bad")
    with pytest.raises(ValueError, match="bad"):
        run()
    (run.root / ".partial/v1/sft/seconds.json").write_text(text, encoding="utf-8")
    run.toy.stop = None
    assert run() == ["v1/sft", "reporting"]
    assert 0 < run.manifest()["stages"]["v1/sft"]["seconds"] < 60


def test_a_damaged_start_of_a_stage_is_named(run):
    run.toy.stop = ValueError("bad")
    with pytest.raises(ValueError, match="bad"):
        run()
    run.toy.stop = None
    for text in ("{", "{}", "null"):
        (run.root / ".partial/v1/sft/fingerprint.json").write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"fingerprint\.json.*--redo v1/sft"):
            run()
    assert run(redo="v1/sft") == ["v1/sft", "reporting"]


def test_a_second_holder_is_refused(run):
    run(until="data")
    with RunDirectory(run.root).lock(), pytest.raises(CamelidError, match=f"pid {os.getpid()}"):
        run()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left on device")],
)
def test_a_full_disk_is_one_line_and_leaves_no_half(run, error):
    run.toy.stop = error
    with pytest.raises(CamelidError, match="The disk is full") as caught:
        run()
    assert "\n" not in str(caught.value)
    assert not (run.root / "v1").exists()
    assert not (run.root / ".partial" / "v1" / "sft" / "out").exists()
    run.toy.stop = None
    assert run() == ["v1/sft", "reporting"]


def test_progress_hears_everything(run):
    class Listener(RunProgress):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[Any] = []

        def started(self, name):
            self.heard.append(("started", name))

        def skipped(self, name, seconds):
            self.heard.append(("skipped", name))

        def finished(self, name, seconds):
            self.heard.append(("finished", name))

        def failed(self, name):
            self.heard.append(("failed", name))

        def update(self, done, total, **metrics):
            self.heard.append((done, total, metrics))

    run.toy.stop = ValueError("bad")
    listener = Listener()
    with pytest.raises(ValueError, match="bad"):
        run(progress=listener)
    assert listener.heard == [
        ("started", "data"),
        ("finished", "data"),
        ("started", "v1/sft"),
        (1, 3, {"loss": 1.0}),
        (2, 3, {"loss": 1.0}),
        ("failed", "v1/sft"),
    ]
    run.toy.stop = None
    listener.heard.clear()
    run(progress=listener, until="v1/sft")
    assert listener.heard[:2] == [("skipped", "data"), ("started", "v1/sft")]


def test_an_output_that_is_declared_and_not_written_is_a_mistake_of_the_stage(run):
    run.toy.forgets = True
    with pytest.raises(RuntimeError, match="v1/sft declares model and did not write it"):
        run()
    assert list(run.manifest()["stages"]) == ["data"]
    assert not (run.root / "v1").exists()
    run.toy.forgets = False
    assert run() == ["v1/sft", "reporting"]


def test_a_run_seen_afterwards_is_typed(run):
    run(until="v1/sft")
    seen = run.finished()
    (sft,) = seen.of(run.toy.sft_kind).stages
    assert (sft.name, sft.part, sft.config) == ("v1/sft", "v1", Settings())
    assert sft.result == Trained(resumed_at=0, seed=derive_seed(0, "v1/sft"))
    assert sft.outputs.model.path == run.root / "v1/sft/model"
    assert list(sft.inputs.rows.documents()) == ["0"]
    data = seen.of(run.toy.data_kind).last
    assert (data.part, data.result, data.outputs.notes.exists) == ("data", Count(rows=1), False)
    assert list(seen.trained) == ["data", "v1/sft"]
    with pytest.raises(AbsentError):
        seen.of(run.toy.report_kind).last  # noqa: B018 (the property raises)
    run()
    assert list(run.finished().trained) == ["data", "v1/sft"]


def test_an_output_of_a_finished_stage_that_is_gone_is_an_error(run):
    run()
    shutil.rmtree(run.root / "v1/sft/model")
    seen = run.finished()
    seen.of(run.toy.data_kind)
    with pytest.raises(MissingInputError, match=r"stage v1/sft makes it.*--redo v1/sft"):
        seen.of(run.toy.sft_kind)
