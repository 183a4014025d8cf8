"""Runs generated programs in a sandbox (HumanEval, MBPP).

Source: arXiv 2307.09288, Section 2.3 (pass@k). The sandbox is Source: choice: see
`sandboxed_child` for what a program may do. It runs on x86-64 Linux; elsewhere programs are not
run at all. Limits: a program shares its process with the code that reports its end. The known ways
of looking at that code fail by their names; one written to forge a pass could still find another,
and any program can define what equals everything. It cannot harm anything outside.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

from camelid.benchmarks import sandboxed_child
from camelid.errors import ConfigError

MEMORY_BYTES = 1 << 30
SECONDS = 5
"""Wall time of one program; processor time is limited to the same."""
_FRAMES = r"_getframe|_current_frames|currentframe|f_back|(?:tb|gi|cr|ag)_frame"
_INSIDE = re.compile(rf"\b(?:{_FRAMES})\b|/proc/")
_INSIDE_WITH_GC = re.compile(rf"\b(?:{_FRAMES}|get_objects|get_referrers)\b|/proc/")
_GC = re.compile(r"\bgc\b|__import__|import_module|\b(?:eval|exec)\b")
"""What looks at the code around a program, of which no solution has need, and without what its last
two names are innocent."""


class Outcome(NamedTuple):
    """What became of a program."""

    passed: bool
    reason: str
    """`passed`, `timeout`, `killed`, `forbidden: WORD`, or the name of the exception."""


def run_program(
    program: str, tests: str = "", *, seconds: int = SECONDS, memory: int = MEMORY_BYTES
) -> Outcome:
    """Run a program and its tests to their end, contained.

    Args:
        program: Python source; it passes when it and its tests reach their end.
        tests: Python source that sees what the program defined. It is compiled by itself, so that
            no open bracket or decorator at the end of a program swallows it.
        seconds: Limit of wall and processor time.
        memory: Limit of address space in bytes.

    Raises:
        ConfigError: This system cannot contain a program; nothing was run.
    """
    if word := _inside(program):
        return Outcome(False, f"forbidden: {word}")
    secret = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="camelid-") as folder:
        paths = [Path(folder) / name for name in ("program.py", "tests.py")]
        for path, source in zip(paths, (program, tests), strict=True):
            path.write_text(source, encoding="utf-8", errors="replace")
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-B", sandboxed_child.__file__),
                *(*map(str, paths), str(memory), str(seconds)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        lines: list[str] = []
        reason = "killed"
        try:
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.write(f"{secret}\n".encode())
                    process.stdin.close()
            code = process.wait(timeout=seconds + 1)
            if process.stdout is not None:
                # The program may have filled the pipe; a verdict is short.
                lines = os.read(process.stdout.fileno(), 256).decode(errors="replace").split("\n")
            if lines[:1] != [sandboxed_child.LOCKED]:
                raise ConfigError(
                    "This system cannot contain generated programs (x86-64 Linux with seccomp is "
                    "needed), so they are not run. Leave out humaneval and mbpp, or score them on "
                    "such a system: the answers are in the log."
                )
            if code == 0:
                reason = "\n".join(lines[1:]).strip()
        except subprocess.TimeoutExpired:
            reason = "timeout"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    if reason == secret:
        return Outcome(True, "passed")
    return Outcome(False, reason or "killed")


def _inside(program: str) -> str | None:
    """Return what a program uses to look at the code around it: attributes, imports and texts.

    A name of its own (`f_back = 3`) looks at nothing, unless everything of a module was imported.
    """
    words = _INSIDE_WITH_GC if _GC.search(program) else _INSIDE
    starred = re.search(r"import\s*\*", program)
    try:
        with warnings.catch_warnings(action="ignore"):  # Of `"\d"`, which is no mistake here.
            nodes = list(ast.walk(ast.parse(program)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        nodes = [ast.Constant(program)]  # It will not run either.
    for node in nodes:
        match node:
            case ast.Attribute(attr=text) | ast.alias(name=text):
                pass
            case ast.Constant(value=(str() | bytes()) as text):
                pass
            case ast.Name(id=text) if starred:
                pass
            case _:
                continue
        if found := words.search(str(text)):
            return found[0]
    return None
