"""Own rows divided among their uses: by conversation, every use with some, nothing in two."""

from __future__ import annotations

from collections import Counter

import pytest

from camelid.data.own_uses import (
    PairShares,
    PromptShares,
    divide,
    divide_pairs,
    divide_prompts,
    hold_out,
    key_of,
)
from camelid.data.records import Dialogue, Message, Preference, Prompt
from camelid.errors import DataError


def asked(text):
    return (Message(role="user", content=text),)


def comparison(text, number, kind="helpfulness"):
    return Preference(
        id=f"{text}/{number}", kind=kind, round=1, batch=1, category="", prompt=asked(text),
        chosen="good", rejected="bad", strength=None,
    )  # fmt: skip


def prompt(text):
    return Prompt(
        id=text, messages=asked(text), category="", is_safety=False, source="", split="rm_train"
    )


def dialogue(text, reply="Yes."):
    messages = (*asked(text), Message(role="assistant", content=reply, train=True))
    return Dialogue(id=text, messages=messages, category="", is_safety=False, source="")


def test_shares_are_met_whatever_the_order_of_the_rows():
    keys = [f"key {number}" for number in range(24)]
    found = divide(keys, {"a": 3, "b": 1, "c": 0}, "rows")
    assert Counter(found.values()) == {"a": 18, "b": 6}
    assert divide(reversed(keys), {"a": 3, "b": 1, "c": 0}, "rows") == found


@pytest.mark.parametrize("number", range(3, 12))
def test_every_use_gets_some_of_few(number):
    found = divide((f"key {n}" for n in range(number)), {"a": 0.98, "b": 0.01, "c": 0.01}, "rows")
    assert set(found.values()) == {"a", "b", "c"}


def test_fewer_conversations_than_uses_are_refused():
    with pytest.raises(DataError, match=r"prompts: 1 conversations .* each of a, b needs one"):
        divide(["same", "same"], {"a": 1, "b": 1, "c": 0}, "prompts")


def test_near_equal_comparisons_stand_on_one_side_in_both_kinds():
    rows = [
        comparison(text, number, kind)
        for number in range(40)
        for text, kind in ((f"Ask {number}!", "helpfulness"), (f"ask  {number}", "safety"))
    ]
    rows += [comparison(f"Other {number}", number) for number in range(40)]
    pairs = divide_pairs(rows, PairShares())
    sides = [{key_of(row.prompt) for row in use} for use in (pairs.train, pairs.guard, pairs.test)]
    assert sum(map(len, sides)) == 80 == len(set.union(*sides))
    for use in (pairs.train, pairs.guard, pairs.test):
        assert {row.kind for row in use} == {"helpfulness", "safety"}
    assert len(pairs.train) + len(pairs.guard) + len(pairs.test) == len(rows)


def test_prompts_of_other_data_do_not_test():
    prompts = [prompt(f"Ask {number}") for number in range(100)] + [prompt("ask 7?")]
    found, left_out = divide_prompts(
        prompts,
        PromptShares(),
        annotated=False,
        taken=(f"ask {number}" for number in range(20)),
        shown=(f"ask {number}" for number in range(20, 60)),
    )
    assert left_out == {"the conversation is among the comparisons": 21}
    assert len(found) == 80
    splits = {p.id: p.split for p in found}
    assert {splits[f"Ask {n}"] for n in range(20, 60)} == {"rejection_sampling", "ppo"}
    assert {splits[f"Ask {n}"] for n in range(60, 100)} == {
        "rejection_sampling", "ppo", "validation", "test"
    }  # fmt: skip


def test_a_conversation_is_asked_once_and_annotators_get_their_share():
    prompts = [prompt(f"Ask {number}{end}") for number in range(50) for end in ("", "?")]
    found, left_out = divide_prompts(prompts, PromptShares(), annotated=True)
    assert left_out == {"the conversation begins as one before": 50}
    assert {p.split for p in found} >= {"rm_train", "test"}


def test_held_out_demonstrations_are_of_other_conversations():
    rows = [dialogue(f"Ask {number}{end}") for number in range(60) for end in ("", "!", "")]
    learned, held_out, repeats = hold_out(rows, 0.2)
    assert repeats == 60
    assert len(learned) + len(held_out) == 120
    ours, theirs = ({key_of(d.messages) for d in side} for side in (learned, held_out))
    assert ours
    assert theirs
    assert not ours & theirs
