"""Rendered texts: token ids with the mask of the loss, and how they may be laid in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Packing = Literal["isolated", "crossing"]
"""Whether a token attends to its own document only, or to all of its row before it."""


FitPolicy = Literal["error", "drop", "truncate_left", "truncate_answer"]


Order = Literal["shuffled", "as_written"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids of a text and which of them are targets of the loss."""

    ids: list[int]
    train: list[bool]
    """True where the token at this very place is a target (not shifted)."""

    def add(self, ids: Sequence[int], *, train: bool = False) -> None:
        """Append tokens that all are targets, or none of them."""
        self.ids.extend(ids)
        self.train.extend([train] * len(ids))
