"""Figure 4 for this run: its stages as boxes and their inputs as arrows.

Source: arXiv 2307.09288, Figure 4 (the idea; the drawing and its layout are ours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from markupsafe import escape

from camelid.run.finished import FinishedRun
from camelid.run.item import AbsentError, Drawing

_BOX_WIDTH, _BOX_HEIGHT, _STEP_X, _STEP_Y = 82, 38, 88, 68
_MARGIN, _PER_ROW = 16, 4
_FILL = {"v": "var(--round)", "": "var(--pale)"}


def dependencies(run: FinishedRun) -> dict[str, set[str]]:
    """Stages that each finished stage reads from."""
    names = [name for name in run.manifest.stages if name in {s.name for s in run.stages}]
    return {
        stage.name: {place.stage for place in stage.inputs.places()} & set(names)
        for stage in run.stages
        if stage.name in names and not stage.kind.shows
    }


def direct_edges(needs: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Edges that no longer path implies (the transitive reduction)."""
    ancestors: dict[str, set[str]] = {}

    def above(name: str) -> set[str]:
        if name not in ancestors:
            ancestors[name] = set()
            ancestors[name] = needs[name].union(*(above(n) for n in needs[name]))
        return ancestors[name]

    return [
        (source, name)
        for name, sources in needs.items()
        for source in sorted(sources)
        if not any(source in above(other) for other in sources if other != source)
    ]


def _rows(names: Sequence[str]) -> list[list[str]]:
    """Stages in rows: a round to a row, the others four to a row."""
    rows: list[list[str]] = []
    for _, group in groupby(names, key=lambda name: name.partition("/")[0] if "/" in name else ""):
        members = list(group)
        rows += [members[i : i + _PER_ROW] for i in range(0, len(members), _PER_ROW)]
    return rows


def _path(start: tuple[int, int], end: tuple[int, int], lane: int) -> str:
    """An elbow line between two boxes given as (row, column)."""
    (row, column), (to_row, to_column) = start, end
    left = _MARGIN + column * _STEP_X
    x, y = left + _BOX_WIDTH // 2 + lane, row * _STEP_Y + _BOX_HEIGHT + 4
    if to_row == row and to_column == column + 1:
        middle = row * _STEP_Y + _BOX_HEIGHT // 2 + 4
        return f"M{left + _BOX_WIDTH} {middle}H{left + _STEP_X - 1}"
    to_x = _MARGIN + to_column * _STEP_X + _BOX_WIDTH // 2 + lane
    to_y = to_row * _STEP_Y + 4
    turn = y + 13 + lane // 2
    if to_row == row + 1:
        return f"M{x} {y}V{turn}H{to_x}V{to_y - 1}"
    side = _MARGIN // 2 + lane // 3
    return f"M{x} {y}V{turn}H{side}V{to_y - 17 + lane // 2}H{to_x}V{to_y - 1}"


def pipeline(run: FinishedRun) -> Drawing:
    """The pipeline as inline SVG."""
    needs = dependencies(run)
    if not needs:
        raise AbsentError("no stage of this run has finished")
    shown = [stage.name for stage in run.stages if stage.kind.shows]
    needs |= {name: {list(needs)[-1]} for name in shown}
    names = list(needs)
    rows = _rows(names)
    place = {n: (r, c) for r, row in enumerate(rows) for c, n in enumerate(row)}
    width, height = 2 * _MARGIN + _PER_ROW * _STEP_X - 6, len(rows) * _STEP_Y - 14
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="10.5" text-anchor="middle" style="fill: var(--ink)">'
        '<defs><marker id="arrow" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0L6 3L0 6z" style="fill: var(--soft)"/>'
        "</marker></defs>"
    )
    parts = [head]
    for i, (source, target) in enumerate(direct_edges(needs)):
        line = _path(place[source], place[target], (i * 5) % 21 - 10)
        parts.append(
            f'<path d="{line}" fill="none" style="stroke: var(--soft)" marker-end="url(#arrow)"/>'
        )
    for name, (row, column) in place.items():
        x, y = _MARGIN + column * _STEP_X, row * _STEP_Y + 4
        round_name, _, stage = name.rpartition("/")
        fill = _FILL["v" if round_name else ""]
        words = (f"{round_name} {stage}" if round_name else stage).replace("_", " ").split(" ")
        lines = [" ".join(words[:-1]), words[-1]] if len(words) > 1 else words
        parts.append(
            f'<rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="5" '
            f'style="fill: {fill}; stroke: var(--soft)"/>'
        )
        first = y + _BOX_HEIGHT // 2 + 4 - 6 * (len(lines) - 1)
        parts += [
            f'<text x="{x + _BOX_WIDTH // 2}" y="{first + 12 * i}">{escape(text)}</text>'
            for i, text in enumerate(lines)
        ]
    return Drawing("".join(parts) + "</svg>")
