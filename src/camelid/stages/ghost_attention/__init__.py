"""Ghost Attention (Section 3.3, A.3.5).

An instruction is to hold through a whole dialogue. It is put before every user message and the
latest model answers turn by turn; for training it stays in the first message only (shortened half
of the time) and the loss counts the last answer only. Recall is measured before and after, as in
Table 30: the model is asked for its instruction at turns 2, 4 and 6, or others that are set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, get_args

from camelid.data.prompts import HeldOut
from camelid.data.records import (
    Asked,
    Check,
    Dialogue,
    GhostDialogue,
    InstructionPlace,
    MetricsRow,
    RecallRow,
    When,
)
from camelid.errors import ConfigError
from camelid.evaluation.statistics import Estimate, attempt, paired_difference, proportion
from camelid.inference.sampling import Sampling
from camelid.methods.instruction_checks import CHECKED_BY
from camelid.report.estimates import measure, percent
from camelid.run.finished import Found
from camelid.run.item import (
    AbsentError,
    Cell,
    Example,
    Measure,
    NotApplicableError,
    StageReport,
    Table,
    Values,
)
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
from camelid.settings import Factor, Number, Range, bounded
from camelid.train.config import FineTuned, FineTuningConfig

Turns = Annotated[tuple[Annotated[int, Range(2, 1_000)], ...], Range(1, 20)]


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
    probed_turns: Turns = (2, 4, 6)
    """Turns at which recall is measured (Table 30 also has 20)."""
    place: InstructionPlace = "first_user"
    """Where the instruction stands in training and in the measurement."""

    def __post_init__(self) -> None:
        """Refuse turns out of order."""
        if list(self.probed_turns) != sorted(set(self.probed_turns)):
            raise ConfigError(
                f"probed_turns: found {list(self.probed_turns)}, but they must rise, each once."
            )


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmeasured:
    """Replies of dialogues that had lost their instruction to fit the context."""

    turn: int
    when: When
    replies: int


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
    unmeasured: tuple[Unmeasured, ...] = ()
    """What recall leaves out, by turn."""


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()

PAPER_TABLE_30: dict[int, tuple[int, int]] = {
    2: (100, 100),
    4: (10, 100),
    6: (0, 100),
    20: (0, 100),
}
"""Recall in % by turn: baseline, with Ghost Attention."""
LATE = 4
"""The first turn at which the paper's baseline has forgotten."""
WHEN: tuple[When, ...] = get_args(When)
ASKED: tuple[Asked, ...] = get_args(Asked)


def _rows(seen: Seen) -> list[RecallRow]:
    return seen.last.rows(seen.last.outputs.recall)


def _judge(rows: Iterable[RecallRow]) -> str:
    """Name what judged these rows."""
    return "; ".join(CHECKED_BY[check] for check in CHECKED_BY if check in {r.check for r in rows})


def _turns(seen: Seen) -> tuple[int, ...]:
    return seen.last.config.probed_turns


def recall(seen: Seen, turn: int, when: When, asked: Asked = "probe") -> Estimate:
    """Share of dialogues whose instruction is still held at a turn (Table 30)."""
    rows = [row for row in _rows(seen) if (row.turn, row.when, row.asked) == (turn, when, asked)]
    if not rows:
        raise AbsentError(f"no {asked} {when} training at turn {turn}")
    return _share(rows)


def _share(rows: Sequence[RecallRow]) -> Estimate:
    """The share of rows that hold; the interval counts dialogues, which may give several."""
    return proportion(
        sum(row.kept for row in rows), len(rows), len({row.dialogue_id for row in rows})
    )


def late_change(seen: Seen) -> Estimate:
    """Recall at turn 4 and later, after less before; each dialogue counts once, by its mean."""
    kept: dict[When, dict[str, list[float]]] = {when: {} for when in WHEN}
    both: dict[tuple[str, int, str], dict[When, RecallRow]] = {}
    for row in _rows(seen):
        both.setdefault((row.dialogue_id, row.turn, row.expected), {})[row.when] = row
    for (identity, turn, _), found in both.items():
        if turn >= LATE and len(found) == len(WHEN):
            for when, row in found.items():
                kept[when].setdefault(identity, []).append(float(row.kept))
    if not kept["before"]:
        raise AbsentError(f"nothing was measured at turn {LATE} or later before and after training")
    after, before = (
        [sum(values) / len(values) for values in kept[when].values()]
        for when in ("after", "before")
    )
    return paired_difference(after, before, largest=1.0)


