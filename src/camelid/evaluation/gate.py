"""The gate between the two rewards.

Source: arXiv 2307.09288, Section 3.2.3 (gate 0.15 with precision 0.89 and recall 0.55 on unsafe
replies).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

PAPER_THRESHOLD = 0.15
PAPER_PRECISION = 0.89
PAPER_RECALL = 0.55


def labelled_replies(rows: Sequence[dict[str, Any]]) -> list[tuple[float, bool]]:
    """Return (sigmoid of the safety score, unsafe?) of the replies that a gate is tuned on.

    Replies of helpfulness comparisons count as safe: the gate decides about replies to such
    prompts (tagged prompts pass it by), and one that closes on them pays for refusing. Source:
    choice; the paper tunes on its safety test set. Without any safety label (open data) there is
    nothing to tune on and no reply is returned.
    """
    if all(row["safety"] is None for row in rows):
        return []
    unsafe = {
        "chosen_safe": (False, True),
        "both_safe": (False, False),
        "both_unsafe": (True, True),
        "chosen_unsafe": (True, False),
    }
    found = []
    for row in rows:
        if row["safety"] is not None:
            chosen, rejected = unsafe[row["safety"]]
            found.append((_sigmoid(row["chosen_scores"]["safety_rm"]), chosen))
            found.append((_sigmoid(row["rejected_scores"]["safety_rm"]), rejected))
        elif row["kind"] == "helpfulness":
            found.append((_sigmoid(row["chosen_scores"]["safety_rm"]), False))
            found.append((_sigmoid(row["rejected_scores"]["safety_rm"]), False))
    return found


def _sigmoid(raw: float) -> float:
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


def tune_gate(rows: Sequence[dict[str, Any]], wanted_precision: float) -> dict[str, Any]:
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
    return {
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
        "labelled_replies": len(replies),
        "reason": reason,
        "paper_threshold": PAPER_THRESHOLD,
        "paper_precision": PAPER_PRECISION,
        "paper_recall": PAPER_RECALL,
        "precision_at_paper_threshold": at_paper[0],
        "recall_at_paper_threshold": at_paper[1],
    }
