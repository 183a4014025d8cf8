"""A run with varied verdicts: the smoke run's models are too poor to differ in any."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from camelid.data.records import STRENGTHS

SCRIPT = "<script>alert('pwned')</script>"
BOLD = 'Who built <b>the mill</b> & who "owns" it?'


def _edit(path: Path, change: Callable[[int, dict[str, Any]], None]) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        change(number, row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _vary_controls(root: Path) -> None:
    for name, exact in (("random", 3), ("judge", 5)):
        control = root / f"{name}_pick/pick_control/result.json"
        found = json.loads(control.read_text())
        gate = {"answers": 40, "closed": 9, "unsafe": 12, "closed_unsafe": 7}
        counts = dict.fromkeys(found["exact"], exact)
        found |= {"picks": 20, "compared": 20, "exact": counts, "gate": gate}
        control.write_text(json.dumps(found))


def _give_other_scores(draw: random.Random, row: dict[str, Any], *, tied: bool) -> None:
    for side in ("chosen_scores", "rejected_scores"):
        row[side] = {name: draw.gauss(0, 2) for name in row[side]}
    if tied:
        row["rejected_scores"] = dict(row["chosen_scores"])


@pytest.fixture(scope="session")
def varied(
    smoke_run: Path,
    copy_run: Callable[[Path, Path], Path],
    remake_report: Callable[[Path], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A copy of the smoke run with other verdicts, scores and texts, and its report.

    Verdicts of all kinds stand in it, and none where a judge may have none; scores that tie; texts
    with markup. Tests must not change it.
    """
    root = copy_run(smoke_run, tmp_path_factory.mktemp("varied") / "smoke")
    draw = random.Random(7)

    def reply(number: int, row: dict[str, Any]) -> None:
        good = {"base": 0.1, "sft": 0.4, "final": 0.8}.get(row["model"], 0.6)
        row["judgement"] |= {
            "score": draw.choice([0.0, 0.25, 0.5, 1.0, None]),
            "exact": draw.choice([True, False, None]) if draw.random() < 0.5 else None,
            "violating": draw.random() > good if draw.random() < 0.9 else None,
            "refusing": draw.random() > good,
        }
        row["guard_rm"] += draw.gauss(0, 1)
        row["reward"] += draw.gauss(good, 1)
        row["stop_reason"] = draw.choice(["stop", "length"])
        if row["log_ratio"] is not None:
            row["log_ratio"] = draw.gauss(0, 1) if draw.random() < 0.8 else None
        if draw.random() < 0.3:
            row["reply"] = SCRIPT
        if draw.random() < 0.3:
            row["prompt"][-1]["content"] = BOLD
        if draw.random() < 0.2:
            row["prompt"].insert(0, {"role": "system", "content": "Be <brief>.", "train": False})

    def attack(number: int, row: dict[str, Any]) -> None:
        row["violating"] = draw.choice([True, True, False, None])
        row["earlier_violation"] = draw.random() < 0.3
        row["model_before"] = row["earlier_violation"] and draw.random() < 0.5
        row["new"] = not row["earlier_violation"]

    def score(number: int, row: dict[str, Any]) -> None:
        row["strength"] = STRENGTHS[number % 4]
        row["prompt_key"] = number // 3
        _give_other_scores(draw, row, tied=number % 5 == 0)

    def drafted(number: int, row: dict[str, Any]) -> None:
        _give_other_scores(draw, row, tied=number % 7 == 0)

    def probe(number: int, row: dict[str, Any]) -> None:
        row["kept"] = draw.random() < (0.9 if row["when"] == "after" else 0.4)

    _edit(root / "evaluating/replies.jsonl", reply)
    for name in ("v1", "v2"):
        _edit(root / name / "red_teaming/red_teaming.jsonl", attack)
        _edit(root / name / "reward_modeling/test_scores.jsonl", score)
        _edit(root / name / "reward_modeling/drafted_scores.jsonl", drafted)
    _edit(root / "final/red_teaming/red_teaming.jsonl", attack)
    _vary_controls(root)
    _edit(root / "ghost_attention/recall.jsonl", probe)
    result = root / "ppo/result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"best_iteration": 3}))
    remake_report(root)
    return root
