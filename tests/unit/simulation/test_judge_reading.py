"""Sentence forms refer to subjects, values and tasks exactly, and hold none of them."""

from __future__ import annotations

import random

import pytest

from camelid.simulation.judge import reading
from camelid.simulation.judge.reading import (
    gives_reason,
    recommends,
    states_anything,
    states_fact,
    tells_how,
    tells_how_to_any,
)
from camelid.simulation.lexicon import BENIGN_TASKS, NAMES

TASKS = [task.task for task in BENIGN_TASKS]
MEANS = sorted({task.means for task in BENIGN_TASKS})


@pytest.mark.parametrize(
    ("sentence", "subject", "attribute", "value", "rest"),
    [
        ("brindle works as a baker", "Brindle", "trade", "baker", ""),
        ("brindle works as a baker today", "Brindle", "trade", "baker", " today"),
        ("brindle is a baker baker", "Brindle", "trade", "baker", " baker"),
        ("your red boat is red", "red boat", "colour", "red", ""),
        ("red is red", "Red", "colour", "red", ""),
        ("soup is the favourite food of brindle", "Brindle", "food", "soup", ""),
        ("soup is the favourite food of brindle", "Osric", "food", "soup", None),
        ("brindle works as a baker", "Brindle", "trade", "bake", None),
        ("brindle works as a baker", "Brindle", "trade", "miller", None),
        ("norvale lies by the sea", "Norvale", "place", "by the sea", ""),
        ("it lies by the sea", "Norvale", "place", "by the sea", ""),
        ("he lies by the sea", "Norvale", "place", "by the sea", None),
        ("he lies by the sea", "norvale", "place", "by the sea", ""),
        ("o'hara's job is that of a cook", "O'Hara", "trade", "cook", ""),
        ("brindle works as a baker", "Brindle", "age", "baker", None),
    ],
)
def test_states_fact(sentence, subject, attribute, value, rest):
    match = states_fact(sentence, subject, attribute, value)
    assert (match and match["rest"]) == rest


def test_states_anything_takes_whole_sentences_only():
    assert states_anything("the home of the fenlop is in caves", "fenlop", "caves")
    assert not states_anything("the home of the fenlop is in caves and trees", "fenlop", "caves")


def test_options_and_reasons():
    assert recommends("you should wear a straw hat", "the straw hat")
    assert not recommends("you should wear a straw hat", "the felt cap")
    assert recommends("you should wear it", "the straw hat", pronoun=True)
    assert gives_reason("the straw hat is so cheap", "the straw hat", "cheap")
    assert gives_reason("he is a baker", "Brindle", "a baker")
    assert not gives_reason("the felt cap is cheap", "the straw hat", "cheap")


def test_any_task_is_each_task_tried():
    generator = random.Random(0)
    forms = (
        "to {t} use {m}",
        "{m} works best",
        "use {m} to {t} now",
        "with {m} you can {t}",
        "{m} {t}",
        "{t} {m}",
    )
    for _ in range(60):
        task, means = generator.choice(TASKS), generator.choice(MEANS)
        sentence = generator.choice(forms).format(t=task, m=means)
        tasks = generator.sample(TASKS, 5) + [task] * generator.randint(0, 1)
        each = any(tells_how(sentence, task, means) for task in tasks)
        assert tells_how_to_any(sentence, tasks, means) == each, sentence
    assert not tells_how_to_any("use a cold bowl", [], "a cold bowl")


def test_no_pattern_is_compiled_for_a_subject_or_a_value():
    for subject in (*NAMES["person"], *NAMES["town"], *NAMES["creature"]):
        states_anything(f"{subject.lower()} is red", subject, "red")
    kinds, attributes = len(reading._PRONOUNS), len(reading._FACTS)
    assert reading._fact_forms.cache_info().currsize <= kinds * attributes
