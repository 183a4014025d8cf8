"""The order in which items are seen: a pure function of the seed and the step.

Resuming is therefore exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from camelid.data.rendered import Order
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
