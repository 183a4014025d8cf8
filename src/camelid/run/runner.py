"""Runs the stages of a recipe in order; skips what is done, resumes what was interrupted.

A stage is done when its folder and its fingerprint stand in the run. The fingerprint covers all
that may change its result: settings, seed, inputs, package source, precision, threads and device.
When one of these differs, the runner stops and says which, because mixing results of different
settings in one run would make its report untrue. Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from camelid import __version__
from camelid.errors import CheckpointError, ConfigError
from camelid.run.directory import MANIFEST, RunDirectory
from camelid.run.files import (
    atomic_write_text,
    explain_full_disk,
    fsync_directory,
    fsync_tree,
    hash_path,
    now,
    read_json,
    write_json,
)
from camelid.run.fingerprint import HashCache, difference_error, digest, hash_source
from camelid.run.progress import RunProgress
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, missing_input
from camelid.settings import suggestion, to_json

POWER_USAGE_EFFECTIVENESS = 1.1
"""Data-centre energy over device energy. Source: arXiv 2302.13971, Section 6."""
CARBON_KG_PER_KWH = 0.385
"""US average that reproduces Table 2. Source: arXiv 2302.13971, Section 6."""
HASHES = ".hashes.json"
PARTIAL = ".partial"
_HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a recipe."""

    name: str
    """Folder of the results inside the run, such as `v1/reward_modeling`."""
    run: Callable[[Any, StageContext], dict[str, Any]]
    """Called with `config` and the context; returns the content of `result.json`."""
    config: Any
    """Settings: everything in here is part of the fingerprint."""
    inputs: tuple[str, ...]
    """Files and folders that the stage reads: inside the run, or absolute paths."""


class RecipeSettings(Protocol):
    """What the runner reads of a recipe."""

    @property
    def name(self) -> str:
        """Name of the recipe."""

    @property
    def seed(self) -> int:
        """Seed of the run."""

    @property
    def watts(self) -> float:
        """Stated peak power of the machine, in watts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """What a stage's bits depend on beside recipe and source."""

    precision: str
    """Compute precision after `auto` was resolved."""
    threads: int
    """CPU threads of tensor operations."""
    device: str = "cpu"
    """`cpu`, or `cuda` with the name of the accelerator."""
    torch: str | None = None
    """Version of torch; recorded, not part of the fingerprint."""


def execute(
    stages: Sequence[Stage],
    recipe: RecipeSettings,
    run_directory: RunDirectory,
    *,
    environment: Environment,
    redo: str | None = None,
    until: str | None = None,
    only: str | None = None,
    progress: RunProgress | None = None,
) -> None:
    """Run what is not done yet.

    Args:
        stages: All stages, in order.
        recipe: The resolved recipe; written to `recipe.json`.
        run_directory: Where to run; created when absent, locked meanwhile.
        environment: Precision and threads.
        redo: Delete this stage and all after it first.
        until: Stop after this stage.
        only: Run this one stage anew and no other, on whatever inputs there are. Fingerprints of
            the others are not compared: a report can be made again after the source changed.
        progress: Display; silent when None.

    Raises:
        ConfigError: A finished stage's fingerprint differs, or a stage name is unknown.
        CheckpointError: The run directory is damaged.
        MissingInputError: An input of a stage does not exist.
    """
    names = [stage.name for stage in stages]
    for name in (redo, until, only):
        if name is not None and name not in names:
            hint = suggestion(name, names) or f" Stages: {', '.join(names)}."
            raise ConfigError(f"There is no stage '{name}' in this recipe.{hint}")
    run_directory.create()
    with run_directory.lock():
        run = _Run(recipe, run_directory, environment, progress or RunProgress())
        with run.progress.show(run_directory.root, [only] if only else names):
            if only is not None:
                stage = stages[names.index(only)]
                run.discard(stage.name)
                run.perform(stage, run.fingerprint_parts(stage))
            else:
                _execute_all(run, stages, redo=redo, until=until)


