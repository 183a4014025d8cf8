"""Every row of the paper index names a file and a symbol that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([\w. ]+) \| .*? \| `(src/[^`]+)` \| `([\w.]+)` \|$", TEXT, re.MULTILINE)


def test_the_index_was_read() -> None:
    lines = [line for line in TEXT.splitlines() if "`src/" in line]
    assert len(ROWS) == len(lines) >= 30
    assert len({section for section, _, _ in ROWS}) >= 15


@pytest.mark.parametrize(("section", "file", "symbol"), ROWS)
def test_row_resolves(section: str, file: str, symbol: str) -> None:
    assert (ROOT / file).is_file()
    parts = symbol.split(".")
    # The symbol is written in the file that the row names.
    package = "/".join(parts[:-1])
    assert file in (f"src/{package}.py", f"src/{package}/__init__.py")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return
    pytest.fail(f"{symbol} does not resolve")
