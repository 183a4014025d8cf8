"""Throughput against latency of generation, by kind of attention (Figure 24).

Every variant answers batches of prompts of one length with a fixed number of tokens, the batch
doubled until weights and cache, as computed, no longer fit the memory that is set (or those of an
accelerator end). The weights are random: time does not depend on them. Points of all variants
alternate, and of several rounds the median counts.

Source: arXiv 2307.09288, A.2.1 and Figure 24 (contexts of 256 and 2,048, 128 new tokens). Latency
per token is the batch's time, prompts included, over the new tokens of a row: in the paper's points
too, throughput = batch / (128 x latency).
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from camelid.data.records import write_records
from camelid.inference.generation import Request, cache_type, generate
from camelid.inference.sampling import Sampling
from camelid.model.attention import KVCache
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.run.stage import StageContext
from camelid.runtime import Precision, default_device


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the measurement."""

    contexts: tuple[int, ...] = (256, 2048)
    """Prompt lengths in tokens (Figure 24)."""
    new_tokens: int = 128
    """Tokens of each reply (Figure 24)."""
    memory_gib: float = 0.25
    """Memory for weights and cache. The paper's is that of eight A100 of 80 GB; this much ends the
    batches of a pocket model after as many doublings, in seconds (Source: choice)."""
    rounds: int = 3
    """Measurements of each point."""


@dataclass(frozen=True, slots=True)
class _Point:
    variant: str
    context: int
    batch: int


def run(
    config: Config,
    context: StageContext,
    variants: tuple[tuple[str, ModelConfig], ...],
    precision: Precision,
) -> dict[str, Any]:
    """Time generation; writes `throughput.jsonl`, a row a point."""
    models = {
        name: _model(shape, max(config.contexts) + config.new_tokens) for name, shape in variants
    }
    points = [
        _Point(name, length, batch)
        for length in config.contexts
        for name, model in models.items()
        for batch in _batches(model, length, config, precision)
    ]
    # Points of equal batch stand together: what else the machine does then hits all variants alike.
    points.sort(key=lambda point: (point.context, point.batch))
    seconds: dict[_Point, list[float]] = {point: [] for point in points}
    for number in range(config.rounds):
        for done, point in enumerate(points):
            try:
                found = _seconds(models[point.variant], point, config.new_tokens, precision)
            except torch.OutOfMemoryError:
                continue
            seconds[point].append(found)
            context.progress.update(number * len(points) + done + 1, config.rounds * len(points))
    rows = []
    for point, measured in seconds.items():
        if not measured:
            continue
        median = statistics.median(measured)
        tokens = point.context + config.new_tokens
        held = _cache_bytes(models[point.variant], point.batch, tokens, precision)
        rows.append(
            {
                **dataclasses.asdict(point),
                "seconds": median,
                "fastest": min(measured),
                "slowest": max(measured),
                "latency_ms": 1e3 * median / config.new_tokens,
                "queries_per_second": point.batch / median,
                "cache_gib": held / 2**30,
            }
        )
    write_records(context.out / "throughput.jsonl", rows)
    kind = cache_type(next(iter(models.values())), precision)
    return {
        "points": len(rows),
        "new_tokens": config.new_tokens,
        "memory_gib": config.memory_gib,
        "cache_type": str(kind).removeprefix("torch."),
    }


def _model(shape: ModelConfig, tokens: int) -> Transformer:
    model = Transformer(dataclasses.replace(shape, context=tokens)).to(default_device())
    model.initialise(0)
    return model.eval()


def _cache_bytes(model: Transformer, batch: int, tokens: int, precision: Precision) -> int:
    return KVCache.bytes(model.config, batch, tokens, cache_type(model, precision))


def _batches(
    model: Transformer, length: int, config: Config, precision: Precision
) -> Iterator[int]:
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    room = config.memory_gib * 2**30 - weights
    batch = 1
    while _cache_bytes(model, batch, length + config.new_tokens, precision) <= room:
        yield batch
        batch *= 2


def _seconds(model: Transformer, point: _Point, new_tokens: int, precision: Precision) -> float:
    generator = torch.Generator().manual_seed(point.batch)
    drawn = torch.randint(
        model.config.vocabulary_size, (point.batch, point.context), generator=generator
    )
    requests = [Request(str(i), tuple(row)) for i, row in enumerate(drawn.tolist())]
    start = time.perf_counter()
    # No token has the number -1: every reply takes all its tokens.
    completions = generate(
        model,
        requests,
        Sampling(max_new_tokens=new_tokens),
        end_id=-1,
        seed=0,
        slots=point.batch,
        precision=precision,
    )
    seconds = time.perf_counter() - start
    # Sampling copies each token to the CPU, so all device work has ended here.
    if any(len(completion.tokens) != new_tokens for completion in completions):
        raise RuntimeError("a timed reply ended early")
    return seconds
