"""Settings to JSON and back, and options that change them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.errors import ConfigError
from camelid.options import group_words, with_options
from camelid.settings import differences, flatten, from_json, read_value, suggestion, to_json


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
            r"recipe\.optimizer\.learning_rat is unknown\..*'learning_rate'",
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
        ("counts", [], r"counts is \[\], but must be an object"),
        ("optimizer.learning_rate", float("nan"), "must be a finite number"),
        ("optimizer.learning_rate", 10**400, "must be a finite number"),
        ("name", "\ud83d", "recipe.name holds half a surrogate pair"),
    ],
)
def test_b14_mistakes_are_named(path, value, message):
    with pytest.raises(ConfigError, match=message):
        from_json(change(path, value), Settings)


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"recipe\.optimizer\.learning_rate is missing"):
        from_json({"name": "x", "optimizer": {}}, Settings)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kinds:
    one: Literal[1, 2] = 1
    number: int | float = 0
    same_to_a_cache: float | int = 0
    mixed: int | str | None = None
    anything: Any = None
    inner: Kinds | None = None


@pytest.mark.parametrize("value", [True, 1.0, [1], {}, "1", None])
def test_only_the_exact_value_of_a_literal_will_do(value):
    with pytest.raises(ConfigError, match=r"recipe\.one is .* must be one of 1, 2"):
        from_json({"one": value}, Kinds)


def test_unions():
    found = from_json({"number": 1, "same_to_a_cache": 1, "inner": {"mixed": "a"}}, Kinds)
    assert (type(found.number), type(found.same_to_a_cache)) == (int, int)
    assert found.inner == Kinds(mixed="a")
    assert from_json({"number": 0.5, "anything": [{}]}, Kinds) == Kinds(number=0.5, anything=[{}])
    with pytest.raises(ConfigError, match=r"inner\.mixed is \[\], .*whole number.*Or:.*a string"):
        from_json({"inner": {"mixed": []}}, Kinds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Circle:
    kind: Literal["circle"] = "circle"
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    kind: Literal["square"] = "square"
    size: int
    angle: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    shape: Circle | Square | None = None
    round: Circle | None = None


def test_a_union_of_kinds():
    for shape in (Circle(size=1), Square(size=1), None):
        drawing = Drawing(shape=shape, round=Circle(size=2))
        assert from_json(to_json(drawing), Drawing) == drawing
    # A class alone needs no name.
    assert from_json({"round": {"size": 1}}, Drawing).round == Circle(size=1)
    for shape, message in (
        ({"size": 1}, r"recipe\.shape\.kind is \(absent\), but must be one of 'circle', 'square'"),
        ({"kind": "sqare", "size": 1}, r"shape\.kind is 'sqare', .* Did you mean 'square'"),
        ({"kind": "circle", "size": 1, "angle": 2}, r"recipe\.shape\.angle is unknown"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_json({"shape": shape}, Drawing)


class Judge(Protocol):
    def judge(self) -> bool: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Strict:
    threshold: float
    words: tuple[str, ...] = ()

    def judge(self) -> bool:
        return self.threshold > 0


class NoSettings:
    def judge(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    judge: Judge
    steps: int = 1
    second: Judge | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    stage: Stage
    optional: Stage | None = None
    variants: tuple[Optimizer, ...] = ()


def read_onto(data: Any, current: Any, where: str) -> Any:
    return read_value(data, type(current), where, current=current)


def with_words(config: Any, field: str, words: list[str], name: str) -> Any:
    return with_options(config, {field: (name, words)})


JUDGED = Whole(
    stage=Stage(judge=Strict(threshold=0.5)),
    optional=Stage(judge=Strict(threshold=1.0), second=Strict(threshold=2.0)),
)


def test_what_a_type_leaves_open_is_read_as_what_is_there():
    data = to_json(JUDGED)
    assert data["stage"] == {"judge": {"threshold": 0.5, "words": []}, "steps": 1, "second": None}
    assert read_onto(data, JUDGED, "whole") == JUDGED
    data["stage"]["judge"]["threshold"] = 3
    data["optional"]["second"] = None
    read = read_onto(data, JUDGED, "whole")
    assert read.stage.judge == Strict(threshold=3.0)
    assert read.optional == Stage(judge=Strict(threshold=1.0))


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"treshold": 1}, r"whole\.stage\.judge\.treshold is unknown.*'threshold'"),
        ({}, r"whole\.stage\.judge\.threshold is missing"),
        ({"threshold": "x"}, r"whole\.stage\.judge\.threshold is 'x'"),
        (None, r"whole\.stage\.judge is None, but must be an object"),
    ],
)
def test_reading_onto_settings_is_as_strict(judge, message):
    data = to_json(JUDGED)
    data["stage"]["judge"] = judge
    with pytest.raises(ConfigError, match=message):
        read_onto(data, JUDGED, "whole")


def test_missing_keys_are_not_taken_from_the_settings_read_onto():
    with pytest.raises(ConfigError, match=r"whole\.stage is missing"):
        read_onto({}, JUDGED, "whole")


def test_what_is_there_must_be_a_dataclass():
    data = to_json(JUDGED)
    with pytest.raises(ConfigError, match=r"stage\.judge: fields of type .*Judge.* cannot be read"):
        from_json(data, Whole)
    with pytest.raises(ConfigError, match=r"stage\.judge: fields of type .*Judge.* cannot be read"):
        read_onto(data, replace(JUDGED, stage=Stage(judge=NoSettings())), "whole")


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ("", {}),
        ("--a.b 1", {"a.b": ["1"]}),
        ("--a.b -1 -1e-3 --c=x", {"a.b": ["-1", "-1e-3"], "c": ["x"]}),
        ("--a-b.c-d=e-f=g --h=", {"a_b.c_d": ["e-f=g"], "h": [""]}),
    ],
)
def test_words_are_grouped(words, groups):
    assert group_words(words.split()) == groups


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-1 --a 1", "'-1' is neither an option nor the value of one"),
        ("--a=1 2", "'2' is neither"),
        ("--a", "--a needs a value"),
        ("--a --b 1", "--a needs a value"),
        ("--a-b 1 --a_b=2", "--a_b is given twice"),
    ],
)
def test_words_that_make_no_options(words, message):
    with pytest.raises(ConfigError, match=message):
        group_words(words.split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    text: str = ""
    count: int = 0
    rate: float = 0.0
    flag: bool = False
    maybe: str | None = "x"
    choice: Literal["none", "all"] = "all"
    rates: tuple[float, ...] = ()
    names: tuple[str | None, ...] | None = None
    pair: tuple[str, int] = ("", 0)
    table: dict[str, int] | None = None
    groups: tuple[Optimizer, ...] = ()


@pytest.mark.parametrize(
    ("field", "words", "value"),
    [
        ("text", ["0123"], "0123"),
        ("text", ["123"], "123"),
        ("text", ["none"], "none"),
        ("text", ["[1]"], "[1]"),
        ("text", ['"quoted"'], "quoted"),
        ("text", [""], ""),
        ("count", ["-1"], -1),
        ("rate", ["-1e-3"], -1e-3),
        ("rate", ["2"], 2.0),
        ("flag", ["True"], True),
        ("flag", ["true"], True),
        ("maybe", ["none"], None),
        ("maybe", ["None"], None),
        ("maybe", ["null"], None),
        ("maybe", ["1"], "1"),
        ("choice", ["none"], "none"),
        ("rates", ["1"], (1.0,)),
        ("rates", ["1", "0.5"], (1.0, 0.5)),
        ("rates", ["[1, 0.5]"], (1.0, 0.5)),
        ("rates", ["[]"], ()),
        ("names", ["none"], None),
        ("names", ["1", "none", "a b"], ("1", None, "a b")),
        ("names", ['["a", null]'], ("a", None)),
        ("pair", ["1", "2"], ("1", 2)),
        ("table", ['{"a": 1}'], {"a": 1}),
        ("groups", ['[{"learning_rate": 1}]'], (Optimizer(learning_rate=1.0),)),
    ],
)
def test_words_become_the_value_of_a_field(field, words, value):
    before = Options()
    found = with_words(before, field, words, f"--{field}")
    assert found == replace(before, **{field: value})
    assert type(getattr(found, field)) is type(value)
    assert before == Options()


@pytest.mark.parametrize(
    ("field", "words", "message"),
    [
        ("count", ["two"], "^--x is 'two', but must be a whole number"),
        ("count", ["1.5"], "^--x is 1.5, but must be a whole number"),
        ("count", ["1", "2"], r"^--x is \[1, 2\], but must be a whole number"),
        ("text", ["a", "b"], r"^--x is \['a', 'b'\], but must be a string"),
        ("rate", ["NaN"], "finite"),
        ("flag", ["1"], "true or false"),
        ("rates", ["1", "hot"], r"^--x\[1\] is 'hot', but must be a number"),
        ("rates", ["[" * 100_000], "must be a number"),
        ("pair", ["a", "1", "2"], "a list of 2 items"),
        ("table.a", ["1"], "'table' has no fields here, it is None; set table"),
        ("rats", ["1"], "no field 'rats'. Did you mean 'rates'"),
        ("zzzzz", ["1"], "no field 'zzzzz'. Known: text, count"),
    ],
)
def test_words_that_do_not_fit(field, words, message):
    with pytest.raises(ConfigError, match=message):
        with_words(Options(), field, words, "--x")


def test_words_below_what_a_type_leaves_open():
    changed = with_words(JUDGED, "stage.judge.words", ["a", "1"], "--stage.judge.words")
    assert changed.stage.judge == Strict(threshold=0.5, words=("a", "1"))
    for field in ("stage.judge", "optional.judge"):
        with pytest.raises(ConfigError, match=rf"--x is a group.* {field}\.threshold, "):
            with_words(JUDGED, field, ["1"], "--x")
    with pytest.raises(ConfigError, match=r"^--x: learning_rate must be positive, found -1\.0"):
        with_words(FULL, "optimizer.learning_rate", ["-1"], "--x")


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads:
    width: int = 8
    heads: int = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"{self.heads} heads do not divide {self.width}.")


def test_options_that_fit_only_together_are_taken_together():
    options = {"width": ("--width", ["9"]), "heads": ("--heads", ["3"])}
    for names in (["width", "heads"], ["heads", "width"]):
        chosen = {name: options[name] for name in names}
        assert with_options(Heads(), chosen) == Heads(width=9, heads=3)
    with pytest.raises(ConfigError, match=r"^--heads: 3 heads do not divide 8"):
        with_options(Heads(), {"heads": options["heads"]})


def test_options_change_a_copy():
    changed = with_options(FULL, {"optimizer.warmup": ("--x", ["9"])})
    assert (changed.optimizer.warmup, FULL.optimizer.warmup) == (9, 5)
    assert replace(changed, optimizer=FULL.optimizer) == FULL
    assert with_options(FULL, {}) == FULL


def test_what_has_no_json_form_is_refused():
    with pytest.raises(ConfigError, match="has no JSON form"):
        to_json({"x": object()})


def test_differences_name_dotted_paths():
    other = replace(FULL, optimizer=Optimizer(learning_rate=2e-3), start=None)
    found = differences(FULL, other)
    assert found == [
        "optimizer.learning_rate: 0.001 -> 0.002",
        "start.directory: 'd' -> (absent)",
        "start: (absent) -> None",
    ]
    assert differences(FULL, to_json(FULL)) == []


def test_flatten_lists_leaves():
    assert flatten(FULL)["optimizer.warmup"] == 5
    assert flatten(FULL)["temperatures"] == [1.0, 1.2]


def test_the_nearest_name_is_suggested():
    assert suggestion("pockett", ["smoke", "pocket"]) == " Did you mean 'pocket'?"
    assert suggestion("zzzz", ["smoke", "pocket"]) == ""
