"""A run's folder: its recipe, its manifest and its lock.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camelid.errors import CamelidError, CheckpointError, ConfigError, MissingInputError
from camelid.run.files import explain_full_disk, now, read_json, write_json

MANIFEST = "run.json"


RECIPE = "recipe.json"


LOCK = "run.lock"


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
                    "run, or a damaged one. Choose another folder (--out) or remove this one."
                )
        with explain_full_disk(self.root):
            self.root.mkdir(parents=True, exist_ok=True)

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
                    "Wait for it to end, stop it, or choose another folder with --out."
                ) from error
            file.truncate(0)
            file.write(f"pid {os.getpid()} on {socket.gethostname()}, started {now()}\n")
            file.flush()
            yield
            file.truncate(0)

    def read_manifest(self) -> dict[str, Any]:
        """Return the content of `run.json`.

        Raises:
            MissingInputError: This is no run directory.
            CheckpointError: The manifest is damaged.
        """
        if not self.root.is_dir():
            raise MissingInputError(
                f"There is no run at {self.root}. "
                f"Make one with `camelid run RECIPE --out {self.root}`."
            )
        advice = "Choose another folder with --out, or remove this one and run again."
        manifest = read_json(self.root / MANIFEST, advice)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("stages"), dict):
            raise CheckpointError(f"{self.root / MANIFEST} is damaged (no stages). {advice}")
        return manifest

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write `run.json` atomically."""
        write_json(self.root / MANIFEST, manifest)

    def read_recipe(self) -> Any:
        """Return the JSON of the recipe that this run resolved.

        Raises:
            MissingInputError: This is no run directory.
            CheckpointError: The file is damaged.
        """
        return read_json(
            self.root / RECIPE,
            "Start the run again with `camelid run RECIPE`; finished stages are kept.",
        )

    def write_recipe(self, recipe: Any) -> None:
        """Write `recipe.json` atomically; `camelid run --recipe FILE` runs it again."""
        write_json(self.root / RECIPE, recipe)
