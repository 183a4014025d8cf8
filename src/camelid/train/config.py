"""Settings of training.

Source: arXiv 2307.09288, Section 2.2 and 3.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from camelid.data.rendered import FitPolicy, Packing
from camelid.settings import (
    BatchSize,
    Count,
    Factor,
    PaperValue,
    Range,
    Share,
    Steps,
    Tokens,
    bounded,
)


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class OptimizerConfig:
    """Settings of AdamW and of its schedule."""

    learning_rate: Annotated[float, Range(0, 10, above=True)]
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Shape after warm-up."""
    warmup_fraction: Share = 0.03
    """Warm-up as a share of all steps (Section 3.2.2)."""
    warmup_minimum: Count = 5
    """Fewest warm-up steps (Section 3.2.2)."""
    final_fraction: Share = 0.1
    """Last learning rate over peak (Section 2.2)."""
    beta1: Annotated[float, Range(0, 0.99999)] = 0.9
    """Decay of the first moment (Section 2.2)."""
    beta2: Annotated[float, Range(0, 0.99999)] = 0.95
    """Decay of the second moment (Section 2.2)."""
    eps: Annotated[float, Range(0, 1, above=True)] = 1e-5
    """Added to the root of the second moment (Section 2.2)."""
    weight_decay: Factor = 0.1
    """Decoupled decay of matrices; vectors (norms) are exempt (Source: choice)."""
    clip: Annotated[float, Range(0, 10_000, above=True)] = 1.0
    """Largest gradient norm of each model (Section 2.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class FineTuningConfig:
    """Settings of a fine-tuning on dialogues."""

    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 2e-5."""
    batch_rows: BatchSize = 64
    """Packed rows per optimizer step (Section 3.1)."""
    row_tokens: Tokens = 4096
    """Tokens a packed row (Section 3.1)."""
    epochs: Steps = 2
    """Passes over the dialogues (Section 3.1); ignored where `steps` is given."""
    steps: Steps | None = None
    """Constant number of steps (Section 3.2.3, rejection sampling), or null for `epochs`."""
    train_embeddings: bool = True
    """False keeps the token embeddings fixed. A small tied table would otherwise unlearn every word
    that the fine-tuning data do not name (Source: choice)."""
    micro_rows: BatchSize = 8
    """Rows in memory at once; cannot change the result."""
    too_long: FitPolicy = "drop"
    """What happens to a dialogue longer than a row; counted in the result."""
    packing: Packing = "isolated"
    """Whether attention crosses the dialogues of a row (not specified in Section 3.1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuned:
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


Margin = Literal["none", "small", "large"]
"""Which margins of Table 27 the ranking loss has."""


def paper_optimizer(learning_rate: str, section: str) -> dict[str, PaperValue]:
    """Return the paper's values of an optimizer's settings, by field of a stage."""
    values = {
        "learning_rate": learning_rate,
        "beta1": "0.9",
        "beta2": "0.95",
        "eps": "1e-5",
        "weight_decay": "0.1",
        "clip": "1.0",
    }
    return {f"optimizer.{name}": PaperValue(value, section) for name, value in values.items()}
