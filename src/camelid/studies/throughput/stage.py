"""Times generation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from camelid.formats.folder import read_folder
from camelid.inference.generation import Request, cache_type, generate
from camelid.inference.sampling import Sampling
from camelid.model.attention import KVCache
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.run.stage import StageContext
from camelid.runtime import Runtime
from camelid.studies.throughput import Config, Inputs, Outputs, Result, TimedPoint


@dataclass(frozen=True, slots=True)
class _Point:
    variant: str
    context: int
    batch: int


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Time generation at every point."""
    tokens = max(config.contexts) + config.new_tokens
    models = {
        name: _model(read_folder(folder.path).config, tokens, context.runtime)
        for name, folder in inputs.models
    }
    points = [
        _Point(name, length, batch)
        for length in config.contexts
        for name, model in models.items()
        for batch in _batches(model, length, config)
    ]
    # Points of equal batch stand together: what else the machine does then hits all variants alike.
    points.sort(key=lambda point: (point.context, point.batch))
    seconds: dict[_Point, list[float]] = {point: [] for point in points}
    for number in range(config.rounds):
        for done, point in enumerate(points):
            try:
                found = _seconds(models[point.variant], point, config.new_tokens)
            except torch.OutOfMemoryError:
                continue
            seconds[point].append(found)
            context.progress.update(number * len(points) + done + 1, config.rounds * len(points))
    rows = [
        _timed(models[point.variant], point, measured, config.new_tokens)
        for point, measured in seconds.items()
        if measured
    ]
    outputs.points.write(rows)
    kind = cache_type(next(iter(models.values())))
    return Result(
        points=len(rows),
        new_tokens=config.new_tokens,
        memory_gib=config.memory_gib,
        cache_type=str(kind).removeprefix("torch."),
    )


def _timed(model: Transformer, point: _Point, measured: list[float], new_tokens: int) -> TimedPoint:
    median = statistics.median(measured)
    return TimedPoint(
        variant=point.variant,
        context=point.context,
        batch=point.batch,
        seconds=median,
        fastest=min(measured),
        slowest=max(measured),
        latency_ms=1e3 * median / new_tokens,
        queries_per_second=point.batch / median,
        cache_gib=_cache_bytes(model, point.batch, point.context + new_tokens) / 2**30,
    )


def _model(shape: ModelConfig, tokens: int, runtime: Runtime) -> Transformer:
    model = runtime.place(Transformer(replace(shape, context=tokens)))
    model.initialise(0)
    return model.eval()


def _cache_bytes(model: Transformer, batch: int, tokens: int) -> int:
    return KVCache.bytes(model.config, batch, tokens, cache_type(model))


def _batches(model: Transformer, length: int, config: Config) -> Iterator[int]:
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    room = config.memory_gib * 2**30 - weights
    batch = 1
    while _cache_bytes(model, batch, length + config.new_tokens) <= room:
        yield batch
        batch *= 2


def _seconds(model: Transformer, point: _Point, new_tokens: int) -> float:
    generator = torch.Generator().manual_seed(point.batch)
    drawn = torch.randint(
        model.config.vocabulary_size, (point.batch, point.context), generator=generator
    )
    requests = [Request(str(i), tuple(row)) for i, row in enumerate(drawn.tolist())]
    start = time.perf_counter()
    # Without an end token every reply takes all its tokens.
    completions = generate(
        model, requests, Sampling(max_new_tokens=new_tokens), end_ids=(), seed=0, slots=point.batch
    )
    seconds = time.perf_counter() - start
    # Sampling copies each token to the CPU, so all device work has ended here.
    if any(len(completion.tokens) != new_tokens for completion in completions):
        raise RuntimeError("a timed reply ended early")
    return seconds
