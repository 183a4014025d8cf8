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
from typing import Annotated

from camelid.errors import counted
from camelid.report import figure
from camelid.report.texts import table_of
from camelid.run.finished import Found
from camelid.run.item import Drawing, StageReport, Table
from camelid.run.place import ModelFolder, Rows, StageInputs, StageOutputs, place
from camelid.run.stage import StageKind
from camelid.settings import Range, Tokens, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of the measurement."""

    contexts: Annotated[tuple[Tokens, ...], Range(1, 100)] = (256, 2048)
    """Prompt lengths in tokens (Figure 24)."""
    new_tokens: Tokens = 128
    """Tokens of each reply (Figure 24)."""
    memory_gib: Annotated[float, Range(0, 100_000, above=True)] = 0.25
    """Memory for weights and cache. The paper's is that of eight A100 of 80 GB; this much ends the
    batches of a pocket model after as many doublings, in seconds (Source: choice)."""
    rounds: Annotated[int, Range(1, 1_000)] = 3
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


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def _caption(seen: Seen) -> str:
    result = seen.last.result
    return (
        f"{counted(result.new_tokens, 'new token')} a reply, the batch doubled until weights and "
        "cache "
        f"({result.cache_type}), as computed, exceed {result.memory_gib:g} GiB. "
        "Median of several rounds."
    )


LIMITS = ("Times are this machine's; ratios between variants depend on its memory and cores.",)


def _points(seen: Seen) -> list[TimedPoint]:
    return seen.last.rows(seen.last.outputs.points)


@REPORT.item("speed", "Throughput and latency", _caption, "Figure 24")
def throughput(seen: Seen) -> Drawing:
    """Figure 24: replies a second against milliseconds a token, the batch doubled along a line."""
    rows = _points(seen)
    contexts = sorted({row.context for row in rows})
    with figure.figure(len(contexts), height=3) as (panels, out):
        for axes, context in zip(panels, contexts, strict=True):
            for index, name in enumerate(dict.fromkeys(row.variant for row in rows)):
                line = [r for r in rows if (r.variant, r.context) == (name, context)]
                if not line:
                    continue  # Not even one prompt fits.
                axes.plot(
                    [row.latency_ms for row in line],
                    [row.queries_per_second for row in line],
                    "o-",
                    color=figure.colour(index),
                    label=f"{name}, up to {line[-1].batch:,}",
                )
            axes.set(
                xscale="log",
                xlabel="latency (ms a new token)",
                ylabel=f"replies a second,\nprompts of {context:,} tokens",
            )
            figure.plain_numbers(axes.xaxis)
            figure.legend(axes)
    return out[0]


@REPORT.item("speed", "Every point", _caption, folded=True)
def points(seen: Seen) -> Table:
    """Every point of Figure 24."""
    return table_of(_points(seen))


@REPORT.item("speed", "Where the memory that was set ends", _caption)
def largest(seen: Seen) -> Table:
    """The end of every line of Figure 24."""
    ends = {(row.context, row.variant): row for row in _points(seen)}
    names = ("context", "variant", "batch", "latency_ms", "queries_per_second", "cache_gib")
    return table_of(list(ends.values()), *names)


REPORT.limits(lambda _: LIMITS)


THROUGHPUT = StageKind(
    name="throughput",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.studies.throughput.stage:run",
    report=REPORT,
)
