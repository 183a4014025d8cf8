"""Words, names and templates of the pocket world: data files beside this module, read strictly.

One entry of a TOML file is one list or table; who uses a template reads it by file and key, so
`texts("texts", "stories")` stands where stories are told. Everything is authored for this
project, no real persons. Source: choice.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from camelid.errors import ConfigError, DataError
from camelid.settings import from_json, suggestion

T = TypeVar("T")

FOLDER = Path(__file__).parent


def read(file: str, key: str, kind: type[T]) -> T:
    """Return an entry of a data file.

    Args:
        file: Name of the file without `.toml`.
        key: Entry on its top level.
        kind: Type of the entry: tuples, dicts with string keys, dataclasses, strings.

    Raises:
        DataError: The file or the entry is missing or of another type; an unknown field; a text
            that is empty, stands in white space or comes twice in one list.
    """
    entries = _entries(file)
    where = f"lexicon/{file}.toml, {key}"
    if key not in entries:
        raise DataError(f"{where}: no such entry.{suggestion(key, entries)}")
    _require_clean(entries[key], where)
    try:
        return from_json(entries[key], kind, where)
    except ConfigError as error:
        raise DataError(str(error)) from None


def texts(file: str, key: str) -> tuple[str, ...]:
    """Return a list of texts of a data file; raises like `read`."""
    return read(file, key, tuple[str, ...])


@cache
def _entries(file: str) -> dict[str, Any]:
    path = FOLDER / f"{file}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable TOML file ({error}).") from None


def _require_clean(value: Any, where: str) -> None:
    """A slip of the hand must not become a word of the world."""
    if isinstance(value, str) and (not value or value != " ".join(value.split())):
        raise DataError(f"{where}: found {value!r}, needed words with single spaces between.")
    if isinstance(value, dict):
        for key, below in value.items():
            _require_clean(key, where)
            _require_clean(below, f"{where}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            _require_clean(below, f"{where}[{index}]")
            if below in value[:index]:
                raise DataError(f"{where}[{index}]: {below!r} stands in this list twice.")
