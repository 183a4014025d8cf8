"""Plots of the report as inline SVG, in one style, readable at phone width.

Source: arXiv 2307.09288, Figures 4-8, 11, 14, 16, 20 and 33 and the PPO curves that Section 3.2.3
describes. All figures are 360 points wide, so that a phone shows their text at full size.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from camelid.evaluation.statistics import Estimate
from camelid.report import summary
from camelid.report.inputs import AbsentError, Row, Run, attempt, paired

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5d5d5d", "#a0a000")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""
WIDTH = 5.0
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.fonttype": "path",
    "svg.hashsalt": "camelid",
}


@contextmanager
def figure(
    rows: int = 1, height: float = 2.7, *, shared: bool = False
) -> Iterator[tuple[list[Axes], list[str]]]:
    """Panels stacked in one figure; the SVG text is appended to the list at the end."""
    out: list[str] = []
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(WIDTH, height * rows), layout=ConstrainedLayoutEngine(h_pad=0.09))
        FigureCanvasSVG(drawing)
        panels = drawing.subplots(rows, 1, squeeze=False, sharex=shared)[:, 0]
        yield list(panels), out
        buffer = io.StringIO()
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    out.append(text[text.index("<svg") :])


def legend(axes: Axes) -> None:
    """A legend above the panel, where it hides no data."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, ..., as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def colour(index: int) -> str:
    """The colour of a series."""
    return COLOURS[index % len(COLOURS)]


