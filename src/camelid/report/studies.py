"""The report of a study: variants of one model side by side.

Source: arXiv 2307.09288, A.2.1: Tables 16 and 17 (context length), Table 18 (kind of attention) and
Figure 24 (throughput against latency). The benchmarks are the pocket world's own questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from camelid.evaluation.statistics import Estimate, paired_difference, proportion
from camelid.report import figures, tables
from camelid.report.html import Item, Section, energy_caption, make_item
from camelid.report.inputs import AbsentError, Row, Run, attempt
from camelid.report.pipeline_graph import pipeline
from camelid.report.summary import Measure, costs
from camelid.report.tables import Cell, Table, percent

LIMITS = (
    "Small models and questions about a simulated world stand where the paper has benchmarks.",
    "Intervals cover the questions, not the seed: the first variant from another stands beside.",
    "A category where all variants are always right, or right by chance only, tells nothing.",
    "Times are this machine's; ratios between variants depend on its memory and cores.",
)
_LONG = "recall"
"""Start of the categories that ask for what was told long before."""
_ACCURACY = "Right choices in % (95 % intervals); comparing/answers.jsonl"


def _answers(run: Run) -> dict[str, dict[str, list[Row]]]:
    """Answers by category and variant, both in the order of the file."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in run.rows("comparing/answers.jsonl"):
        found.setdefault(row["category"], {}).setdefault(row["variant"], []).append(row)
    return found


def _right(rows: Sequence[Row]) -> list[float]:
    return [float(row["right"]) for row in rows]


def _accuracy(rows: Sequence[Row]) -> Estimate:
    return proportion(sum(bool(row["right"]) for row in rows), len(rows))


def _points(found: Estimate) -> str:
    if found.low == found.high:
        return f"{100 * found.value:+.1f}"  # The same answers: no deviation to judge by.
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def comparison(run: Run, *, long: bool) -> Table:
    """Tables 16 to 18: accuracy of every variant by category, then differences from the first.

    Raises:
        AbsentError: The study asks no such questions.
    """
    answers = {c: v for c, v in _answers(run).items() if c.startswith(_LONG) == long}
    if not answers:
        raise AbsentError("this study asks nothing that was told long before")
    variants = run.result("comparing")["variants"]
    first, *others = variants
    everything = {name: [row for v in answers.values() for row in v[name]] for name in variants}
    columns = [*answers.values(), everything]
    rows: list[tuple[Cell, ...]] = [
        (name, *(percent(_accuracy(found[name])) for found in columns)) for name in variants
    ]
    for name in others:
        changes = [
            paired_difference(_right(found[name]), _right(found[first])) for found in columns
        ]
        rows.append((f"{name} less {first}, points", *map(_points, changes)))
    one_of = {c: next(iter(v.values()))[0]["choices"] for c, v in answers.items()}
    rows.append(("chance", *(f"{100 / count:.1f}" for count in one_of.values()), None))
    sizes = {c: _range([row["context_tokens"] for row in v[first]]) for c, v in answers.items()}
    names = [f"{category} ({sizes[category]} tokens)" for category in answers]
    return Table(columns=("variant", *names, "all"), rows=rows)


def _range(values: Sequence[int]) -> str:
    return f"{min(values)}–{max(values)}"


def variants(run: Run) -> Table:
    """Shape, size and validation perplexity of the variants."""
    shapes = {v["name"]: v["pretraining"] for v in run.recipe["variants"]}
    rows: list[tuple[Cell, ...]] = []
    for name, found in run.result("comparing")["variants"].items():
        model = shapes[name]["model"]
        learned = run.result(f"{name}/pretraining")
        rows.append(
            (
                name,
                f"{model['heads']} / {model['kv_heads']}",
                model["ffn_dim"],
                model["context"],
                f"{found['parameters']:,}",
                f"{learned['tokens']:,}",
                learned["steps"],
                found["validation_perplexity"],
                found["contexts_cut"],
            )
        )
    names = ("variant", "heads / key-value heads", "feed-forward width", "context", "parameters",
             "tokens trained on", "steps", "validation perplexity", "contexts cut")  # fmt: skip
    return Table(columns=names, rows=rows)


def losses(run: Run) -> str:
    """Validation perplexity of every variant over training."""
    with figures.figure(height=3) as ((axes,), out):
        for index, name in enumerate(run.result("comparing")["variants"]):
            rows = run.rows(f"{name}/pretraining/metrics.jsonl")
            result = run.result(f"{name}/pretraining")
            checked = [row for row in rows if row.get("validation_loss") is not None]
            tokens = [row["step"] * result["tokens"] / result["steps"] / 1e6 for row in checked]
            values = np.exp([row["validation_loss"] for row in checked])
            axes.plot(tokens, values, "o-", color=figures.colour(index), label=name)
        label = "validation perplexity (a token)"
        axes.set(yscale="log", xlabel="training tokens (millions)", ylabel=label)
        figures.plain_numbers(axes.yaxis)
        figures.legend(axes)
    return out[0]


