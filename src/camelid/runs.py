"""Run directories: one folder a run, one writer at a time, nothing half-written.

All files between stages go through here: atomic writes, hashes, the lock, the manifest `run.json`,
and what a stage is given to work with. Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import errno
import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from camelid.errors import CamelidError, CheckpointError, ConfigError, MissingInputError

MANIFEST = "run.json"
RECIPE = "recipe.json"
LOCK = "run.lock"


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed that is a pure function of its parts; all randomness comes from here.

    Args:
        *parts: Anything whose `str` is stable: run seed, stage, round, item id.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error, or what caused it, is a full disk or an exhausted quota."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Native writers (safetensors) hide the error number but keep the system's words.
    if os.strerror(errno.ENOSPC) in str(error):
        return True
    return error.__cause__ is not None and is_disk_full(error.__cause__)


@contextlib.contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk into one line that says where.

    Args:
        path: What is being written.

    Raises:
        CamelidError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, CamelidError) or not is_disk_full(error):
            raise
        raise CamelidError(
            f"The disk is full (while writing {path}). Free some space and run the same command "
            "again: it goes on where it was."
        ) from error


def atomic_write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename.

    Args:
        path: Destination; its folder is created.
        text: Content, written as UTF-8.

    Raises:
        CamelidError: The disk is full; the old content is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            fsync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented, with a final newline."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, advice: str) -> Any:
    """Read a JSON file of a run.

    Args:
        path: The file.
        advice: What to do when it is damaged, as a sentence.

    Raises:
        MissingInputError: It does not exist.
        CheckpointError: It is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"{path} does not exist. {advice}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). {advice}") from error


def append_jsonl(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line; a line is written whole.

    Raises:
        CamelidError: The disk is full; the file is cut back to whole lines.
    """
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                # On a nearly full disk an unbuffered write may stop short without an error.
                if file.write(line.encode()) != len(line.encode()):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(end)
                raise


def fsync_directory(path: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(path: Path) -> None:
    """Flush every file and folder under `path` to disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        fsync_directory(Path(folder))


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_path(path: Path, hash_one: Callable[[Path], str] = hash_file) -> str:
    """Return the hash of a file, or of a folder's relative names and contents in sorted order.

    Args:
        path: File or folder.
        hash_one: Hash of one file; a caller may pass a caching one.

    Raises:
        MissingInputError: The path does not exist.
    """
    if path.is_file():
        return hash_one(path)
    if not path.is_dir():
        raise MissingInputError(f"{path} does not exist.")
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{hash_one(file)}\n".encode())
    return total.hexdigest()


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


class Progress(Protocol):
    """Where a stage says how far it is."""

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Report work done out of a total, in any unit, and live metrics."""

    def note(self, text: str) -> None:
        """Say one line that the user should see."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageContext:
    """What a stage gets beside its settings."""

    name: str
    """Stage and folder name, such as `v1/reward_modeling`."""
    root: Path
    """Run directory; read from it through `input`."""
    out: Path
    """Temporary folder for results; renamed to `root / name` when the stage returns."""
    work: Path
    """Folder for checkpoints: survives an interruption, removed when the stage ends."""
    seed: int
    """`derive_seed(run_seed, name)`."""
    run_seed: int
    """The seed of the run."""
    progress: Progress
    """Where to report."""

    def input(self, name: str) -> Path:
        """Return the path of a file or folder that an earlier stage wrote.

        Args:
            name: Path inside the run directory, such as `data/prompts.jsonl`, or an absolute path.

        Raises:
            MissingInputError: It does not exist; the stage that makes it is named.
        """
        path = self.root / name
        if not path.exists():
            raise missing_input(self.name, name, self.root)
        return path


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What a stage reads: every string is a path relative to the run, None where there is none."""

    def paths(self) -> tuple[str, ...]:
        """All paths, in the order of the fields."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        listed = [
            path for value in values for path in (value if isinstance(value, tuple) else (value,))
        ]
        return tuple(path for path in listed if isinstance(path, str))


def missing_input(stage: str, name: str, root: Path) -> MissingInputError:
    """Return the error that names the stage which makes a missing input."""
    if Path(name).is_absolute():
        return MissingInputError(f"Stage {stage} needs {name}, which does not exist.")
    parts = Path(name).parts
    round_ = parts[0][:1] == "v" and parts[0][1:].isdigit()
    # In a study each variant has a pretraining of its own.
    nested = len(parts) > 2 and (round_ or parts[1] == "pretraining")
    maker = "/".join(parts[: 2 if nested else 1])
    return MissingInputError(
        f"Stage {stage} needs {root / name}, which does not exist; stage {maker} makes it. "
        f"Run that stage (again): --redo {maker}"
    )


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
