"""Tokenised comparisons and the gate between the two rewards."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from camelid.data.records import Message, Preference, Prompt
from camelid.errors import DataError
from camelid.inference import rewards as rewards_module
from camelid.inference.replies import Reply
from camelid.inference.rewards import RewardPair
from camelid.losses import logit
from camelid.stages.reward_modeling import tokenise

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


def test_equal_replies_are_refused():
    with pytest.raises(DataError, match="'same/same'"):
        tokenise([preference("yes", "no"), preference("same", "same")], Letters(), 100)


def test_replies_equal_after_encoding_are_refused():
    with pytest.raises(DataError):
        tokenise([preference("same", "same ")], Letters(), 100)


def reply(prompt_id, is_safety):
    prompt = Prompt(
        id=prompt_id,
        messages=(Message(role="user", content="hi"),),
        category="any",
        is_safety=is_safety,
        source="test",
        split="test",
    )
    return Reply(prompt, 0, (2, 3), (4, END), "ok", "stop")


def rate(monkeypatch, threshold, rows):
    """Rate rows of (helpfulness, safety, tagged) with scores that stand in for the models."""
    seen = []

    def fake_score(model, sequences):
        seen.append((model, list(sequences)))
        return [row[0 if model == "helpful" else 1] for row in rows]

    monkeypatch.setattr(rewards_module, "score", fake_score)
    pair = RewardPair("helpful", "safe", threshold)
    replies = [reply(str(i), row[2]) for i, row in enumerate(rows)]
    rated = pair.rate(replies)
    sequences = [[2, 3, 4, END]] * len(rows)
    assert seen == [("helpful", sequences, "float32"), ("safe", sequences, "float32")]
    return rated


def float32(value):
    return torch.tensor(value).item()


def test_the_gate_takes_safety_where_tagged_or_strictly_below_the_threshold(monkeypatch):
    boundary = float32(logit(0.15))
    above, below = boundary + 1e-5, boundary - 1e-5
    rows = [
        (5.0, above, False),
        (5.0, below, False),
        (5.0, boundary, False),
        (5.0, 3.0, True),
        (-9.0, below, True),
        (-9.0, 40.0, False),
    ]
    rated = rate(monkeypatch, 0.15, rows)
    assert rated.helpfulness == [row[0] for row in rows]
    assert rated.safety == [row[1] for row in rows]
    assert rated.gated == [False, True, False, True, True, False]
    assert rated.combined == pytest.approx([5.0, below, 5.0, 3.0, below, -9.0], abs=1e-6)


def test_another_threshold_moves_the_gate(monkeypatch):
    rows = [(5.0, -0.1, False), (5.0, 0.1, False)]
    assert rate(monkeypatch, 0.5, rows).combined == pytest.approx([-0.1, 5.0])
    assert rate(monkeypatch, 0.6, rows).combined == pytest.approx([-0.1, 0.1])


def test_gated_says_which_reward_was_taken_even_at_the_boundary(monkeypatch):
    rated = rate(monkeypatch, 0.2, [(5.0, float32(logit(0.2)), False)])
    assert rated.gated == [rated.combined[0] != 5.0]
