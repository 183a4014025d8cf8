"""Records: whatever stands in a file, a `CamelidError` or a checked record comes out."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.records import (
    Dialogue,
    GhostDialogue,
    Preference,
    Prompt,
    Rating,
    Sample,
    read_records,
    write_records,
)
from camelid.errors import CamelidError, DataError

MESSAGE = {"role": "user", "content": "hi", "train": False}
EXAMPLES = {
    Dialogue: {
        "id": "a",
        "messages": [MESSAGE],
        "category": "c",
        "is_safety": False,
        "source": "s",
    },
    Prompt: {
        "id": "a",
        "messages": [MESSAGE],
        "category": "c",
        "is_safety": False,
        "source": "s",
        "split": "ppo",
        "reference": {"kind": "how_to", "task": "t", "means": "m", "alternatives": ["n"]},
    },
    Preference: {
        "id": "a",
        "kind": "safety",
        "round": 1,
        "batch": 1,
        "category": "c",
        "prompt": [MESSAGE],
        "chosen": "x",
        "rejected": "y",
        "strength": None,
        "temperatures": [1, 0.5],
    },
    Rating: {
        "item_ids": ["a"],
        "rater": "r",
        "scale": "safety5",
        "value": 3,
        "side": None,
        "simulated": True,
    },
    Sample: {
        "prompt_id": "p",
        "policy": "q",
        "sample": 0,
        "temperature": 1.0,
        "tokens": [1, 2],
        "text": "t",
        "stop_reason": "stop",
        "helpfulness": 0.5,
        "safety": 1,
        "reward": -1e9,
        "logp": -0.5,
    },
    GhostDialogue: {
        "id": "a",
        "instruction": "i",
        "shortened": "s",
        "turns": ["t"],
        "probe": "p",
        "expected": "e",
        "split": "test",
    },
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("records") / "records.jsonl"


def read_or_refuse(path, schema):
    """Return the records, or None after a clean refusal; records can be written and read again."""
    try:
        found = read_records(path, schema)
    except CamelidError as error:
        assert path.name in str(error)  # noqa: PT017  either outcome is right
        return None
    again = path.with_suffix(".again")
    write_records(again, found)
    assert read_records(again, schema) == found
    return found


@pytest.mark.parametrize("schema", EXAMPLES)
def test_examples_are_read(path, schema):
    path.write_text(json.dumps(EXAMPLES[schema]) + "\n", encoding="utf-8")
    assert len(read_or_refuse(path, schema)) == 1


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_anywhere(path, data):
    schema = data.draw(st.sampled_from(list(EXAMPLES)))
    record = json.loads(json.dumps(EXAMPLES[schema]))
    place = record
    nested = [v for v in record.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    if nested and data.draw(st.booleans()):
        place = nested[0][0]
    key = data.draw(st.sampled_from([*place, "unknown"]))
    if data.draw(st.booleans()):
        place[key] = data.draw(values)
    else:
        place.pop(key, None)
    path.write_text(json.dumps(record), encoding="utf-8")
    read_or_refuse(path, schema)


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=60) | values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes(path, raw):
    path.write_bytes(raw)
    read_or_refuse(path, Dialogue)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 200), flip=st.binary(max_size=3))
def test_damaged_gz(path, cut, flip):
    packed = path.with_suffix(".jsonl.gz")
    raw = gzip.compress(b"\n".join(json.dumps(EXAMPLES[Dialogue]).encode() for _ in range(9)))
    packed.write_bytes(raw[:cut] + flip + raw[cut + len(flip) :])
    read_or_refuse(packed, Dialogue)
    packed.write_bytes(raw[:cut])
    read_or_refuse(packed, Dialogue)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[" * 200_000, "line 1: not valid JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 1: not valid JSON"),
        (json.dumps(EXAMPLES[Sample] | {"reward": float("nan")}).encode(), "finite"),
        (json.dumps(EXAMPLES[Sample] | {"reward": 10**400}).encode(), "finite"),
        (json.dumps(EXAMPLES[Sample] | {"text": "\ud83d"}).encode(), "surrogate"),
        (b"\n" + json.dumps(EXAMPLES[Sample]).encode() + b"\n{", "line 3"),
    ],
)
def test_what_json_allows_and_records_do_not(path, raw, message):
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message):
        read_records(path, Sample)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"promt": []}, r"records\.jsonl, line 2: Preference\.promt is unknown\. .*'prompt'"),
        (
            {"prompt": [MESSAGE, MESSAGE | {"role": "usr"}]},
            r"line 2: Preference\.prompt\[1\]\.role is 'usr', .*must be one of 'system', .*'user'",
        ),
        ({"prompt": [MESSAGE | {"train": 0}]}, r"prompt\[0\]\.train is 0, .* true or false"),
        ({"prompt": [{"role": "user"}]}, r"Preference\.prompt\[0\]\.content is missing"),
        ({"prompt": "hi"}, r"Preference\.prompt is 'hi', but must be a list"),
        ({"round": True}, r"Preference\.round is True, but must be a whole number"),
        ({"round": 1.0}, r"Preference\.round is 1\.0, but must be a whole number"),
        ({"temperatures": [1, False]}, r"Preference\.temperatures\[1\] is False"),
        ({"temperatures": [2**63]}, r"temperatures\[0\] is 9223372036854775808, .*below 2\*\*63"),
        ({"strength": 1}, r"Preference\.strength is 1, but must be one of"),
        ({"parent": 1}, r"Preference\.parent is 1, but must be a string"),
        ({"chosen": None}, r"Preference\.chosen is None, but must be a string"),
    ],
)
def test_file_line_and_field_are_named(path, change, message):
    lines = [EXAMPLES[Preference], EXAMPLES[Preference] | change]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_records(path, Preference)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"kind": "how-to"}, r"\.reference\.kind is 'how-to', .*'rhyme', .*Did you mean 'how_to'"),
        ({"topic": "cat"}, r"Prompt\.reference\.kind is \(absent\), but must be one of 'fact', "),
        # The kind says which keys are needed, whatever other kinds have them.
        ({"kind": "harm", "task": "t", "means": "m", "alternatives": []}, r"\.alternatives is unk"),
        ({"kind": "rhyme"}, r"records\.jsonl, line 1: Prompt\.reference\.topic is missing"),
        ({"kind": ["fact"]}, r"\.reference\.kind is \['fact'\], but must be one of 'fact', 'choi"),
        ("cat", r"Prompt\.reference is 'cat', but must be an object\.$"),
    ],
)
def test_a_reference_is_read_by_its_kind(path, reference, message):
    path.write_text(json.dumps(EXAMPLES[Prompt] | {"reference": reference}), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_records(path, Prompt)


def test_a_whole_number_is_taken_for_a_number(path):
    path.write_text(json.dumps(EXAMPLES[Preference]), encoding="utf-8")
    (record,) = read_records(path, Preference)
    assert record.temperatures == (1.0, 0.5)
    assert type(record.temperatures[0]) is float
