"""What the report shows of red teaming: violation rates by round, by axis and in every cell.

Source: arXiv 2307.09288, Section 4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from camelid.evaluation.statistics import shares
from camelid.report.estimates import percent
from camelid.run.finished import Finished, Found
from camelid.run.item import Cell, StageReport, Table
from camelid.stages.red_teaming import Config, Inputs, Outputs, RedTeamRow, Result

Stage = Finished[Config, Inputs, Outputs, Result]
Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


_CAPTION = "Attacks of each round. Brackets: 95 % intervals."


AXES: dict[str, Callable[[RedTeamRow], str]] = {
    "risk category": lambda row: row.risk_category or "–",
    "attack vector": lambda row: row.attack_vector or "–",
    "attack strength": lambda row: row.attack_strength or "–",
}


def _violating(row: RedTeamRow) -> bool | None:
    return row.violating


def _new(stage: Stage) -> list[RedTeamRow]:
    """Attacks that do not repeat a violation of an earlier round."""
    rows = stage.rows(stage.outputs.attacks)
    return [row for row in rows if not row.earlier_violation]


def by_axis(seen: Seen, axis: str) -> Table:
    """Violation rates of the new attacks along one axis, by round."""
    group = AXES[axis]
    found = {stage.part: shares(_new(stage), group, _violating) for stage in seen.stages}
    whole = {stage.part: shares(_new(stage), lambda _: "all", _violating) for stage in seen.stages}
    values = sorted({value for rates in found.values() for value in rates})
    rows: list[tuple[Cell, ...]] = [
        (value, *(percent(rates.get(value)) for rates in found.values())) for value in values
    ]
    rows.append(("all", *(percent(rates.get("all")) for rates in whole.values())))
    return Table(columns=(axis, *(f"{name} violations %" for name in found)), rows=rows)


@REPORT.item("safety", "Red teaming by round", _CAPTION, safety=True)
def rounds(seen: Seen) -> Table:
    """By round: violation rate and the share of earlier violations now resisted."""
    rows: list[tuple[Cell, ...]] = []
    for stage in seen.stages:
        new = shares(_new(stage), lambda _: None, _violating).get(None)
        attacks = stage.rows(stage.outputs.attacks)
        resisted = shares(
            (row for row in attacks if row.earlier_violation), lambda _: None, _resisting
        ).get(None)
        judges = ", ".join(sorted({row.judge for row in attacks}))
        rows.append(
            (
                stage.part,
                new.n if new else 0,
                percent(new),
                resisted.n if resisted else 0,
                percent(resisted),
                judges,
            )
        )
    rows.append(("the paper", None, None, None, "90 on average", "people"))
    names = ("round", "new attempts", "violations %", "earlier violations", "now resisted %",
             "judge")  # fmt: skip
    return Table(columns=names, rows=rows)


def _resisting(row: RedTeamRow) -> bool | None:
    return None if row.violating is None else not row.violating


for _axis in AXES:
    REPORT.item(
        "safety",
        f"Red teaming by {_axis}",
        _CAPTION,
        anchor=f"red-team-{_axis.replace(' ', '-')}",
        safety=True,
    )(partial(by_axis, axis=_axis))


@REPORT.item(
    "safety", "Red teaming, every cell", "Attacks of the last round.", safety=True, folded=True
)
def cells(seen: Seen) -> Table:
    """Category x vector x strength of the last round."""
    rates = shares(
        _new(seen.last), lambda row: tuple(group(row) for group in AXES.values()), _violating
    )
    rows: list[tuple[Cell, ...]] = [
        (*key, found.n, round(100 * found.value, 1)) for key, found in sorted(rates.items())
    ]
    return Table(columns=(*AXES, "attempts", f"{seen.last.part} violations %"), rows=rows)
