"""Texts shown in the report: demonstrations, replies before and after, disagreements, refusals.

Source: arXiv 2307.09288, Tables 5, 12, 13, 33-35 and 41-43, Figure 9. All texts are this run's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

from camelid.report.figures import sigmoid
from camelid.report.inputs import AbsentError, Row, Run, last_user

_LONGEST = 1200


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A prompt and what answered it."""

    prompt: str
    note: str = ""
    answers: tuple[tuple[str, str], ...]
    """(label, text) pairs."""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " […]"


def demonstrations(run: Run) -> list[Example]:
    """Table 5: one helpful and one safety demonstration."""
    found: dict[bool, Row] = {}
    for row in run.rows("data/demonstrations.jsonl"):
        found.setdefault(bool(row["is_safety"]), row)
    return [
        Example(
            prompt=_cut(last_user(row["messages"])),
            note=f"{'safety' if safety else 'helpfulness'}, {row['category']}, {row['source']}",
            answers=(("demonstration", _cut(row["messages"][-1]["content"])),),
        )
        for safety, row in sorted(found.items())
    ]


def _verdict(row: Row) -> str:
    judge = row.get("judge") or {}
    marks = [n for n in ("exact", "violating", "refusing", "evasive") if judge.get(n)]
    if judge.get("score") is not None:
        marks.append(f"score {judge['score']:.2f}")
    return ", ".join(marks)


def samples(run: Run, count: int) -> list[Example]:
    """Prompts of every set answered before and after, taken in turn from the sets."""
    models = [m for m in run.models if m in ("base", "sft", *run.rounds[-1:], "final")]
    by_set: dict[str, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in run.rows("evaluating/replies.jsonl"):
        if row["model"] in models:
            by_set[row["set"]][row["prompt_id"]][row["model"]] = row
    queues = [
        sorted(
            (r for r in prompts.values() if len(r) > 1),
            # Ids that count up within a category are mixed by reading them backwards.
            key=lambda replies: str(next(iter(replies.values()))["prompt_id"])[::-1],
        )
        for prompts in by_set.values()
    ]
    mixed = [replies for group in zip_longest(*queues) for replies in group if replies]
    if not mixed:
        raise AbsentError("no prompt was answered by two models")
    found = []
    for replies in mixed[:count]:
        first = next(iter(replies.values()))
        kind = first.get("risk_category") or first.get("category") or ""
        answers = tuple(
            (f"{m} ({v})" if (v := _verdict(replies[m])) else m, _cut(replies[m]["reply"]))
            for m in models
            if m in replies
        )
        note = f"{first['set']} set, {kind}, {len(first['prompt'])} message(s)"
        found.append(Example(prompt=_cut(last_user(first["prompt"])), note=note, answers=answers))
    return found


def _replies_where(
    run: Run, name: str, keep: Callable[[Row, Row], bool], count: int
) -> list[Example]:
    after = {row["prompt_id"]: row for row in run.replies("final", name)}
    found = [
        Example(
            prompt=_cut(last_user(row["prompt"])),
            note=str(row.get("risk_category") or row.get("category") or ""),
            answers=(
                ("sft", _cut(row["reply"])),
                ("final", _cut(after[row["prompt_id"]]["reply"])),
            ),
        )
        for row in run.replies("sft", name)
        if row["prompt_id"] in after and keep(row, after[row["prompt_id"]])
    ]
    return found[:count]


def adversarial(run: Run) -> list[Example]:
    """Table 12: requests that SFT complied with and the final model does not."""
    found = _replies_where(
        run,
        "adversarial",
        lambda a, b: bool(a["judge"].get("violating")) and not b["judge"].get("violating"),
        2,
    )
    if not found:
        raise AbsentError("no adversarial prompt has a violation of sft that final resists")
    return found


def false_refusals(run: Run) -> list[Example]:
    """Table 41: benign requests that the final model refuses."""
    found = _replies_where(run, "borderline", lambda _, b: bool(b["judge"].get("refusing")), 3)
    if not found:
        raise AbsentError("the final model refuses no borderline prompt")
    return found


def distillation(run: Run) -> list[Example]:
    """Table 13: replies without and with safety preprompts, a kept and a rejected pair."""
    rows = run.rows("context_distillation/pairs.jsonl")
    found = []
    for kept in (True, False):
        row = next((r for r in rows if bool(r["kept"]) is kept), None)
        if row is not None:
            answers = tuple(
                (f"{name} (safety score {row[f'{name}_score']:.2f})", _cut(row[name]))
                for name in ("original", "generic", "template")
                if row.get(name) is not None and row.get(f"{name}_score") is not None
            )
            note = f"{row['risk_category']}, {'kept' if kept else 'rejected by the gate'}"
            found.append(Example(prompt=_cut(last_user(row["prompt"])), note=note, answers=answers))
    return found


def forgetting(run: Run) -> list[Example]:
    """Figure 9: one dialogue's probe by turn before and after Ghost Attention."""
    rows = run.rows("ghost_attention/recall.jsonl")
    before = [r for r in rows if r["when"] == "before" and not r["kept"]] or rows
    name = before[0]["dialogue_id"]
    mine = sorted((r for r in rows if r["dialogue_id"] == name), key=lambda r: r["turn"])
    answers = tuple(
        (f"turn {r['turn']}, {r['when']} training: {'held' if r['kept'] else 'lost'}", r["reply"])
        for when in ("before", "after")
        for r in mine
        if r["when"] == when
    )
    return [Example(prompt=f"Expected in each answer: {mine[0]['expected']}", answers=answers)]


def disagreements(run: Run) -> list[Example]:
    """Table 35: held-out replies on which the two reward models differ most, both ways."""
    rows = run.rows(f"{run.last_round}/reward_modeling/test_scores.jsonl")
    found = []
    for row in rows:
        for side in ("chosen", "rejected"):
            raw = row[f"{side}_scores"]
            if "safety_rm" in raw and "helpfulness_rm" in raw:
                safety, helpful = sigmoid([raw["safety_rm"], raw["helpfulness_rm"]])
                found.append((float(safety - helpful), float(safety), float(helpful), row, side))
    if not found:
        raise AbsentError("no held-out pair has the scores of both reward models")
    found.sort(key=lambda entry: entry[0])
    return [
        Example(
            prompt=_cut(last_user(row["prompt"])),
            note=f"safety score {safety:.2f}, helpfulness score {helpful:.2f}",
            answers=((f"{side} reply", _cut(row[side])),),
        )
        for _, safety, helpful, row, side in (*found[:2], *found[-2:])
    ]
