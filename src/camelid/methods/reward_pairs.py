"""Comparisons as token ids for the ranking loss.

Source: arXiv 2307.09288, Section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from camelid.data.records import Preference
from camelid.errors import DataError
from camelid.tokenization.chat import ChatFormat
from camelid.train.objectives import RankedPair


def tokenise(
    preferences: Sequence[Preference], chat: ChatFormat, longest: int
) -> tuple[list[RankedPair], list[Preference], int]:
    """Return ranked pairs with their preferences, and how many were too long.

    Raises:
        DataError: A comparison has equal replies, from which nothing can be learned.
    """
    pairs, kept = [], []
    for preference in preferences:
        prompt = chat.render_prompt(preference.prompt)
        chosen = [*prompt, *chat.encode_reply(preference.chosen), chat.end_id]
        rejected = [*prompt, *chat.encode_reply(preference.rejected), chat.end_id]
        if chosen == rejected:
            raise DataError(f"preference {preference.id!r}: chosen and rejected are equal.")
        if max(len(chosen), len(rejected)) <= longest:
            pairs.append(RankedPair(chosen, rejected, preference.strength, preference.safety))
            kept.append(preference)
    return pairs, kept, len(preferences) - len(kept)
