"""Dataclasses to JSON and back, read strictly.

A recipe is a tree of frozen dataclasses. Its JSON form runs again, so reading it never guesses: an
unknown key, a missing key and a wrong type are errors that name the field. Records of data files
are read by the same functions (`camelid.data.records`).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from itertools import repeat
from typing import Any, Literal, NamedTuple, TypeVar

from camelid.errors import CamelidError, ConfigError

T = TypeVar("T")
Reader = Callable[[Any], Any]
"""Checks a JSON value and converts it, or raises `_ReadError`."""

Precision = Literal["auto", "float32", "bfloat16"]
"""Number type of matrix products; `auto` takes bf16 where the hardware multiplies in it."""


class Difference(NamedTuple):
    """One field in which two settings differ."""

    path: str
    """Dotted field path, such as `sft.optimizer.learning_rate`."""
    old: Any
    new: Any

    def __str__(self) -> str:
        """Return `path: old -> new`."""
        return f"{self.path}: {_short(self.old)} -> {_short(self.new)}"


class PaperValue(NamedTuple):
    """What the paper says about one setting."""

    value: str
    section: str


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Any = _Absent()
"""Stands for a value that is not there, such as a side of a `Difference` without the field."""


def to_json(config: Any) -> Any:
    """Turn settings into plain JSON values.

    Args:
        config: A dataclass tree, or any value that a field of one may hold.

    Returns:
        Nested dicts, lists, numbers, strings, booleans and None.

    Raises:
        ConfigError: A value has no JSON form.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_json(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_json(item) for item in config]
    if config is None or isinstance(config, (bool, int, float, str)):
        return config
    raise ConfigError(f"A setting of type {type(config).__name__} has no JSON form: {config!r}.")


def from_json(
    data: Any, cls: type[T], where: str = "recipe", *, error: type[CamelidError] = ConfigError
) -> T:
    """Read a dataclass strictly.

    Args:
        data: What `to_json` gave, perhaps edited by hand.
        cls: The dataclass to build.
        where: Name of the whole, put before every field path in errors.
        error: Type of the errors.

    Returns:
        An instance of `cls`, checked by its own `__post_init__` too.

    Raises:
        CamelidError: Of the type `error`: a key is unknown (the nearest one is named) or missing, a
            type is wrong, a number is not finite or a text is no Unicode.
    """
    return typing.cast("T", read_value(data, cls, where, error=error))


def read_onto(data: Any, default: T, where: str) -> T:
    """Read settings strictly, with an instance that says what the declared types leave open.

    A field whose declared type has no JSON form (a Protocol) is read as the type of its value in
    `default`, which must be a dataclass. No value is taken from `default`.

    Args:
        data: What `to_json` gave, perhaps edited by hand.
        default: Settings of the same shape.
        where: Name of the whole, put before every field path in errors.

    Returns:
        An instance of the type of `default`.

    Raises:
        ConfigError: As for `from_json`.
    """
    return typing.cast("T", read_value(data, type(default), where, current=default))


