"""Typed places: what a stage writes, declared once and handed to whoever reads it.

A place knows the stage that makes it, so that nothing else has to know a path, and mypy refuses a
tokenizer where a model is needed. Source: choice (the paper describes no software).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from camelid.errors import DataError, MissingInputError
from camelid.run.files import read_json, write_json
from camelid.run.rows import iterate_json_lines, parse_record, write_records
from camelid.settings import from_json, to_json

T = TypeVar("T")
P = TypeVar("P", bound="Place")
S = TypeVar("S", bound="StageInputs")


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder of one stage."""

    stage: str
    """The stage that makes it."""
    name: str
    """Path inside that stage's folder; empty for the whole folder."""
    folder: Path | None = None
    """That stage's folder; None in a plan, which knows no run directory."""
    optional: bool = False
    """Whether a finished stage may lack it, as its settings decide."""

    @property
    def label(self) -> str:
        """Stage and name, as shown and as it stands in fingerprints."""
        return f"{self.stage}/{self.name}" if self.name else self.stage

    @property
    def path(self) -> Path:
        """Where it is."""
        if self.folder is None:
            raise RuntimeError(f"{self.label} belongs to a plan; bind it to a run first")
        return self.folder / self.name

    @property
    def exists(self) -> bool:
        """Whether it has been made."""
        return self.path.exists()

    def at(self, root: Path) -> typing.Self:
        """Return this place in a run directory."""
        return dataclasses.replace(self, folder=root / self.stage)

    def missing(self) -> MissingInputError:
        """Return the error that names the stage which makes this."""
        return MissingInputError(
            f"{self.path} does not exist; stage {self.stage} makes it. "
            f"Run that stage (again): --redo {self.stage}"
        )


class StageFolder(Place):
    """Everything that a stage writes."""


class ModelFolder(Place):
    """Weights and shape of a language model."""


class RewardModelFolder(Place):
    """Weights and shape of a reward model."""


class TokenizerFolder(Place):
    """A tokenizer with its chat format."""


class Corpus(Place):
    """Text, one document a line."""

    def write(self, documents: Iterable[str]) -> None:
        """Write the documents."""
        with self.path.open("w", encoding="utf-8") as file:
            file.writelines(f"{document}\n" for document in documents)

    def documents(self) -> Iterator[str]:
        """Yield the documents that are not empty.

        Raises:
            DataError: There is none.
        """
        empty = True
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                if text := line.strip():
                    empty = False
                    yield text
        if empty:
            raise DataError(f"{self.path}: the corpus is empty; one document a line is needed.")


@dataclass(frozen=True, slots=True)
class Rows(Place, Generic[T]):
    """A JSON-lines file of one record type."""

    kind: type[T] = object  # type: ignore[assignment]  # given by whoever declares the place
    """The record type."""

    def read(self) -> list[T]:
        """Read all rows strictly.

        Raises:
            MissingInputError: The file does not exist; the stage that makes it is named.
            DataError: A line does not fit; file and line are named.
        """
        if not self.exists:
            raise self.missing()
        return [
            parse_record(data, self.kind, f"{self.path}, line {number}")
            for number, data in iterate_json_lines(self.path)
        ]

    def read_some(self) -> list[T]:
        """Read all rows, at least one (errors as `read`)."""
        rows = self.read()
        if not rows:
            raise DataError(
                f"{self.path}: the file holds no record; at least one {self.kind.__name__} needed."
            )
        return rows

    def write(self, rows: Iterable[T]) -> int:
        """Write rows; return how many."""
        return write_records(self.path, rows)


@dataclass(frozen=True, slots=True)
class Json(Place, Generic[T]):
    """A JSON file that holds one record."""

    kind: type[T] = object  # type: ignore[assignment]  # given by whoever declares the place
    """The record type."""

    def read(self) -> T:
        """Read it strictly.

        Raises:
            MissingInputError: It does not exist; the stage that makes it is named.
            CheckpointError: It is no JSON.
            ConfigError: It does not fit its type.
        """
        if not self.exists:
            raise self.missing()
        found = read_json(self.path, f"Make it again: --redo {self.stage}")
        return from_json(found, self.kind, str(self.path))

    def write(self, value: T) -> None:
        """Write it whole or not at all."""
        write_json(self.path, to_json(value))


@dataclass(frozen=True, slots=True)
class _Declared:
    name: str
    optional: bool


def place(name: str, *, optional: bool = False) -> Any:
    """Declare an output in a `StageOutputs` class; its annotation is the kind of place.

    Args:
        name: Path inside the stage's folder.
        optional: Whether a finished stage may lack it, as its settings decide.
    """
    return _Declared(name, optional)


class StageOutputs:
    """What a stage writes: one annotated class attribute a place.

    Args:
        stage: Name of the stage.
        folder: Where it writes or has written; None in a plan.
    """

    def __init__(self, stage: str, folder: Path | None = None) -> None:
        for field, (kind, row) in _declared(cast("Any", type(self))).items():
            declared: _Declared = getattr(type(self), field)
            typed = {} if row is None else {"kind": row}
            made = kind(
                stage=stage, name=declared.name, folder=folder, optional=declared.optional, **typed
            )
            setattr(self, field, made)

    def places(self) -> list[Place]:
        """Return all of them, in the order of declaration."""
        return [getattr(self, field) for field in _declared(cast("Any", type(self)))]


@cache
def _declared(kind: Any) -> dict[str, tuple[Any, Any]]:
    """Return the place class and row type of every declared output."""
    found = {}
    for field, hint in typing.get_type_hints(kind).items():
        if isinstance(getattr(kind, field, None), _Declared):
            rows = typing.get_args(hint)
            found[field] = (typing.get_origin(hint) or hint, rows[0] if rows else None)
    return found


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What a stage reads: places of other stages, groups and tuples of such, and plain values."""

    def places(self) -> list[Place]:
        """Return all places, in the order of the fields."""
        return [found for field in dataclasses.fields(self) for found in _places(self, field.name)]

    def plain(self) -> dict[str, Any]:
        """Return what is no place as JSON: part of the fingerprint."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: to_json(_named(value)) for name, value in values.items()}

    def at(self, root: Path) -> typing.Self:
        """Return these inputs in a run directory."""
        changed = {f.name: _bind(getattr(self, f.name), root) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **changed)


def _places(inputs: StageInputs, field: str) -> list[Place]:
    def walk(value: Any) -> Iterator[Place]:
        if isinstance(value, Place):
            yield value
        elif isinstance(value, StageInputs):
            yield from value.places()
        elif isinstance(value, tuple):
            for item in value:
                yield from walk(item)

    return list(walk(getattr(inputs, field)))


def _named(value: Any) -> Any:
    """Return a value with the label of each place in its stead."""
    if isinstance(value, Place):
        return value.label
    if isinstance(value, StageInputs):
        return value.plain()
    return tuple(map(_named, value)) if isinstance(value, tuple) else value


def _bind(value: Any, root: Path) -> Any:
    if isinstance(value, Place | StageInputs):
        return value.at(root)
    return tuple(_bind(item, root) for item in value) if isinstance(value, tuple) else value
