"""Typed places: what a stage declares, and what others are handed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from camelid.errors import CheckpointError, DataError, MissingInputError
from camelid.run.place import Corpus, Json, Place, Rows, StageInputs, StageOutputs, place


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    id: int


class Outputs(StageOutputs):
    rows: Rows[Row] = place("rows.jsonl")
    many: Json[tuple[Row, ...]] = place("many.json", optional=True)
    corpus: Corpus = place("corpus.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group(StageInputs):
    helpful: Place
    safe: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    first: Place
    group: Group
    models: tuple[tuple[str, Place], ...]
    round: int = 1
    none: Place | None = None


def test_outputs_are_places_of_their_stage(tmp_path):
    planned = Outputs("v1/sft")
    assert planned.rows == Rows("v1/sft", "rows.jsonl", None, False, Row)
    assert [p.label for p in planned.places()] == [
        "v1/sft/rows.jsonl",
        "v1/sft/many.json",
        "v1/sft/corpus.txt",
    ]
    assert [p.optional for p in planned.places()] == [False, True, False]
    with pytest.raises(RuntimeError, match=r"rows\.jsonl belongs to a plan"):
        planned.rows.exists  # noqa: B018 (the property raises)
    assert planned.rows.at(tmp_path).path == tmp_path / "v1/sft/rows.jsonl"
    assert Outputs("v1/sft", tmp_path).rows.path == tmp_path / "rows.jsonl"


def test_inputs_know_their_places():
    inputs = Inputs(
        first=Place("a", "x"),
        group=Group(helpful=Place("b", "h"), safe=Place("b", "s")),
        models=(("one", Place("c", "")), ("two", Place("d", "m"))),
        round=2,
    )
    assert [p.label for p in inputs.places()] == ["a/x", "b/h", "b/s", "c", "d/m"]
    assert inputs.plain() == {
        "first": "a/x",
        "group": {"helpful": "b/h", "safe": "b/s"},
        "models": [["one", "c"], ["two", "d/m"]],
        "round": 2,
        "none": None,
    }
    bound = inputs.at(Path("run"))
    assert bound.group.safe.path == Path("run/b/s")
    assert bound.models[1] == ("two", Place("d", "m", Path("run/d")))
    assert (bound.round, bound.none) == (2, None)


def test_what_is_written_comes_back(tmp_path):
    made = Outputs("s", tmp_path)
    assert made.rows.write([Row(id=1), Row(id=2)]) == 2
    assert made.rows.read_some() == made.rows.read() == [Row(id=1), Row(id=2)]
    made.many.write((Row(id=3),))
    assert made.many.read() == (Row(id=3),)
    made.corpus.write(["one", "", "two"])
    assert list(made.corpus.documents()) == ["one", "two"]


def test_a_missing_input_names_its_maker(tmp_path):
    made = Outputs("v1/sft", tmp_path)
    for read in (made.rows.read, made.many.read):
        with pytest.raises(MissingInputError, match=r"stage v1/sft makes it.*--redo v1/sft"):
            read()


def test_damage_is_named(tmp_path):
    made = Outputs("s", tmp_path)
    made.rows.write([])
    with pytest.raises(DataError, match="at least one Row needed"):
        made.rows.read_some()
    made.rows.path.write_text('{"id": 1}\n{"ix": 1}\n', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"\.jsonl, line 2: Row\.ix is unknown.*--redo s$"):
        made.rows.read()
    made.many.path.write_text("[", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"many\.json: not valid JSON.*--redo s"):
        made.many.read()
    made.many.path.write_text('[{"id": "x"}]', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"many\.json\[0\]\.id is 'x'.*--redo s"):
        made.many.read()
    made.corpus.write([" "])
    with pytest.raises(CheckpointError, match=r"corpus is empty.*--redo s"):
        list(made.corpus.documents())
    made.corpus.path.write_bytes(b"a good line\nthen \xff\n")
    with pytest.raises(CheckpointError, match=r"corpus\.txt, line 2: found b'\\xff'.*--redo s"):
        list(made.corpus.documents())
    made.corpus.path.unlink()
    with pytest.raises(MissingInputError, match="--redo s"):
        list(made.corpus.documents())
