"""Accuracy of reward models with ties, and the gate's threshold against brute force."""

from __future__ import annotations

import math
import random

import pytest

from camelid.data import records
from camelid.evaluation.gate import PAPER_THRESHOLD, labelled_replies, precision_recall, tune_gate


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def row(kind, strength, chosen, rejected, safety=None):
    return records.TestScore(
        id="comparison",
        kind=kind,
        round=1,
        strength=strength,
        safety=safety,
        category="dialogue",
        prompt="Hello.",
        prompt_key=0,
        chosen="One.",
        rejected="Other.",
        chosen_scores={"safety_rm": chosen},
        rejected_scores={"safety_rm": rejected},
    )


def replies_as_rows(replies):
    """Rows whose labelled replies are the given (probability, unsafe?) pairs, in twos."""
    label = {
        (False, False): "both_safe",
        (True, True): "both_unsafe",
        (False, True): "chosen_safe",
        (True, False): "chosen_unsafe",
    }
    assert len(replies) % 2 == 0
    return [
        row("safety", None, logit(a[0]), logit(b[0]), label[a[1], b[1]])
        for a, b in zip(replies[::2], replies[1::2], strict=True)
    ]


def test_labels_belong_to_the_right_reply_and_extreme_scores_do_not_overflow():
    rows = [
        row("safety", None, 800.0, -800.0, "chosen_safe"),
        row("safety", None, -800.0, 800.0, "chosen_unsafe"),
        row("safety", None, 0.0, 0.0, "both_safe"),
        row("safety", None, 0.0, 0.0, "both_unsafe"),
        row("helpfulness", None, 0.0, 800.0),
    ]
    assert labelled_replies(rows) == [
        *[(1.0, False), (0.0, True)],
        *[(0.0, True), (1.0, False)],
        *[(0.5, False), (0.5, False)],
        *[(0.5, True), (0.5, True)],
        *[(0.5, False), (1.0, False)],
    ]


def test_without_safety_labels_no_precision_is_claimed():
    rows = [row("helpfulness", None, -5.0, 5.0), row("safety", None, -5.0, 5.0)]
    assert labelled_replies(rows) == []
    gate = tune_gate(rows, 0.89)
    assert gate.threshold == PAPER_THRESHOLD
    assert gate.reason
    assert gate.labelled_replies == 0
    assert gate.precision is gate.recall is gate.precision_at_paper_threshold is None


def test_precision_and_recall_are_strict_at_the_threshold():
    replies = [(0.1, True), (0.2, False), (0.3, True)]
    assert precision_recall(replies, 0.1) == (None, 0.0)
    assert precision_recall(replies, 0.2) == (1.0, 0.5)
    assert precision_recall(replies, 0.31) == (pytest.approx(2 / 3), 1.0)
    assert precision_recall([(0.1, False)], 0.2) == (0.0, None)


def brute_force(replies, wanted):
    """Largest recall over a fine grid of thresholds, or None."""
    best = None
    unsafe = sum(flag for _, flag in replies)
    for step in range(200, 19801):
        flagged = [flag for value, flag in replies if value < step / 20000]
        if flagged and sum(flagged) / len(flagged) >= wanted:
            best = max(best or 0.0, sum(flagged) / unsafe)
    return best


def random_replies(seed):
    # The grid of probabilities leaves room between neighbours; ties occur on purpose.
    generator = random.Random(seed)
    replies = []
    for _ in range(20):
        unsafe = generator.random() < 0.5
        value = generator.triangular(0.02, 0.98, 0.1 if unsafe else 0.9)
        replies.append((round(value, 2), unsafe))
    return replies


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("wanted", [0.6, 0.89, 1.0])
def test_the_threshold_has_the_largest_recall_at_the_precision(seed, wanted):
    # A safe reply with the highest score: flagging all of them is then never the best.
    replies = [*random_replies(seed), (0.985, False), (0.985, False)]
    gate = tune_gate(replies_as_rows(replies), wanted)
    best = brute_force(replies, wanted)
    if best is None:
        assert gate.threshold == PAPER_THRESHOLD
        assert "precision" in gate.reason
        return
    assert gate.reason is None
    assert gate.recall == pytest.approx(best)
    assert gate.precision >= wanted
    assert gate.labelled_replies == 22
    found = labelled_replies(replies_as_rows(replies))
    assert (gate.precision, gate.recall) == precision_recall(found, gate.threshold)
    assert gate.precision_at_paper_threshold == precision_recall(found, 0.15)[0]
    assert gate.recall_at_paper_threshold == precision_recall(found, 0.15)[1]


def test_the_reply_with_the_highest_score_can_be_flagged():
    replies = [(0.1, True), (0.2, True), (0.3, True), (0.4, True)]
    gate = tune_gate(replies_as_rows(replies), 0.89)
    assert gate.recall == brute_force(replies, 0.89) == 1.0


def test_an_unreachable_precision_keeps_the_papers_threshold():
    # The lowest scores are those of safe replies.
    replies = [(0.1, False), (0.2, False), (0.6, True), (0.9, False)]
    gate = tune_gate(replies_as_rows(replies), 0.89)
    assert gate.threshold == 0.15
    assert gate.reason == "no threshold reaches precision 0.89; the paper's stays"
    assert (gate.precision, gate.recall) == (0.0, 0.0)


@pytest.mark.parametrize(
    "rows", [[], replies_as_rows([(0.1, False), (0.2, False)]), [row("safety", None, 0, 1)]]
)
def test_without_an_unsafe_label_the_papers_threshold_stays(rows):
    gate = tune_gate(rows, 0.89)
    assert gate.threshold == 0.15
    assert "labelled unsafe" in gate.reason
    assert gate.recall is None


def test_the_threshold_stays_where_a_logit_exists():
    replies = [(1e-9, True), (0.005, False), (0.995, False), (0.9999, False)]
    gate = tune_gate(replies_as_rows(replies), 0.5)
    assert 0.01 <= gate.threshold <= 0.99
    assert gate.recall == 1.0
