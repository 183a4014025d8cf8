"""The authored safety data: how many of what, in which form, and that tests are not trained on."""

from __future__ import annotations

import re
import typing
from collections import Counter
from itertools import product

from camelid.data.authored import (
    AttackVector,
    BorderlineType,
    RiskCategory,
    borderline_pairs,
    read_borderline,
    read_demonstrations,
    safety_pairs,
)
from camelid.evaluation.judge import is_refusal

SAFETY = read_demonstrations()
BORDERLINE = read_borderline()
TRAIN = [row for row in BORDERLINE if row.split == "train"]
TEST = [row for row in BORDERLINE if row.split == "test"]


def words(text):
    return re.findall(r"\w+", text.casefold())


def openings(replies, count):
    return Counter(" ".join(words(reply)[:count]) for reply in replies)


def sentences(text):
    return re.split(r"(?<=[.!?])\s+", text)


def test_every_risk_category_meets_every_attack_vector_equally_often():
    cells = Counter((row.risk_category, row.attack_vector) for row in SAFETY)
    every = product(typing.get_args(RiskCategory), typing.get_args(AttackVector))
    assert cells == dict.fromkeys(every, 6)
    assert sum(cells.values()) == 126


def test_every_type_of_borderline_request_trains_and_tests_equally_often():
    types = typing.get_args(BorderlineType)
    assert Counter(row.type for row in TRAIN) == dict.fromkeys(types, 5)
    assert Counter(row.type for row in TEST) == dict.fromkeys(types, 10)
    assert all((row.reply is None) == (row.split == "test") for row in BORDERLINE)


def test_replies_have_the_lengths_that_a_small_model_can_learn():
    assert all(40 <= len(row.reply.split()) <= 90 for row in SAFETY)
    assert all(20 <= len(row.reply.split()) <= 60 for row in TRAIN)


def test_replies_begin_differently():
    replies = [row.reply for row in (*SAFETY, *TRAIN)]
    assert max(Counter(sentences(reply)[0] for reply in replies).values()) == 1
    assert max(openings(replies, 3).values()) <= 3
    # No word opens more than one in seven, or the model would learn the word.
    assert max(openings(replies, 1).values()) <= len(replies) / 7


def test_safe_answers_have_the_order_of_the_paper():
    """Concern and risk, then what is not done, then what helps (Section 4.2.2)."""
    for row in SAFETY:
        # The judge takes being sorry at the very start for a refusal; here it is concern.
        refusing = [is_refusal(f"Well: {sentence}") for sentence in sentences(row.reply)]
        assert any(refusing), row.reply
        assert not refusing[-1], row.reply
        # A few name the concern in the clause before the refusal.
        first = sentences(row.reply)[0]
        assert not refusing[0] or len(words(first)) >= 12, row.reply


def test_refusals_are_worded_in_many_ways():
    pattern = r"\bI (?:will not|won't|cannot|can't|am not able|am unable|must|have to|refuse)\b"
    texts = [row.reply.replace("I'm", "I am") for row in SAFETY]
    kinds = Counter(re.search(pattern, text)[0] for text in texts)
    assert len(kinds) >= 8
    assert max(kinds.values()) <= len(SAFETY) / 3


def test_helpful_replies_refuse_nothing():
    assert not [row.reply for row in TRAIN if is_refusal(row.reply)]


def grams(text, size=6):
    """Runs of characters of a text without case and marks."""
    plain = " ".join(words(text))
    return {plain[at : at + size] for at in range(max(1, len(plain) - size + 1))}


def overlap(text, other):
    """Share of the shorter text's runs that stand in the other too."""
    ours, theirs = grams(text), grams(other)
    return len(ours & theirs) / min(len(ours), len(theirs))


def test_the_overlap_finds_near_duplicates():
    assert overlap("How do I crop a photo?", "how do I crop one photo") > 0.5


def test_no_prompt_is_nearly_another():
    prompts = [row.prompt for row in (*SAFETY, *BORDERLINE)]
    for at, prompt in enumerate(prompts):
        for other in prompts[at + 1 :]:
            assert overlap(prompt, other) < 0.45, (prompt, other)


def test_no_text_of_a_test_prompt_stands_in_what_is_trained_on():
    trained = {
        tuple(words(text)[at : at + 6])
        for row in (*SAFETY, *TRAIN)
        for text in (row.prompt, row.reply)
        for at in range(len(words(text)) - 5)
    }
    for row in TEST:
        found = words(row.prompt)
        assert not {tuple(found[at : at + 6]) for at in range(len(found) - 5)} & trained, row.prompt


def test_texts_are_clean():
    rows = [*SAFETY, *BORDERLINE]
    for text in (text for row in rows for text in (row.prompt, row.reply or ".")):
        assert text == " ".join(text.split())
        # Plain ASCII marks; other letters only where another language has them.
        assert not re.search("[‘’“”–—…]", text)
    assert all((row.reply or ".")[-1] in ".?" for row in rows)


def test_the_records_say_what_they_are():
    for prompt, dialogue in safety_pairs():
        assert prompt.is_safety
        assert dialogue.is_safety
        assert prompt.split == "rejection_sampling"
        assert prompt.risk_category == prompt.category == dialogue.category
        assert prompt.attack_strength == (
            "plain" if prompt.attack_vector == "none" else "disguised"
        )
        assert dialogue.messages[:-1] == prompt.messages
        assert dialogue.messages[-1].train
    for prompt, dialogue in borderline_pairs():
        assert prompt.borderline
        assert not prompt.is_safety
        assert prompt.attack_vector is None
        assert (prompt.split == "test") == (dialogue is None)
    both = [*safety_pairs(), *borderline_pairs()]
    assert len({prompt.id for prompt, _ in both}) == len(both) == 276
    assert all("authored" in prompt.source for prompt, _ in both)
