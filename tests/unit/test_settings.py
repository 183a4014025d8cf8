"""Settings to JSON and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.errors import ConfigError
from camelid.settings import PAPER, differences, flatten, from_json, nearest, paper_values, to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimizer:
    learning_rate: float
    warmup: int = 5

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate must be positive, found {self.learning_rate}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Other:
    directory: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    name: str
    optimizer: Optimizer
    margin: Literal["small", "large"] = "small"
    temperatures: tuple[float, ...] = (1.0, 1.2)
    size: tuple[int, int] = (2, 3)
    start: Optimizer | Other | None = None
    flag: bool = False
    counts: dict[str, int] | None = None


FULL = Settings(
    name="x",
    optimizer=Optimizer(learning_rate=1e-3),
    start=Other(directory="d"),
    counts={"a": 1},
)


def test_round_trip():
    assert from_json(to_json(FULL), Settings) == FULL
    assert from_json({"name": "x", "optimizer": {"learning_rate": 1}}, Settings) == Settings(
        name="x", optimizer=Optimizer(learning_rate=1.0)
    )


@given(
    st.builds(
        Settings,
        name=st.text(),
        optimizer=st.builds(
            Optimizer, learning_rate=st.floats(1e-9, 1e3), warmup=st.integers(0, 10**9)
        ),
        margin=st.sampled_from(["small", "large"]),
        temperatures=st.lists(st.floats(0, 2)).map(tuple),
        size=st.tuples(st.integers(), st.integers()),
        start=st.none() | st.builds(Other, directory=st.text()),
        flag=st.booleans(),
        counts=st.none() | st.dictionaries(st.text(), st.integers()),
    )
)
def test_any_settings_come_back(settings):
    assert from_json(to_json(settings), Settings) == settings


def change(path: str, value: Any) -> Any:
    data = to_json(FULL)
    *groups, last = path.split(".")
    target = data
    for group in groups:
        target = target[group]
    target[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "optimizer.learning_rat",
            1.0,
            r"recipe\.optimizer\.learning_rat is not a setting.*'learning_rate'",
        ),
        (
            "optimizer.learning_rate",
            "fast",
            r"recipe\.optimizer\.learning_rate is 'fast'.*a number",
        ),
        ("optimizer.learning_rate", True, "must be a number"),
        ("optimizer.learning_rate", -1.0, r"recipe\.optimizer: learning_rate must be positive"),
        ("optimizer.warmup", 1.5, "must be a whole number"),
        ("optimizer.warmup", True, "must be a whole number"),
        ("optimizer", None, "must be an object"),
        ("margin", "smal", "one of 'small', 'large'.*Did you mean 'small'"),
        ("margin", [], "must be one of"),
        ("temperatures", [1.0, "hot"], r"temperatures\[1\] is 'hot'"),
        ("temperatures", 1.0, "must be a list"),
        ("size", [1], "a list of 2 items"),
        ("start", {"directry": "d"}, "'directory'"),
        ("start", 3, "must be an object"),
        ("flag", 1, "true or false"),
        ("name", 7, "must be a string"),
        ("counts", {"a": "b"}, r"counts\.a is 'b'"),
    ],
)
def test_mistakes_are_named(path, value, message):
    with pytest.raises(ConfigError, match=message):
        from_json(change(path, value), Settings)


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"recipe\.optimizer\.learning_rate is missing"):
        from_json({"name": "x", "optimizer": {}}, Settings)


def test_what_has_no_json_form_is_refused():
    with pytest.raises(ConfigError, match="has no JSON form"):
        to_json({"x": object()})


def test_differences_name_dotted_paths():
    other = replace(FULL, optimizer=Optimizer(learning_rate=2e-3), start=None)
    found = differences(FULL, other)
    assert [entry.path for entry in found] == [
        "optimizer.learning_rate",
        "start.directory",
        "start",
    ]
    assert str(found[0]) == "optimizer.learning_rate: 0.001 -> 0.002"
    assert str(found[1]) == "start.directory: 'd' -> (absent)"
    assert differences(FULL, to_json(FULL)) == []


def test_flatten_lists_leaves():
    assert flatten(FULL)["optimizer.warmup"] == 5
    assert flatten(FULL)["temperatures"] == [1.0, 1.2]


def test_nearest():
    assert nearest("pockett", ["smoke", "pocket"]) == "pocket"
    assert nearest("zzzz", ["smoke", "pocket"]) is None


def test_paper_values_give_value_and_section():
    values = paper_values()
    assert values["ppo.clip"] == "0.2 (Section 3.2.3)"
    assert set(values) == set(PAPER)
    assert all(value and section for value, section in PAPER.values())
