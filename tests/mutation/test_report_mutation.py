"""A renamed row field or a removed output fails the report, for every stage.

The files of a finished run are changed one at a time; whatever reads them must raise an error that
names the stage, or the file and the line, and never show the item as missing.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from camelid import allocator, cli
from camelid.errors import CamelidError, CheckpointError, MissingInputError
from camelid.recipes import RECIPES
from camelid.report.page import draw, make_report
from camelid.run.finished import FinishedRun
from camelid.run.place import Json, Place, Rows
from camelid.run.stage import RESULT, PlannedStage

Stage = PlannedStage[Any, Any, Any, Any]
Path_ = tuple[str, ...]

PLAN = RECIPES["smoke"]().stages
STAGES = {stage.name: stage for stage in PLAN}
OUTPUTS = [
    (name, place.name)
    for name, stage in STAGES.items()
    for place in stage.outputs().places()
    if not place.optional
]
RECORDS = [
    (name, place.name)
    for name, stage in STAGES.items()
    for place in (*stage.outputs().places(), Json(name, RESULT, kind=stage.kind.result))
    if isinstance(place, Rows | Json)
]


def place_of(stage: Stage, name: str, root: Path) -> Rows[Any] | Json[Any]:
    folder = root / stage.name
    known = {place.name: place for place in stage.outputs(folder).places()}
    if name == RESULT:
        return Json(stage.name, RESULT, folder, kind=stage.kind.result)
    return typing.cast("Rows[Any] | Json[Any]", known[name])


# What reads which file


def parts(stage: Stage, root: Path) -> dict[str, Callable[[], Any]]:
    """Everything that the report shows of a kind of stage, each by itself and from fresh files."""
    reporter = stage.kind.reporter()

    def found() -> Any:
        return FinishedRun(root, PLAN).of(stage.kind)

    drawn = {item.anchor: lambda item=item: draw(item, found()) for item in reporter.items}
    return drawn | {
        "measures": lambda: list(reporter.find_measures(found())),
        "limits": lambda: list(reporter.find_limits(found())),
    }


@pytest.fixture(scope="module")
def readers(smoke_run: Path) -> dict[str, dict[Path, set[str]]]:
    """Kind of stage -> file of the run -> parts of the report that read it."""
    found: dict[str, dict[Path, set[str]]] = {}
    patch = pytest.MonkeyPatch()
    read: set[Path] = set()

    def watched(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def reading(place: Place) -> Any:
            read.add(place.path.relative_to(smoke_run))
            return original(place)

        return reading

    for kind in (Rows, Json):
        patch.setattr(kind, "read", watched(kind.read))
    for stage in {stage.kind.name: stage for stage in PLAN if not stage.kind.shows}.values():
        for name, part in parts(stage, smoke_run).items():
            read.clear()
            part()
            for path in read:
                found.setdefault(stage.kind.name, {}).setdefault(path, set()).add(name)
    patch.undo()
    return found


def test_the_report_reads_what_it_is_thought_to_read(readers: dict[str, Any]) -> None:
    """Guards the guard: if nothing were seen to be read, nothing would be tested."""
    shown = {str(path) for paths in readers.values() for path in paths}
    assert {
        "world_data/demonstrations.jsonl",
        "world_data/result.json",
        "pretraining/metrics.jsonl",
        "pretraining/validation.jsonl",
        "pretraining/result.json",
        "sft/result.json",
        *(f"{n}/preference_collection/preferences.jsonl" for n in ("v1", "v2")),
        *(f"{n}/preference_collection/test_preferences.jsonl" for n in ("v1", "v2")),
        *(f"{n}/preference_collection/result.json" for n in ("v1", "v2")),
        *(f"{n}/reward_modeling/test_scores.jsonl" for n in ("v1", "v2")),
        *(f"{n}/reward_modeling/gate.json" for n in ("v1", "v2")),
        *(f"{n}/rejection_sampling/samples.jsonl" for n in ("v1", "v2")),
        "v2/rejection_sampling/temperature_tuning.jsonl",
        *(f"{n}/red_teaming/red_teaming.jsonl" for n in ("v1", "v2", "final")),
        *(f"{n}/reward_modeling/drafted_scores.jsonl" for n in ("v1", "v2")),
        *(f"{n}_pick/pick_control/result.json" for n in ("random", "judge")),
        "context_distillation/pairs.jsonl",
        "ghost_attention/recall.jsonl",
        "ppo/iterations.jsonl",
        "ppo/result.json",
        "evaluating/replies.jsonl",
        "evaluating/result.json",
    } <= shown
    assert set(readers) == {s.kind.name for s in PLAN if not s.kind.shows} - {
        "tokenizer_training"  # shows nothing
    }


# A removed output


@pytest.mark.parametrize(("name", "output"), OUTPUTS)
def test_a_removed_output_fails_the_report(smoke_copy: Path, name: str, output: str) -> None:
    stage, root = STAGES[name], smoke_copy
    path = root / name / output
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    run = FinishedRun(root, PLAN)
    with pytest.raises(MissingInputError, match=rf"stage {name} makes it"):
        run.of(stage.kind)
    if not stage.kind.shows:
        # The stage first, so that nothing before it has to be drawn.
        first = [stage, *(other for other in PLAN if other is not stage)]
        with pytest.raises(MissingInputError, match=rf"--redo {name}$"):
            make_report(FinishedRun(root, first))


def test_the_command_names_the_stage_too(
    smoke_copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: True)
    (smoke_copy / "world_data/prompts.jsonl").unlink()
    assert cli._call(["report", str(smoke_copy)]) == 2
    errors = capsys.readouterr().err
    assert "stage world_data makes it" in errors
    assert "Traceback" not in errors


def test_a_removed_result_fails_whatever_reads_it(
    smoke_copy: Path, readers: dict[str, dict[Path, set[str]]]
) -> None:
    root = smoke_copy
    for name, stage in STAGES.items():
        path = root / name / RESULT
        aside = path.rename(root / RESULT)
        with pytest.raises(MissingInputError, match=rf"stage {name} makes it"):
            stage.result(root)
        for part in readers.get(stage.kind.name, {}).get(Path(name) / RESULT, ()):
            with pytest.raises(MissingInputError, match=rf"stage {name} makes it"):
                parts(stage, root)[part]()
        aside.rename(path)


# A renamed field


def fields_of(hint: Any) -> Iterator[Path_]:
    """Paths of all fields of a record type, those of nested records included."""
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        for field in dataclasses.fields(hint):
            yield (field.name,)
            for rest in fields_of(hints[field.name]):
                yield (field.name, *rest)
    else:
        for inner in typing.get_args(hint):
            yield from fields_of(inner)


def renamed(data: Any, path: Path_) -> Any:
    """A record with one field renamed, or None where it does not hold that field."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            if (found := renamed(item, path)) is not None:
                return [*data[:index], found, *data[index + 1 :]]
        return None
    if not isinstance(data, dict):
        return None
    name, *rest = path
    if name not in data:
        # A dictionary of records by name.
        for key, item in data.items():
            if isinstance(item, dict) and (found := renamed(item, path)) is not None:
                return {**data, key: found}
        return None
    if not rest:
        return {(f"{key}_of_old" if key == name else key): value for key, value in data.items()}
    found = renamed(data[name], tuple(rest))
    return None if found is None else {**data, name: found}


