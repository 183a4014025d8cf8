"""What the report shows of Ghost Attention: what is recalled before and after.

Source: arXiv 2307.09288, Table 30 and Figure 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import get_args

from camelid.data.records import RecallRow, When
from camelid.evaluation.statistics import Estimate, one, shares
from camelid.report.estimates import measure, percent
from camelid.run.finished import Found
from camelid.run.item import Cell, Example, Measure, StageReport, Table
from camelid.stages.ghost_attention import Config, Inputs, Outputs, Result

Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()

JUDGE = "string match with the expected text"
PAPER_TABLE_30 = {2: (100, 100), 4: (10, 100), 6: (0, 100)}
"""Recall in % by turn: baseline, with Ghost Attention."""
WHEN: tuple[When, ...] = get_args(When)


def _rows(seen: Seen) -> list[RecallRow]:
    return seen.last.rows(seen.last.outputs.recall)


def recall(seen: Seen, turn: int, when: When) -> Estimate:
    """Share of dialogues whose instruction is still held at a turn (Table 30)."""
    found = shares(_rows(seen), lambda row: (row.turn, row.when), lambda row: row.kept)
    return one(found, (turn, when), f"no probe {when} training at turn {turn}")


@REPORT.item(
    "attention",
    "Instructions recalled (%)",
    f"Judge: {JUDGE} (in the paper: people). Brackets: 95 % intervals.",
    "Table 30",
)
def table(seen: Seen) -> Table:
    """Table 30: recall by turn before and after training, the paper's beside."""
    rows: list[tuple[Cell, ...]] = [
        (turn, *(percent(recall(seen, turn, when)) for when in WHEN), *PAPER_TABLE_30[turn])
        for turn in PAPER_TABLE_30
    ]
    names = ("turn", "before %", "after %", "paper, baseline %", "paper, GAtt %")
    return Table(columns=names, rows=rows)


@REPORT.item("attention", "One dialogue before and after", f"Judge: {JUDGE}.", "Figure 9")
def forgetting(seen: Seen) -> list[Example]:
    """Figure 9: one dialogue's probe by turn before and after Ghost Attention."""
    rows = _rows(seen)
    lost = [row for row in rows if row.when == "before" and not row.kept] or rows
    mine = sorted(
        (row for row in rows if row.dialogue_id == lost[0].dialogue_id), key=lambda row: row.turn
    )
    answers = tuple(
        (
            f"turn {row.turn}, {row.when} training: {'held' if row.kept else 'lost'}",
            row.reply,
        )
        for when in WHEN
        for row in mine
        if row.when == when
    )
    return [Example(prompt=f"Expected in each answer: {mine[0].expected}", answers=answers)]


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    for turn in PAPER_TABLE_30:
        for when in WHEN:
            yield measure(
                f"ghost_attention.turn{turn}.{when}",
                "share",
                partial(recall, seen, turn, when),
                judge=JUDGE,
                headline=("instruction held at turn 6", when) if turn == 6 else None,
            )
