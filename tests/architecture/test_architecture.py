"""Rules of the design that a tool checks: layers, one optimizer step, sizes, documented names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "camelid"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {
    str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8")) for path in FILES
}
MAX_FILE_LINES = 400
MAX_ROOM_LINES = 3_500
MAX_LINES = 37_000
"""The design asks for 20,500, which is not reached (docs/lab/code_size.md)."""


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_imports_go_downward_only():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-cache",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_exactly_one_optimizer_step():
    calls = [
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "step"
        and "optim" in ast.unparse(node.func.value).lower()
    ]
    assert len(calls) == 1, calls
    assert calls[0].startswith("train/loop.py:")


def test_files_stay_small():
    long = {
        str(path.relative_to(ROOT)): lines(path) for path in FILES if lines(path) > MAX_FILE_LINES
    }
    assert not long


def test_rooms_stay_small():
    rooms: Counter[str] = Counter()
    for path in FILES:
        rooms[path.relative_to(SOURCE).parts[0]] += lines(path)
    assert not {room: size for room, size in rooms.items() if size > MAX_ROOM_LINES}


def test_the_package_stays_small():
    assert sum(map(lines, FILES)) <= MAX_LINES


def test_no_module_without_a_subject():
    assert not [
        name for name in MODULES if Path(name).stem in ("utils", "helpers", "common", "misc")
    ]


def undocumented(body: list[ast.stmt], prefix: str) -> list[str]:
    found = []
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not is_overload(node):
            found.append(f"{prefix}{node.name}")
        if isinstance(node, ast.ClassDef):
            found += undocumented(node.body, f"{prefix}{node.name}.")
    return found


def is_overload(node: ast.stmt) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any("overload" in ast.unparse(decorator) for decorator in decorators)


def test_public_names_are_documented():
    found = [
        entry for name, tree in MODULES.items() for entry in undocumented(tree.body, f"{name}: ")
    ]
    assert not found
    assert not [
        name for name, tree in MODULES.items() if tree.body and ast.get_docstring(tree) is None
    ]


def is_config(node: ast.ClassDef) -> bool:
    return node.name.endswith("Config") or node.name == "RunSettings"


def test_config_fields_are_documented():
    bare = []
    for name, tree in MODULES.items():
        classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and is_config(n)]
        for cls in classes:
            for field, after in zip(cls.body, [*cls.body[1:], None], strict=True):
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not documented:
                    bare.append(f"{name}: {cls.name}.{ast.unparse(field.target)}")
    assert not bare


@pytest.mark.parametrize("word", ["pickle", "eval(", "exec(", "breakpoint("])
def test_nothing_is_unpickled_or_evaluated(word):
    calls = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in MODULES.items()
        # It runs programs, and does nothing else.
        if name != "benchmarks/sandboxed_child.py"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and ast.unparse(node).startswith(word))
        or (isinstance(node, ast.Import) and any(alias.name == word for alias in node.names))
    ]
    assert not calls
