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
from functools import cache
from itertools import repeat
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from camelid.errors import CamelidError, ConfigError, counted

T = TypeVar("T")

Precision = Literal["auto", "float32", "bfloat16"]
"""Number type of matrix products; `auto` takes bf16 where the hardware multiplies in it."""


class PaperValue(NamedTuple):
    """What the paper says about one setting."""

    value: str
    section: str


class Range(NamedTuple):
    """What a setting may hold: numbers from one end to the other, or so many items of a list."""

    least: float
    most: float
    above: bool = False
    """Whether the least itself is too small."""

    def __str__(self) -> str:
        least, most = (
            f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (self.least, self.most)
        )
        return f"above {least} and at most {most}" if self.above else f"from {least} to {most}"


Count = Annotated[int, Range(0, 10**9)]
"""A number of things, perhaps none."""
Number = Annotated[int, Range(1, 10**9)]
"""A number of things, at least one."""
BatchSize = Annotated[int, Range(1, 10**6)]
"""Rows, comparisons or prompts that are handled at once."""
Steps = Annotated[int, Range(1, 10**6)]
"""Optimizer steps, iterations or passes."""
Tokens = Annotated[int, Range(1, 2**24)]
"""Length of a text in tokens."""
Share = Annotated[float, Range(0, 1)]
SomeShare = Annotated[float, Range(0, 1, above=True)]
Factor = Annotated[float, Range(0, 10_000)]
"""Weight, coefficient or ratio; 0 switches off."""
Temperature = Annotated[float, Range(0, 100)]
Temperatures = Annotated[tuple[Temperature, ...], Range(1, 100)]
Seed = Annotated[int, Range(0, 2**63 - 1)]


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Any = _Absent()
"""Stands for a value that is not there, such as a field in one side of a comparison."""


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
    """Read a dataclass that `to_json` gave (arguments and errors as `read_value`).

    An instance is checked by its own `__post_init__` too.
    """
    return typing.cast("T", read_value(data, cls, where, error=error))


def read_value(
    data: Any,
    kind: Any,
    where: str,
    *,
    current: Any = ABSENT,
    error: type[CamelidError] = ConfigError,
) -> Any:
    """Read a value strictly.

    Args:
        data: A JSON value.
        kind: The type that the field is declared with.
        where: Name of the whole, put before every field path in errors.
        current: What the field holds. Where a declared type has no JSON form (a Protocol), the type
            of what is there is read instead; no value is taken from it.
        error: Type of the errors.

    Raises:
        CamelidError: Of the type `error`: a key is unknown (the nearest one is named) or missing, a
            type is wrong, a number is not finite or a text is no Unicode.
    """
    try:
        value = _read(data, kind, current)
        _check_range(value, kind)
    except _ReadError as wrong:
        raise error(f"{where}{wrong}") from None
    return value


def bounded(cls: type[T]) -> type[T]:
    """Refuse instances of a dataclass that hold a number outside the `Range` of its field.

    The decorator stands below `@dataclass`; the class's own `__post_init__` runs after the check.
    """
    own = cls.__dict__.get("__post_init__")

    def check(self: Any) -> None:
        kinds: Any = type(self)
        for name, kind in declared(kinds).items():
            try:
                _check_range(getattr(self, name), kind)
            except _ReadError as wrong:
                raise ConfigError(f"{name}{wrong}") from None
        if own is not None:
            own(self)

    cls.__post_init__ = check  # type: ignore[attr-defined]
    return cls


@cache
def declared(cls: Any) -> dict[str, Any]:
    """Return the types of a class's fields with their ranges."""
    return typing.get_type_hints(cls, include_extras=True)


