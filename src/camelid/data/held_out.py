"""Whether a text names certain terms, for held-out checks and stated instructions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from camelid.run.stage import StageContext


def load_held_out(context: StageContext, path: str | None) -> list[str]:
    """Return the terms that no training text may name; none where the run holds out none."""
    if path is None:
        return []
    terms: list[str] = json.loads(context.input(path).read_text(encoding="utf-8"))["terms"]
    return terms


def mentions(text: str, terms: Sequence[str]) -> bool:
    """Return whether the text holds one of the terms as whole words, in any case."""
    if not terms:
        return False
    pattern = "|".join(re.escape(term) for term in terms)
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE) is not None
