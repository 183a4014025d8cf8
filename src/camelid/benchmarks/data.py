"""Items of public benchmarks, read from local files in the layouts in which the public gets them.

`.gz`, `.bz2` and `.xz` are allowed everywhere. Where no file lies, the data set hub is asked. Rows
of either origin have the hub's column names, so that one function makes an item of both.
"""

from __future__ import annotations

import ast
import bz2
import csv
import gzip
import io
import json
import lzma
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from camelid.errors import DataError, MissingInputError

Row = dict[str, Any]
HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co")

_OPENERS: dict[str, Callable[[Path], Any]] = {
    "": partial(open, mode="rb"),
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


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
        for suffix, opener in _OPENERS.items():
            path = directory / f"{name}{suffix}"
            if not path.is_file():
                continue
            try:
                if member:
                    return list(_parse(_member(path, member), Path(member), f"{path}, {member}"))
                with opener(path) as file:
                    text = file.read().decode("utf-8")
                return _with_labels(list(_parse(text, Path(name), str(path))), directory / name)
            except (UnicodeDecodeError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
                raise DataError(f"{path}: cannot be read ({error}).") from None
            except (KeyError, TypeError, csv.Error) as error:
                raise DataError(f"{path}: not in its public layout ({error!r}).") from None
    reason = "it is on no hub in this layout"
    if source.hub is not None:
        try:
            return _from_hub(source.hub)
        except Exception as error:  # noqa: BLE001  (the library raises many kinds when offline)
            lines = str(error).splitlines() or [type(error).__name__]
            reason = f"the hub did not answer: {lines[0][:120]}"
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


def _member(path: Path, member: str) -> str:
    try:
        with tarfile.open(path) as archive:
            file = archive.extractfile(member)
            return "" if file is None else file.read().decode("utf-8")
    except (KeyError, tarfile.TarError) as error:
        raise DataError(f"{path}: cannot read {member} from the archive ({error}).") from None


def _with_labels(places: list[Place], path: Path) -> list[Place]:
    """Add the labels of PIQA and SIQA, which stand in a file of their own, as `label`."""
    labels = path.with_name(f"{path.stem}-labels.lst")
    if not labels.is_file():
        return places
    found = labels.read_text(encoding="utf-8").split()
    if len(found) != len(places):
        raise DataError(f"{labels}: {len(found)} labels for {len(places)} items of {path}.")
    return [
        Place({**p.row, "label": label}, p.where) for p, label in zip(places, found, strict=True)
    ]


def _parse(text: str, name: Path, path: str) -> Iterator[Place]:
    # Not `splitlines`: U+2028 and its like stand inside lines.
    lines = text.removesuffix("\n").split("\n") if name.suffix in {".jsonl", ".txt"} else []
    if name.suffix == ".jsonl":
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = _json(line, f"{path}, line {number}")
                if not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}: found no JSON object.")
                yield Place(row, f"{path}, line {number}")
    elif name.suffix == ".txt":
        # HellaSwag as text: context, number of the right ending, four endings.
        if len(lines) % 6:
            raise DataError(f"{path}: {len(lines)} lines; a multiple of 6 needed.")
        for number in range(0, len(lines), 6):
            context, label, *endings = lines[number : number + 6]
            row = {"ctx": context, "label": label, "endings": endings}
            yield Place(row, f"{path}, line {number + 1}")
    elif name.suffix in {".csv", ".tsv"}:
        yield from _table(text, name, path)
    else:
        for number, row in enumerate(_json_rows(_json(text, path), path), 1):
            yield Place(row, f"{path}, item {number}")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error}).") from None


def _json_rows(content: Any, path: str) -> Iterator[Row]:
    """Rows of a list, of BIG-Bench Hard's examples, or of TriviaQA's, SQuAD's or QuAC's data."""
    if isinstance(content, dict):
        content = next((content[k] for k in ("examples", "Data", "data") if k in content), None)
    if not isinstance(content, list):
        raise DataError(f"{path}: found neither a list nor 'examples', 'Data' or 'data'.")
    for entry in content:
        if not isinstance(entry, dict):
            raise DataError(f"{path}: found {type(entry).__name__} in place of an object.")
        if "paragraphs" not in entry:
            yield entry
            continue
        for paragraph in entry["paragraphs"]:
            turns: list[Row] = []
            for turn in paragraph["qas"]:
                texts = [answer["text"] for answer in turn["answers"]]
                row = {
                    "context": paragraph["context"],
                    "question": turn["question"],
                    "answers": {"text": texts},
                    "turns": list(turns),
                }
                turns.append({"question": turn["question"], "answer": texts[:1]})
                yield row


def _table(text: str, name: Path, path: str) -> Iterator[Place]:
    """A table with a header line (`.tsv`), or MMLU's five columns and letter without one."""
    if name.suffix == ".tsv":
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
        for row in reader:
            yield Place(row, f"{path}, line {reader.line_num}")
        return
    plain = csv.reader(io.StringIO(text, newline=""))
    for cells in plain:
        where = f"{path}, line {plain.line_num}"
        if name.stem == "few_shot_prompts":
            yield Place({"cells": cells}, where)
        elif len(cells) != 6 or cells[5] not in ("A", "B", "C", "D"):
            raise DataError(f"{where}: needed question, four choices and a letter A to D.")
        else:
            row = {"question": cells[0], "choices": cells[1:5], "answer": "ABCD".index(cells[5])}
            yield Place(row, where)


def few_shot_column(places: Sequence[Place], column: str) -> list[Place]:
    """Rows of one task in AGIEval's table of examples, whose cells are Python literals."""
    header = places[0].row["cells"] if places else []
    if column not in header:
        raise DataError(f"{places[0].where if places else 'examples'}: no column {column!r}.")
    found = []
    for place in places[1:]:
        cells = place.row["cells"]
        if len(cells) != len(header):
            raise DataError(f"{place.where}: {len(cells)} cells, needed {len(header)}.")
        cell = cells[header.index(column)]
        if not cells[0].startswith("sample") or not cell:
            continue
        try:
            found.append(Place(ast.literal_eval(cell), place.where))
        except (ValueError, SyntaxError) as error:
            raise DataError(f"{place.where}: no Python literal in {column!r} ({error}).") from None
    return found
