"""The gate between the two rewards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from camelid.data.records import Message, Prompt
from camelid.inference import rewards as rewards_module
from camelid.inference.replies import Reply
from camelid.inference.rewards import RewardPair
from camelid.losses import logit

END = 1


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


def rate(monkeypatch, threshold, rows, watching=None):
    """Rate rows of (helpfulness, safety, tagged) with scores that stand in for the models."""
    seen = []

    def fake_score_all(models, sequences):
        seen.append((list(models), list(sequences)))
        columns = {"helpful": 0, "safe": 1, "guard": 3}
        return [[row[columns[model]] for row in rows] for model in models]

    monkeypatch.setattr(rewards_module, "score_all", fake_score_all)
    pair = RewardPair("helpful", "safe", threshold)
    replies = [reply(str(i), row[2]) for i, row in enumerate(rows)]
    rated = pair.rate(replies, watching=watching)
    sequences = [[2, 3, 4, END]] * len(rows)
    # One pass over the rows for all models.
    assert seen == [(["helpful", "safe", *([watching] if watching else [])], sequences)]
    return rated


def test_case_several_end_ids_reward_models_read_the_end_that_they_know(monkeypatch):
    """Another stated end ended the reply: comparisons end with the chat format's own."""
    seen = []

    def fake_score_all(models, sequences):
        seen.extend(sequences)
        return [[0.0] for _ in models]

    monkeypatch.setattr(rewards_module, "score_all", fake_score_all)
    other = replace(reply("a", is_safety=False), tokens=(4, END + 1), end_id=END)
    cut = replace(other, stop_reason="length")
    for each in (other, cut):
        RewardPair("helpful", "safe", 0.15).rate([each])
    assert seen == [[2, 3, 4, END], [2, 3, 4, END + 1]]


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


def test_the_guard_is_scored_beside_and_changes_nothing(monkeypatch):
    rows = [(5.0, 3.0, False, -7.0), (4.0, -3.0, False, 7.0)]
    alone = rate(monkeypatch, 0.5, rows)
    watched = rate(monkeypatch, 0.5, rows, watching="guard")
    assert (alone.watched, watched.watched) == ([], [-7.0, 7.0])
    assert watched.combined == alone.combined == [5.0, -3.0]
    assert watched.gated == alone.gated


@pytest.mark.parametrize("watching", [None, "guard"])
def test_without_a_safety_model_helpfulness_alone_is_the_reward(monkeypatch, watching):
    columns = {"helpful": [1.5, -2.0], "guard": [7.0, 8.0]}
    asked = []

    def fake_score_all(models, _):
        asked.extend(models)
        return [columns[model] for model in models]

    monkeypatch.setattr(rewards_module, "score_all", fake_score_all)
    replies = [reply("a", is_safety=True), reply("b", is_safety=False)]
    rated = RewardPair("helpful").rate(replies, watching=watching)
    assert asked == ["helpful", *([watching] if watching else [])]
    assert rated.helpfulness == rated.combined == [1.5, -2.0]
    assert rated.safety == []
    assert rated.gated == [False, False]
    assert rated.watched == ([7.0, 8.0] if watching else [])
