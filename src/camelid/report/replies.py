"""Texts shown of the evaluation: replies before and after, requests resisted and refused.

Source: arXiv 2307.09288, Tables 12, 33, 34 and 41 to 43. All texts are this run's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from camelid.data.annotation import JudgedReply
from camelid.report.texts import cut, dialogue
from camelid.run.digits import number
from camelid.run.item import AbsentError, Example

VERDICTS = ("exact", "violating", "refusing", "evasive")
"""What a judge may find in a reply."""


def _verdict(row: JudgedReply) -> str:
    found = row.judgement
    marks = [name for name in VERDICTS if getattr(found, name)]
    if found.score is not None:
        marks.append(f"score {number(found.score)}")
    return ", ".join(marks)


def searchable(judged: Sequence[tuple[JudgedReply, str]], main: Sequence[str]) -> dict[str, Any]:
    """Return what the page of replies searches: each prompt once, each reply with its reason.

    Args:
        judged: Replies with the judge's reasons; one prompt may be answered by many models.
        main: Models of the pipeline, in order; the page folds what the others replied.
    """
    prompts: dict[tuple[str, Any], int] = {}
    models = {name: index for index, name in enumerate(main)}
    reasons: dict[str, int] = {}
    asked: list[dict[str, Any]] = []
    replies: list[dict[str, Any]] = []
    for row, reason in judged:
        key = (row.set, dialogue(row.prompt))
        if key not in prompts:
            prompts[key] = len(prompts)
            about = row.risk_category or row.category
            asked.append({"set": row.set, "about": about, "dialogue": key[1]})
        score = row.judgement.score
        replies.append(
            {
                "prompt": prompts[key],
                "model": models.setdefault(row.model, len(models)),
                "verdicts": [name for name in VERDICTS if getattr(row.judgement, name)]
                or ["none of these"],
                "score": "" if score is None else f", score {number(score)}",
                "reason": reasons.setdefault(reason, len(reasons)),
                "text": cut(row.reply),
            }
        )
    return {
        "models": list(models),
        "main": len(main),
        "reasons": list(reasons),
        "prompts": asked,
        "replies": replies,
    }


def samples(rows: Sequence[JudgedReply], models: Sequence[str], count: int) -> list[Example]:
    """Prompts of every set answered by several models, taken in turn from the sets."""
    by_set: dict[str, dict[str, dict[str, JudgedReply]]] = {}
    for row in rows:
        if row.model in models:
            by_set.setdefault(row.set, {}).setdefault(row.prompt_id, {})[row.model] = row
    queues = [
        sorted(
            (answers for answers in prompts.values() if len(answers) > 1),
            # Ids that count up within a category are mixed by reading them backwards.
            key=lambda answers: next(iter(answers.values())).prompt_id[::-1],
        )
        for prompts in by_set.values()
    ]
    mixed = [answers for group in zip_longest(*queues) for answers in group if answers]
    if not mixed:
        raise AbsentError("no prompt was answered by two models")
    found = []
    for answers in mixed[:count]:
        first = next(iter(answers.values()))
        kind = first.risk_category or first.category
        shown = tuple(
            (f"{m} ({verdict})" if (verdict := _verdict(answers[m])) else m, cut(answers[m].reply))
            for m in models
            if m in answers
        )
        note = f"{first.set} set, {kind.replace('_', ' ')}"
        found.append(Example(dialogue=dialogue(first.prompt), note=note, answers=shown))
    return found


def where(
    before: Sequence[JudgedReply],
    after: Sequence[JudgedReply],
    keep: Callable[[JudgedReply, JudgedReply], bool],
    *,
    count: int,
    none: str,
) -> list[Example]:
    """The first prompts whose replies before and after are to be kept, with both (Tables 12, 41).

    Raises:
        AbsentError: There is none; the text `none` says so.
    """
    final = {row.prompt_id: row for row in after}
    found = [
        Example(
            dialogue=dialogue(row.prompt),
            note=row.risk_category or row.category,
            answers=((row.model, cut(row.reply)), (later.model, cut(later.reply))),
        )
        for row in before
        if (later := final.get(row.prompt_id)) is not None and keep(row, later)
    ]
    if not found:
        raise AbsentError(none)
    return found[:count]
