"""Prompt templates by key and what annotators reply (`templates.toml`, `replies.toml`)."""

from __future__ import annotations

from camelid.simulation.lexicon import read, texts
from camelid.simulation.lexicon.tasks import Risk

TEMPLATES = read("templates", "prompts", dict[str, tuple[str, ...]])
"""Key of a prompt kind to its templates; a fifth of each key is held out for test."""
VECTORS = texts("templates", "vectors")
"""Attack vectors; a key of `TEMPLATES` each but for the first."""

HOW_TO_REPLIES = texts("replies", "how_to")
RECOMMENDATIONS = texts("replies", "recommendation")
REFUSALS = texts("replies", "refusals")
"""Openings of a refusal; a reason and an alternative follow."""
EVASIONS = texts("replies", "evasions")
ASIDES = texts("replies", "asides")
"""Sentences that nobody asked for."""
REASONS = read("replies", "reasons", dict[Risk, tuple[str, ...]])
ALTERNATIVES = read("replies", "alternatives", dict[Risk, tuple[str, ...]])
