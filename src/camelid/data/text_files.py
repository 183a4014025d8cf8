"""The one way to open a text file, whoever wrote it: UTF-8, JSON lines, CSV, TSV.

A byte order mark is no text, `.gz`, `.bz2` and `.xz` are unpacked, lines may end in CRLF. What is
damaged, in another encoding or too large is an error that names file and line. Source: choice.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from camelid.errors import DataError, MissingInputError, counted

LONGEST_LINE = 2**26
"""Most bytes of one line, unpacked: 64 MiB."""
LONGEST_TEXT = 2**29
"""Most bytes of a text that is read whole, unpacked: 512 MiB."""
_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".gz": gzip.GzipFile,  # type: ignore[dict-item]  # reads bytes, but is typed as no IO[bytes]
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
PACKINGS = ("", *_OPENERS)
"""What may stand behind the name of a file."""
_MARK = b"\xef\xbb\xbf"
_ESCAPED = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
"""How what breaks a line, and the mark itself, stand in a text of one line."""
_ESCAPES = str.maketrans({plain: escaped for escaped, plain in _ESCAPED.items()})


def as_line(text: str) -> str:
    """Return a text without line breaks, which `from_line` gives back as it was."""
    return text.translate(_ESCAPES)


def from_line(line: str) -> str:
    """Return the text of a line that `as_line` made."""
    if "\\" not in line:
        return line
    return re.sub(r"\\[\\nr]", lambda found: _ESCAPED[found[0]], line)


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading its bytes, unpacked as its name says."""
    opener = _OPENERS.get(path.suffix)
    return path.open("rb") if opener is None else opener(path)


def iterate_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file with their ends; errors as `lines_of`.

    Raises:
        MissingInputError: There is no such file.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file. Name another path.")
    yield from lines_of(partial(open_unpacked, path), str(path))


def lines_of(opened: Callable[[], IO[bytes]], where: str) -> Iterator[str]:
    """Yield the lines of a file, or of a part of one, with their ends.

    Args:
        opened: Opens it.
        where: Its name in errors.

    Raises:
        DataError: It cannot be read or unpacked, or a line is not UTF-8, holds a NUL character or
            is longer than `LONGEST_LINE`; file and line are named.
    """
    number = 0
    try:
        with opened() as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{where}, line {number}: longer than {LONGEST_LINE} bytes.")
                line = line.removeprefix(_MARK) if number == 1 else line
                # A file of a mark alone has no line.
                if not line:
                    continue
                # UTF-16 without a mark is UTF-8 with NUL characters in it.
                if b"\0" in line:
                    raise DataError(
                        f"{where}, line {number}: holds a NUL character; needed text in UTF-8."
                    )
                yield line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}, line {number}: found {error.object[error.start : error.end]!r}, which is no "
            "UTF-8; save the file in that encoding."
        ) from None
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"{where}, after line {number}: cannot be read ({error}). Get the file again."
        ) from None


def whole(lines: Iterable[str], where: str) -> str:
    """Return the text of some lines.

    Raises:
        DataError: It is longer than `LONGEST_TEXT`.
    """
    found, size = [], 0
    for line in lines:
        size += len(line)
        if size > LONGEST_TEXT:
            raise DataError(f"{where}: longer than {LONGEST_TEXT} bytes.")
        found.append(line)
    return "".join(found)


def read_text(path: Path) -> str:
    """Return the text of a file (errors as `iterate_lines` and `whole`)."""
    return whole(iterate_lines(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """Decode JSON.

    Raises:
        DataError: It is not valid, nested too deep or holds a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}).") from None


def iterate_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number, decoded value) of a JSON-lines file (errors as `iterate_lines`).

    Raises:
        DataError: A line is not JSON; names file and line.
    """
    for number, line in enumerate(iterate_lines(path), 1):
        if not line.isspace():
            yield number, parse_json(line, f"{path}, line {number}")


def iterate_json_list(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number, decoded value) of each item of a JSON list (errors as `read_text`).

    Raises:
        DataError: It is no list of valid JSON; names file and line.
    """
    text, decode = read_text(path), json.JSONDecoder().raw_decode
    line, counted, at = 1, 0, _skip(text, 0)
    opened = text[at : at + 1] == "["
    at = _skip(text, at + 1)
    while opened and text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decode(text, at)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {line}: not valid JSON ({error}).") from None
        yield line, value
        at = _skip(text, at)
        opened = text[at : at + 1] in (",", "]")
        at = _skip(text, at + 1) if text[at : at + 1] == "," else at
    if not opened or text[at + 1 :].strip():
        raise DataError(f"{path}, line {line}: needed one JSON list, items parted by commas.")


def _skip(text: str, at: int) -> int:
    """Return where white space ends."""
    while text[at : at + 1].isspace():
        at += 1
    return at


def iterate_cells(
    lines: Iterable[str], where: str, *, tabs: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, cells) of each row of a table that is not empty.

    Args:
        lines: With their ends.
        where: Name of the file in errors.
        tabs: Whether tabs part the cells. Quotation marks are then text, as the public files have
            them; in CSV they enclose cells.

    Raises:
        DataError: A quotation mark is not closed, or text follows the closing one.
    """
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(lines, strict=True)
    if tabs:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    first = 1
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
            first = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{where}, the row from line {first} on: {error}.") from None


def iterate_table(
    lines: Iterable[str], where: str, columns: Sequence[str] = (), *, tabs: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (number of its last line, cells by column) of a table whose first row is a header.

    Args:
        lines: As in `iterate_cells`.
        where: As in `iterate_cells`.
        columns: What the header must hold.
        tabs: As in `iterate_cells`.

    Raises:
        DataError: A column is missing or stands twice, or a row is longer or shorter than the
            header; and as `iterate_cells`.
    """
    rows = iterate_cells(lines, where, tabs=tabs)
    number, header = next(rows, (1, []))
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise DataError(
            f"{where}, line {number}: the columns {lacking} are missing; found {header}."
        )
    if len(set(header)) < len(header):
        raise DataError(f"{where}, line {number}: a column stands twice in {header}.")
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{where}, line {number}: found {counted(len(cells), 'field')}, the header has "
                f"{len(header)}."
            )
        yield number, dict(zip(header, cells, strict=True))
