"""Splits of prompts, a pure function of each id, and what no training text may name.

So no use ever sees another's prompts, and tests ask for what was never trained on.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from camelid.data.records import Message, Prompt, Split
from camelid.errors import ConfigError, DataError

Use = TypeVar("Use", bound=str)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def bucket(identifier: str, buckets: int) -> int:
    """Return a number below `buckets` that depends on the id alone, evenly spread.

    Source: choice; independent of `assign_split` of the same id.
    """
    return _hash(f"bucket/{identifier}") % buckets


def assign_split(identifier: str, shares: Mapping[Use, float]) -> Use:
    """Return the split of an id; shares are relative and their order matters.

    Args:
        identifier: Id, or text, of the prompt.
        shares: Split to weight, at least one above zero.

    Raises:
        ConfigError: A share is negative or all are zero.
    """
    total = sum(shares.values())
    if total <= 0 or min(shares.values()) < 0:
        raise ConfigError(f"shares of the splits: found {dict(shares)}, needed positive numbers.")
    uses = [use for use, share in shares.items() if share > 0]
    bounds = list(accumulate(shares[use] for use in uses))
    point = _hash(identifier) / 2**64 * total
    # Rounding must not push a point past the last bound.
    return uses[min(bisect(bounds, point), len(uses) - 1)]


def conversation(text: str) -> str:
    """Return the key of a conversation: its first message without case, marks and spacing."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def is_held_out(messages: Sequence[Message], share: float) -> bool:
    """Tell whether a conversation belongs to the held-out share.

    A pure function of the first user turn, so conversations that begin nearly alike stand on the
    same side, whichever file and row they are in.
    """
    return _in_share("held_out", messages, share)


def is_for_imitation(messages: Sequence[Message], share: float) -> bool:
    """Tell whether the comparisons of a conversation are an imitation's to learn from alone.

    As `is_held_out`, and independent of it.
    """
    return _in_share("imitation", messages, share)


def _in_share(use: str, messages: Sequence[Message], share: float) -> bool:
    first = next((m.content for m in messages if m.role == "user"), "")
    shares: dict[str, float] = {"others": 1 - share, use: share}
    return assign_split(f"{use}/{conversation(first)}", shares) == use


def check_disjoint(prompts: Iterable[Prompt]) -> None:
    """Check that no id occurs twice and that no dialogue lies in two splits.

    Raises:
        DataError: One does; names it.
    """
    ids: set[str] = set()
    splits: dict[tuple[tuple[str, str], ...], tuple[Split, str]] = {}
    for prompt in prompts:
        if prompt.id in ids:
            raise DataError(f"prompts: the id {prompt.id!r} occurs twice; ids must be unique.")
        ids.add(prompt.id)
        dialogue = tuple((message.role, message.content) for message in prompt.messages)
        split, other = splits.setdefault(dialogue, (prompt.split, prompt.id))
        if split != prompt.split:
            raise DataError(
                f"prompts: {prompt.id!r} ({prompt.split}) and {other!r} ({split}) are the same "
                "dialogue in two splits; splits must be disjoint."
            )


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
