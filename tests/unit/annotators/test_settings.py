"""Annotators as settings: one word of a command, JSON and back, options of each kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camelid.annotators import Endpoint, Imitation, People, annotator_of
from camelid.errors import ConfigError
from camelid.options import with_options
from camelid.recipes.pocket import SMOKE
from camelid.settings import read_value, to_json

KINDS = (
    People(minimum=0.7),
    Endpoint(url="https://host/v1", model="m", key_variable="KEY", temperature=None),
    Imitation(better=1.5),
    Imitation(helpfulness="/a", safety="/b", unsafe_below=None),
    SMOKE.preference_collection.annotator,
)


def config(annotator):
    return replace(SMOKE.preference_collection, annotator=annotator)


@pytest.mark.parametrize("annotator", KINDS, ids=lambda found: type(found).__name__)
def test_settings_come_back_from_json(annotator):
    # The recipe gives the class, the description its fields.
    planned = config(annotator)
    found = read_value(to_json(planned), type(planned), "here", current=planned)
    assert found == planned
    assert type(found.annotator) is type(annotator)


@pytest.mark.parametrize(
    ("annotator", "field", "word", "value"),
    [
        (KINDS[0], "minimum", "0.5", 0.5),
        (KINDS[1], "key_variable", "MY_KEY", "MY_KEY"),
        (KINDS[1], "model", "gpt-x", "gpt-x"),
        (KINDS[1], "temperature", "none", None),
        (KINDS[1], "nonsense", "leave_out", "leave_out"),
        (KINDS[2], "slightly_better", "0.2", 0.2),
        (KINDS[3], "safety", "/c", "/c"),
    ],
)
def test_each_field_is_an_option(annotator, field, word, value):
    option = f"annotator.{field}"
    found = with_options(config(annotator), {option: (f"--{option}", [word])})
    assert getattr(found.annotator, field) == value
    assert replace(found.annotator, **{field: getattr(annotator, field)}) == annotator


def test_one_word_says_who_compares(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert annotator_of("none") is None
    assert annotator_of("people") == People()
    assert annotator_of("imitation") == Imitation()
    assert annotator_of("http://host:1/v1#org/model:7b") == Endpoint(
        url="http://host:1/v1", model="org/model:7b"
    )
    path = str(tmp_path / "rm" / "helpfulness_rm")
    assert annotator_of("rm/helpfulness_rm") == Imitation(helpfulness=path, safety=path)
    # What is there is meant, whatever it is called.
    (tmp_path / "peoples").mkdir()
    assert annotator_of("peoples") == Imitation(
        helpfulness=str(tmp_path / "peoples"), safety=str(tmp_path / "peoples")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poeple", "must be one of none, people, imitation, an address.*Did you mean 'people'"),
        ("http://host/v1", "no model is named for http://host/v1; name it behind"),
        ("ftp://host#m", "needed an address such as"),
    ],
)
def test_other_words_are_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        annotator_of(text)


def test_wrong_thresholds_and_half_an_imitation_are_refused():
    with pytest.raises(ConfigError, match=r"strengths: found 0.4, 3.0, 2.2; they must rise"):
        Imitation(better=3.0)
    with pytest.raises(ConfigError, match="give both models"):
        Imitation(safety="/b")
