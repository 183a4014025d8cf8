"""The order in which items are seen: a pure function of the seed and the step.

Resuming is therefore exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from camelid.errors import DataError
from camelid.runs import derive_seed


def steps_per_epoch(items: int, batch: int) -> int:
    """Return the optimizer steps of one epoch; the last batch may be smaller."""
    return -(-items // batch)


def batch_indices(items: int, batch: int, seed: int, start: int = 0) -> Iterator[list[int]]:
    """Yield the item numbers of each optimizer step, without end, epoch after epoch.

    Args:
        items: Number of items.
        batch: Items a step.
        seed: Seed of the order; every epoch has its own permutation.
        start: First step to yield (resuming).

    Raises:
        DataError: There is no item.
    """
    if items < 1:
        raise DataError("the data set is empty; at least one item is needed.")
    per_epoch = steps_per_epoch(items, batch)
    step = start
    while True:
        epoch, within = divmod(step, per_epoch)
        order = np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(items)
        while within < per_epoch:
            yield order[within * batch : (within + 1) * batch].tolist()
            within += 1
            step += 1
