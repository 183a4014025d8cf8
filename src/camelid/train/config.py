"""Settings of training.

Source: arXiv 2307.09288, Section 2.2 and 3.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from camelid.errors import ConfigError
from camelid.settings import PaperValue


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Settings of AdamW and of its schedule."""

    learning_rate: float
    """Peak learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Shape after warm-up."""
    warmup_fraction: float = 0.03
    """Warm-up as a share of all steps (Section 3.2.2)."""
    warmup_minimum: int = 5
    """Fewest warm-up steps (Section 3.2.2)."""
    final_fraction: float = 0.1
    """Last learning rate over peak (Section 2.2)."""
    beta1: float = 0.9
    """Decay of the first moment (Section 2.2)."""
    beta2: float = 0.95
    """Decay of the second moment (Section 2.2)."""
    eps: float = 1e-5
    """Added to the root of the second moment (Section 2.2)."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices; vectors (norms) are exempt (Source: choice)."""
    clip: float = 1.0
    """Largest gradient norm of each model (Section 2.2)."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate must be positive, found {self.learning_rate}.")


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
