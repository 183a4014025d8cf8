"""What a study shows of throughput: replies a second against milliseconds a token.

Source: arXiv 2307.09288, Figure 24.
"""

from __future__ import annotations

from camelid.report import figure
from camelid.report.texts import table_of
from camelid.run.finished import Found
from camelid.run.item import Drawing, StageReport, Table
from camelid.studies.throughput import Config, Inputs, Outputs, Result, TimedPoint

Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def _caption(seen: Seen) -> str:
    result = seen.last.result
    return (
        f"{result.new_tokens} new tokens a reply, the batch doubled until weights and cache "
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
