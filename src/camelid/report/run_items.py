"""What the report shows of every run, whatever its stages: pipeline, costs, settings.

Source: arXiv 2307.09288, Figure 4 and Table 2.
"""

from __future__ import annotations

from collections.abc import Iterable

from camelid.report import energy
from camelid.report.estimates import measure
from camelid.report.pipeline_graph import pipeline
from camelid.run.finished import FinishedRun
from camelid.run.item import AbsentError, Cell, Measure, StageReport, Table
from camelid.settings import flatten

REPORT: StageReport[FinishedRun] = StageReport()

REPORT.item(
    "run",
    "This run's pipeline",
    "Arrows: what a stage reads, less what other arrows imply.",
    "Figure 4",
)(pipeline)


def energy_caption(run: FinishedRun) -> str:
    """How energy and carbon were computed."""
    power = energy.stated_power(run.manifest)
    return (
        f"{energy.FORMULA}. {power.watts:g} W, PUE {power.pue:g}, {power.intensity:g} kg/kWh: "
        "stated. Seconds and memory: measured (run.json)."
    )


@REPORT.item(
    "run",
    "Time, memory, energy and carbon",
    energy_caption,
    "Table 2",
    card="Hardware and Software",
)
def energy_and_carbon(run: FinishedRun) -> Table:
    """Table 2: seconds, memory, energy and CO2 by stage, the energy from stated watts."""
    power = energy.stated_power(run.manifest)
    rows: list[tuple[Cell, ...]] = []
    total = [0.0, 0.0, 0.0]
    peak = 0.0
    for name, stage in run.trained.items():
        costs = (stage.seconds, power.kwh(stage.seconds), power.carbon_kg(stage.seconds))
        total = [sum(pair) for pair in zip(total, costs, strict=True)]
        peak = max(peak, stage.peak_memory_gib)
        memory = stage.peak_memory_gib
        rows.append((name, round(stage.seconds, 1), memory, power.watts, *costs[1:]))
    if not rows:
        raise AbsentError("no stage of this run has finished")
    rows.append(("whole run", round(total[0], 1), peak, power.watts, *total[1:]))
    names = ("stage", "seconds", "peak memory (GiB)", "watts (stated)", "kWh", "kg CO2eq")
    return Table(columns=names, rows=rows)


@REPORT.item("run", "Settings beside the paper's", "The plan and the paper.", folded=True)
def settings(run: FinishedRun) -> Table:
    """Every setting for which the paper prints a value, both beside each other."""
    rows: list[tuple[Cell, ...]] = []
    seen = set()
    for stage in run.stages:
        used = flatten(stage.config)
        for field, (value, section) in stage.kind.paper.items():
            row = (f"{stage.kind.name}.{field}", str(used[field]), f"{value} ({section})")
            if row not in seen:
                rows.append(row)
            seen.add(row)
    if not rows:
        raise AbsentError("this plan has none of the settings that the paper prints")
    return Table(columns=("setting", "used here", "the paper"), rows=rows)


@REPORT.measures
def costs(run: FinishedRun) -> Iterable[Measure]:
    """Seconds of all stages and their largest memory."""

    def seconds() -> float:
        return sum(stage.seconds for stage in run.trained.values())

    def memory() -> float:
        return max((stage.peak_memory_gib for stage in run.trained.values()), default=0.0)

    yield measure("run.seconds", "seconds", seconds)
    yield measure("run.peak_memory_gib", "GiB", memory)
