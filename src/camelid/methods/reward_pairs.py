"""Comparisons as token ids for the ranking loss.

Source: arXiv 2307.09288, Section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from camelid.data.records import Preference
from camelid.tokenization.chat import ChatFormat
from camelid.train.objectives import RankedPair


class Tokenised(NamedTuple):
    """Ranked pairs with their preferences, and how many were left out and why."""

    pairs: list[RankedPair]
    kept: list[Preference]
    too_long: int
    equal: int
    """Nothing can be learned from replies of the same tokens; texts may differ where those do not,
    as by Unicode composition."""


def tokenise(preferences: Sequence[Preference], chat: ChatFormat, longest: int) -> Tokenised:
    """Return comparisons of at most `longest` tokens as ranked pairs."""
    found = Tokenised([], [], 0, 0)
    for preference in preferences:
        prompt = chat.render_prompt(preference.prompt)
        chosen = [*prompt, *chat.encode_reply(preference.chosen), chat.end_id]
        rejected = [*prompt, *chat.encode_reply(preference.rejected), chat.end_id]
        if chosen == rejected:
            found = found._replace(equal=found.equal + 1)
        elif max(len(chosen), len(rejected)) > longest:
            found = found._replace(too_long=found.too_long + 1)
        else:
            pair = RankedPair(chosen, rejected, preference.strength, preference.safety)
            found.pairs.append(pair)
            found.kept.append(preference)
    return found
