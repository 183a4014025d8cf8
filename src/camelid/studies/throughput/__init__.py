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

from dataclasses import dataclass

from camelid.run.place import ModelFolder, Rows, StageInputs, StageOutputs, place
from camelid.run.stage import StageKind


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    models: tuple[tuple[str, ModelFolder], ...]
    """Name of each variant and the model whose shape it has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedPoint:
    """One point of Figure 24."""

    variant: str
    context: int
    batch: int
    seconds: float
    """Median of the rounds."""
    fastest: float
    slowest: float
    latency_ms: float
    queries_per_second: float
    cache_gib: float


class Outputs(StageOutputs):
    """What the stage writes."""

    points: Rows[TimedPoint] = place("throughput.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was measured."""

    points: int
    new_tokens: int
    memory_gib: float
    cache_type: str


THROUGHPUT = StageKind(
    name="throughput",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.studies.throughput.stage:run",
    report="camelid.studies.throughput.report:REPORT",
)
