"""Sampling settings.

Source: arXiv 2307.09288, Section 3.2.3 (temperature); released reference code (temperature 0.6,
top-p 0.9).
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.settings import SomeShare, Temperature, Tokens, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Sampling:
    """How a reply is drawn."""

    temperature: Temperature = 1.0
    """Divides the logits; 0 takes the most probable token."""
    top_p: SomeShare = 1.0
    """Keeps the smallest set of tokens with at least this mass; 1 keeps all."""
    max_new_tokens: Tokens = 64
    """Longest reply in tokens, end token included."""


CHAT = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=256)
"""Settings of the released reference code."""