def mutants(place: Rows[Any] | Json[Any]) -> Iterator[tuple[Path_, str, str]]:
    """Yield field, text of the file with it renamed, and how an error must call the spot."""
    text = place.path.read_text(encoding="utf-8")
    for path in fields_of(place.kind):
        if isinstance(place, Json):
            changed = renamed(json.loads(text), path)
            if changed is not None:
                yield path, json.dumps(changed), str(place.path)
            continue
        rows = text.splitlines()
        for number, row in enumerate(rows, 1):
            changed = renamed(json.loads(row), path)
            if changed is not None:
                rows[number - 1] = json.dumps(changed)
                yield path, "\n".join(rows) + "\n", f"{place.path}, line {number}:"
                break


UNHELD = {
    # Only the last round trains a guard.
    ("v1/reward_modeling", RESULT): {
        f"guard_rm.{field}"
        for field in ("pairs", "kinds", "too_long", "too_weak", "steps", "equal")
    },
    # Instructions of this world ask for one thing, and its contexts lose none.
    ("world_data", "ghost_dialogues.jsonl"): {
        f"also.{field}" for field in ("check", "expected", "probe", "shows")
    },
    ("ghost_attention", RESULT): {f"unmeasured.{field}" for field in ("turn", "when", "replies")},
    # This recipe holds out no demonstrations.
    ("sft", RESULT): {f"held_out.{field}" for field in ("before", "after", "tokens", "too_long")},
}
"""Fields that a file of the smoke run does not hold, so that they cannot be renamed in it."""


@pytest.mark.parametrize(("name", "output"), RECORDS)
def test_a_renamed_field_fails_the_report(
    smoke_copy: Path,
    readers: dict[str, dict[Path, set[str]]],
    name: str,
    output: str,
) -> None:
    stage, root = STAGES[name], smoke_copy
    place = place_of(stage, output, root)
    if not place.exists:
        assert place.optional
        return
    path = place.path
    shown = {
        other.kind.name: other
        for other in PLAN
        if path.relative_to(root) in readers.get(other.kind.name, {})
    }
    whole = path.read_text(encoding="utf-8")
    tried = set()
    for field, text, spot in mutants(place):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError) as caught:
            place.read()
        assert str(caught.value).startswith(spot), field
        assert field[-1] in str(caught.value)
        for kind, reader in shown.items():
            for part in readers[kind][path.relative_to(root)]:
                try:
                    found = parts(reader, root)[part]()
                except CamelidError as error:
                    assert spot in str(error), (field, part)  # noqa: PT017 (it may not raise)
                else:
                    pytest.fail(f"{kind} {part} shows {found!r} without {'.'.join(field)}")
        tried.add(field)
    path.write_text(whole, encoding="utf-8")
    place.read()
    missed = {".".join(field) for field in fields_of(place.kind) if field not in tried}
    assert missed == UNHELD.get((name, output), set())
