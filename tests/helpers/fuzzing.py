"""Damages files and settings, and tries what reads them: a `CamelidError` or a result.

Never a traceback, hang or flood. `pytest tests/fuzz --fuzz 5000` tries that many in all, the suite
a tenth. A try is known by its target and number, which seed it: `pytest tests/fuzz --fuzz 5000 -k
records` tries one target.

A target is one function: it gets a seeded source of chances and a folder of its own, writes what it
has damaged and calls what reads it.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import math
import random
import resource
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from camelid.errors import CamelidError

SECONDS = 10
"""Processor time of one try: on a busy machine it may take longer by the clock."""
MEMORY = 2 << 30
"""Address space of one try, beside what the process has."""
Target = Callable[[random.Random, Path], None]


class Targets(dict[str, tuple[float, Target]]):
    """What is tried in one module of tests."""

    def __call__(self, share: float) -> Callable[[Target], Target]:
        """Add the decorated function; it gets `share` per cent of the tries of `--fuzz`."""

        def add(function: Target) -> Target:
            self[function.__name__] = share, function
            return function

        return add


# What is done to a file.

JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(10**30), 10**400, 0.5, -0.0, 1e308, 1e-320),
    *(math.nan, math.inf, [], [[]], {}, {"": {}}, [None] * 50),
    *("", " ", "\0", "7", "null", "{}", "../..", "é", "e\u0301", "\ud83d", "\u202e\ufeff", "\r\n"),
    "x" * 70_000,
]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip
BYTES = [b"\xef\xbb\xbf", b"\xed\xa0\x80", *(bytes([b]) for b in b'\0\xff\r\n\t"\\{],')]


def damaged_value(chance: random.Random, value: Any) -> Any:
    """Return a JSON value with one thing in it changed."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        rest = {name: entry for name, entry in value.items() if name != key}
        others = [rest, rest | {f"{key}x": value[key]}, value | {"unknown": 1}]
        inner = value | {key: damaged_value(chance, value[key])}
        return inner if chance.random() < 0.65 else chance.choice(others)
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        inner = [*value[:place], damaged_value(chance, value[place]), *value[place + 1 :]]
        others = [value[:place], [*value, value[place]]]
        return inner if chance.random() < 0.7 else chance.choice(others)
    if isinstance(value, str) and chance.random() < 0.4:
        place = chance.randrange(len(value) + 1)
        return value[:place] + str(chance.choice(JUNK)) + value[place:]
    if type(value) in (int, float) and chance.random() < 0.4:
        return chance.choice([-value, value + 1, value * 1e6, value / 3, str(value), [value]])
    if chance.random() < 0.02:
        return functools.reduce(lambda inner, _: [inner], range(900), value)
    return chance.choice(JUNK)


def damaged_bytes(chance: random.Random, raw: bytes) -> bytes:
    """Return a file with some of its bytes changed."""
    start = chance.randrange(len(raw) + 1)
    end = min(len(raw), start + chance.choice([1, 2, 8, 100, 10_000]))
    kind = chance.randrange(8)
    if kind == 0:
        return raw[:start]
    if kind == 1:
        return raw[:start] + raw[end:]
    if kind == 2:
        return raw[:end] + raw[start:]
    if kind == 3:
        return raw[:start] + chance.randbytes(end - start) + raw[end:]
    if kind == 4:
        return chance.choice([b"", b"\n", b"[" * 100_000, b"9" * 6_000, b"\xef\xbb\xbf" + raw])
    if kind == 5:
        return (
            raw.replace(b"\n", b"\r\n")
            .decode(errors="replace")
            .encode(chance.choice(["utf-8", "utf-16", "utf-16-le", "utf-8-sig"]))
        )
    return raw[:start] + chance.choice(BYTES) * chance.choice([1, 1, 3]) + raw[start:]


def damaged(chance: random.Random, name: str, raw: bytes) -> bytes:
    """Return a file with one thing in it changed, mostly such that it still can be decoded."""
    if chance.random() < 0.7:
        if name.endswith(".jsonl"):
            lines = raw.decode().splitlines()
            place = chance.randrange(len(lines)) if lines else 0
            if lines and chance.random() < 0.9:
                lines[place] = json.dumps(damaged_value(chance, json.loads(lines[place])))
            else:
                lines = lines[:place]
            return "".join(f"{line}\n" for line in lines).encode()
        if name.endswith(".json"):
            return json.dumps(damaged_value(chance, json.loads(raw))).encode()
    return damaged_bytes(chance, raw)


def write_damaged(chance: random.Random, path: Path, raw: bytes, *, packed: bool = False) -> Path:
    """Write a damaged file, perhaps packed and then damaged again; return where."""
    packing = chance.choice(list(PACK)) if packed else ""
    path = path.with_name(path.name + packing)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = PACK[packing](damaged(chance, path.name.removesuffix(packing), raw))
    if packing and chance.random() < 0.2:
        raw = damaged_bytes(chance, raw)
    path.write_bytes(raw)
    return path


def lines_of(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# How it is tried.


@contextmanager
def limited() -> Iterator[None]:
    """Stop what takes too long, and what takes too much memory."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    with Path("/proc/self/statm").open(encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


ERRORS = io.StringIO()


def said() -> str:
    """What the command of this try printed as its error."""
    return ERRORS.getvalue()


def try_all(
    name: str, targets: Targets, root: Path, tries: int, named: Callable[[Path], list[str]]
) -> None:
    """Try one target so often as its share of all tries says.

    `named` returns, for the folder of a try, what an error may name as damaged.
    """
    share, function = targets[name]
    count, failures = max(3, round(tries * share / 100)), []
    for number in range(count):
        folder = root / str(number)
        folder.mkdir()
        ERRORS.seek(0)
        ERRORS.truncate()
        with pytest.MonkeyPatch.context() as patch, limited():
            patch.setattr("sys.stdin", io.StringIO())
            patch.setattr("sys.stderr", ERRORS)
            patch.setattr("sys.stdout", io.StringIO())
            try:
                function(random.Random(f"{name}/{number}"), folder)
            except CamelidError as error:
                # What is damaged is named.
                if not any(words in str(error) for words in named(folder)):
                    failures.append(f"{name}/{number}: no file in {error!r}")
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                last = traceback.extract_tb(error.__traceback__)[-1]
                failures.append(f"{name}/{number}: {error!r:.600} at {last.filename}:{last.lineno}")
        shutil.rmtree(folder)
    assert not failures, f"{len(failures)} of {count}:\n" + "\n".join(failures[:20])
