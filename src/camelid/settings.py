"""Typed settings to JSON and back, read strictly, and the paper's values beside ours.

A recipe is a tree of frozen dataclasses. Its JSON form runs again, so reading it never guesses: an
unknown key, a missing key and a wrong type are errors that name the field.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from camelid.errors import ConfigError

T = TypeVar("T")

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
    """What the paper says about one field."""

    value: str
    section: str


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Any = _Absent()
"""Stands in a `Difference` for a field that one side does not have."""


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


def from_json(data: Any, cls: type[T], where: str = "recipe") -> T:
    """Read settings strictly.

    Args:
        data: What `to_json` gave, perhaps edited by hand.
        cls: The dataclass to build.
        where: Name of the whole, put before every field path in errors.

    Returns:
        An instance of `cls`, checked by its own `__post_init__` too.

    Raises:
        ConfigError: A key is unknown (the nearest one is named) or missing, or a type is wrong.
    """
    return typing.cast("T", _read(data, cls, where))


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


def paper_values() -> dict[str, str]:
    """Return dotted recipe field -> the paper's value with its section, as text."""
    return {path: f"{value} ({section})" for path, (value, section) in PAPER.items()}


def with_value(config: Any, field: str, value: Any) -> Any:
    """Return a copy of settings with the value of one dotted field path exchanged."""
    name, _, below = field.partition(".")
    if below:
        value = with_value(getattr(config, name), below, value)
    return dataclasses.replace(config, **{name: value})