def _check_range(value: Any, kind: Any) -> None:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        for limit in (found for found in arguments[1:] if isinstance(found, Range)):
            number = len(value) if isinstance(value, tuple) else value
            # NaN lies between nothing.
            if limit.least <= number <= limit.most and not (limit.above and number == limit.least):
                continue
            if isinstance(value, tuple):
                raise _ReadError(f" has {counted(number, 'item')}, but must have {limit}.")
            raise _wrong(value, str(limit))
        _check_range(value, arguments[0])
    elif origin in (types.UnionType, typing.Union) and value is not None:
        for member in arguments:
            _check_range(value, member)
    elif origin is tuple and arguments[1:] == (Ellipsis,):
        for index, item in enumerate(value):
            try:
                _check_range(item, arguments[0])
            except _ReadError as wrong:
                raise _ReadError(f"[{index}]{wrong}") from None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` (with the leading space), or an empty string."""
    names = [other for other in known if other != name]
    # What the name begins is likelier meant than what only looks alike: `arc` is no `quac`.
    longer = sorted((other for other in names if name and other.startswith(name)), key=len)
    found = longer or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean '{found[0]}'?" if found else ""


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


def differences(old: Any, new: Any) -> list[str]:
    """Compare two settings (dataclasses or their JSON) leaf by leaf.

    Returns:
        `path: old -> new` of each differing leaf, in field order.
    """
    before, after = flatten(old), flatten(new)
    pairs = {path: (before.get(path, ABSENT), after.get(path, ABSENT)) for path in before | after}
    return [f"{path}: {_short(a)} -> {_short(b)}" for path, (a, b) in pairs.items() if a != b]


class _ReadError(Exception):
    """What is wrong, as the end of a sentence that starts with the name of the field.

    Names are put before it on the way out, so that reading what is right builds no names.
    """


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _wrong(data: Any, needed: str) -> _ReadError:
    return _ReadError(f" is {_short(data)}, but must be {needed}.")


_NEEDED = {type(None): "null", bool: "true or false", int: "a whole number"}


def _read(data: Any, kind: Any, current: Any = ABSENT) -> Any:
    """Check a JSON value and convert it, or raise `_ReadError`."""
    if kind in _NEEDED:
        # The exact type: True is an int too, but no whole number.
        if type(data) is not kind:
            raise _wrong(data, _NEEDED[kind])
        return data
    if kind in _READERS:
        return _READERS[kind](data)
    origin, arguments, shape = _parts(kind)
    if origin is Literal:
        return _literal(data, arguments)
    if origin is Annotated:
        return _read(data, arguments[0], current)
    if origin is types.UnionType:
        return _union(data, arguments, current)
    if origin is tuple:
        return _tuple(data, arguments)
    if origin is dict:
        return _items(data, dict.fromkeys(_object(data), arguments[1]))
    if shape is None and dataclasses.is_dataclass(current):
        shape = type(current)
    if shape is None:
        raise _ReadError(f": fields of type {kind} cannot be read from JSON.")
    return _dataclass(data, shape, current)


@cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...], Any]:
    """Return origin, arguments and, of a dataclass, itself; files of records ask for it often."""
    origin = typing.get_origin(kind)
    shape = kind if dataclasses.is_dataclass(kind) else None
    return types.UnionType if origin is typing.Union else origin, typing.get_args(kind), shape


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


_READERS: dict[Any, Callable[[Any], Any]] = {str: _str, float: _float, Any: lambda data: data}


def _literal(data: Any, choices: tuple[Any, ...]) -> Any:
    # `True == 1` must not pass for a choice, so the types are compared too.
    if not any(type(data) is type(choice) and data == choice for choice in choices):
        hint = suggestion(data, map(str, choices)) if isinstance(data, str) else ""
        allowed = ", ".join(map(repr, choices))
        raise _ReadError(f"{_wrong(data, f'one of {allowed}')}{hint}")
    return data


def _union(data: Any, members: tuple[Any, ...], current: Any) -> Any:
    if data is None and type(None) in members:
        return None
    shapes: list[Any] = [member for member in members if dataclasses.is_dataclass(member)]
    if isinstance(data, dict) and shapes:
        tags = {shape: _fields(shape)[0].get("kind") for shape in shapes}
        if len(tags) > 1 and all(typing.get_origin(tag) is Literal for tag in tags.values()):
            # Each names its own kind, so that picks the class; an error lists the kinds of all.
            _items({"kind": data.get("kind", ABSENT)}, {"kind": Literal[*tags.values()]})
            shapes = [shape for shape in tags if data["kind"] in typing.get_args(tags[shape])]
        # The class with the most keys in common gives the most helpful error.
        return _read(data, max(shapes, key=lambda shape: _fit(data, shape)), current)
    errors = []
    # In `int | float` as in `float | int` a whole number stays one.
    for member in sorted(members, key=lambda member: member is float):
        if member is not type(None):
            try:
                return _read(data, member, current)
            except _ReadError as error:
                errors.append(str(error))
    raise _ReadError(" Or:".join(dict.fromkeys(errors)))


def _fit(data: dict[str, Any], cls: Any) -> int:
    names = {field.name for field in dataclasses.fields(cls)}
    return len(names & data.keys()) - len(names ^ data.keys())


def _tuple(data: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise _wrong(data, "a list")
    endless = kinds[1:] == (Ellipsis,)
    if not endless and len(data) != len(kinds):
        raise _wrong(data, f"a list of {counted(len(kinds), 'item')}")
    items: list[Any] = []
    try:
        for kind, item in zip(repeat(kinds[0]) if endless else kinds, data, strict=False):
            items.append(_read(item, kind))
    except _ReadError as error:
        raise _ReadError(f"[{len(items)}]{error}") from None
    return tuple(items)


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong(data, "an object")
    return data


def _items(data: dict[str, Any], kinds: Mapping[str, Any], current: Any = None) -> dict[str, Any]:
    values = {}
    key = ""
    try:
        for key, value in data.items():
            values[key] = _read(value, kinds[key], getattr(current, key, ABSENT))
    except _ReadError as error:
        raise _ReadError(f".{key}{error}") from None
    return values


def _dataclass(data: Any, cls: Any, current: Any) -> Any:
    kinds, required = _fields(cls)
    if not _object(data).keys() <= kinds.keys():
        key = next(key for key in data if key not in kinds)
        hint = suggestion(key, kinds) or f" Known: {', '.join(kinds)}."
        raise _ReadError(f".{key} is unknown.{hint}")
    if not required <= data.keys():
        key = next(key for key in kinds if key in required and key not in data)
        raise _ReadError(f".{key} is missing and has no default; add it.")
    values = _items(data, kinds, current if type(current) is cls else None)
    try:
        return cls(**values)
    except CamelidError as error:
        raise _ReadError(f": {error}") from None


@cache
def _fields(cls: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the type of every field, and the names of those without a default."""
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    missing = dataclasses.MISSING
    required = (f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {field.name: hints[field.name] for field in fields}, frozenset(required)
