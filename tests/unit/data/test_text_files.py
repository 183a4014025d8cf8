"""One way to open a text file: what it unpacks, what it leaves alone, what it refuses and how."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib

import pytest

from camelid.data import text_files
from camelid.data.text_files import (
    PACKINGS,
    iterate_cells,
    iterate_json_lines,
    iterate_lines,
    iterate_table,
    parse_json,
    read_text,
)
from camelid.errors import DataError, MissingInputError

PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("packing", PACKINGS)
def test_case_bom_in_every_packing(tmp_path, packing):
    path = tmp_path / f"x.txt{packing}"
    path.write_bytes(PACK[packing]("\ufeffone\r\ntwo \ufeff\u2028\n\nend".encode()))
    # A mark inside is text, and only a line feed ends a line.
    assert list(iterate_lines(path)) == ["one\r\n", "two \ufeff\u2028\n", "\n", "end"]
    assert read_text(path) == "one\r\ntwo \ufeff\u2028\n\nend"


@pytest.mark.parametrize("packing", PACKINGS[1:])
def test_case_csv_limits_damaged_archives_are_named(tmp_path, packing):
    path = tmp_path / f"x.csv{packing}"
    packed = PACK[packing](b"".join(b"a line of its own: %d\n" % i for i in range(20_000)))
    half = len(packed) // 2
    for damaged in (packed[:half], packed[:half] + bytes(64) + packed[half + 64 :], b"plain"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"x\.csv{packing}, after line \d+: cannot be read"):
            read_text(path)


def test_a_mark_alone_is_no_line(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes("\ufeff".encode())
    assert list(iterate_lines(path)) == list(iterate_json_lines(path)) == []


def test_a_damaged_deflate_stream_is_no_internal_error(tmp_path):
    path = tmp_path / "x.gz"
    packed = bytearray(gzip.compress(b"text " * 99))
    packed[10] = 0xFF  # No kind of block is called that.
    path.write_bytes(packed)
    with pytest.raises(zlib.error), gzip.open(path) as file:
        file.read()
    with pytest.raises(DataError, match="after line 0: cannot be read"):
        read_text(path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"good\nbad \xe9t\xe9\n", r"x\.txt, line 2: found b'\\xe9', which is no UTF-8"),
        ("mark".encode("utf-16"), "line 1: holds a NUL character"),
        ("no mark".encode("utf-16-le"), "line 1: holds a NUL character; needed text in UTF-8"),
        (b"a\nb\0c\n", "line 2: holds a NUL character"),
        (b"\xed\xa0\xbd", "line 1: .* no UTF-8"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, raw, message):
    path = tmp_path / "x.txt"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message):
        read_text(path)


def test_what_is_too_large_is_named(tmp_path, monkeypatch):
    path = tmp_path / "x.gz"
    monkeypatch.setattr(text_files, "LONGEST_LINE", 100)
    monkeypatch.setattr(text_files, "LONGEST_TEXT", 250)
    path.write_bytes(gzip.compress(b"a" * 99 + b"\n" + b"b" * 100))
    assert len(read_text(path)) == 200
    path.write_bytes(gzip.compress(b"short\n" + b"a" * 101))
    with pytest.raises(DataError, match="line 2: longer than 100 bytes"):
        read_text(path)
    path.write_bytes(gzip.compress(b"short\n" * 42))
    with pytest.raises(DataError, match=r"x\.gz: longer than 250 bytes"):
        read_text(path)


def test_no_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(MissingInputError, match="no such file"):
            list(iterate_lines(path))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "9" * 5000, "{'a': 1}", "nul"])
def test_what_is_no_json_is_named(tmp_path, text):
    with pytest.raises(DataError, match="here: not valid JSON"):
        parse_json(text, "here")
    path = tmp_path / "x.jsonl"
    path.write_text(f"\n1\n{text}\n")
    with pytest.raises(DataError, match=r"x\.jsonl, line 3: not valid JSON"):
        list(iterate_json_lines(path))


def test_tables():
    lines = ["a,b\r\n", '"one, ""two""",\r\n', "\r\n", '"li\r\n', 'nes",x']
    rows = [["a", "b"], ['one, "two"', ""], ["li\r\nnes", "x"]]
    assert list(iterate_cells(lines, "t")) == [(1, rows[0]), (2, rows[1]), (5, rows[2])]
    assert list(iterate_table(lines, "t", ["b"])) == [
        (2, {"a": rows[1][0], "b": ""}),
        (5, {"a": rows[2][0], "b": "x"}),
    ]
    assert list(iterate_table([], "t")) == []


def test_case_tsv_quotes_are_text():
    lines = ["a\tb\n", '"open\tx\n', 'y\t"closed"\n']
    assert list(iterate_table(lines, "t", tabs=True)) == [
        (2, {"a": '"open', "b": "x"}),
        (3, {"a": "y", "b": '"closed"'}),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b\n", "1,2\n", '"3,\n', "4,5\n"], "t, the row from line 3 on: unexpected end"),
        (["a,b\n", '"1" 2,3\n'], "t, the row from line 2 on: ',' expected after"),
        (["a,b\n", "1\n"], "t, line 2: found 1 field, the header has 2"),
        (["a,b\n", "1,2,3\n"], "t, line 2: found 3 fields"),
        (["\n", "a,a\n"], "t, line 2: a column stands twice"),
        (["b\n"], r"t, line 1: the columns \['a'\] are missing; found \['b'\]"),
        ([], r"t, line 1: the columns \['a'\] are missing; found \[\]"),
    ],
)
def test_malformed_tables(lines, message):
    with pytest.raises(DataError, match=message):
        list(iterate_table(lines, "t", ["a"]))
