"""JSON-lines files of records, read strictly with file and line in errors."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from camelid.errors import DataError, MissingInputError
from camelid.settings import from_json, to_json

T = TypeVar("T")


def parse_record(data: Any, schema: type[T], where: str) -> T:
    """Build one record from decoded JSON.

    Args:
        data: The decoded object.
        schema: A frozen dataclass.
        where: Place named in errors, for example `prompts.jsonl, line 3`.

    Raises:
        DataError: A field is missing, unknown or of the wrong type.
    """
    return from_json(data, schema, f"{where}: {schema.__name__}", error=DataError)


def iterate_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number, decoded object) of a JSON-lines file, `.gz` allowed.

    Raises:
        MissingInputError: The file does not exist.
        DataError: A line is not JSON or not UTF-8; names file and line.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file.")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, json.loads(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}, after line {number}: damaged gzip ({error}).") from None
    # Also JSON that is nested too deep or holds a number of 5,000 digits.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: not valid JSON ({error}).") from None


def read_records(path: Path, schema: type[T]) -> list[T]:
    """Read a JSON-lines file of one schema, strictly (errors as the two above)."""
    return [
        parse_record(data, schema, f"{path}, line {number}")
        for number, data in iterate_json_lines(path)
    ]


def write_records(path: Path, records: Iterable[object]) -> int:
    """Write records (frozen dataclasses) as JSON lines; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(to_json(record), ensure_ascii=False) + "\n")
            count += 1
    return count
