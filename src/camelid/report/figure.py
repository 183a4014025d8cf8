"""The style of all plots and what several of them share; each is inline SVG, readable on a phone.

All figures are 360 points wide, so that a phone shows their text at full size. matplotlib is
imported when the first figure is drawn. Source: choice.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from camelid.data.records import MetricsRow
from camelid.evaluation.statistics import Estimate
from camelid.run.item import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5d5d5d", "#a0a000")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""
_INK, _GRID = "#1d2329", "#e4e4e4"
_THEMED = {
    _INK: "--ink",
    "#000000": "--ink",
    "#222222": "--ink",
    "#888888": "--soft",
    _GRID: "--grid",
    **{colour: f"--c{index}" for index, colour in enumerate(COLOURS)},
}
"""Colours that the page gives by its style, so that a plot can be read in the dark too."""
WIDTH = 5.0
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
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
) -> Iterator[tuple[list[Axes], list[Drawing]]]:
    """Panels stacked in one figure; the drawing is appended to the list at the end."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    out: list[Drawing] = []
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(WIDTH, height * rows), layout=ConstrainedLayoutEngine(h_pad=0.09))
        FigureCanvasSVG(drawing)
        panels = drawing.subplots(rows, 1, squeeze=False, sharex=shared)[:, 0]
        yield list(panels), out
        buffer = io.StringIO()
        # No date, no name of the maker: the same run gives the same bytes.
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawing.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    themed = re.sub("|".join(_THEMED), lambda match: f"var({_THEMED[match[0]]})", text)
    out.append(Drawing(themed[themed.index("<svg") :]))


def legend(axes: Axes) -> None:
    """A legend above the panel, where it hides no data."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, ..., as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def colour(index: int) -> str:
    """The colour of a series."""
    return COLOURS[index % len(COLOURS)]


SMOOTHED = 20
"""Steps of which a curve of losses shows the mean."""


def losses(axes: Axes, rows: Sequence[MetricsRow], index: int, label: str) -> None:
    """The loss of each step, pale, and the mean of the last steps."""
    steps, values = [row.step for row in rows], np.array([row.loss for row in rows])
    sums = np.cumsum(np.concatenate([[0.0], values]))
    first = np.maximum(np.arange(1, len(values) + 1) - SMOOTHED, 0)
    last = np.arange(1, len(values) + 1)
    axes.plot(steps, values, color=colour(index), alpha=0.25, linewidth=0.8)
    means = (sums[last] - sums[first]) / (last - first)
    axes.plot(steps, means, color=colour(index), label=label)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))


def scores(raw: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Raw rewards as scores between 0 and 1, as the paper plots them."""
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(raw, dtype=np.float64), -60, 60))))


def chance(axes: Axes) -> None:
    """A dotted line at one half."""
    axes.axhline(50, color="#888888", linewidth=1, linestyle=":")


def intervals(
    axes: Axes,
    points: Sequence[tuple[str, Estimate]],
    index: int,
    label: str,
    *,
    down: bool = False,
) -> int:
    """Points with 95 % intervals in % over names, shifted a little for each series.

    Args:
        axes: Where to draw.
        points: (name, share) pairs.
        index: Of the series.
        label: Of the series.
        down: Whether the names stand below each other, where they are long or many. They are
            models then, of which one is not the next of another: no line joins them.
    """
    if not points:
        return 0
    at = np.arange(len(points)) + 0.12 * (index - 0.5)
    values = np.array([100 * e.value for _, e in points])
    ends = np.array([[100 * (e.value - e.low), 100 * (e.high - e.value)] for _, e in points]).T
    style: Any = {"capsize": 3, "color": colour(index), "label": label}
    names, room = [name.replace("_", " ") for name, _ in points], len(points) - 0.5
    if down:
        axes.errorbar(values, at, xerr=np.maximum(ends, 0), fmt="o", **style)
        axes.set_yticks(range(len(points)), names)
        axes.set_ylim(room, -0.5)
    else:
        axes.errorbar(at, values, yerr=np.maximum(ends, 0), fmt="o-", **style)
        axes.set_xticks(range(len(points)), names)
        axes.set_xlim(-0.5, room)
    return len(points)


def whole_numbers(axis: Axis) -> None:
    """Label an axis of counts at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))
