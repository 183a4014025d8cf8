"""Comparisons as token ids."""

from __future__ import annotations

import unicodedata
from types import SimpleNamespace

from camelid.data.records import Message, Preference
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
    pairs, kept, too_long, equal = tokenise(items, Letters(), 100)
    prompt = [2, *map(ord, "hi")]
    assert [pair.chosen for pair in pairs] == [[*prompt, *map(ord, r), END] for r in ("yes", "a")]
    assert [pair.rejected for pair in pairs] == [[*prompt, *map(ord, r), END] for r in ("no", "bc")]
    assert [(p.strength, p.safety) for p in pairs] == [("better", "chosen_safe"), (None, None)]
    assert (kept, too_long, equal) == (items, 0, 0)


def test_too_long_comparisons_are_dropped_and_counted():
    # Three ids of prompt and one of end: "abc" makes 7.
    items = [preference("abcd", "a"), preference("abc", "a"), preference("a", "abcd")]
    pairs, kept, too_long, equal = tokenise(items, Letters(), 7)
    assert kept == [items[1]]
    assert (too_long, equal) == (2, 0)
    assert [len(pair.chosen) for pair in pairs] == [7]


def test_comparisons_equal_up_to_the_context_are_dropped_and_counted():
    """Cut to the context they would teach nothing; one that fits keeps its shared beginning."""
    items = [preference("xxxxxa", "xxxxxb"), preference("xxa", "xxb")]
    pairs, kept, too_long, equal = tokenise(items, Letters(), 7)
    assert (kept, too_long, equal) == (items[1:], 1, 0)
    assert (len(pairs[0].chosen), pairs[0].chosen[:5]) == (7, pairs[0].rejected[:5])


def test_b1_equal_replies_are_left_out_and_counted():
    items = [preference("yes", "no"), preference("same", "same"), preference("x" * 99, "x" * 99)]
    pairs, kept, too_long, equal = tokenise(items, Letters(), 50)
    assert (len(pairs), kept, too_long, equal) == (1, items[:1], 0, 2)


def test_case_equal_after_tokenising_is_left_out_and_counted():
    """Two texts may be one sequence of tokens: by composition, or where tags are written apart."""

    class Composed(Letters):
        def encode_reply(self, text):
            return super().encode_reply(unicodedata.normalize("NFC", text))

    items = [
        preference("caf\u00e9", "cafe\u0301"),
        preference("same", "same "),
        preference("a", "b"),
    ]
    assert items[0].chosen != items[0].rejected
    pairs, kept, too_long, equal = tokenise(items, Composed(), 100)
    assert (len(pairs), kept, too_long, equal) == (1, items[2:], 0, 2)
