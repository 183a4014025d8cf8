"""Fingerprints of stages: what a result depends on, and what to say when that has changed.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid.errors import CamelidError, ConfigError
from camelid.run.files import hash_file, hash_path, read_json_as, write_json
from camelid.settings import differences


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """What a stage's bits depend on; the version of torch is recorded beside it, not compared."""

    config: Any
    """Its settings."""
    wiring: dict[str, Any]
    """Labels of input files, values of plain inputs, class names of nested settings."""
    seed: int
    inputs: dict[str, str | None]
    """Label of each input to the hash of its content; null where it does not exist."""
    source: str
    """Hash of the package, and of the file of a stage that lies outside it."""
    precision: str
    threads: int
    device: str

    def require(self, other: Fingerprint, stage: str, state: str) -> None:
        """Check that a stage may be used or gone on with.

        Args:
            other: What its bits depend on now.
            stage: Its name.
            state: What it is already: finished or interrupted.

        Raises:
            ConfigError: They differ; the stage and the first part that differs are named.
        """
        if self != other:
            raise ConfigError(
                f"Stage {stage} is {state} already, but something differs: "
                f"{self._first_difference(other, stage)}. Make it and everything after it again "
                f"with --redo {stage}, undo the difference, or choose another folder with --out."
            )

    def _first_difference(self, other: Fingerprint, stage: str) -> str:
        found = differences(self.config, other.config)
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            return f"setting {stage.replace('/', '.')}.{found[0]}{more}"
        found = differences(self.wiring, other.wiring)
        if found:
            return f"its {found[0]}"
        for key in ("seed", "precision", "threads", "device"):
            before, after = getattr(self, key), getattr(other, key)
            if before != after:
                undone = "" if key == "device" else f" (--{key} {before} undoes it)"
                return f"{key} {before} -> {after}{undone}"
        for path in sorted({*self.inputs, *other.inputs}):
            if path not in other.inputs or path not in self.inputs:
                when = "now" if path in other.inputs else "by the old one"
                return f"input {path} is read only {when}"
            if self.inputs[path] != other.inputs[path]:
                state = "is missing" if other.inputs[path] is None else "has changed"
                return f"input {path} {state}"
        return "the source of the camelid package has changed"


class HashCache:
    """File hashes, reused while size and modification time stay the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[Any, ...]] = {}
        self._changed = False
        # A damaged cache costs time, nothing else.
        with contextlib.suppress(CamelidError):
            self._known = read_json_as(path, dict[str, tuple[Any, ...]], "")

    def hash_file(self, path: Path) -> str:
        """Return the sha256 of a file's content."""
        status = path.stat()
        key = str(path.resolve())
        known = self._known.get(key)
        if known is not None and known[:2] == (status.st_size, status.st_mtime_ns):
            return str(known[2])
        value = hash_file(path)
        self._known[key] = (status.st_size, status.st_mtime_ns, value)
        self._changed = True
        return value

    def save(self) -> None:
        """Write the cache if it has grown."""
        if self._changed:
            write_json(self._path, self._known)
            self._changed = False


def hash_source() -> str:
    """Return the hash of the package: every file of it that is not a compiled one."""
    return hash_path(Path(__file__).parents[1])


def hash_foreign(*parts: object) -> str:
    """Return the hash of the files that define a stage outside the package; empty inside it."""
    package = Path(__file__).parents[1]
    found = [
        inspect.getsourcefile(part)
        for part in parts
        if inspect.isroutine(part) or inspect.isclass(part)
    ]
    foreign = {Path(file) for file in found if file and not Path(file).is_relative_to(package)}
    return "".join(f"+{hash_file(path)}" for path in sorted(foreign) if path.is_file())