def throughput(run: Run) -> str:
    """Figure 24: replies a second against milliseconds a token, the batch doubled along a line."""
    rows = run.rows("throughput/throughput.jsonl")
    contexts = sorted({row["context"] for row in rows})
    with figures.figure(len(contexts), height=3) as (panels, out):
        for axes, context in zip(panels, contexts, strict=True):
            for index, name in enumerate(dict.fromkeys(row["variant"] for row in rows)):
                line = [r for r in rows if (r["variant"], r["context"]) == (name, context)]
                if not line:
                    continue  # Not even one prompt fits.
                axes.plot(
                    [row["latency_ms"] for row in line],
                    [row["queries_per_second"] for row in line],
                    "o-",
                    color=figures.colour(index),
                    label=f"{name}, up to {line[-1]['batch']:,}",
                )
            axes.set(
                xscale="log",
                xlabel="latency (ms a new token)",
                ylabel=f"replies a second,\nprompts of {context:,} tokens",
            )
            figures.plain_numbers(axes.xaxis)
            figures.legend(axes)
    return out[0]


def throughput_points(run: Run) -> Table:
    """Every point of Figure 24."""
    names = ("variant", "context", "batch", "latency_ms", "queries_per_second", "cache_gib",
             "seconds", "fastest", "slowest")  # fmt: skip
    rows = run.rows("throughput/throughput.jsonl")
    return Table(columns=names, rows=[tuple(row[name] for name in names) for row in rows])


def largest(run: Run) -> Table:
    """The end of every line of Figure 24."""
    rows = run.rows("throughput/throughput.jsonl")
    ends = {(row["context"], row["variant"]): row for row in rows}
    names = ("batch", "latency_ms", "queries_per_second", "cache_gib")
    return Table(
        columns=("prompt tokens", "variant", "largest batch", *names[1:]),
        rows=[(*key, *(row[name] for name in names)) for key, row in ends.items()],
    )


def summarize(run: Run) -> list[Measure]:
    """All figures of a study's `summary.json`."""
    found: list[Measure] = []
    compared: dict[str, Any] = attempt({}, run.result, "comparing")
    for name, result in compared.get("variants", {}).items():
        for key, unit in (("parameters", "count"), ("validation_perplexity", "perplexity")):
            value = float(result[key])
            found.append(Measure(key=f"{name}.{key}", value=value, unit=unit, judge=None))
        for category, answers in _answers(run).items():
            share = _accuracy(answers[name])
            found.append(
                Measure(
                    key=f"{name}.{category.replace(', ', '_')}",
                    value=share.value,
                    low=share.low,
                    high=share.high,
                    n=share.n,
                    unit="share",
                    judge="the world's right answers",
                )
            )
    return found + costs(run)


def sections(run: Run) -> list[Section]:
    """Everything the report of a study shows, in order."""
    item = partial(make_item, run)
    long = any(category.startswith(_LONG) for category in attempt({}, _answers, run))
    general = item(
        "general",
        "What every variant knows",
        f"{_ACCURACY}. Sum of the log-probabilities of a choice's tokens, no examples.",
        partial(comparison, long=False),
        "Table 17" if long else "Table 18",
    )
    quality: list[Item] = [
        item("variants", "The variants", "recipe.json, comparing/result.json. Contexts cut: "
             "questions longer than the context, of which the end is kept. Perplexity: documents "
             "cut to the context; the first token of a piece is not predicted.", variants),
        item("losses", "Pretraining", "metrics.jsonl of each variant.", losses),
    ]  # fmt: skip
    if long:
        quality.append(
            item("long", "What was told long before", f"{_ACCURACY}.",
                 partial(comparison, long=True), "Table 16")
        )  # fmt: skip
    plans = [("quality", "Quality", [*quality, general])]
    if (run.root / "throughput").is_dir():
        result = run.result("throughput")
        caption = (
            f"{result['new_tokens']} new tokens a reply, the batch doubled until weights and cache "
            f"({result['cache_type']}), as computed, exceed {result['memory_gib']:g} GiB. "
            "Median of several rounds; throughput.jsonl."
        )
        speed = [
            item("throughput", "Throughput and latency", caption, throughput, "Figure 24"),
            item("largest", "Where the memory that was set ends", caption, largest),
            item("points", "Every point", caption, throughput_points, folded=True),
        ]
        plans.append(("speed", "Speed", speed))
    made = [
        item("pipeline", "This study's pipeline", "run.json.", pipeline),
        item("energy", "Time, memory, energy and carbon", energy_caption(run),
             tables.energy_and_carbon),
    ]  # fmt: skip
    plans.append(("run", "The run", made))
    return [Section(anchor=a, title=t, items=items) for a, t, items in plans]