def _execute_all(
    run: _Run, stages: Sequence[Stage], *, redo: str | None, until: str | None
) -> None:
    names = [stage.name for stage in stages]
    redone = names[names.index(redo) :] if redo is not None else []
    # Everything is compared before anything is written, so a mistyped option changes nothing.
    for stage in stages:
        if stage.name not in redone:
            run.is_done(stage)
    for name in redone:
        run.discard(name)
    run.directory.write_recipe(to_json(run.recipe))
    # Stated, not measured, and no part of a fingerprint: it may be corrected afterwards.
    run.manifest["watts"] = run.recipe.watts
    run.save()
    for stage in stages:
        if run.is_done(stage):
            run.progress.skipped(stage.name, run.manifest["stages"][stage.name]["seconds"])
        else:
            run.perform(stage, run.fingerprint_parts(stage, must_exist=True))
        if stage.name == until:
            return


class _Run:
    """An open run: its manifest and the comparisons and moves that keep it whole."""

    def __init__(
        self,
        recipe: RecipeSettings,
        directory: RunDirectory,
        environment: Environment,
        progress: RunProgress,
    ) -> None:
        self.recipe = recipe
        self.directory = directory
        self.root = directory.root
        self.environment = environment
        self.progress = progress
        self._source = hash_source()
        self._hashes = HashCache(self.root / HASHES)
        self.manifest = self._open_manifest()

    def _open_manifest(self) -> dict[str, Any]:
        if not (self.root / MANIFEST).exists():
            return {"recipe": self.recipe.name, **self._surroundings(), "stages": {}}
        manifest = self.directory.read_manifest()
        if manifest.get("recipe") != self.recipe.name:
            raise ConfigError(
                f"{self.root} is a run of recipe '{manifest.get('recipe')}', not of "
                f"'{self.recipe.name}'. Choose another folder with --out."
            )
        return manifest

    def _surroundings(self) -> dict[str, Any]:
        """Return what is true of this process and of the stages that it runs."""
        return {
            "seed": self.recipe.seed,
            "camelid_version": __version__,
            "python": platform.python_version(),
            "torch": self.environment.torch,
            "platform": platform.platform(),
            "device": self.environment.device,
            "threads": self.environment.threads,
            "precision": self.environment.precision,
            "watts": self.recipe.watts,
            "power_usage_effectiveness": POWER_USAGE_EFFECTIVENESS,
            "carbon_kg_per_kwh": CARBON_KG_PER_KWH,
        }

    def save(self) -> None:
        self.directory.write_manifest(self.manifest)

    def fingerprint_parts(self, stage: Stage, *, must_exist: bool = False) -> dict[str, Any]:
        inputs: dict[str, str | None] = {}
        for name in stage.inputs:
            path = self.root / name
            if path.exists():
                inputs[name] = hash_path(path, self._hashes.hash_file)
            elif must_exist:
                raise missing_input(stage.name, name, self.root)
            else:
                inputs[name] = None
        self._hashes.save()
        return {
            "config": to_json(stage.config),
            "wiring": _wiring(stage.run),
            "seed": self.recipe.seed,
            "inputs": inputs,
            "source": self._source,
            "precision": self.environment.precision,
            "threads": self.environment.threads,
            "device": self.environment.device,
        }

    def is_done(self, stage: Stage) -> bool:
        """Tell whether a stage is finished; raise when it is, but under another fingerprint."""
        record = self.manifest["stages"].get(stage.name)
        if record is None:
            return False
        if not (self.root / stage.name / "result.json").is_file():
            raise CheckpointError(
                f"Stage {stage.name} is recorded as finished, but {self.root / stage.name} is gone "
                f"or damaged. Make it again with --redo {stage.name}"
            )
        parts = self.fingerprint_parts(stage)
        if record["fingerprint"] != digest(parts):
            raise difference_error(stage.name, "finished", record["fingerprint_parts"], parts)
        return True

    def discard(self, name: str) -> None:
        """Forget a stage: its record first, so that a crash leaves no record without a folder."""
        if self.manifest["stages"].pop(name, None) is not None:
            self.save()
        shutil.rmtree(self.root / name, ignore_errors=True)
        shutil.rmtree(self.root / PARTIAL / name, ignore_errors=True)

    def perform(self, stage: Stage, parts: dict[str, Any]) -> None:
        """Run one stage to its end and record it."""
        partial = self.root / PARTIAL / stage.name
        out, work = partial / "out", partial / "work"
        with explain_full_disk(partial):
            self._open_partial(stage.name, partial, parts)
            # A folder without a record is a finished stage whose recording was cut off.
            shutil.rmtree(self.root / stage.name, ignore_errors=True)
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            work.mkdir(exist_ok=True)
            clock = _Clock(partial / "seconds.json", self.progress)
            context = StageContext(
                name=stage.name,
                root=self.root,
                out=out,
                work=work,
                seed=derive_seed(self.recipe.seed, stage.name),
                run_seed=self.recipe.seed,
                progress=clock,
            )
            started = now()
            self.progress.started(stage.name)
            _reset_peak_memory()
            try:
                result = stage.run(stage.config, context)
                write_json(out / "result.json", result)
                fsync_tree(out)
            except BaseException:
                self.progress.failed(stage.name)
                shutil.rmtree(out, ignore_errors=True)
                with contextlib.suppress(OSError):
                    clock.save()
                raise
            (self.root / stage.name).parent.mkdir(parents=True, exist_ok=True)
            out.rename(self.root / stage.name)
            fsync_directory((self.root / stage.name).parent)
        seconds = clock.seconds()
        energy = seconds * self.recipe.watts * POWER_USAGE_EFFECTIVENESS / 3.6e6
        if stage.name != "reporting":
            # The report may be made anew elsewhere; the card names where the model was trained.
            self.manifest.update(self._surroundings())
        self.manifest["stages"][stage.name] = {
            "fingerprint": digest(parts),
            "fingerprint_parts": parts,
            "seconds": round(seconds, 3),
            "peak_memory_gib": round(_peak_memory_gib(), 4),
            "started": started,
            "finished": now(),
            "energy_kwh": energy,
            "co2_kg": energy * CARBON_KG_PER_KWH,
        }
        self.save()
        shutil.rmtree(partial, ignore_errors=True)
        if stage.name == "reporting":
            _link(self.root / "report", "reporting")
        self.progress.finished(stage.name, seconds)

    def _open_partial(self, name: str, partial: Path, parts: dict[str, Any]) -> None:
        record = partial / "fingerprint.json"
        if record.is_file():
            old = read_json(record, f"Start the stage again with --redo {name}")
            if digest(old) == digest(parts):
                return
            work = partial / "work"
            # Without a checkpoint there is nothing that other settings could spoil.
            if work.is_dir() and any(work.iterdir()):
                raise difference_error(name, "interrupted", old, parts)
        shutil.rmtree(partial, ignore_errors=True)
        write_json(record, parts)