def read_value(
    data: Any,
    kind: Any,
    where: str,
    *,
    current: Any = ABSENT,
    error: type[CamelidError] = ConfigError,
) -> Any:
    """Read the value of a field strictly.

    Args:
        data: A JSON value.
        kind: The type that the field is declared with.
        where: Name of the field, put before errors.
        current: What the field holds, if that is to decide where `kind` has no JSON form.
        error: Type of the errors.

    Raises:
        CamelidError: Of the type `error`: the value does not fit.
    """
    try:
        return _reader(kind, current)(data)
    except _ReadError as wrong:
        raise error(f"{where}{wrong}") from None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like `name`, or None when none comes near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` (with the leading space), or an empty string."""
    found = nearest(name, known)
    return f" Did you mean '{found}'?" if found else ""


def flatten(config: Any) -> dict[str, Any]:
    """Return dotted field path -> JSON value of every leaf; lists and empty objects are leaves."""
    leaves: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, f"{path}.{key}" if path else key)
        else:
            leaves[path] = value

    walk(to_json(config), "")
    return leaves


def differences(a: Any, b: Any) -> list[Difference]:
    """Compare two settings (dataclasses or their JSON) leaf by leaf.

    Args:
        a: The old settings.
        b: The new settings.

    Returns:
        One entry for each differing leaf, in field order; `ABSENT` where a side lacks it.
    """
    old, new = flatten(a), flatten(b)
    paths = list(old) + [path for path in new if path not in old]
    pairs = ((path, old.get(path, ABSENT), new.get(path, ABSENT)) for path in paths)
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


class _ReadError(Exception):
    """What is wrong, as the end of a sentence that starts with the name of the field.

    Names are put before it on the way out, so that reading what is right builds no names.
    """


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _wrong(data: Any, needed: str) -> _ReadError:
    return _ReadError(f" is {_short(data)}, but must be {needed}.")


def _reader(kind: Any, current: Any) -> Reader:
    return _cached(kind) if current is ABSENT else _compile(kind, current)


@cache
def _cached(kind: Any) -> Reader:
    """Compile once for each type: files of records have thousands of lines."""
    return _compile(kind, ABSENT)


def _compile(kind: Any, current: Any) -> Reader:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if origin is Literal:
        return _literal(arguments)
    if origin in (types.UnionType, typing.Union):
        return _union(arguments, current)
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return _dict(arguments[1])
    if dataclasses.is_dataclass(kind):
        return _dataclass(typing.cast("type[Any]", kind), current)
    if dataclasses.is_dataclass(current):
        return _dataclass(type(current), current)

    def refuse(_: Any) -> Any:
        raise _ReadError(f": fields of type {kind} cannot be read from JSON.")

    return refuse


def _exactly(kind: type, needed: str) -> Reader:
    def read(data: Any) -> Any:
        # The exact type: True is an int too, but no whole number.
        if type(data) is not kind:
            raise _wrong(data, needed)
        return data

    return read


def _float(data: Any) -> float:
    if type(data) is int and abs(data) < 2**63:
        return float(data)
    if type(data) not in (int, float):
        raise _wrong(data, "a number")
    if type(data) is int or not math.isfinite(data):
        raise _wrong(data, "a finite number, below 2**63 if whole")
    return typing.cast("float", data)


def _str(data: Any) -> str:
    if not isinstance(data, str):
        raise _wrong(data, "a string")
    if not data.isascii():
        try:
            data.encode()
        except UnicodeEncodeError:
            raise _ReadError(" holds half a surrogate pair; replace it.") from None
    return data


_SCALARS: dict[Any, Reader] = {
    Any: lambda data: data,
    type(None): _exactly(type(None), "null"),
    bool: _exactly(bool, "true or false"),
    int: _exactly(int, "a whole number"),
    float: _float,
    str: _str,
}


def _literal(choices: tuple[Any, ...]) -> Reader:
    # `True == 1` must not pass for a choice, so the types are compared too.
    typed = [(type(choice), choice) for choice in choices]

    def read(data: Any) -> Any:
        if (type(data), data) not in typed:
            hint = suggestion(data, map(str, choices)) if isinstance(data, str) else ""
            allowed = ", ".join(map(repr, choices))
            raise _ReadError(f"{_wrong(data, f'one of {allowed}')}{hint}")
        return data

    return read


def _union(members: tuple[Any, ...], current: Any) -> Reader:
    optional = type(None) in members
    # `int | float` and `float | int` are one type to the cache: in both a whole number stays one.
    ordered = sorted(members, key=lambda member: member is float)
    readers = {member: _reader(member, current) for member in ordered if member is not type(None)}
    shapes = [member for member in readers if dataclasses.is_dataclass(member)]

    def read(data: Any) -> Any:
        if data is None and optional:
            return None
        if isinstance(data, dict) and shapes:
            # The class with the most keys in common gives the most helpful error.
            return readers[max(shapes, key=lambda shape: _fit(data, shape))](data)
        errors = []
        for reader in readers.values():
            try:
                return reader(data)
            except _ReadError as error:
                errors.append(str(error))
        raise _ReadError(" Or:".join(dict.fromkeys(errors)))

    return read


def _fit(data: dict[str, Any], cls: Any) -> int:
    names = {field.name for field in dataclasses.fields(cls)}
    return len(names & data.keys()) - len(names ^ data.keys())


def _tuple(kinds: tuple[Any, ...]) -> Reader:
    size = None if kinds[1:] == (Ellipsis,) else len(kinds)
    readers = repeat(_cached(kinds[0])) if size is None else [_cached(kind) for kind in kinds]

    def read(data: Any) -> Any:
        if not isinstance(data, (list, tuple)):
            raise _wrong(data, "a list")
        if size is not None and len(data) != size:
            raise _wrong(data, f"a list of {size} items")
        items: list[Any] = []
        try:
            for reader, item in zip(readers, data, strict=False):
                items.append(reader(item))
        except _ReadError as error:
            raise _ReadError(f"[{len(items)}]{error}") from None
        return tuple(items)

    return read


def _dict(kind: Any) -> Reader:
    reader = _cached(kind)

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _wrong(data, "an object")
        return _read_items(data, dict.fromkeys(data, reader))

    return read


def _read_items(data: dict[str, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:
    values = {}
    key = ""
    try:
        for key, value in data.items():
            values[key] = readers[key](value)
    except _ReadError as error:
        raise _ReadError(f".{key}{error}") from None
    return values


def _dataclass(cls: type[Any], current: Any) -> Reader:
    # Looked up when the first value is read: a class may hold itself.
    shape = cache(partial(_shape, cls, current if type(current) is cls else ABSENT))

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _wrong(data, "an object")
        readers, required = shape()
        if not data.keys() <= readers.keys():
            key = next(key for key in data if key not in readers)
            hint = suggestion(key, readers) or f" Known: {', '.join(readers)}."
            raise _ReadError(f".{key} is unknown.{hint}")
        if not required <= data.keys():
            key = next(key for key in readers if key in required and key not in data)
            raise _ReadError(f".{key} is missing and has no default.")
        values = _read_items(data, readers)
        try:
            return cls(**values)
        except CamelidError as error:
            raise _ReadError(f": {error}") from None

    return read


def _shape(cls: type[Any], current: Any) -> tuple[dict[str, Reader], frozenset[str]]:
    """Return the reader of every field, and the names of those without a default."""
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    readers = {f.name: _reader(hints[f.name], getattr(current, f.name, ABSENT)) for f in fields}
    missing = dataclasses.MISSING
    required = (f.name for f in fields if f.default is missing and f.default_factory is missing)
    return readers, frozenset(required)