def sigmoid(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Raw rewards as scores between 0 and 1, as the paper plots them."""
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(values, dtype=np.float64), -60, 60))))


def order_statistic(values: Sequence[float], n: int, rank: int) -> float:
    """Expected `rank`-th smallest of `n` values drawn without replacement (no random draw)."""
    ordered, total = sorted(values), math.comb(len(values), n)
    weights = (
        math.comb(i, rank - 1) * math.comb(len(ordered) - i - 1, n - rank)
        for i in range(len(ordered))
    )
    return sum(w * v for w, v in zip(weights, ordered, strict=True)) / total


def expected_max(values: Sequence[float], n: int) -> float:
    """Expected maximum of `n` of the values."""
    return order_statistic(values, n, n)


def expected_median(values: Sequence[float], n: int) -> float:
    """Expected median of `n` of the values."""
    return (order_statistic(values, n, (n + 1) // 2) + order_statistic(values, n, n // 2 + 1)) / 2


def training_loss(run: Run) -> str:
    """Figure 5: training perplexity against tokens."""
    rows = run.rows("pretraining/metrics.jsonl")
    result = run.result("pretraining")
    a_step = float(result.get("tokens", 0)) / max(int(row["step"]) for row in rows)

    def tokens(row: Row) -> float:
        return float(row["step"]) * a_step / 1e6

    with figure(height=3) as ((axes,), out):
        loss = [r for r in rows if r.get("loss") is not None]
        axes.plot([tokens(r) for r in loss], np.exp([r["loss"] for r in loss]), label="training")
        checked = [r for r in rows if r.get("validation_loss") is not None]
        if checked:
            values = np.exp([r["validation_loss"] for r in checked])
            axes.plot(
                [tokens(r) for r in checked], values, "o", color=colour(1), label="validation"
            )
        axes.set(yscale="log", xlabel="training tokens (millions)", ylabel="perplexity (a token)")
        plain_numbers(axes.yaxis)
        legend(axes)
    return out[0]


def accuracy_by_round(run: Run) -> str:
    """Figure 6: reward model accuracy by round, on all pairs and on the clearest."""
    panels = ((None, "all pairs"), ("significantly_better", "significantly better pairs"))
    drawn = 0
    with figure(2) as (axes, out):
        for panel, (strength, title) in zip(axes, panels, strict=True):
            for i, kind in enumerate(("helpfulness", "safety")):
                points = []
                for name in run.rounds:
                    found = _or_none(partial(summary.own_accuracy, run, name, kind, strength))
                    if found is not None:
                        points.append((name, found))
                drawn += _intervals(panel, points, i, f"{kind} RM")
            panel.axhline(50, color="#888888", linewidth=1, linestyle=":")
            panel.set(ylabel=f"accuracy (%),\n{title}", xlabel="round")
            if panel.has_data():
                legend(panel)
    if not drawn:
        raise AbsentError(f"recipe {run.name} has no scored held-out pairs")
    return out[0]


def _or_none(compute: Callable[[], summary.Answer]) -> Estimate | None:
    found, _ = attempt((None, None), compute)
    return found if isinstance(found, Estimate) else None


def _intervals(axes: Axes, points: Sequence[tuple[str, Estimate]], index: int, label: str) -> int:
    """Points with 95 % intervals in % over names, shifted a little for each series."""
    if not points:
        return 0
    at = np.arange(len(points)) + 0.08 * (index - 0.5)
    values = np.array([100 * e.value for _, e in points])
    ends = np.array([[100 * (e.value - e.low), 100 * (e.high - e.value)] for _, e in points]).T
    axes.errorbar(
        at, values, np.maximum(ends, 0), fmt="o-", capsize=3, color=colour(index), label=label
    )
    names = [name.replace("_", " ") for name, _ in points]
    slanted: Any = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(points)), names, **(slanted if len(points) > 4 else {}))
    axes.set_xlim(-0.5, len(points) - 0.5)
    return len(points)


def best_of_n(run: Run) -> str:
    """Figure 7: mean of the best and of the median reward of N samples a prompt."""
    with figure(height=3.2) as ((axes,), out):
        for i, name in enumerate(run.rounds):
            if not (run.root / f"{name}/rejection_sampling/samples.jsonl").is_file():
                continue
            groups = _by_prompt(run.rows(f"{name}/rejection_sampling/samples.jsonl"))
            counts = _counts(groups)
            for style, compute, label in (
                ("o-", expected_max, "best"),
                ("s--", expected_median, "median"),
            ):
                values = [np.mean([compute(g, n) for g in groups]) for n in counts]
                axes.plot(counts, values, style, color=colour(i), label=f"{name} {label}")
        if not axes.has_data():
            raise AbsentError(run.absence(f"{run.last_round}/rejection_sampling/samples.jsonl"))
        axes.set(xlabel="samples a prompt, N", ylabel="mean reward R_c (0 to 1)")
        legend(axes)
    return out[0]


def _by_prompt(rows: Sequence[Row]) -> list[list[float]]:
    """Rewards R_c by prompt; an answer that was cut cannot win and counts as 0."""
    groups: dict[str, list[float]] = defaultdict(list)
    scores = sigmoid([row["reward"] for row in rows])
    for row, score in zip(rows, scores, strict=True):
        groups[str(row["prompt_id"])].append(float(score) if row["stop_reason"] == "stop" else 0.0)
    return list(groups.values())


def _counts(groups: Sequence[Sequence[float]]) -> range:
    return range(1, min(len(values) for values in groups) + 1)


def temperatures(run: Run) -> str:
    """Figure 8: mean best reward against N for each temperature."""
    path = f"{run.last_round}/rejection_sampling/temperature_tuning.jsonl"
    by_temperature: dict[float, list[Row]] = defaultdict(list)
    for row in run.rows(path):
        by_temperature[float(row["temperature"])].append(row)
    with figure(height=3.2) as ((axes,), out):
        for i, (temperature, rows) in enumerate(sorted(by_temperature.items())):
            groups = _by_prompt(rows)
            counts = _counts(groups)
            values = [np.mean([expected_max(g, n) for g in groups]) for n in counts]
            axes.plot(counts, values, "o-", color=colour(i), label=f"T = {temperature:g}")
        axes.set(xlabel="samples a prompt, N", ylabel="mean best reward R_c (0 to 1)")
        legend(axes)
    return out[0]


def reward_scatter(run: Run) -> str:
    """Figure 14: both reward models before and after alignment on the same prompts."""
    panels = (("adversarial", "safety_rm"), ("helpful", "helpfulness_rm"))
    found = [
        paired(run.replies("final", name), run.replies("sft", name), model)
        for name, model in panels
        if attempt(None, run.replies, "sft", name) and attempt(None, run.replies, "final", name)
    ]
    if len(found) < len(panels):
        raise AbsentError("sft and final were not both evaluated on both sets")
    with figure(2, 3.8) as (axes, out):
        for panel, (name, model), (after, before) in zip(axes, panels, found, strict=True):
            panel.scatter(sigmoid(before), sigmoid(after), s=9, alpha=0.45, color=colour(0))
            panel.plot([0, 1], [0, 1], color="#888888", linewidth=1)
            label = model.replace("_rm", " RM score")
            panel.set(xlabel=f"{label} of SFT (0 to 1)", ylabel=f"{label} of final (0 to 1)")
            panel.set(title=f"{name} prompts, n = {len(after)}", xlim=(0, 1), ylim=(0, 1))
    return out[0]


def distillation(run: Run) -> str:
    """Figure 16: safety scores without and with preprompts, and the gain that the gate sees."""
    rows = run.rows("context_distillation/pairs.jsonl")
    names = ("original", "generic", "template")
    scores = {
        n: [float(r[f"{n}_score"]) for r in rows if r.get(f"{n}_score") is not None] for n in names
    }
    with figure(2, 3) as ((top, bottom), out):
        shown = [name for name in names if scores[name]]
        parts: Any = top.violinplot([scores[name] for name in shown], showextrema=False)
        for i, body in enumerate(parts["bodies"]):
            body.set(facecolor=colour(i), alpha=0.45)
        top.boxplot([scores[name] for name in shown], widths=0.12, showfliers=False)
        top.set_xticks(range(1, len(shown) + 1), ["no preprompt", *shown[1:]])
        top.set(ylabel="safety RM score (0 to 1)")
        for i, (kept, label) in enumerate(((True, "kept"), (False, "rejected"))):
            # Where both answers were cut or empty there was nothing to gate.
            part = [row for row in rows if bool(row["kept"]) is kept and row["best"]]
            best = [
                float(row[f"{row['best']}_score"]) - float(row["original_score"]) for row in part
            ]
            at = [float(row["original_score"]) for row in part]
            bottom.scatter(at, best, s=10, alpha=0.6, color=colour(i), label=label)
        bottom.axhline(0, color="#888888", linewidth=1)
        bottom.set(
            xlabel="safety RM score of the original (0 to 1)", ylabel="gain of the best preprompt"
        )
        legend(bottom)
    return out[0]


def reward_ridge(run: Run) -> str:
    """Figure 20: distribution of the helpfulness score by model version."""
    edges = np.linspace(0, 1, 41)
    series = []
    for model in run.models:
        rows = run.replies(model, *summary.REPLY_SETS)
        values = [float(r["helpfulness_rm"]) for r in rows if r.get("helpfulness_rm") is not None]
        if values:
            series.append((model, np.histogram(sigmoid(values), edges)[0] / len(values), values))
    if not series:
        raise AbsentError("no evaluated reply has a helpfulness score")
    with figure(height=0.9 + 0.55 * len(series)) as ((axes,), out):
        middle = (edges[1:] + edges[:-1]) / 2
        for i, (_, share, values) in enumerate(series):
            base = len(series) - 1 - i
            top = base + 0.85 * share / max(float(share.max()), 1e-9)
            axes.fill_between(middle, base, top, step="mid", color=colour(i), alpha=0.55)
            at = float(np.median(sigmoid(values)))
            axes.plot([at, at], [base, base + 0.85], color="#222222", linewidth=1)
        axes.set_yticks(
            range(len(series)), [name.replace("_", "\n") for name, _, _ in reversed(series)]
        )
        axes.set(xlabel="helpfulness RM score (0 to 1); line: median", xlim=(0, 1))
    return out[0]


def rates_by_model(run: Run, series: Sequence[tuple[str, str]], label: str) -> str:
    """Shares of verdicts by model version with 95 % intervals.

    Args:
        run: The run.
        series: (set, verdict) of each line; the verdict `score` means the win rate against SFT.
        label: Label of the y axis, unit included.
    """
    drawn = 0
    wins = series[0][1] == "score"
    with figure(height=3) as ((axes,), out):
        for i, (name, verdict) in enumerate(series):
            points = []
            for model in run.models:
                if wins and model in {"base", "sft"}:
                    continue
                rate = partial(summary.wins, run, model)
                if not wins:
                    rate = partial(summary.share, run, model, name, verdict)
                found = _or_none(rate)
                if found is not None:
                    points.append((model, found))
            drawn += _intervals(axes, points, i, f"{name} set")
        if not drawn:
            raise AbsentError(f"no model has the verdict `{series[0][1]}` on these sets")
        if wins:
            axes.axhline(50, color="#888888", linewidth=1, linestyle=":")
        axes.set(xlabel="model version", ylabel=label)
        legend(axes)
    return out[0]


def ppo_curves(run: Run) -> str:
    """Reward, guard reward, KL, entropy, length and end-of-reply share by PPO iteration."""
    rows = run.rows("ppo/iterations.jsonl")
    panels = (
        ("reward", "reward R_c\n(logit)"),
        ("guard_reward", "guard reward\n(logit)"),
        ("kl", "KL to the start\n(nats a reply)"),
        ("entropy", "entropy\n(nats a token)"),
        ("reply_length", "reply length\n(tokens)"),
        ("eos_share", "replies that\nend (%)"),
    )
    shown = [p for p in panels if any(row.get(p[0]) is not None for row in rows)]
    if not shown:
        raise AbsentError("ppo/iterations.jsonl has none of the curves")
    with figure(len(shown), 1.6, shared=True) as (axes, out):
        for panel, (field, label) in zip(axes, shown, strict=True):
            scale = 100 if field == "eos_share" else 1
            for i, name in enumerate((field, f"validation_{field}")):
                points = [
                    (r["iteration"], scale * r[name]) for r in rows if r.get(name) is not None
                ]
                if points:
                    kind = "validation prompts" if i else "training prompts"
                    panel.plot(
                        *zip(*points, strict=True), "o" if i else "-", label=kind, color=colour(i)
                    )
            panel.set(ylabel=label)
        legend(axes[0])
        axes[-1].set(xlabel="PPO iteration")
    return out[0]
