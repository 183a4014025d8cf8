"""Files of rows that an interruption may cut anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from camelid.errors import CheckpointError
from camelid.run.place import Rows
from camelid.train.metrics import RowsFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    step: int
    text: str


LINES = ['{"step": 10, "text": "ä\u2028"}\n', '{"step": 20, "text": "b"}\n']


@pytest.fixture
def rows(tmp_path):
    return Rows("v1/sft", "rows.jsonl", tmp_path / "work", kind=Row)


def test_rows_after_the_last_are_cut(rows):
    file = RowsFile(rows, key="step", last=0)
    for step in (10, 20):
        file.append(Row(step=step, text="x"))
    RowsFile(rows, key="step", last=10).append(Row(step=11, text="y"))
    assert [row.step for row in rows.read()] == [10, 11]


def test_case_half_line_validation_is_cut_at_any_byte(rows):
    whole = "".join(LINES).encode()
    rows.path.parent.mkdir()
    first = len(LINES[0].encode())
    for cut in range(len(whole)):
        rows.path.write_bytes(whole[:cut])
        RowsFile(rows, key="step", last=20)
        assert rows.path.read_bytes() == (LINES[0].encode() if cut >= first else b""), cut
    # Blocks that were never written hold zeros.
    rows.path.write_bytes(LINES[0].encode() + bytes(40))
    RowsFile(rows, key="step", last=20)
    assert rows.path.read_text() == LINES[0]


def test_a_whole_line_that_does_not_fit_is_named(rows):
    rows.path.parent.mkdir()
    rows.path.write_text('{"step": 10, "te\n' + LINES[1])
    with pytest.raises(CheckpointError, match=r"rows\.jsonl, line 1: .*--redo v1/sft$"):
        RowsFile(rows, key="step", last=20)
