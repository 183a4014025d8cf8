"""What the report shows of every run, whatever its stages: pipeline, costs, settings.

Source: arXiv 2307.09288, Figure 4 and Table 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from camelid.report import energy
from camelid.report.estimates import measure
from camelid.report.pipeline_graph import pipeline
from camelid.run.finished import FinishedRun
from camelid.run.item import AbsentError, Cell, Line, Measure, StageReport, Table
from camelid.run.place import ModelFolder
from camelid.run.stage import PlannedStage
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
        costs = (
            stage.seconds,
            1000 * power.kwh(stage.seconds),
            1000 * power.carbon_kg(stage.seconds),
        )
        total = [sum(pair) for pair in zip(total, costs, strict=True)]
        peak = max(peak, stage.peak_memory_gib)
        memory = stage.peak_memory_gib
        rows.append((name, stage.seconds, memory, power.watts, *costs[1:]))
    if not rows:
        raise AbsentError("no stage of this run has finished")
    rows.append(("whole run", total[0], peak, power.watts, *total[1:]))
    names = ("stage", "seconds", "peak memory (GiB)", "watts (stated)", "Wh", "g CO2eq")
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


@REPORT.lines
def first_lines(run: FinishedRun) -> Iterable[Line]:
    """The stages that the last weights came through, costs and seed."""
    yield Line(tile="trained", text=f"In this order: {', '.join(lineage(run)) or 'nothing yet'}.")
    manifest = run.manifest
    yield Line(tile="cost", text="{run.seconds} of computing.")
    yield Line(
        tile="cost",
        text=f"At most {{run.peak_memory_gib}} GiB of memory; {manifest.device}, "
        f"{manifest.threads} thread{'s' if manifest.threads != 1 else ''}, {manifest.precision}.",
    )
    yield Line(
        tile="cost",
        text=f"{{run.energy}} Wh and {{run.carbon}} g of CO2, if the machine takes the "
        f"{manifest.watts:g} W that are stated.",
    )
    yield Line(
        tile="doubt",
        text=f"That another seed gives the same: this is one run, with seed {manifest.seed}.",
    )


def lineage(run: FinishedRun) -> list[str]:
    """Return the stages that the newest weights came through, a kind once with its number."""
    counts = Counter(stage.kind.name for stage in ancestors(run))
    return [
        # Three letters are an abbreviation: SFT, PPO.
        (name.upper() if len(name) == 3 else name.replace("_", " "))
        + (f" ({count} rounds)" if count > 1 else "")
        for name, count in counts.items()
    ]


def weights(stage: PlannedStage[Any, Any, Any, Any]) -> list[ModelFolder]:
    """Return the language models that a stage writes, the main one first."""
    return [place for place in stage.outputs().places() if isinstance(place, ModelFolder)]


def ancestors(run: FinishedRun) -> list[PlannedStage[Any, Any, Any, Any]]:
    """Return the finished stages that the newest weights came through, in order."""
    made = {s.name: s for s in run.stages if s.name in run.manifest.stages and weights(s)}
    waiting, found = list(made)[-1:], set()
    while waiting:
        name = waiting.pop()
        if name in made and name not in found:
            found.add(name)
            waiting += [p.stage for p in made[name].inputs.places() if isinstance(p, ModelFolder)]
    return [stage for name, stage in made.items() if name in found]


@REPORT.measures
def costs(run: FinishedRun) -> Iterable[Measure]:
    """Seconds of all stages and their largest memory."""

    def seconds() -> float:
        return sum(stage.seconds for stage in run.trained.values())

    def memory() -> float:
        return max((stage.peak_memory_gib for stage in run.trained.values()), default=0.0)

    yield measure("run.seconds", "seconds", seconds)
    yield measure("run.peak_memory_gib", "GiB", memory)
    power = energy.stated_power(run.manifest)
    yield measure("run.energy", "Wh, stated watts", lambda: 1000 * power.kwh(seconds()))
    yield measure("run.carbon", "g CO2eq, stated watts", lambda: 1000 * power.carbon_kg(seconds()))
