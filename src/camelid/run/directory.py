"""A run's folder: its recipe, its manifest and its lock.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from camelid.errors import CamelidError, ConfigError, MissingInputError
from camelid.run.files import make_folder, now, read_json, read_json_as, write_json
from camelid.run.fingerprint import Fingerprint
from camelid.settings import to_json

MANIFEST = "run.json"
RECIPE = "recipe.json"
LOCK = "run.lock"
WATTS = 65.0
"""Power of the machine where none is stated (Source: choice)."""
POWER_USAGE_EFFECTIVENESS = 1.1
"""Data-centre energy over device energy. Source: arXiv 2302.13971, Section 6."""
CARBON_KG_PER_KWH = 0.385
"""US average that reproduces Table 2. Source: arXiv 2302.13971, Section 6."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """What the manifest says of a finished stage."""

    fingerprint: Fingerprint
    seconds: float
    peak_memory_gib: float
    started: str
    finished: str
    energy_kwh: float
    """From seconds and stated watts."""
    co2_kg: float
    outputs: dict[str, str] = field(default_factory=dict)
    """Name of each file or folder that it wrote to the hash of its content; empty in runs made
    before this was kept, and of a report, which anybody may write to."""

    def at_power(self, watts: float) -> StageRecord:
        """Return the record with the costs of another stated power."""
        energy = self.seconds * watts * POWER_USAGE_EFFECTIVENESS / 3.6e6
        return replace(self, energy_kwh=energy, co2_kg=energy * CARBON_KG_PER_KWH)


@dataclass(kw_only=True, slots=True)
class Manifest:
    """`run.json`: what was run where, and what each stage cost."""

    recipe: str
    """Name of the recipe or study."""
    seed: int
    camelid_version: str
    python: str
    torch: str
    platform: str
    device: str
    threads: int
    precision: str
    watts: float
    """Stated power of the machine."""
    power_usage_effectiveness: float
    """Energy of the building over that of the machine."""
    carbon_kg_per_kwh: float
    stages: dict[str, StageRecord] = field(default_factory=dict)
    """Finished stages in order of execution."""


class RunDirectory:
    """A run's folder: its recipe, its manifest and its lock.

    Args:
        root: The folder; it need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Make the folder, unless it is one already.

        Raises:
            ConfigError: The folder holds something that is no run, which must not be overwritten.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"{self.root} is a file; a run needs a folder. Choose another --out.")
        if self.root.is_dir() and not (self.root / MANIFEST).exists():
            strangers = sorted({p.name for p in self.root.iterdir()} - {LOCK, RECIPE})
            strangers = [name for name in strangers if not name.startswith(".")]
            if strangers:
                raise ConfigError(
                    f"{self.root} has no {MANIFEST} but holds {', '.join(strangers[:5])}: it is no "
                    "run, or a damaged one. Choose another folder with --out."
                )
        make_folder(self.root)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; the system frees it however the process ends.

        Raises:
            CamelidError: Another process holds it; its pid, host and start are named.
        """
        with (self.root / LOCK).open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise CamelidError(
                    f"{self.root} is in use by another process ({file.read().strip()}). "
                    "Wait for it to end, stop it, or take another folder."
                ) from error
            file.truncate(0)
            file.write(f"pid {os.getpid()} on {socket.gethostname()}, started {now()}\n")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def read_manifest(self) -> Manifest:
        """Return the content of `run.json`.

        Raises:
            MissingInputError: This is no run directory.
            CheckpointError: The manifest is damaged.
        """
        path = self.root / MANIFEST
        if not path.is_file():
            found = "a file" if self.root.is_file() else f"it has no {MANIFEST}"
            found = found if self.root.exists() else "there is nothing"
            raise MissingInputError(
                f"There is no run at {self.root}: {found}. Name a run directory, as `camelid run "
                "RECIPE --out DIR` makes it."
            )
        advice = (
            f"Nothing else of {self.root} is lost: put {MANIFEST} back from a copy, or run into "
            "another folder with --out; weights can be named by their folder (RUN/STAGE/model)."
        )
        return read_json_as(path, Manifest, advice)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `run.json` atomically."""
        write_json(self.root / MANIFEST, to_json(manifest))

    def write_recipe(self, recipe: Any) -> Any:
        """Write `recipe.json` atomically; `camelid run --recipe FILE` runs it again.

        Returns:
            The JSON that was there; None where there was none, or a damaged one.
        """
        before = None
        with contextlib.suppress(CamelidError):
            before = read_json(self.root / RECIPE, "")
        write_json(self.root / RECIPE, recipe)
        return before
