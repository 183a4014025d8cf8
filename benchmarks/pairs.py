"""Comparisons as one row each (the prompt once) against two rows: seconds of a training pass.

Both compute the same loss and gradients (forward and backward, fp32) of the same comparisons, in
batches of 16 of like length. The ways take turns; medians are printed as JSON lines.

Usage: python benchmarks/pairs.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from camelid.losses import ranking_loss_sum
from camelid.model.config import ModelConfig
from camelid.model.padding import pad_right
from camelid.model.reward_model import RewardModel
from camelid.train.objectives import PreferenceRanking, RankedPair, make_pair_batch

BATCH, ROUNDS, CPU = 16, 5, torch.device("cpu")
POCKET = ModelConfig(
    dim=256, layers=3, heads=4, kv_heads=4, ffn_dim=704, vocabulary_size=2048, context=512,
    tied_embeddings=True,
)  # fmt: skip
LENGTHS = {"pairs.pocket": (33, 14, 160), "pairs.hh": (160, 55, 32)}
"""Median tokens of prompt and reply, and comparisons: of the pocket world, and of HH-RLHF."""


def comparisons(prompt: int, reply: int, count: int) -> list[RankedPair]:
    """Draw log-normal lengths; the longest first, so that batches are of like length."""
    generator = np.random.default_rng(0)

    def ids(median: int) -> list[int]:
        length = int(np.clip(generator.lognormal(np.log(median), 0.5), 2, 200))
        return generator.integers(3, POCKET.vocabulary_size, length).tolist()

    found = []
    for _ in range(count):
        shared = ids(prompt)
        found.append(RankedPair([*shared, *ids(reply)], [*shared, *ids(reply)], None, None))
    return sorted(found, key=lambda pair: -len(pair.chosen) - len(pair.rejected))


def one_row(model: RewardModel, pairs: list[RankedPair]) -> torch.Tensor:
    """As the reward-model stage trains."""
    batch = make_pair_batch(pairs, "none", 0, CPU, longest=POCKET.context)
    return PreferenceRanking(0.0).loss_sum(model, batch)[0]


def two_rows(model: RewardModel, pairs: list[RankedPair]) -> torch.Tensor:
    """Each reply in a row of its own, with the prompt."""
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    tokens, lengths = pad_right(rows, 0, CPU, longest=POCKET.context)
    chosen, rejected = model(tokens, lengths[:, None] - 1)[:, 0].chunk(2)
    return ranking_loss_sum(chosen, rejected, torch.zeros(len(pairs)))


def run(
    way: Callable[[RewardModel, list[RankedPair]], torch.Tensor],
    model: RewardModel,
    pairs: list[RankedPair],
) -> tuple[float, float]:
    """Return (seconds, loss) of one pass."""
    start, total = time.perf_counter(), 0.0
    for at in range(0, len(pairs), BATCH):
        loss = way(model, pairs[at : at + BATCH])
        torch.autograd.backward(loss)
        total += float(loss.detach())
    model.zero_grad()
    return time.perf_counter() - start, total


def main() -> None:
    """Print pairs a second of both ways for each kind of data."""
    model = RewardModel(POCKET)
    model.trunk.initialise(0)
    torch.nn.init.normal_(model.head.weight, std=0.02)
    for name, lengths in LENGTHS.items():
        pairs = comparisons(*lengths)
        seconds: dict[str, list[float]] = {"one": [], "two": []}
        for number in range(ROUNDS + 1):
            (first, loss), (second, other) = (
                run(one_row, model, pairs),
                run(two_rows, model, pairs),
            )
            if abs(loss - other) > 1e-4 * loss:
                raise SystemExit(f"the two ways have different losses: {loss} and {other}")
            if number:
                seconds["one"].append(first)
                seconds["two"].append(second)
        ours, peer = (len(pairs) / statistics.median(taken) for taken in seconds.values())
        values = {"ours": round(ours, 1), "peer": round(peer, 1), "ratio": round(ours / peer, 2)}
        print(json.dumps({"name": name, **values, "unit": "pairs/s"}))


if __name__ == "__main__":
    main()
