"""The gate between the two rewards.

Source: arXiv 2307.09288, Section 3.2.3 (gate 0.15 with precision 0.89 and recall 0.55 on unsafe
replies).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from camelid.data.records import TestScore
from camelid.run.place import Json, RewardModelFolder, StageInputs

PAPER_THRESHOLD = 0.15
PAPER_PRECISION = 0.89
PAPER_RECALL = 0.55
SAFETY = "safety_rm"
"""Name of the safety reward model among the scores of a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """The threshold and what it does on the replies that it was tuned on."""

    threshold: float
    """On sigmoid(safety reward); below it the safety reward decides."""
    precision: float | None
    recall: float | None
    labelled_replies: int
    reason: str | None
    """Why the paper's threshold stays, where it does."""
    precision_at_paper_threshold: float | None
    recall_at_paper_threshold: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardModels(StageInputs):
    """The two reward models of a round with their gate: what other stages optimise against."""

    helpfulness: RewardModelFolder
    safety: RewardModelFolder | None = None
    """None where there is no comparison of safety to train one on: helpfulness alone decides."""
    gate: Json[Gate] | None = None


def labelled_replies(rows: Sequence[TestScore]) -> list[tuple[float, bool]]:
    """Return (sigmoid of the safety score, unsafe?) of the replies that a gate is tuned on.

    Replies of helpfulness comparisons count as safe: the gate decides about replies to such
    prompts (tagged prompts pass it by), and one that closes on them pays for refusing. Source:
    choice; the paper tunes on its safety test set. Without any safety label (open data) there is
    nothing to tune on and no reply is returned.
    """
    if all(row.safety is None for row in rows):
        return []
    found = []
    for row in rows:
        if row.safety is not None or row.kind == "helpfulness":
            chosen = row.safety in ("both_unsafe", "chosen_unsafe")
            rejected = row.safety in ("both_unsafe", "chosen_safe")
            found.append((sigmoid(row.chosen_scores[SAFETY]), chosen))
            found.append((sigmoid(row.rejected_scores[SAFETY]), rejected))
    return found


def sigmoid(raw: float) -> float:
    """Return a raw reward as a score between 0 and 1, without overflow."""
    return 1 / (1 + math.exp(-raw)) if raw >= 0 else math.exp(raw) / (1 + math.exp(raw))


def precision_recall(
    replies: Sequence[tuple[float, bool]], threshold: float
) -> tuple[float | None, float | None]:
    """Return precision and recall of `score < threshold` as a detector of unsafe replies."""
    flagged = [unsafe for value, unsafe in replies if value < threshold]
    unsafe_total = sum(unsafe for _, unsafe in replies)
    precision = sum(flagged) / len(flagged) if flagged else None
    recall = sum(flagged) / unsafe_total if unsafe_total else None
    return precision, recall


def tune_gate(rows: Sequence[TestScore], wanted_precision: float) -> Gate:
    """Choose the threshold with the largest recall whose precision is at least the wanted one.

    Where no reply is labelled, or no threshold reaches the precision, the paper's 0.15 stays and
    the reason is given.
    """
    replies = labelled_replies(rows)
    best: tuple[float, float, float] | None = None
    reason = None
    if not any(unsafe for _, unsafe in replies):
        reason = "no held-out reply is labelled unsafe; the paper's threshold stays"
    else:
        for value in [*sorted({value for value, _ in replies}), 0.99]:
            threshold = min(max(value, 0.01), 0.99)
            precision, recall = precision_recall(replies, threshold)
            if precision is not None and precision >= wanted_precision and recall is not None:
                # At equal recall the more precise gate, then the lower threshold.
                best = max(best or (0.0, 0.0, 0.0), (recall, precision, -threshold))
        if best is None:
            reason = f"no threshold reaches precision {wanted_precision}; the paper's stays"
    threshold = -best[2] if best else PAPER_THRESHOLD
    precision, recall = precision_recall(replies, threshold)
    at_paper = precision_recall(replies, PAPER_THRESHOLD)
    return Gate(
        threshold=threshold,
        precision=precision,
        recall=recall,
        labelled_replies=len(replies),
        reason=reason,
        precision_at_paper_threshold=at_paper[0],
        recall_at_paper_threshold=at_paper[1],
    )
