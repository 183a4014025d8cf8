"""Ghost Attention (Section 3.3, A.3.5).

An instruction is to hold through a whole dialogue. It is put before every user message and the
latest model answers turn by turn; for training it stays in the first message only (shortened half
of the time) and the loss counts the last answer only. Recall is measured before and after, as in
Table 30: the model is asked for its instruction at turns 2, 4 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, GhostDialogue, MetricsRow, RecallRow
from camelid.inference.sampling import Sampling
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
from camelid.train.config import FineTuned, FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of Ghost Attention."""

    dialogues: int
    """Training dialogues (not specified in the paper)."""
    test_dialogues: int
    """Dialogues on which recall is measured."""
    sampling: Sampling
    """Temperature and length of the answers."""
    bests_per_dialogue: float = 1.0
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


GHOST_ATTENTION = StageKind(
    name="ghost_attention",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.ghost_attention.stage:run",
    report="camelid.stages.ghost_attention.report:REPORT",
)
