"""Supervised fine-tuning (Section 3.1).

The base model learns to answer: prompts and answers of the whole set are packed to fill rows, the
loss counts answer tokens (and the end token) only, two epochs, cosine learning rate. The model
after epoch 1 is kept as the second variant that answers in the first preference collection.
`fine_tune` also serves rejection sampling, context distillation and Ghost Attention, which only
write dialogues.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.records import Dialogue, MetricsRow
from camelid.data.rendered import FitPolicy, Packing
from camelid.errors import ConfigError
from camelid.run.place import (
    ModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.settings import PaperValue
from camelid.train.config import OptimizerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of a fine-tuning on dialogues."""

    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 2e-5."""
    batch_rows: int = 64
    """Packed rows per optimizer step (Section 3.1)."""
    row_tokens: int = 4096
    """Tokens a packed row (Section 3.1)."""
    epochs: int = 2
    """Passes over the dialogues (Section 3.1); ignored where `steps` is given."""
    steps: int | None = None
    """Constant number of steps (Section 3.2.3, rejection sampling), or null for `epochs`."""
    train_embeddings: bool = True
    """False keeps the token embeddings fixed. A small tied table would otherwise unlearn every word
    that the fine-tuning data do not name (Source: choice)."""
    micro_rows: int = 8
    """Rows in memory at once; cannot change the result."""
    too_long: FitPolicy = "drop"
    """What happens to a dialogue longer than a row; counted in the result."""
    packing: Packing = "isolated"
    """Whether attention crosses the dialogues of a row (not specified in Section 3.1)."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise ConfigError(
                f"fine-tuning: epochs {self.epochs} and steps {self.steps} must be at least 1."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    base: ModelFolder
    demonstrations: Rows[Dialogue]


class Outputs(StageOutputs):
    """What the stage writes."""

    model: ModelFolder = place("model")
    epoch1: ModelFolder = place("epoch1")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuning:
    """What every fine-tuning says of itself."""

    steps: int
    rows: int
    tokens: int
    target_tokens: int
    packing: Packing
    dialogues: int
    too_long_policy: FitPolicy
    dialogues_too_long: int
    dialogues_dropped: int
    final_loss: float
    """Mean of the last tenth of the steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was learned from how much."""

    fine_tuning: FineTuning
    safety_dialogues: int


_SECTION = "Section 3.1"
SFT = StageKind(
    name="sft",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.sft.stage:run",
    report="camelid.stages.sft.report:REPORT",
    paper={
        "optimizer.learning_rate": PaperValue("2e-5", _SECTION),
        "optimizer.schedule": PaperValue("cosine", _SECTION),
        "optimizer.weight_decay": PaperValue("0.1", _SECTION),
        "batch_rows": PaperValue("64", _SECTION),
        "row_tokens": PaperValue("4,096", _SECTION),
        "epochs": PaperValue("2", _SECTION),
    },
)
