"""What a stage is: one value that describes it, from its settings to what the report shows of it.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar, cast

from camelid.run.item import StageReport
from camelid.run.place import Json, StageInputs, StageOutputs
from camelid.settings import PaperValue, Precision, Range, Seed, bounded

if TYPE_CHECKING:
    from camelid.runtime import Runtime

C = TypeVar("C")
I = TypeVar("I", bound=StageInputs)
O = TypeVar("O", bound=StageOutputs)
R = TypeVar("R")

RESULT = "result.json"
"""Where every stage's result stands in its folder."""
ANNOTATION = "annotation"
"""Folder of a run for what people and endpoints are asked and answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoSettings:
    """Settings of a stage that has none."""


@dataclass(frozen=True, slots=True)
class NoInputs(StageInputs):
    """Inputs of a stage that reads no other."""


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class RunSettings:
    """What decides a run beside its stages."""

    seed: Seed = 0
    """Seed of all training, sampling and shuffling. The pocket world and its annotators are part of
    the task, not of the run: they keep seeds of their own."""
    precision: Precision = "auto"
    """Compute type: bf16 where the hardware has it, else fp32."""
    threads: Annotated[int, Range(1, 1_024)] | None = None
    """Threads of the CPU kernels, null for the machine's cores; part of what makes a run repeatable
    to the bit."""
    watts: Annotated[float, Range(0, 1e9, above=True)] | None = None
    """Power of the machine in W, for energy and CO2 (stated, not measured); null for what the run
    states already, 65 at first (Source: choice)."""


class Progress(Protocol):
    """Where a stage says how far it is."""

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Report work done out of a total, in any unit, and live metrics."""

    def note(self, text: str) -> None:
        """Say one line that the user should see."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageContext:
    """What a stage gets beside its settings, inputs and outputs."""

    name: str
    """Stage and folder name, such as `v1/reward_modeling`."""
    root: Path
    """Run directory."""
    work: Path
    """Folder for checkpoints: survives an interruption, removed when the stage ends."""
    seed: int
    """`derive_seed(run_seed, name)`."""
    run_seed: int
    """The seed of the run."""
    progress: Progress
    """Where to report."""
    runtime: Runtime
    """What to compute with."""
    stages: tuple[PlannedStage[Any, Any, Any, Any], ...] = ()
    """All stages of the plan, for the report."""

    @property
    def annotation(self) -> Path:
        """Folder for what people and endpoints answer: nothing deletes it, `--redo` neither."""
        return self.root / ANNOTATION / self.name


Run = Callable[[C, I, O, StageContext], R]
"""Reads `inputs`, writes every place of `outputs`, returns what `result.json` holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageKind(Generic[C, I, O, R]):
    """A kind of stage. A plan holds one stage of it or several, with other settings and inputs."""

    name: str
    """The paper's word for it; also the name of its group of settings."""
    config: type[C]
    """Its settings."""
    inputs: type[I]
    """What it reads."""
    outputs: type[O]
    """What it writes."""
    result: type[R]
    """A frozen dataclass: the content of its `result.json`."""
    run: Run[C, I, O, R] | str
    """What it does; as `module:function` where the module imports torch, which only a running stage
    needs."""
    report: StageReport[Any] | str = field(default_factory=StageReport)
    """What the report shows of it; as `module:name` likewise."""
    paper: Mapping[str, PaperValue] = field(default_factory=dict)
    """Its settings for which the paper prints a value."""
    files: Callable[[C], Sequence[Path]] = lambda _: ()
    """Files and folders outside the run that its settings name: where their content changes, what
    was made from them is out of date. A finished stage needs them no more."""
    shows: bool = False
    """Whether it shows the run instead of changing it: the report."""

    def runner(self) -> Run[C, I, O, R]:
        """Return what it does."""
        return cast("Run[C, I, O, R]", _load(self.run))

    def reporter(self) -> StageReport[Any]:
        """Return what the report shows of it."""
        return cast("StageReport[Any]", _load(self.report))


def _load(target: object) -> object:
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, slots=True)
class PlannedStage(Generic[C, I, O, R]):
    """A stage of a plan: its kind with its name, settings and wiring."""

    name: str
    """Folder of its results in the run, such as `v1/reward_modeling`."""
    kind: StageKind[C, I, O, R]
    config: C
    inputs: I

    @property
    def dotted(self) -> str:
        """Its name in options and errors, such as `v1.reward_modeling`."""
        return self.name.replace("/", ".")

    def outputs(self, folder: Path | None = None) -> O:
        """Return its places, in a folder where one is given."""
        return self.kind.outputs(self.name, folder)

    def result(self, root: Path) -> R:
        """Read its result from a run directory (errors as `Json.read`)."""
        return Json(self.name, RESULT, root / self.name, kind=self.kind.result).read()
