"""What training steps see: mixtures of comparisons, packed documents, the order of the items.

The order is a pure function of the seed and the step, so resuming is exact. Packing lays rendered
documents end to end in rows of fixed length; whether attention crosses documents is not specified
in the paper; both ways are here, and by default documents are isolated (Source: choice).

Source: arXiv 2307.09288, Section 3.1 (prompts and answers are concatenated to fill the sequence)
and Section 3.2.2 (data composition of the two reward models).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camelid.data.records import Kind, Preference
from camelid.data.rendered import Order, Packing, Rendered
from camelid.errors import DataError
from camelid.seeds import derive_seed


def steps_per_epoch(items: int, batch: int) -> int:
    """Return the optimizer steps of one epoch; the last batch may be smaller."""
    return -(-items // batch)


def batch_indices(
    items: int, batch: int, seed: int, start: int = 0, order: Order = "shuffled"
) -> Iterator[list[int]]:
    """Yield the item numbers of each optimizer step, without end, epoch after epoch.

    Args:
        items: Number of items.
        batch: Items a step.
        seed: Seed of the order; every epoch has its own permutation.
        start: First step to yield (resuming).
        order: `as_written` keeps the items' order in every epoch (a curriculum).

    Raises:
        DataError: There is no item.
    """
    if items < 1:
        raise DataError("the data set is empty; at least one item is needed.")
    per_epoch = steps_per_epoch(items, batch)
    step = start
    while True:
        epoch, within = divmod(step, per_epoch)
        numbers = np.arange(items)
        if order == "shuffled":
            numbers = np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(items)
        while within < per_epoch:
            yield numbers[within * batch : (within + 1) * batch].tolist()
            within += 1
            step += 1


def length_grouped_indices(
    lengths: Sequence[int], batch: int, seed: int, start: int = 0, window: int = 8
) -> Iterator[list[int]]:
    """Yield as `batch_indices`, but items of one step have similar lengths: less padding.

    `window` steps at a time share their items by length and are taken in a random order.

    Args:
        lengths: Length of each item.
        batch: Items a step.
        seed: Seed of the order.
        start: First step to yield (resuming).
        window: Steps that share their items; 1 gives `batch_indices`, sorted within a step.
    """
    per_epoch = steps_per_epoch(len(lengths), batch)
    per_window = steps_per_epoch(len(lengths), batch * window)
    epoch, within = divmod(start, per_epoch)
    number, skip = divmod(within, window)
    number += epoch * per_window
    for items in batch_indices(len(lengths), batch * window, seed, number):
        items.sort(key=lambda item: (lengths[item], item))
        steps = [items[at : at + batch] for at in range(0, len(items), batch)]
        order = np.random.default_rng(derive_seed(seed, "window", number)).permutation(len(steps))
        yield from [steps[position] for position in order][skip:]
        number, skip = number + 1, 0


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


def first_fit(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Return the numbers of the documents of each row: first fit among the last 16 open rows.

    Raises:
        ValueError: A document is longer than a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for document, size in enumerate(sizes):
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
    return rows


def pack(
    documents: Sequence[Rendered], length: int, pad_id: int, packing: Packing = "isolated"
) -> PackedRows:
    """Lay documents in rows, by `first_fit`, in order.

    The first token of a document is never a target: what stands before it says nothing about it.

    Args:
        documents: Each at most `length` tokens long (the truncation policy acts before).
        length: Tokens a row.
        pad_id: Fills the end of a row; never attended to, never a target.
        packing: `crossing` makes one document of each row, with positions that run on.

    Raises:
        ValueError: A document is longer than a row.
    """
    sizes = [len(document.ids) for document in documents]
    rows = [[documents[index] for index in row] for row in first_fit(sizes, length)]
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


def oversample_newest(preferences: Sequence[Preference], factor: int) -> list[Preference]:
    """Repeat the comparisons of the newest round `factor` times.

    Source: choice; the paper keeps the reward model on the distribution of the latest model by
    fresh data.
    """
    newest = max(p.round for p in preferences)
    return [p for p in preferences for _ in range(factor if p.round == newest else 1)]


def _mix(
    preferences: Sequence[Preference], kind: Kind, share: float, seed: int
) -> list[Preference]:
    own = [p for p in preferences if p.kind == kind]
    others = [p for p in preferences if p.kind != kind]
    count = round(len(own) * (1 - share) / share)
    generator = np.random.default_rng(derive_seed(seed, f"{kind}_mix"))
    drawn = generator.permutation(len(others))[:count].tolist()
    return own + [others[index] for index in sorted(drawn)]


def helpfulness_mix(
    preferences: Sequence[Preference], seed: int, share: float = 0.5
) -> list[Preference]:
    """Return all helpfulness comparisons, mixed `share` to 1 - `share` with others (equal parts).

    Where there are not enough others, all of them are taken.
    """
    return _mix(preferences, "helpfulness", share, seed)


def safety_mix(
    preferences: Sequence[Preference], seed: int, share: float = 0.9
) -> list[Preference]:
    """Return all safety comparisons, mixed `share` to 1 - `share` with helpfulness ones (90/10)."""
    return _mix(preferences, "safety", share, seed)