def override(recipe: Any, words: Sequence[str]) -> Any:
    """Apply `--dotted.field value` options to a recipe.

    Args:
        recipe: A dataclass tree.
        words: The options that the parser of `run` did not know.

    Returns:
        A changed copy.

    Raises:
        ConfigError: A field is unknown (the nearest is named) or a value has the wrong type.
    """
    if not words:
        return recipe
    fields = list(flatten(recipe))
    options = ["out", "redo", "until", "data", "weights", "recipe"]
    if not words[0].startswith("--"):
        raise ConfigError(f"'{words[0]}' is neither an option nor the value of one.")
    for word in words:
        name = word[2:].split("=")[0].replace("-", "_")
        if word.startswith("--") and name not in fields:
            hint = suggestion(name, [*options, *fields]) or " `camelid show RECIPE` lists them."
            raise ConfigError(f"--{name} is no option and no field of the recipe.{hint}")
    import tyro

    # Tyro prints its own one-screen message about a wrong value and exits with 2.
    return tyro.cli(
        type(recipe),
        default=recipe,
        args=list(words),
        prog="camelid run",
        add_help=False,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _read(data: Any, kind: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if origin in (types.UnionType, typing.Union):
        return _read_union(data, typing.get_args(kind), where)
    if origin is Literal:
        choices = typing.get_args(kind)
        # `True == 1` must not pass for a choice, so the types are compared too.
        if any(data == choice and type(data) is type(choice) for choice in choices):
            return data
        hint = suggestion(data, map(str, choices)) if isinstance(data, str) else ""
        allowed = ", ".join(map(repr, choices))
        raise ConfigError(f"{where} is {_short(data)}, but must be one of {allowed}.{hint}")
    if origin is tuple:
        return _read_tuple(data, typing.get_args(kind), where)
    if origin is dict:
        _require(isinstance(data, dict), data, "an object", where)
        value_kind = typing.get_args(kind)[1]
        return {key: _read(value, value_kind, f"{where}.{key}") for key, value in data.items()}
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(data, typing.cast("type[Any]", kind), where)
    return _read_scalar(data, kind, where)


def _require(condition: bool, data: Any, needed: str, where: str) -> None:
    if not condition:
        raise ConfigError(f"{where} is {_short(data)}, but must be {needed}.")


def _read_scalar(data: Any, kind: Any, where: str) -> Any:
    if kind is type(None):
        _require(data is None, data, "null", where)
    elif kind is bool:
        _require(isinstance(data, bool), data, "true or false", where)
    elif kind is int:
        _require(type(data) is int, data, "a whole number", where)
    elif kind is float:
        _require(type(data) in (int, float), data, "a number", where)
        return float(data)
    elif kind is str:
        _require(isinstance(data, str), data, "a string", where)
    else:
        raise ConfigError(f"{where}: fields of type {kind} cannot be read from JSON.")
    return data


def _read_tuple(data: Any, kinds: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    _require(isinstance(data, (list, tuple)), data, "a list", where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    _require(len(data) == len(kinds), data, f"a list of {len(kinds)} items", where)
    pairs = zip(data, kinds, strict=True)
    return tuple(_read(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(pairs))


def _read_union(data: Any, members: tuple[Any, ...], where: str) -> Any:
    if data is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return _read(data, members[0], where)
    if isinstance(data, dict):
        # The settings class with the most keys in common gives the most helpful error.
        shapes = [member for member in members if dataclasses.is_dataclass(member)]
        if shapes:
            return _read(data, max(shapes, key=lambda shape: _fit(data, shape)), where)
    errors = []
    for member in members:
        try:
            return _read(data, member, where)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(" Or: ".join(errors))


def _fit(data: dict[str, Any], cls: Any) -> int:
    names = {field.name for field in dataclasses.fields(cls)}
    return len(names & data.keys()) - len(names ^ data.keys())


def _read_dataclass(data: Any, cls: type[Any], where: str) -> Any:
    _require(isinstance(data, dict), data, "an object", where)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            hint = suggestion(key, fields) or f" Known: {', '.join(fields)}."
            raise ConfigError(f"{where}.{key} is not a setting.{hint}")
    missing = dataclasses.MISSING
    for name, field in fields.items():
        if name not in data and field.default is missing and field.default_factory is missing:
            raise ConfigError(f"{where}.{name} is missing and has no default.")
    hints = typing.get_type_hints(cls)
    values = {key: _read(value, hints[key], f"{where}.{key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _optimizer(stage: str, learning_rate: str, section: str) -> dict[str, PaperValue]:
    return {
        f"{stage}.optimizer.learning_rate": PaperValue(learning_rate, section),
        f"{stage}.optimizer.beta1": PaperValue("0.9", section),
        f"{stage}.optimizer.beta2": PaperValue("0.95", section),
        f"{stage}.optimizer.eps": PaperValue("1e-5", section),
        f"{stage}.optimizer.weight_decay": PaperValue("0.1", section),
        f"{stage}.optimizer.clip": PaperValue("1.0", section),
    }


_BASE = "Section 2.2"
_SFT = "Section 3.1"
_RM = "Section 3.2.2"
_PPO = "Section 3.2.3"

PAPER: dict[str, PaperValue] = {
    "from_text.tokenizer_training.vocabulary_size": PaperValue("32,000", _BASE),
    **_optimizer("from_text.pretraining", "3e-4 (7B, 13B), 1.5e-4 (34B, 70B)", _BASE),
    "from_text.pretraining.optimizer.schedule": PaperValue("cosine", _BASE),
    "from_text.pretraining.optimizer.warmup_minimum": PaperValue("2,000 steps", _BASE),
    "from_text.pretraining.optimizer.final_fraction": PaperValue("0.1", _BASE),
    "from_text.pretraining.row_tokens": PaperValue("4,096", "Table 1"),
    "from_text.pretraining.batch_rows": PaperValue("4M tokens", "Table 1"),
    "from_text.pretraining.tokens": PaperValue("2.0T", "Table 1"),
    "sft.optimizer.learning_rate": PaperValue("2e-5", _SFT),
    "sft.optimizer.schedule": PaperValue("cosine", _SFT),
    "sft.optimizer.weight_decay": PaperValue("0.1", _SFT),
    "sft.batch_rows": PaperValue("64", _SFT),
    "sft.row_tokens": PaperValue("4,096", _SFT),
    "sft.epochs": PaperValue("2", _SFT),
    **_optimizer("reward_modeling", "1e-5 (70B: 5e-6)", _RM),
    "reward_modeling.optimizer.schedule": PaperValue("cosine", _RM),
    "reward_modeling.optimizer.final_fraction": PaperValue("0.1", _RM),
    "reward_modeling.optimizer.warmup_fraction": PaperValue("0.03", _RM),
    "reward_modeling.optimizer.warmup_minimum": PaperValue("5 steps", _RM),
    "reward_modeling.batch_pairs": PaperValue("512 (1,024 rows)", _RM),
    "reward_modeling.epochs": PaperValue("1", _RM),
    "reward_modeling.margin": PaperValue("small 1, 2/3, 1/3, 0 or large 3, 2, 1, 0", "Table 27"),
    "reward_modeling.helpfulness_share": PaperValue("0.5", _RM),
    "reward_modeling.safety_share": PaperValue("0.9", _RM),
    "reward_modeling.gate_precision": PaperValue("0.89 (threshold 0.15, recall 0.55)", _PPO),
    "rejection_sampling.samples": PaperValue("10 to 100 explored, K not stated", _PPO),
    "rejection_sampling.temperatures": PaperValue("1.2 to 1.3 best, re-tuned", _PPO),
    **_optimizer("ppo", "1e-6", _PPO),
    "ppo.optimizer.schedule": PaperValue("constant", _PPO),
    "ppo.clip": PaperValue("0.2", _PPO),
    "ppo.kl_coefficient": PaperValue("0.01 (7B, 13B), 0.005 (34B, 70B)", _PPO),
    "ppo.batch_rows": PaperValue("512", _PPO),
    "ppo.minibatch_rows": PaperValue("64", _PPO),
    "ppo.iterations": PaperValue("200 to 400, early stop", _PPO),
}
"""Dotted recipe field -> what arXiv 2307.09288 says; it does not state the fields left out here."""
