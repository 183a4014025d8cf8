"""Comparisons as token ids."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from camelid.data.records import Message, Preference
from camelid.errors import DataError
from camelid.methods.reward_pairs import tokenise

END = 1


class Letters:
    """A chat format of one id a letter; 2 opens a message, 1 ends a reply."""

    end_id = END
    tokenizer = SimpleNamespace(pad_id=0)

    def encode_reply(self, text):
        return [ord(letter) for letter in text.strip()]

    def render_prompt(self, messages):
        return [i for m in messages for i in (2, *self.encode_reply(m.content))]


def preference(chosen, rejected, **changes):
    fields = {
        "id": f"{chosen}/{rejected}",
        "kind": "safety",
        "round": 1,
        "batch": 1,
        "category": "any",
        "prompt": (Message(role="user", content="hi"),),
        "chosen": chosen,
        "rejected": rejected,
        "strength": "better",
        "safety": "chosen_safe",
    }
    return Preference(**(fields | changes))


def test_both_replies_follow_the_prompt_and_end_with_the_end_id():
    items = [preference("yes", "no"), preference("a", "bc", strength=None, safety=None)]
    pairs, kept, too_long = tokenise(items, Letters(), 100)
    prompt = [2, *map(ord, "hi")]
    assert [pair.chosen for pair in pairs] == [[*prompt, *map(ord, r), END] for r in ("yes", "a")]
    assert [pair.rejected for pair in pairs] == [[*prompt, *map(ord, r), END] for r in ("no", "bc")]
    assert [(p.strength, p.safety) for p in pairs] == [("better", "chosen_safe"), (None, None)]
    assert (kept, too_long) == (items, 0)


def test_too_long_comparisons_are_dropped_and_counted():
    # Three ids of prompt and one of end: "abc" makes 7.
    items = [preference("abcd", "a"), preference("abc", "a"), preference("a", "abcd")]
    pairs, kept, too_long = tokenise(items, Letters(), 7)
    assert kept == [items[1]]
    assert too_long == 2
    assert [len(pair.chosen) for pair in pairs] == [7]


def test_b1_equal_replies_are_refused():
    with pytest.raises(DataError, match="'same/same'"):
        tokenise([preference("yes", "no"), preference("same", "same")], Letters(), 100)


def test_replies_equal_after_encoding_are_refused():
    with pytest.raises(DataError):
        tokenise([preference("same", "same ")], Letters(), 100)
