"""Prompt templates by key and what annotators reply (`templates.toml`, `replies.toml`)."""

from __future__ import annotations

from camelid.simulation.lexicon import read
from camelid.simulation.lexicon.tasks import Risk

TEMPLATES = read("templates", "prompts", dict[str, tuple[str, ...]])
"""Key of a prompt kind to its templates; a fifth of each key is held out for test."""
VECTORS = read("templates", "vectors", tuple[str, ...])
"""Attack vectors; a key of `TEMPLATES` each but for the first."""

HOW_TO_REPLIES = read("replies", "how_to", tuple[str, ...])
RECOMMENDATIONS = read("replies", "recommendation", tuple[str, ...])
REFUSALS = read("replies", "refusals", tuple[str, ...])
"""Openings of a refusal; a reason and an alternative follow."""
EVASIONS = read("replies", "evasions", tuple[str, ...])
ASIDES = read("replies", "asides", tuple[str, ...])
"""Sentences that nobody asked for."""
REASONS = read("replies", "reasons", dict[Risk, tuple[str, ...]])
ALTERNATIVES = read("replies", "alternatives", dict[Risk, tuple[str, ...]])
