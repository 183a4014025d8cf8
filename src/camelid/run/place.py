"""Typed places: what a stage writes, declared once and handed to whoever reads it.

A place knows the stage that makes it, so that nothing else has to know a path, and mypy refuses a
tokenizer where a model is needed. Source: choice (the paper describes no software).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from camelid.data.records import read_records, write_records
from camelid.data.text_files import as_line, from_line, iterate_lines
from camelid.errors import CheckpointError, DataError, MissingInputError
from camelid.run.files import read_json_as, write_json
from camelid.settings import to_json

T = TypeVar("T")


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

    @property
    def _advice(self) -> str:
        return f"Make stage {self.stage} again: --redo {self.stage}"

    def damaged(self, error: DataError) -> CheckpointError:
        """Return the error that names the stage to make again, for one found on reading this."""
        return CheckpointError(f"{error} {self._advice}")


class StageFolder(Place):
    """Everything that a stage writes."""


class ModelFolder(Place):
    """Weights and shape of a language model."""


class RewardModelFolder(Place):
    """Weights and shape of a reward model."""


class TokenizerFolder(Place):
    """A tokenizer with its chat format."""


class Corpus(Place):
    """Text, one document a line; what breaks lines within one is escaped."""

    def write(self, documents: Iterable[str]) -> None:
        """Write the documents."""
        with self.path.open("w", encoding="utf-8") as file:
            file.writelines(f"{as_line(document)}\n" for document in documents)

    def documents(self) -> Iterator[str]:
        """Yield the documents that are not empty.

        Raises:
            MissingInputError: The file does not exist; the stage that makes it is named.
            CheckpointError: It holds none or is damaged; the stage to make again is named.
        """
        if not self.exists:
            raise self.missing()
        empty = True
        try:
            for line in iterate_lines(self.path):
                if text := line.strip():
                    empty = False
                    yield from_line(text)
            if empty:
                raise DataError(f"{self.path}: the corpus is empty; one document a line is needed.")
        except DataError as error:
            raise self.damaged(error) from None


@dataclass(frozen=True, slots=True)
class Rows(Place, Generic[T]):
    """A JSON-lines file of one record type."""

    kind: type[T] = object  # type: ignore[assignment]  # given by whoever declares the place
    """The record type."""

    def read(self) -> list[T]:
        """Read all rows strictly.

        Raises:
            MissingInputError: The file does not exist; the stage that makes it is named.
            CheckpointError: A line does not fit; file, line and the stage to make again are named.
        """
        if not self.exists:
            raise self.missing()
        try:
            return read_records(self.path, self.kind)
        except DataError as error:
            raise self.damaged(error) from None

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
            CheckpointError: It is no JSON or does not fit its type; the stage to make again is
                named.
        """
        if not self.exists:
            raise self.missing()
        return read_json_as(self.path, self.kind, self._advice)

    def write(self, value: T) -> None:
        """Write it whole or not at all."""
        write_json(self.path, to_json(value))


def place(name: str, *, optional: bool = False) -> Any:
    """Declare an output in a `StageOutputs` class; its annotation is the kind of place.

    Args:
        name: Path inside the stage's folder.
        optional: Whether a finished stage may lack it, as its settings decide.
    """
    return name, optional


class StageOutputs:
    """What a stage writes: one annotated class attribute a place.

    Args:
        stage: Name of the stage.
        folder: Where it writes or has written; None in a plan.
    """

    def __init__(self, stage: str, folder: Path | None = None) -> None:
        for field, hint in typing.get_type_hints(type(self)).items():
            name, optional = getattr(type(self), field)
            kind, rows = typing.get_origin(hint) or hint, typing.get_args(hint)
            typed = {"kind": rows[0]} if rows else {}
            setattr(self, field, kind(stage, name, folder, optional, **typed))

    def places(self) -> list[Place]:
        """Return all of them, in the order of declaration."""
        return list(vars(self).values())


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What a stage reads: places of other stages, groups and tuples of such, and plain values."""

    def places(self) -> list[Place]:
        """Return all places, in the order of the fields."""
        found: list[Place] = []
        _exchange(self, found.append)
        return found

    def plain(self) -> dict[str, Any]:
        """Return all as JSON, of each place its label: part of the fingerprint."""
        labelled: dict[str, Any] = to_json(_exchange(self, lambda place: place.label))
        return labelled

    def at(self, root: Path) -> typing.Self:
        """Return these inputs in a run directory."""
        bound: typing.Self = _exchange(self, lambda place: place.at(root))
        return bound


def _exchange(value: Any, change: Callable[[Place], Any]) -> Any:
    """Return inputs, or a value in them, with each place changed."""
    if isinstance(value, Place):
        return change(value)
    if isinstance(value, StageInputs):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {name: _exchange(getattr(value, name), change) for name in names}
        return dataclasses.replace(value, **fields)
    return tuple(_exchange(item, change) for item in value) if isinstance(value, tuple) else value
