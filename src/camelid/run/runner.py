"""Runs the stages of a recipe in order; skips what is done, resumes what was interrupted.

A stage is done when its folder and its fingerprint stand in the run. The fingerprint covers all
that may change its result: settings, seed, inputs, package source, precision, threads and device.
When one of these differs, the runner stops and says which, because mixing results of different
settings in one run would make its report untrue. Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid import __version__
from camelid.errors import CheckpointError, ConfigError, MissingInputError
from camelid.run.costs import Clock, peak_memory_gib, reset_peak_memory
from camelid.run.directory import (
    CARBON_KG_PER_KWH,
    MANIFEST,
    POWER_USAGE_EFFECTIVENESS,
    WATTS,
    Manifest,
    RunDirectory,
    StageRecord,
)
from camelid.run.files import (
    explain_full_disk,
    fsync_directory,
    fsync_tree,
    hash_path,
    now,
    read_json_as,
    write_json,
)
from camelid.run.fingerprint import Fingerprint, HashCache, hash_foreign, hash_source
from camelid.run.progress import RunProgress
from camelid.run.stage import RESULT, PlannedStage, RunSettings, StageContext
from camelid.seeds import derive_seed
from camelid.settings import suggestion, to_json

if TYPE_CHECKING:
    from camelid.runtime import Runtime

AnyStage = PlannedStage[Any, Any, Any, Any]
REPORT = "report"
"""Link to the folder of the stage that shows the run."""
HASHES = ".hashes.json"
PARTIAL = ".partial"


@dataclass(kw_only=True)
class Execution:
    """Stages in their folder: a manifest, and the comparisons and moves that keep it whole."""

    stages: Sequence[AnyStage]
    """All stages, in order."""
    directory: RunDirectory
    """Where to run; created when absent, locked meanwhile."""
    name: str
    """Name of the recipe."""
    recipe: Any
    """JSON of the resolved recipe, written to `recipe.json`."""
    settings: RunSettings
    """Seed and stated watts."""
    runtime: Runtime
    """What to compute with."""
    progress: RunProgress = field(default_factory=RunProgress)
    """Display."""

    def perform_all(self, *, redo: str | None = None, until: str | None = None) -> None:
        """Run what is not done yet.

        Args:
            redo: Make this stage and all after it again. What is there is kept until this stage has
                been made, and stays if it fails.
            until: Stop after this stage, which is not before `redo`.

        Raises:
            ConfigError: A finished stage's fingerprint differs, or a stage name is unknown.
            CheckpointError: The run directory is damaged.
            MissingInputError: An input of a stage does not exist.
        """
        names = [stage.name for stage in self.stages]
        for wanted in (redo, until):
            check_stage(wanted, names)
        redone = names[names.index(redo) :] if redo is not None else []
        if redo is not None and until is not None and until not in redone:
            raise ConfigError(
                f"--until {until} comes before --redo {redo}: {redo} and all after it would be "
                "deleted and not made. Name a later --until."
            )
        with self._opened(names):
            # All is compared before anything is written, so a mistyped option changes nothing.
            for stage in self.stages:
                if stage.name not in redone:
                    self._is_done(stage)
            left = names[names.index(until) + 1 :] if until is not None else []
            shown = [stage.name for stage in self.stages if stage.kind.shows]
            lost = [n for n in left if redo and n in self._manifest.stages and n not in shown]
            if lost:
                raise ConfigError(
                    f"--redo {redo} deletes {', '.join(lost)} too, and --until {until} would make "
                    "none of that again. Leave --until out, or name a later stage."
                )
            recipe = self.directory.write_recipe(self.recipe)
            self._state_watts()
            kept = dict(self._manifest.stages)
            for name in redone:
                self._manifest.stages.pop(name, None)
                shutil.rmtree(self._root / PARTIAL / name, ignore_errors=True)
            self.directory.write_manifest(self._manifest)
            for stage in self.stages:
                if self._is_done(stage):
                    self.progress.skipped(stage.name, self._manifest.stages[stage.name].seconds)
                else:
                    try:
                        self._perform(stage, self._fingerprint(stage, must_exist=True))
                    except Exception:
                        if stage.name == redo and redo in kept:
                            self._manifest.stages = kept
                            self.directory.write_manifest(self._manifest)
                            self.directory.write_recipe(recipe or self.recipe)
                        raise
                for name in redone[1:] if stage.name == redo else []:
                    shutil.rmtree(self._root / name, ignore_errors=True)
                if stage.name == until:
                    more = sum(name not in self._manifest.stages for name in left)
                    self.progress.stopped(until, more)
                    return

    def perform_only(self, name: str) -> None:
        """Run one stage anew and no other, on whatever inputs there are.

        Of the others only what they read is compared with what was written: a report can be made
        again after the source changed. The old folder stays until the new one is whole. Errors as
        `perform_all`.
        """
        check_stage(name, [stage.name for stage in self.stages])
        with self._opened([name]):
            self._require_up_to_date()
            stage = next(stage for stage in self.stages if stage.name == name)
            shutil.rmtree(self._root / PARTIAL / name, ignore_errors=True)
            self._perform(stage, self._fingerprint(stage))

    @contextlib.contextmanager
    def _opened(self, names: Sequence[str]) -> Iterator[None]:
        self.directory.create()
        self._root = self.directory.root
        with self.directory.lock():
            self._source = hash_source()
            self._hashes = HashCache(self._root / HASHES)
            self._watts = self.settings.watts or WATTS
            self._manifest = self._surroundings({})
            if (self._root / MANIFEST).exists():
                self._manifest = self.directory.read_manifest()
                self._watts = self.settings.watts or self._manifest.watts
            if self._manifest.recipe != self.name:
                raise ConfigError(
                    f"{self._root} is a run of recipe '{self._manifest.recipe}', not of "
                    f"'{self.name}'. Choose another folder with --out."
                )
            with self.progress.show(self._root, names):
                yield

    def _surroundings(self, stages: dict[str, StageRecord]) -> Manifest:
        """Return what is true of this process and of the stages that it runs."""
        return Manifest(
            recipe=self.name,
            seed=self.settings.seed,
            camelid_version=__version__,
            python=platform.python_version(),
            torch=self.runtime.torch_version,
            platform=platform.platform(),
            device=self.runtime.device_name,
            threads=self.runtime.threads,
            precision=self.runtime.precision,
            watts=self._watts,
            power_usage_effectiveness=POWER_USAGE_EFFECTIVENESS,
            carbon_kg_per_kwh=CARBON_KG_PER_KWH,
            stages=stages,
        )

    def _fingerprint(self, stage: AnyStage, *, must_exist: bool = False) -> Fingerprint:
        inputs: dict[str, str | None] = {}
        record = self._manifest.stages.get(stage.name)
        gone = record.fingerprint.inputs if record else {}
        for place in stage.inputs.at(self._root).places():
            if place.exists:
                inputs[place.label] = hash_path(place.path, self._hashes.hash_file)
            elif must_exist:
                raise MissingInputError(f"Stage {stage.name} cannot start: {place.missing()}")
            else:
                inputs[place.label] = None
        for path in stage.kind.files(stage.config):
            inputs[str(path)] = (
                hash_path(path, self._hashes.hash_file) if path.exists() else gone.get(str(path))
            )
        self._hashes.save()
        # Judges and annotators are known by their class: one may have the settings of another.
        parts = {f.name: getattr(stage.config, f.name) for f in dataclasses.fields(stage.config)}
        classes = {
            f"config.{n}": type(p).__name__ for n, p in parts.items() if dataclasses.is_dataclass(p)
        }
        return Fingerprint(
            config=to_json(stage.config),
            wiring={**stage.inputs.plain(), **classes},
            seed=self.settings.seed,
            inputs=inputs,
            source=self._source + hash_foreign(stage.kind.run, stage.kind.config),
            precision=self.runtime.precision,
            threads=self.runtime.threads,
            device=self.runtime.device_name,
        )

    def _is_done(self, stage: AnyStage) -> bool:
        """Tell whether a stage is finished; raise when it is, but under another fingerprint."""
        record = self._manifest.stages.get(stage.name)
        if record is None:
            return False
        places = stage.outputs(self._root / stage.name).places()
        self._require_as_left(
            stage.name, [RESULT, *(place.name for place in places if not place.optional)]
        )
        fingerprint = self._fingerprint(stage)
        if stage.kind.shows and record.fingerprint != fingerprint:
            self._discard(stage.name)  # A report made on the way is made again.
            return False
        record.fingerprint.require(fingerprint, stage.name, "finished")
        return True

    def _require_as_left(self, name: str, written: Sequence[str] = ()) -> None:
        """Raise where a finished stage lacks an output, or one has changed since: it is damaged."""
        record = self._manifest.stages.get(name)
        for output in dict.fromkeys([*written, *(record.outputs if record else ())]):
            path, was = self._root / name / output, record and record.outputs.get(output)
            gone = not path.exists()
            if gone or (was and hash_path(path, self._hashes.hash_file) != was):
                raise CheckpointError(
                    f"Stage {name} is recorded as finished, but {path} "
                    f"{'is gone' if gone else 'has changed since'}. Make that stage and all after "
                    f"it again with --redo {name}"
                )

    def _require_up_to_date(self) -> None:
        """Raise where a stage was made from other inputs than their stages have written since."""
        records = self._manifest.stages
        for stage in self.stages:
            read = records[stage.name].fingerprint.inputs if stage.name in records else {}
            for place in stage.inputs.at(self._root).places():
                made, was = records.get(place.stage), read.get(place.label)
                now = made and made.outputs.get(place.name)
                if was and now and was != now and not stage.kind.shows:
                    raise CheckpointError(
                        f"Stage {stage.name} is out of date: it was made from another "
                        f"{place.label} than {place.stage} has written since. Make it and all "
                        f"after it again with --redo {stage.name}"
                    )

    def _hashed(self, stage: AnyStage) -> dict[str, str]:
        """Return the hashes of what a stage wrote."""
        folder = self._root / stage.name
        written = [place.name for place in stage.outputs(folder).places() if place.exists]
        found = {n: hash_path(folder / n, self._hashes.hash_file) for n in (RESULT, *written)}
        self._hashes.save()
        return found

    def _state_watts(self) -> None:
        """Take the stated power: no part of a fingerprint, so it may be corrected afterwards."""
        if self._manifest.watts == self._watts:
            return
        self._manifest.watts = self._watts
        for name, record in self._manifest.stages.items():
            self._manifest.stages[name] = record.at_power(self._watts)
        for stage in self.stages:
            if stage.kind.shows:
                self._discard(stage.name)

    def _discard(self, name: str) -> None:
        """Forget a stage: its record first, so that a crash leaves no record without a folder."""
        if self._manifest.stages.pop(name, None) is not None:
            self.directory.write_manifest(self._manifest)
        shutil.rmtree(self._root / name, ignore_errors=True)
        shutil.rmtree(self._root / PARTIAL / name, ignore_errors=True)

    def _perform(self, stage: AnyStage, fingerprint: Fingerprint) -> None:
        """Run one stage to its end and record it."""
        partial, final = self._root / PARTIAL / stage.name, self._root / stage.name
        out = partial / "out"
        with explain_full_disk(partial):
            self._open_partial(stage.name, partial, fingerprint)
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            clock = Clock(partial / "seconds.json", self.progress)
            started = now()
            self.progress.started(stage.name)
            reset_peak_memory()
            try:
                self._make(stage, out, partial / "work", clock)
            except BaseException:
                self.progress.failed(stage.name)
                shutil.rmtree(out, ignore_errors=True)
                with contextlib.suppress(OSError):
                    clock.save()
                raise
            final.parent.mkdir(parents=True, exist_ok=True)
            # What is there is made anew, or lost its record because that was cut off.
            shutil.rmtree(final, ignore_errors=True)
            out.rename(final)
            fsync_directory(final.parent)
        seconds = clock.seconds()
        if not stage.kind.shows:
            # The report may be made anew elsewhere; the card names where the model was trained.
            self._manifest = self._surroundings(self._manifest.stages)
        self._manifest.stages[stage.name] = StageRecord(
            fingerprint=fingerprint,
            seconds=round(seconds, 3),
            peak_memory_gib=round(peak_memory_gib(), 4),
            started=started,
            finished=now(),
            energy_kwh=0.0,
            co2_kg=0.0,
            outputs={} if stage.kind.shows else self._hashed(stage),
        ).at_power(self._watts)
        self.directory.write_manifest(self._manifest)
        shutil.rmtree(partial, ignore_errors=True)
        if stage.kind.shows:
            _link(self._root / REPORT, stage.name)
        self.progress.finished(stage.name, seconds)

    def _make(self, stage: AnyStage, out: Path, work: Path, clock: Clock) -> None:
        """Let a stage write its folder, and check that it wrote what it declares."""
        work.mkdir(exist_ok=True)
        context = StageContext(
            name=stage.name,
            root=self._root,
            work=work,
            seed=derive_seed(self.settings.seed, stage.name),
            run_seed=self.settings.seed,
            progress=clock,
            runtime=self.runtime,
            stages=tuple(self.stages),
        )
        inputs, outputs = stage.inputs.at(self._root), stage.outputs(out)
        try:
            result = stage.kind.runner()(stage.config, inputs, outputs, context)
        except Exception as error:
            # Whatever it stumbled over: where an input was damaged since, that is the cause.
            if "--redo" not in str(error):
                for name in dict.fromkeys(place.stage for place in inputs.places()):
                    self._require_as_left(name)
            raise
        write_json(out / RESULT, to_json(result))
        absent = [place.name for place in outputs.places() if not (place.optional or place.exists)]
        if absent:
            raise RuntimeError(
                f"stage {stage.name} declares {', '.join(absent)} and did not write it"
            )
        fsync_tree(out)

    def _open_partial(self, name: str, partial: Path, fingerprint: Fingerprint) -> None:
        record = partial / "fingerprint.json"
        if record.is_file():
            advice = f"Start the stage again with --redo {name}"
            old = read_json_as(record, Fingerprint, advice)
            if old == fingerprint:
                return
            work = partial / "work"
            # Without a checkpoint there is nothing that other settings could spoil.
            if work.is_dir() and any(work.iterdir()):
                old.require(fingerprint, name, "interrupted")
        shutil.rmtree(partial, ignore_errors=True)
        write_json(record, to_json(fingerprint))


def check_stage(name: str | None, names: Sequence[str]) -> None:
    """Check that a recipe has a stage that may have been named.

    Raises:
        ConfigError: It has none of this name; the nearest one is named.
    """
    if name is not None and name not in names:
        hint = suggestion(name, names) or f" Stages: {', '.join(names)}."
        raise ConfigError(f"There is no stage '{name}' in this plan.{hint}")


def _link(path: Path, target: str) -> None:
    temporary = path.with_name(f".{path.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
