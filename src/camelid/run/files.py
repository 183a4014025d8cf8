"""Files of a run: written whole or not at all, flushed to disk, known by their hashes.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from camelid.data.text_files import parse_json, read_text
from camelid.errors import (
    CamelidError,
    CheckpointError,
    ConfigError,
    DataError,
    MissingInputError,
)
from camelid.settings import from_json

T = TypeVar("T")


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


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless it is there.

    Raises:
        CamelidError: The disk is full, or the system refuses, as below a file or in `/proc`.
    """
    try:
        with explain_full_disk(path):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CamelidError(
            f"{path}: no folder can be made there ({error.strerror}). Choose another place."
        ) from None


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
        make_folder(path.parent)
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
    if not path.is_file():
        raise MissingInputError(f"{path} does not exist. {advice}")
    try:
        return parse_json(read_text(path), str(path))
    except DataError as error:
        raise CheckpointError(f"{error} The file is damaged. {advice}") from error


def read_json_as(path: Path, kind: type[T], advice: str) -> T:
    """Read a JSON file of a run into a dataclass, or another type (arguments as `read_json`).

    Raises:
        MissingInputError: It does not exist.
        CheckpointError: It is not valid JSON or does not fit.
    """
    found = read_json(path, advice)
    try:
        return from_json(found, kind, str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error} The file is damaged. {advice}") from error


def append_jsonl(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line; a line is written whole.

    Raises:
        CamelidError: The disk is full; the file is cut back to whole lines.
    """
    with explain_full_disk(path):
        make_folder(path.parent)
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


def cut_half_line(path: Path) -> None:
    """Cut what follows the last line break of a file: a killed process left it half-written."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)


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

    Compiled Python files do not count.

    Args:
        path: File or folder.
        hash_one: Hash of one file; a caller may pass a caching one.

    Raises:
        MissingInputError: The path does not exist.
    """
    if path.is_file():
        return hash_one(path)
    if not path.is_dir():
        raise MissingInputError(f"{path} does not exist. Name another path.")
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc"):
        total.update(f"{file.relative_to(path).as_posix()}\0{hash_one(file)}\n".encode())
    return total.hexdigest()


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