def _caption(seen: Seen) -> str:
    seen_in = [check for check in CHECKED_BY if check in {row.check for row in _rows(seen)}]
    shown = (
        "only the instruction to begin each reply with a word can be seen"
        if seen_in == ["mentions"]
        else "only instructions on the form or the language of replies can be seen"
    )
    lost = ", ".join(
        f"{found.replies} at turn {found.turn} {found.when} training"
        for found in seen.last.result.unmeasured
    )
    return (
        f"Judge: {_judge(_rows(seen))} (in the paper: people). Probes ask for the instruction; in "
        f"ordinary turns {shown}. Brackets: 95 % intervals."
        + (f" Replies left out, as the context had lost the instruction: {lost}." if lost else "")
    )


@REPORT.item("attention", "Instructions recalled (%)", _caption, "Table 30")
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
            *PAPER_TABLE_30.get(turn, (None, None)),
        )
        for turn in _turns(seen)
    ]
    names = ("turn", *(f"{asked}, {when} %" for asked in ASKED for when in WHEN),
             "paper, baseline %", "paper, GAtt %")  # fmt: skip
    return Table(columns=names, rows=rows)


@REPORT.item(
    "attention",
    "Instructions recalled by what they ask for (%)",
    "All measured turns together. Brackets: 95 % intervals that count dialogues.",
)
def recall_by_check(seen: Seen) -> Table:
    """Recall by kind of check, before and after training."""
    groups: dict[tuple[Check, When], list[RecallRow]] = {}
    for row in _rows(seen):
        groups.setdefault((row.check, row.when), []).append(row)
    checks = [check for check in CHECKED_BY if any(found == check for found, _ in groups)]
    if checks == ["mentions"]:
        raise NotApplicableError("all instructions are checked alike")
    return Table(
        columns=("judge", "replies", *(f"{when} %" for when in WHEN)),
        rows=[
            (
                CHECKED_BY[check],
                sum(len(groups.get((check, when), ())) for when in WHEN),
                *(
                    percent(_share(groups[check, when]) if (check, when) in groups else None)
                    for when in WHEN
                ),
            )
            for check in checks
        ],
    )


@REPORT.item(
    "attention",
    "One dialogue before and after",
    lambda seen: f"Judge: {_judge(_rows(seen))}.",
    "Figure 9",
)
def forgetting(seen: Seen) -> list[Example]:
    """Figure 9: one dialogue's probe by turn before and after Ghost Attention."""
    rows = [row for row in _rows(seen) if row.asked == "probe"]
    if not rows:
        raise AbsentError("no dialogue of the tests can be asked for its instruction")
    lost = [row for row in rows if row.when == "before" and not row.kept] or rows
    shown = (lost[0].dialogue_id, lost[0].expected)
    mine = sorted(
        (row for row in rows if (row.dialogue_id, row.expected) == shown), key=lambda row: row.turn
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
    probe = next(d.probe for d in ghost.demands if d.expected == lost[0].expected)
    note = (
        f"At turns {', '.join(str(turn) for turn in _turns(seen))} also asked: “{probe}” "
        f"Expected in the reply: {lost[0].expected}. Other replies are not recorded."
    )
    dialogue = (("user, instruction", ghost.instruction), *asked)
    return [Example(dialogue=dialogue, note=note, answers=answers)]


_NAMES: dict[Asked, tuple[str, str]] = {
    "probe": ("", "instruction held at turn {turn}"),
    "ordinary turn": (".ordinary", "the same in ordinary turns"),
}
"""Parts of keys, and rows of the table at the end of a run."""


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    shown = 6 if 6 in _turns(seen) else _turns(seen)[-1]
    for turn in _turns(seen):
        for when in WHEN:
            for asked in ASKED:
                part, row = _NAMES[asked]
                yield measure(
                    f"ghost_attention.turn{turn}{part}.{when}",
                    "share",
                    partial(recall, seen, turn, when, asked),
                    judge=_judge(_rows(seen)),
                    headline=(row.format(turn=turn), when) if turn == shown else None,
                )
    yield measure(
        "ghost_attention.late.change",
        "share",
        partial(late_change, seen),
        judge=_judge(_rows(seen)),
        signed=True,
    )


@REPORT.values
def _values(seen: Seen) -> Iterable[Values]:
    by_key: dict[str, dict[str, float]] = {}
    for row in _rows(seen):
        kind = "" if row.asked == "probe" else ".ordinary"
        item = f"{row.dialogue_id}\n{row.instruction}"
        by_item = by_key.setdefault(f"ghost_attention.turn{row.turn}{kind}.{row.when}", {})
        # One dialogue may be asked for two things.
        by_item[f"{item}\n{row.expected}" if item in by_item else item] = float(row.kept)
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
