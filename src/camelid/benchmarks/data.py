"""Items of public benchmarks, read from local files in the layouts in which the public gets them.

Where no file lies, the data set hub is asked. Rows of either origin have the hub's column names, so
that one function makes an item of both.
"""

from __future__ import annotations

import ast
import io
import os
import re
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from camelid.data.text_files import (
    LONGEST_TEXT,
    PACKINGS,
    iterate_cells,
    iterate_lines,
    iterate_table,
    lines_of,
    parse_json,
    read_text,
    whole,
)
from camelid.errors import DataError, MissingInputError, counted

Row = dict[str, Any]
HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co")


_ROW_END = re.compile("(?:,[^,]*){4},[ABCD]$")
"""Four choices and a letter: none of MMLU's questions of several lines holds a line like it."""


class Place(NamedTuple):
    """A row and where it was read, for messages."""

    row: Row
    where: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """One split of a data set on the hub."""

    path: str
    config: str | None = None
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where the rows of one split are."""

    files: tuple[str, ...]
    """Relative paths, the first that exists is read; `archive.tar::member` for archives."""
    hub: Hub | None
    public: str
    """Where the public gets the file."""


def read(directory: Path, source: Source) -> list[Place]:
    """Read the rows of a split from its file, or from the hub where there is none.

    Args:
        directory: Folder of the public files.
        source: What to look for.

    Raises:
        MissingInputError: There is neither a file nor a hub that answers.
        DataError: A file is malformed; names file and line.
    """
    for name in source.files:
        name, _, member = name.partition("::")
        for packing in PACKINGS:
            path = directory / f"{name}{packing}"
            if not path.is_file():
                continue
            if member:
                where = f"{path}, {member}"
                lines = lines_of(partial(_member, path, member), where)
                return list(_parse(lines, Path(member), where))
            places = list(_parse(iterate_lines(path), Path(name), str(path)))
            return _with_labels(places, directory / name)
    reason = "it is on no hub in this layout"
    if source.hub is not None:
        try:
            return _from_hub(source.hub)
        except Exception as error:  # noqa: BLE001  (the library raises many kinds when offline)
            said = str(error).splitlines() or [type(error).__name__]
            reason = f"the hub did not answer: {said[0][:120]}"
    raise MissingInputError(
        f"{directory}: found none of {', '.join(source.files)} ({reason}). "
        f"The public gets it from {source.public}."
    )


@cache
def _hub_answers() -> bool:
    """Tell, once, whether the hub can be reached; its library retries every file for long."""
    try:
        with urllib.request.urlopen(HUB, timeout=5):  # noqa: S310 (the user's own address)
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _from_hub(hub: Hub) -> list[Place]:
    # Told to stay offline, the library reads what it has kept, at once.
    if os.environ.get("HF_HUB_OFFLINE") is None and not _hub_answers():
        raise ConnectionError(f"no connection to {HUB}")
    import datasets

    rows = datasets.load_dataset(hub.path, hub.config, split=hub.split)
    where = f"{hub.path} {hub.config or ''} {hub.split}"
    return [Place(dict(row), f"{where}, row {number}") for number, row in enumerate(rows)]


def _member(path: Path, member: str) -> IO[bytes]:
    try:
        with tarfile.open(path) as archive:
            file = archive.extractfile(member)
            return io.BytesIO(b"" if file is None else file.read(LONGEST_TEXT + 1))
    except (KeyError, tarfile.TarError) as error:
        raise DataError(f"{path}: cannot read {member} from the archive ({error}).") from None


def _with_labels(places: list[Place], path: Path) -> list[Place]:
    """Add the labels of PIQA and SIQA, which stand in a file of their own, as `label`."""
    labels = path.with_name(f"{path.stem}-labels.lst")
    if not labels.is_file():
        return places
    found = read_text(labels).split()
    if len(found) != len(places):
        raise DataError(
            f"{labels}: {counted(len(found), 'label')} for {counted(len(places), 'item')} of "
            f"{path}; needed one each."
        )
    return [
        Place({**p.row, "label": label}, p.where) for p, label in zip(places, found, strict=True)
    ]


def _parse(lines: Iterable[str], name: Path, path: str) -> Iterator[Place]:
    if name.suffix == ".jsonl":
        for number, line in enumerate(lines, 1):
            if not line.isspace():
                where = f"{path}, line {number}"
                yield Place(_object(parse_json(line, where), where), where)
    elif name.suffix == ".txt":
        # HellaSwag as text: context, number of the right ending, four endings.
        texts = [line.rstrip("\r\n") for line in lines]
        if len(texts) % 6:
            raise DataError(f"{path}: {counted(len(texts), 'line')}; a multiple of 6 needed.")
        for number in range(0, len(texts), 6):
            context, label, *endings = texts[number : number + 6]
            item: Row = {"ctx": context, "label": label, "endings": endings}
            yield Place(item, f"{path}, line {number + 1}")
    elif name.suffix == ".tsv":
        for number, cells in iterate_table(lines, path, tabs=True):
            yield Place(dict(cells), f"{path}, line {number}")
    elif name.suffix == ".csv":
        yield from _cells(lines, name, path)
    else:
        for number, row in enumerate(_json_rows(parse_json(whole(lines, path), path), path), 1):
            yield Place(row, f"{path}, item {number}")


def _object(content: Any, where: str) -> Row:
    if not isinstance(content, dict):
        raise DataError(f"{where}: found {type(content).__name__}, needed a JSON object.")
    return content


def _json_rows(content: Any, path: str) -> Iterator[Row]:
    """Rows of a list, of BIG-Bench Hard's examples, or of TriviaQA's, SQuAD's or QuAC's data."""
    if isinstance(content, dict):
        content = next((content[k] for k in ("examples", "Data", "data") if k in content), None)
    if not isinstance(content, list):
        raise DataError(f"{path}: needed a list, or an object with 'examples', 'Data' or 'data'.")
    for number, entry in enumerate(content, 1):
        where = f"{path}, entry {number}"
        if "paragraphs" not in _object(entry, where):
            yield entry
            continue
        try:
            yield from [row for paragraph in entry["paragraphs"] for row in _turns(paragraph)]
        except (KeyError, TypeError) as error:
            raise DataError(f"{where}: not in its public layout ({error!r}).") from None


def _turns(paragraph: Any) -> Iterator[Row]:
    """Rows of the questions about one text, each with the ones before it."""
    turns: list[Row] = []
    for turn in paragraph["qas"]:
        texts = [answer["text"] for answer in turn["answers"]]
        asked = {"context": paragraph["context"], "question": turn["question"]}
        yield {**asked, "answers": {"text": texts}, "turns": list(turns)}
        turns.append({"question": turn["question"], "answer": texts[:1]})


def _cells(lines: Iterable[str], name: Path, path: str) -> Iterator[Place]:
    """AGI Eval's table of examples, or MMLU's five columns and letter without a header."""
    rows = list(iterate_cells(lines, path))
    if not rows:
        raise DataError(f"{path}: holds no row; needed a header and questions.")
    for number, cells in rows:
        where = f"{path}, line {number}"
        if name.stem == "few_shot_prompts":
            yield Place({"cells": cells}, where)
        elif len(cells) != 6 or cells[5] not in ("A", "B", "C", "D"):
            raise DataError(f"{where}: needed question, four choices and a letter A to D.")
        elif any(_ROW_END.search(line) for line in cells[0].splitlines()[:-1]):
            raise DataError(
                f"{where}: a line inside the question ends like a row; a quotation mark before it "
                "is not closed. Write a mark that is text twice, in a quoted cell."
            )
        else:
            row = {"question": cells[0], "choices": cells[1:5], "answer": "ABCD".index(cells[5])}
            yield Place(row, where)


def few_shot_column(places: Sequence[Place], column: str) -> list[Place]:
    """Rows of one task in AGIEval's table of examples, whose cells are Python literals."""
    header = places[0].row["cells"]
    if column not in header:
        raise DataError(f"{places[0].where}: no column {column!r}; needed in the header.")
    found = []
    for place in places[1:]:
        cells = place.row["cells"]
        if len(cells) != len(header):
            raise DataError(f"{place.where}: {counted(len(cells), 'cell')}, needed {len(header)}.")
        cell = cells[header.index(column)]
        if not cells[0].startswith("sample") or not cell:
            continue
        try:
            row = ast.literal_eval(cell)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
            raise DataError(f"{place.where}: no Python literal in {column!r} ({error}).") from None
        found.append(Place(_object(row, place.where), place.where))
    return found
