"""Sampling settings.

Source: arXiv 2307.09288, Section 3.2.3 (temperature); released reference code (temperature 0.6,
top-p 0.9).
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a reply is drawn."""

    temperature: float = 1.0
    """Divides the logits; 0 takes the most probable token."""
    top_p: float = 1.0
    """Keeps the smallest set of tokens with at least this mass; 1 keeps all."""
    max_new_tokens: int = 64
    """Longest reply in tokens, end token included."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_new_tokens < 1:
            raise ConfigError(
                f"sampling: temperature {self.temperature} must be >= 0, "
                f"top_p {self.top_p} in (0, 1], max_new_tokens {self.max_new_tokens} >= 1."
            )
