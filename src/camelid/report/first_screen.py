"""The first screen: what a reader asks, answered in five tiles and one figure.

Stages declare the lines; every number is the summary's, and whether something got better is what
the interval of its difference says. Source: choice (the paper's own summary is Figure 1).
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from camelid.report import figure
from camelid.run.digits import duration, number
from camelid.run.item import Drawing, Line, Measure, Tile

QUESTIONS: dict[Tile, str] = {
    "trained": "What was trained?",
    "better": "Did it get better?",
    "safe": "Is it safe?",
    "cost": "What did it cost?",
    "doubt": "What can I not conclude?",
}
MOST_LINES = 4
"""A tile is read at a glance."""
Verdict = Literal["better", "worse", "no clear change"]
LABEL_WIDTH = 10
"""Points that a number under its mark takes in the figure."""
_COLOUR: dict[Verdict | None, str] = {
    "better": figure.COLOURS[2],
    "worse": figure.COLOURS[1],
    "no clear change": figure.COLOURS[6],
    None: figure.COLOURS[6],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A line of a tile as it is shown."""

    text: str
    verdict: Verdict | None
    warning: bool


def verdict(change: Measure | None, wish: Literal["up", "down"]) -> Verdict | None:
    """Say what the interval of a difference says; None where there is no interval."""
    if change is None or change.low is None or change.high is None:
        return None
    if change.low > 0 or change.high < 0:
        return "better" if (change.low > 0) == (wish == "up") else "worse"
    return "no clear change"


def answers(
    lines: Sequence[Line], measures: Sequence[Measure]
) -> list[tuple[str, str, list[Answer]]]:
    """Return name, question and answers of each tile.

    Args:
        lines: What the stages say, in the order of training; of a tile the first few are shown.
        measures: The figures of the summary.
    """
    figures = {measure.key: measure for measure in measures}
    meaningless = any(line.warning for line in lines)
    found = []
    for tile in typing.get_args(Tile):
        own = [line for line in lines if line.tile == tile]
        own.sort(key=lambda line: not line.warning)
        shown = [
            Answer(
                text=text,
                verdict=None if meaningless else verdict(figures.get(line.change or ""), line.wish),
                warning=line.warning,
            )
            for line in own
            if (text := _filled(line, figures)) is not None
        ]
        if not shown:
            shown = [Answer(text=_why_not(own, figures), verdict=None, warning=False)]
        found.append((tile, QUESTIONS[tile], shown[:MOST_LINES]))
    return found


_FIGURE = re.compile(r"\{([^{}]+)\}")


def _keys(line: Line) -> list[str]:
    ends = [key for key in (line.before, line.after, line.change) if key is not None]
    return [*_FIGURE.findall(line.text), *ends]


def _filled(line: Line, figures: Mapping[str, Measure]) -> str | None:
    """Return a line with its figures, or None where one is missing."""
    for key in _keys(line):
        if key not in figures or figures[key].value is None:
            return None
    text = _FIGURE.sub(lambda match: _written(figures[match[1]]), line.text)
    if line.before is not None and line.after is not None:
        # The intervals of both stand in the figure beside the tiles; here that of the change.
        before, after = (figures[key].bare for key in (line.before, line.after))
        text = f"{text}: {before} → {after}"
    if line.change is not None:
        end = _written(figures[line.change]).replace(" %", " points", 1)
        text = f"{text}, {end}" if line.before is not None else f"{text}: {end}"
    # No line breaks between a number and its sign of percent.
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _written(measure: Measure) -> str:
    if measure.unit == "seconds" and measure.value is not None:
        return duration(measure.value)
    return measure.shown


def _why_not(lines: Sequence[Line], figures: Mapping[str, Measure]) -> str:
    """Say why a tile has no line."""
    for key in (key for line in lines for key in _keys(line)):
        if key in figures and figures[key].value is None:
            return f"Not measured: {figures[key].reason}."
    return "Not measured in this run."


def change_figure(lines: Sequence[Line], measures: Sequence[Measure]) -> Drawing | None:
    """Draw every figure that lines show before and after, the change as an arrow.

    Args:
        lines: What the stages say.
        measures: The figures of the summary.

    Returns:
        The drawing, or None where nothing was measured before and after.
    """
    figures = {measure.key: measure for measure in measures}
    rows = [
        (line, figures[line.before], figures[line.after])
        for line in lines
        if line.before is not None
        and line.after is not None
        and _filled(line, figures) is not None
        and figures[line.before].unit == "share"
    ]
    if not rows:
        return None
    meaningless = any(line.warning for line in lines)
    with figure.figure(height=0.9 + 0.85 * len(rows)) as ((axes,), out):
        for index, (line, before, after) in enumerate(rows):
            at = len(rows) - 1 - index
            said = None if meaningless else verdict(figures.get(line.change or ""), line.wish)
            colour = _COLOUR[said]
            for measure, fill, label in ((before, "none", "before"), (after, colour, "after")):
                value, (low, high) = _percent(measure)
                axes.errorbar(
                    [value],
                    [at],
                    xerr=[[value - low], [high - value]],
                    fmt="o",
                    color=colour,
                    markerfacecolor=fill,
                    markersize=9,
                    capsize=4,
                    elinewidth=1,
                    label=label if index == 0 else None,
                )
            start, end = (_percent(measure)[0] for measure in (before, after))
            labels = {value: number(value, percent=True) for value in (start, end)}
            if abs(end - start) < LABEL_WIDTH:
                # Side by side they would cover each other.
                place = max((start + end) / 2, LABEL_WIDTH / 2)
                labels = {place: f"{labels[start]} → {labels[end]}"}
            for place, text in labels.items():
                axes.text(place, at - 0.3, text, ha="center", va="center", fontsize=11)
            style = {"arrowstyle": "->", "color": colour, "lw": 2, "shrinkA": 6, "shrinkB": 6}
            axes.annotate("", xy=(end, at), xytext=(start, at), arrowprops=style)
            name = line.text if said is None else f"{line.text}: {said}"
            axes.text(-2, at + 0.36, name, fontweight="bold", va="center", fontsize=12.5)
        axes.set(xlim=(-4, 104), ylim=(-0.5, len(rows) - 0.4), xlabel="% of replies")
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        figure.legend(axes)
    return out[0]


def _percent(measure: Measure) -> tuple[float, tuple[float, float]]:
    """Return a share with the ends of its interval in %, the share itself where there is none."""
    value = measure.value or 0.0
    low, high = (value if end is None else end for end in (measure.low, measure.high))
    return 100 * value, (100 * low, 100 * high)
