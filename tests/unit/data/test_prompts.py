from collections import Counter

import pytest

from camelid.data.prompts import (
    assign_split,
    bucket,
    check_disjoint,
    is_for_imitation,
    is_held_out,
)
from camelid.data.records import Message, Prompt
from camelid.errors import ConfigError, DataError


def prompt(identifier, text, split):
    return Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        category="c",
        is_safety=False,
        source="s",
        split=split,
    )


def test_splits_follow_the_shares_and_the_id_alone():
    shares = {"ppo": 3.0, "validation": 0.0, "test": 1.0}
    counts = Counter(assign_split(f"id/{i}", shares) for i in range(4000))
    assert set(counts) == {"ppo", "test"}
    # 3,000 expected; 5 standard deviations are 137.
    assert abs(counts["ppo"] - 3000) < 137
    assert assign_split("id/7", shares) == assign_split("id/7", dict(shares))


@pytest.mark.parametrize("shares", [{}, {"ppo": 0.0}, {"ppo": 2.0, "test": -1.0}])
def test_wrong_shares(shares):
    with pytest.raises(ConfigError, match="shares"):
        assign_split("x", shares)


def test_buckets_are_even_and_independent_of_the_split():
    ids = [f"id/{i}" for i in range(4000)]
    chosen = [i for i in ids if assign_split(i, {"ppo": 1.0, "test": 1.0}) == "ppo"]
    counts = Counter(bucket(i, 5) for i in chosen)
    assert set(counts) == set(range(5))
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_check_disjoint():
    check_disjoint([prompt("a", "x", "ppo"), prompt("b", "x", "ppo"), prompt("c", "y", "test")])
    with pytest.raises(DataError, match="occurs twice"):
        check_disjoint([prompt("a", "x", "ppo"), prompt("a", "y", "ppo")])
    with pytest.raises(DataError, match="two splits"):
        check_disjoint([prompt("a", "x", "ppo"), prompt("b", "x", "test")])


def test_the_imitation_has_conversations_of_its_own_whatever_is_held_out():
    asked = [
        (Message(role="user", content=f"Question {i}?"), Message(role="assistant", content="Yes."))
        for i in range(4000)
    ]
    own = [is_for_imitation(messages, 0.25) for messages in asked]
    held = [is_held_out(messages, 0.2) for messages in asked]
    both = [a and b for a, b in zip(own, held, strict=True)]
    # 1,000, 800 and 200 expected; 5 standard deviations are 137, 126 and 69.
    assert abs(sum(own) - 1000) < 137
    assert abs(sum(held) - 800) < 126
    assert abs(sum(both) - 200) < 69
    again = (Message(role="user", content="question 7!"), Message(role="assistant", content="No."))
    assert is_for_imitation(again, 0.25) == own[7]
