"""Fine-tuning on packed rows against one padded row a dialogue: padding and tokens per second.

Both ways compute the same loss and gradient of the same dialogues (forward and backward, fp32). The
lengths are drawn from a log-normal distribution (median 80 tokens, cut at the row's length); a
padded batch is as long as its longest dialogue, which is what trainers without packing do. The ways
take turns; medians are printed as JSON lines.

Usage: python benchmarks/packing.py
"""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
import torch

from camelid.data.loader import PackedRows, pack
from camelid.data.rendered import Rendered
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.train.objectives import NextToken, TokenBatch

ROW, BATCH_ROWS, DIALOGUES, ROUNDS = 512, 4, 128, 5
CONFIG = ModelConfig(
    dim=192, layers=3, heads=6, kv_heads=3, ffn_dim=512, vocabulary_size=2048, context=ROW
)


def dialogues() -> list[Rendered]:
    """Return dialogues whose second half is the answer."""
    generator = np.random.default_rng(0)
    lengths = np.clip(np.exp(generator.normal(np.log(80), 0.8, DIALOGUES)), 8, ROW).astype(int)
    return [
        Rendered(
            ids=generator.integers(3, CONFIG.vocabulary_size, length).tolist(),
            train=[position >= length // 2 for position in range(length)],
        )
        for length in lengths
    ]


def run(model: Transformer, batches: list[PackedRows]) -> tuple[float, float]:
    """Return (seconds, loss) of one pass."""
    start, total, objective = time.perf_counter(), 0.0, NextToken()
    for rows in batches:
        batch = TokenBatch.from_rows(rows, list(range(len(rows))), torch.device("cpu"))
        loss, _ = objective.loss_sum(model, batch)
        loss.backward()
        total += float(loss.detach())
    model.zero_grad()
    return time.perf_counter() - start, total


def parts(rows: PackedRows) -> list[PackedRows]:
    """Cut rows into batches."""
    return [
        PackedRows(*(getattr(rows, name)[at : at + BATCH_ROWS] for name in PackedRows.__slots__))
        for at in range(0, len(rows), BATCH_ROWS)
    ]


def main() -> None:
    """Print `packing.sft` (tokens per second) and `packing.sft.padding` (share of padding)."""
    found, model = dialogues(), Transformer(CONFIG)
    model.initialise(0)
    # About as many tokens a batch in both ways.
    many = BATCH_ROWS * ROW // 128
    groups = [found[at : at + many] for at in range(0, len(found), many)]
    ways = {
        "packed": parts(pack(found, ROW, 0)),
        # A row as long as the longest of its batch holds one dialogue: no second one is given.
        "padded": [
            PackedRows(
                *(
                    np.concatenate([getattr(row, name) for row in rows])
                    for name in PackedRows.__slots__
                )
            )
            for rows in (
                [pack([dialogue], max(len(d.ids) for d in group), 0) for dialogue in group]
                for group in groups
            )
        ],
    }
    tokens = sum(len(dialogue.ids) for dialogue in found)
    padding = {
        name: 1 - tokens / sum(rows.tokens.size for rows in way) for name, way in ways.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        losses = []
        for name, way in ways.items():
            elapsed, loss = run(model, way)
            losses.append(loss)
            if number:
                seconds[name].append(elapsed)
        if abs(losses[0] - losses[1]) > 1e-4 * losses[0]:
            raise SystemExit(f"the two ways have different losses: {losses}")
    packed, padded = (tokens / statistics.median(seconds[name]) for name in ("packed", "padded"))
    lines = (
        ("packing.sft", packed, padded, packed / padded, "tokens/s"),
        (
            "packing.sft.padding",
            padding["packed"],
            padding["padded"],
            padding["padded"] / padding["packed"],
            "share of padding",
        ),
    )
    for name, ours, peer, ratio, unit in lines:
        values = {"ours": round(ours, 4), "peer": round(peer, 4), "ratio": round(ratio, 3)}
        print(json.dumps({"name": name, **values, "unit": unit}))


if __name__ == "__main__":
    main()
