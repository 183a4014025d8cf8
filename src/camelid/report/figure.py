"""The style of all plots and what several of them share; each is inline SVG, readable on a phone.

All figures are 360 points wide, so that a phone shows their text at full size. matplotlib is
imported when the first figure is drawn. Source: choice.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from camelid.evaluation.statistics import Estimate
from camelid.run.item import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

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
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    out.append(Drawing(text[text.index("<svg") :]))


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


def scores(raw: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Raw rewards as scores between 0 and 1, as the paper plots them."""
    return np.asarray(1 / (1 + np.exp(-np.clip(np.asarray(raw, dtype=np.float64), -60, 60))))


def chance(axes: Axes) -> None:
    """A dotted line at one half."""
    axes.axhline(50, color="#888888", linewidth=1, linestyle=":")


def intervals(axes: Axes, points: Sequence[tuple[str, Estimate]], index: int, label: str) -> int:
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
