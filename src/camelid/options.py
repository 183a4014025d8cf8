"""Options of the command line as settings: `--dotted.field value`.

Words become JSON values, which the strict reader of settings takes or refuses.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, TypeVar

from camelid.errors import CamelidError, ConfigError
from camelid.settings import declared, flatten, read_value, suggestion

T = TypeVar("T")

_WORDS = {"True": True, "False": False, "None": None, "none": None}
"""Words that mean a JSON value without being one."""


def group_words(words: Sequence[str]) -> dict[str, list[str]]:
    """Split `--a.b value [value ...]` and `--a.b=value` into options.

    Args:
        words: Words of a command line. One that does not start with `--` is a value, as `-1e-3` is.

    Returns:
        Dotted field (with underscores for dashes) -> its words, at least one.

    Raises:
        ConfigError: A word belongs to no option, or an option has no value or is given twice.
    """
    groups: dict[str, list[str]] = {}
    open_to: list[str] | None = None
    for word in words:
        if not word.startswith("--"):
            if open_to is None:
                raise ConfigError(
                    f"'{word}' is neither an option nor the value of one; options start with --."
                )
            open_to.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        field = name.replace("-", "_")
        if field in groups:
            raise ConfigError(f"--{name} is given twice.")
        groups[field] = [value] if equals else []
        open_to = None if equals else groups[field]
    for field, values in groups.items():
        if not values:
            raise ConfigError(f"{option_name(field)} needs a value; give one after it.")
    return groups


def option_name(field: str) -> str:
    """Return the option that sets a field, as it is shown: `--like-this`."""
    return f"--{_dashed(field)}"


def _dashed(field: str) -> str:
    return field.replace("_", "-")


def with_options(config: T, options: Mapping[str, tuple[str, list[str]]]) -> T:
    """Return a copy of settings with fields read from the words of their options.

    All at once: a width and its number of heads may fit each other only together.

    Args:
        config: A dataclass tree.
        options: Dotted field, no dataclass itself -> name of its option in errors and its words.

    Raises:
        ConfigError: There is no such field (the nearest is named), it is a group of fields, or the
            value does not fit it or its neighbours.
    """
    values = {}
    for field, (name, words) in options.items():
        kind, current = _declared(config, field, name)
        if dataclasses.is_dataclass(current):
            names = ", ".join(_dashed(f"{field}.{f.name}") for f in dataclasses.fields(current))
            raise ConfigError(f"{name} is a group; give a field of it: {names or 'it has none'}.")
        values[field] = read_value(json_of(words, kind), kind, name, current=current)
    try:
        return _exchange(config, values)
    except CamelidError as error:
        names = ", ".join(name for name, _ in options.values())
        raise ConfigError(f"{names}: {error}") from None


def _exchange(config: T, values: Mapping[str, Any]) -> T:
    """Build each dataclass once, with all that changes in it and below it."""
    below: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        below.setdefault(name, {})[rest] = value
    changes = {
        name: inner[""] if "" in inner else _exchange(getattr(config, name), inner)
        for name, inner in below.items()
    }
    return typing.cast("T", dataclasses.replace(typing.cast("Any", config), **changes))


def _declared(config: Any, field: str, where: str) -> tuple[Any, Any]:
    """Return the declared type and the value of a dotted field."""
    kind, current, above = None, config, "the whole"
    for name in field.split("."):
        if not dataclasses.is_dataclass(current):
            raise ConfigError(
                f"{where}: '{above}' has no fields here, it is {current!r}; set {above}."
            )
        known = [inner.name for inner in dataclasses.fields(current)]
        if name not in known:
            hint = suggestion(_dashed(field), map(_dashed, flatten(config)))
            hint = hint or f" Known: {_dashed(', '.join(known))}."
            raise ConfigError(f"{where}: there is no field '{_dashed(field)}'.{hint}")
        owner: Any = type(current)
        kind = declared(owner)[name]
        current, above = getattr(current, name), name
    return kind, current


def json_of(words: list[str], kind: Any) -> Any:
    """Return the JSON value that words stand for in a field of a type, fitting or not.

    A word is the JSON value that it spells (also `True`, `False`, `None` and `none`) where the
    field takes that, else text. Several words, or one that is no list, make the tuple of a tuple
    field.
    """
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    whole = _word(words[0], kind) if len(words) == 1 else [_json(word) for word in words]
    union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    members = typing.get_args(kind) if union else (kind,)
    items = [typing.get_args(m) for m in members if typing.get_origin(m) is tuple]
    if not items or (len(words) == 1 and (_fits(whole, kind) or isinstance(whole, list))):
        return whole
    endless = items[0][1:] == (Ellipsis,)
    kinds: Iterable[Any] = repeat(items[0][0]) if endless else chain(items[0], repeat(Any))
    return [_word(word, item) for word, item in zip(words, kinds, strict=False)]


def _word(word: str, kind: Any) -> Any:
    """Return what a word spells if the field takes that, its text if it takes only that."""
    spelled = _json(word)
    return word if not _fits(spelled, kind) and _fits(word, kind) else spelled


def _json(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    try:
        return json.loads(word)
    # Also a list that is nested too deep.
    except (ValueError, RecursionError):
        return word


def _fits(value: Any, kind: Any) -> bool:
    try:
        read_value(value, kind, "")
    except ConfigError:
        return False
    return True
