"""Multiple choice about the pocket world, and the long documents that some of it is about."""

from __future__ import annotations

from collections import Counter

import pytest

from camelid.simulation.config import WorldConfig
from camelid.simulation.long_texts import long_document, mixed_corpus
from camelid.simulation.questions import RECALL, questions
from camelid.simulation.setting import build_setting, random_for
from camelid.simulation.texts import Writer

SETTING = build_setting(WorldConfig())
FOUND = list(questions(SETTING, 60, long=True))


def test_questions_are_distinct_repeatable_and_have_one_right_choice() -> None:
    assert list(questions(SETTING, 60, long=True)) == FOUND
    assert set(Counter(q.category for q in FOUND).values()) == {60}
    assert len({(q.context, q.choices[q.answer]) for q in FOUND}) == len(FOUND)
    assert len({q.id for q in FOUND}) == len(FOUND)
    for question in FOUND:
        assert len(set(question.choices)) == (2 if question.category == "language" else 4)
        assert not question.context.endswith(" ")
        assert all(choice.startswith(" ") for choice in question.choices)
    places = Counter(q.answer for q in FOUND if len(q.choices) == 4)
    assert all(places[place] > 60 for place in range(4))


def test_right_facts_are_those_of_the_world_and_wrong_ones_are_not() -> None:
    for question in FOUND:
        if question.category != "facts":
            continue
        name = next(n for n, _ in SETTING.facts if n.lower() in question.context.lower().split())
        own = {value for (entity, _), value in SETTING.facts.items() if entity == name}
        said = [choice.strip(" .") for choice in question.choices]
        # A value may be followed by the rest of its sentence (`kitten as a pet`).
        named = [any(text == v or text.startswith(f"{v} ") for v in own) for text in said]
        assert named[question.answer], question


def test_what_is_recalled_stands_once_above_and_no_other_choice_does() -> None:
    for question in FOUND:
        if question.category in RECALL:
            texts = [choice.strip(" .") for choice in question.choices]
            right = texts.pop(question.answer)
            told = question.context.rpartition(" says:")[0]
            assert told.count(right) >= 1, question
            assert not any(f" {text}." in told for text in texts), question
            assert len(told.split()) >= RECALL[question.category]


def test_no_long_questions_unless_asked() -> None:
    assert not {q.category for q in questions(SETTING, 3, long=False)} & set(RECALL)


@pytest.mark.parametrize("words", [0, 50, 200])
def test_long_document_tells_first_and_asks_last(words: int) -> None:
    generator = random_for("test", words)
    text, answers, slots = long_document(Writer(SETTING), generator, words)
    assert text.endswith(f"{slots['b']} says:")
    assert words <= len(text.split()) < words + 120
    for answer in answers:
        said = answer.format(**slots).split(" ", 1)[1].rstrip(".")
        assert said.split()[-1] in text.split("says:")[0]


def test_share_zero_is_the_worlds_own_corpus() -> None:
    own = list(Writer(SETTING).documents(3000, "train", exercises=SETTING.config.exercises))
    assert list(mixed_corpus(SETTING, 0.0, 3000, "train")) == own
    mixed = list(mixed_corpus(SETTING, 0.3, 3000, "train"))
    changed = sum(a != b for a, b in zip(own, mixed, strict=True))
    assert mixed[: SETTING.config.exercises] == own[: SETTING.config.exercises]
    assert 0.2 < changed / (3000 - SETTING.config.exercises) < 0.4
