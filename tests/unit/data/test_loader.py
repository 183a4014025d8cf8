"""Orders of items: every item once an epoch, the same after resuming, similar lengths together."""

from __future__ import annotations

import itertools
import random

import pytest

from camelid.data.loader import batch_indices, length_grouped_indices, steps_per_epoch

LENGTHS = [random.Random(n).randint(5, 200) for n in range(101)]


def take(iterator, count):
    return list(itertools.islice(iterator, count))


@pytest.mark.parametrize("batch", [1, 7, 16, 101, 150])
@pytest.mark.parametrize("window", [1, 3, 8])
def test_each_epoch_holds_every_item_once(batch, window):
    per_epoch = steps_per_epoch(len(LENGTHS), batch)
    for indices in (
        batch_indices(len(LENGTHS), batch, 5),
        length_grouped_indices(LENGTHS, batch, 5, window=window),
    ):
        epochs = [take(indices, per_epoch) for _ in range(3)]
        for epoch in epochs:
            assert sorted(itertools.chain(*epoch)) == list(range(len(LENGTHS)))
            assert all(0 < len(step) <= batch for step in epoch)
        assert epochs[0] != epochs[1] or per_epoch == 1


@pytest.mark.parametrize("start", [0, 1, 3, 8, 13, 14, 29])
def test_starting_later_continues_the_same_order(start):
    whole = take(length_grouped_indices(LENGTHS, 7, 5, window=4), 40)
    assert take(length_grouped_indices(LENGTHS, 7, 5, start, window=4), 40 - start) == whole[start:]


def test_grouping_saves_padding():
    def padded(steps):
        return sum(len(step) * max(LENGTHS[item] for item in step) for step in steps)

    steps = steps_per_epoch(len(LENGTHS), 8)
    grouped = padded(take(length_grouped_indices(LENGTHS, 8, 5), steps))
    assert grouped < 0.8 * padded(take(batch_indices(len(LENGTHS), 8, 5), steps))
    assert grouped >= sum(LENGTHS)
