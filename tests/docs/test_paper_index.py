"""Every row of the paper index names a file and a symbol that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([\w. ]+) \| .*? \| `([^`]+\.py)` \| `([\w.]+)` \|$", TEXT, re.MULTILINE)


def test_the_index_was_read() -> None:
    lines = [line for line in TEXT.splitlines() if ".py`" in line]
    assert len(ROWS) == len(lines) >= 30
    assert len({section for section, _, _ in ROWS}) >= 15


@pytest.mark.parametrize(("section", "file", "symbol"), ROWS)
def test_row_resolves(section: str, file: str, symbol: str) -> None:
    # The symbol is written in the file that the row names.
    assert (ROOT / "src" / "camelid" / file).is_file()
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    found = importlib.import_module(f"camelid.{module}")
    for name in symbol.split("."):
        found = getattr(found, name)
