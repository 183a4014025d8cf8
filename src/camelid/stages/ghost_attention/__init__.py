"""Ghost Attention (Section 3.3, A.3.5).

An instruction is to hold through a whole dialogue. It is put before every user message and the
latest model answers turn by turn; for training it stays in the first message only (shortened half
of the time) and the loss counts the last answer only. Recall is measured before and after, as in
Table 30: the model is asked for its instruction at turns 2, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import get_args

from camelid.data.prompts import HeldOut
from camelid.data.records import Asked, Dialogue, GhostDialogue, MetricsRow, RecallRow, When
from camelid.evaluation.statistics import Estimate, attempt, one, shares
from camelid.inference.sampling import Sampling
from camelid.report.estimates import measure, percent
from camelid.run.finished import Found
from camelid.run.item import Cell, Example, Measure, StageReport, Table, Values
from camelid.run.place import (
    Json,
    ModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.settings import Factor, Number, bounded
from camelid.train.config import FineTuned, FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of Ghost Attention."""

    dialogues: Number
    """Training dialogues (not specified in the paper)."""
    test_dialogues: Number
    """Dialogues on which recall is measured."""
    sampling: Sampling
    """Temperature and length of the answers."""
    bests_per_dialogue: Factor = 1.0
    """Bests of rejection sampling mixed in per dialogue, against forgetting (Source: choice)."""
    require_expected: bool = True
    """Keep only answers to a probe that state the instruction (Source: choice)."""
    fine_tuning: FineTuningConfig
    """Fine-tuning from the latest model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    model: ModelFolder
    ghost_dialogues: Rows[GhostDialogue]
    bests: Rows[Dialogue]
    held_out: Json[HeldOut] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """Sampled dialogues that are not trained on, by reason."""

    without_expected: int
    held_out: int
    empty_or_cut: int
    prompts_cut: int
    """Answers to dialogues that lost their start to fit the context; these are kept."""


class Outputs(StageOutputs):
    """What the stage writes."""

    dialogues: Rows[Dialogue] = place("dialogues.jsonl")
    recall: Rows[RecallRow] = place("recall.jsonl")
    model: ModelFolder = place("model")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was learned from how much."""

    fine_tuning: FineTuned
    ghost_dialogues: int
    bests_mixed_in: int
    prompts_cut: int
    dropped: Dropped


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()

JUDGE = "string match with the expected text"
PAPER_TABLE_30 = {2: (100, 100), 4: (10, 100), 6: (0, 100)}
"""Recall in % by turn: baseline, with Ghost Attention."""
WHEN: tuple[When, ...] = get_args(When)
ASKED: tuple[Asked, ...] = get_args(Asked)


def _rows(seen: Seen) -> list[RecallRow]:
    return seen.last.rows(seen.last.outputs.recall)


def recall(seen: Seen, turn: int, when: When, asked: Asked = "probe") -> Estimate:
    """Share of dialogues whose instruction is still held at a turn (Table 30)."""
    found = shares(_rows(seen), lambda row: (row.turn, row.when, row.asked), lambda row: row.kept)
    return one(found, (turn, when, asked), f"no {asked} {when} training at turn {turn}")


@REPORT.item(
    "attention",
    "Instructions recalled (%)",
    f"Judge: {JUDGE} (in the paper: people). Probes ask for the instruction; in ordinary turns "
    "only the instruction to begin each reply with a word can be seen. Brackets: 95 % intervals.",
    "Table 30",
)
def table(seen: Seen) -> Table:
    """Table 30: recall by turn before and after training, the paper's beside."""
    rows: list[tuple[Cell, ...]] = [
        (
            turn,
            *(
                percent(attempt(partial(recall, seen, turn, when, asked)))
                for asked in ASKED
                for when in WHEN
            ),
            *PAPER_TABLE_30[turn],
        )
        for turn in PAPER_TABLE_30
    ]
    names = ("turn", *(f"{asked}, {when} %" for asked in ASKED for when in WHEN),
             "paper, baseline %", "paper, GAtt %")  # fmt: skip
    return Table(columns=names, rows=rows)


@REPORT.item("attention", "One dialogue before and after", f"Judge: {JUDGE}.", "Figure 9")
def forgetting(seen: Seen) -> list[Example]:
    """Figure 9: one dialogue's probe by turn before and after Ghost Attention."""
    rows = [row for row in _rows(seen) if row.asked == "probe"]
    lost = [row for row in rows if row.when == "before" and not row.kept] or rows
    mine = sorted(
        (row for row in rows if row.dialogue_id == lost[0].dialogue_id), key=lambda row: row.turn
    )
    answers = tuple(
        (f"turn {row.turn}, {row.when} training: {'held' if row.kept else 'lost'}", row.reply)
        for when in WHEN
        for row in mine
        if row.when == when
    )
    ghost = next(
        ghost
        for ghost in seen.last.rows(seen.last.inputs.ghost_dialogues)
        if ghost.id == mine[0].dialogue_id
    )
    asked = [
        (f"user, turn {turn}", ghost.turns[(turn - 1) % len(ghost.turns)])
        for turn in range(1, mine[-1].turn + 1)
    ]
    note = (
        f"At turns {', '.join(str(turn) for turn in PAPER_TABLE_30)} also asked: “{ghost.probe}” "
        f"Expected in the reply: {ghost.expected}. Other replies are not recorded."
    )
    dialogue = (("user, instruction", ghost.instruction), *asked)
    return [Example(dialogue=dialogue, note=note, answers=answers)]


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
            yield measure(
                f"ghost_attention.turn{turn}.ordinary.{when}",
                "share",
                partial(recall, seen, turn, when, "ordinary turn"),
                judge=JUDGE,
                headline=("the same in ordinary turns", when) if turn == 6 else None,
            )


@REPORT.values
def _values(seen: Seen) -> Iterable[Values]:
    by_key: dict[str, dict[str, float]] = {}
    for row in _rows(seen):
        kind = "" if row.asked == "probe" else ".ordinary"
        item = f"{row.dialogue_id}\n{row.instruction}"
        key = f"ghost_attention.turn{row.turn}{kind}.{row.when}"
        by_key.setdefault(key, {})[item] = float(row.kept)
    for key, by_item in by_key.items():
        yield Values(key=key, by_item=by_item, largest=1.0)


GHOST_ATTENTION = StageKind(
    name="ghost_attention",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.ghost_attention.stage:run",
    report=REPORT,
)
