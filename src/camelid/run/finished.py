"""A run seen after its stages: typed results and outputs, by kind of stage.

Whatever shows or uses a run goes through here, and learns of its files from the stages.
Source: choice (the paper describes no software).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from camelid.run.directory import Manifest, RunDirectory, StageRecord
from camelid.run.item import AbsentError
from camelid.run.place import Json, Rows
from camelid.run.stage import RESULT, C, I, O, PlannedStage, R, StageKind

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Finished(Generic[C, I, O, R]):
    """A finished stage."""

    run: FinishedRun
    planned: PlannedStage[C, I, O, R]

    @property
    def name(self) -> str:
        """Stage and folder name."""
        return self.planned.name

    @property
    def part(self) -> str:
        """Its round or variant, such as `v1`; its own name where it belongs to none."""
        return self.name.rpartition("/")[0] or self.name

    @property
    def config(self) -> C:
        """Its settings."""
        return self.planned.config

    @cached_property
    def inputs(self) -> I:
        """What it read."""
        return self.planned.inputs.at(self.run.root)

    @cached_property
    def outputs(self) -> O:
        """What it wrote."""
        return self.planned.outputs(self.run.root / self.name)

    @cached_property
    def result(self) -> R:
        """Its `result.json`."""
        return self.planned.result(self.run.root)

    def rows(self, place: Rows[T]) -> list[T]:
        """Read one of its outputs or inputs, once however often it is asked for."""
        return self.run.rows(place)


@dataclass(frozen=True, eq=False)
class Found(Generic[C, I, O, R]):
    """The finished stages of one kind in a run, in order."""

    run: FinishedRun
    stages: tuple[Finished[C, I, O, R], ...]

    @property
    def last(self) -> Finished[C, I, O, R]:
        """The newest one.

        Raises:
            AbsentError: None has finished.
        """
        if not self.stages:
            raise AbsentError("no such stage has finished in this run")
        return self.stages[-1]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run directory with the plan that made it."""

    root: Path
    stages: Sequence[PlannedStage[Any, Any, Any, Any]]
    """All stages of the plan."""
    _rows: dict[Path, list[Any]] = field(default_factory=dict, init=False)

    @cached_property
    def manifest(self) -> Manifest:
        """`run.json`."""
        return RunDirectory(self.root).read_manifest()

    @property
    def trained(self) -> dict[str, StageRecord]:
        """Records of the finished stages that are no report."""
        shows = {stage.name for stage in self.stages if stage.kind.shows}
        return {n: stage for n, stage in self.manifest.stages.items() if n not in shows}

    def rows(self, place: Rows[T]) -> list[T]:
        """Read a file of the run, once however often it is asked for."""
        if place.path not in self._rows:
            self._rows[place.path] = place.read()
        return self._rows[place.path]

    def of(self, kind: StageKind[C, I, O, R]) -> Found[C, I, O, R]:
        """Return the finished stages of a kind.

        Raises:
            MissingInputError: One of them lacks an output.
        """
        found = tuple(
            Finished(self, stage)
            for stage in self.stages
            if stage.kind.name == kind.name and stage.name in self.manifest.stages
        )
        for stage in found:
            result: Json[Any] = Json(stage.name, RESULT, self.root / stage.name)
            for place in (*stage.outputs.places(), result):
                if not place.optional and not place.exists:
                    raise place.missing()
        return Found(self, found)