class _Clock:
    """Passes progress on and keeps the seconds of a stage across interruptions."""

    def __init__(self, path: Path, progress: RunProgress) -> None:
        self._path = path
        self._progress = progress
        self._before = 0.0
        with contextlib.suppress(OSError, ValueError):
            self._before = float(json.loads(path.read_text(encoding="utf-8")))
        self._start = time.monotonic()
        self._saved = self._start

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def save(self) -> None:
        atomic_write_text(self._path, f"{self.seconds():.3f}\n")

    def update(self, done: float, total: float, **metrics: float) -> None:
        self._progress.update(done, total, **metrics)
        # Also on the way, so that a killed process loses seconds, not the whole count.
        if time.monotonic() - self._saved > _HEARTBEAT_SECONDS:
            self._saved = time.monotonic()
            self.save()

    def note(self, text: str) -> None:
        self._progress.note(text)


def _wiring(run: Callable[..., Any]) -> dict[str, Any]:
    """Return what a stage was bound to: settings in full, other objects (a judge) by class."""
    bound = run.keywords if isinstance(run, functools.partial) else {}
    described = {}
    for name, value in bound.items():
        try:
            described[name] = to_json(value)
        except ConfigError:
            described[name] = type(value).__name__
    return described


def _link(path: Path, target: str) -> None:
    temporary = path.with_name(f".{path.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def _reset_peak_memory() -> None:
    """Start a new peak for this stage; where the system cannot, the peak is that of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory_gib() -> float:
    """Return the largest resident memory since the last reset, children included, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                own = int(line.split()[1]) * 1024
    return max(own, children) / 2**30
