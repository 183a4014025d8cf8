"""Whether a text names certain terms, for held-out checks and stated instructions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """What no training text may name, so that tests ask for what was never trained on."""

    terms: tuple[str, ...]
    templates: tuple[str, ...]


def mentions(text: str, terms: Sequence[str]) -> bool:
    """Return whether the text holds one of the terms as whole words, in any case."""
    if not terms:
        return False
    pattern = "|".join(re.escape(term) for term in terms)
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE) is not None
