"""Packing: rendered documents laid end to end in rows of fixed length.

Source: arXiv 2307.09288, Section 3.1 (prompts and answers are concatenated to fill the sequence).
Whether attention crosses documents is not specified there; both ways are here, and by default
documents are isolated (Source: choice).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camelid.data.rendered import Packing, Rendered


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows of packed documents, arrays of shape (rows, length)."""

    tokens: NDArray[np.int64]
    train: NDArray[np.bool_]
    """True where the token is a target of the loss."""
    positions: NDArray[np.int64]
    documents: NDArray[np.int64]
    """Number of the document in its row (0 where attention crosses them); -1 for padding."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def token_count(self) -> int:
        """Tokens that are not padding."""
        return int((self.documents >= 0).sum())


def split_long(documents: Iterable[Rendered], length: int) -> list[Rendered]:
    """Cut documents longer than a row into consecutive pieces; nothing is dropped."""
    pieces = []
    for document in documents:
        for start in range(0, len(document.ids), length):
            stop = start + length
            pieces.append(Rendered(ids=document.ids[start:stop], train=document.train[start:stop]))
    return pieces


def pack(
    documents: Sequence[Rendered], length: int, pad_id: int, packing: Packing = "isolated"
) -> PackedRows:
    """Lay documents in rows, first fit among the last 16 open rows, in order.

    The first token of a document is never a target: what stands before it says nothing about it.

    Args:
        documents: Each at most `length` tokens long (the truncation policy acts before).
        length: Tokens a row.
        pad_id: Fills the end of a row; never attended to, never a target.
        packing: `crossing` makes one document of each row, with positions that run on.

    Raises:
        ValueError: A document is longer than a row.
    """
    rows: list[list[Rendered]] = []
    room: list[int] = []
    for document in documents:
        size = len(document.ids)
        if size > length:
            raise ValueError(f"a document of {size} tokens does not fit a row of {length}")
        for index in range(max(0, len(rows) - 16), len(rows)):
            if room[index] >= size:
                rows[index].append(document)
                room[index] -= size
                break
        else:
            rows.append([document])
            room.append(length - size)
    shape = (len(rows), length)
    tokens = np.full(shape, pad_id, dtype=np.int64)
    train = np.zeros(shape, dtype=np.bool_)
    positions = np.zeros(shape, dtype=np.int64)
    numbers = np.full(shape, -1, dtype=np.int64)
    for index, row in enumerate(rows):
        start = 0
        for number, document in enumerate(row):
            stop = start + len(document.ids)
            tokens[index, start:stop] = document.ids
            train[index, start:stop] = document.train
            train[index, start : start + 1] = False
            positions[index, start:stop] = np.arange(stop - start)
            numbers[index, start:stop] = number
            start = stop
    if packing == "crossing":
        positions[:] = np.arange(length)
        numbers = np.minimum(numbers, 0)
    return PackedRows(tokens=tokens, train=train, positions=positions, documents=numbers)
