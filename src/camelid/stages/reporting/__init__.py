"""Reporting: the run's results as a page, a model card, a safety report and machine-read figures.

Source: arXiv 2307.09288 as a whole; Table 52 for the model card. It reads only files of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.plan import Plan
from camelid.run.item import Measure
from camelid.run.place import Json, Place, StageFolder, StageInputs, StageOutputs, place
from camelid.run.stage import NoSettings, StageKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads: everything."""

    stages: tuple[StageFolder, ...]


class Outputs(StageOutputs):
    """What the stage writes."""

    page: Place = place("index.html")
    summary: Json[tuple[Measure, ...]] = place("summary.json")
    model_card: Place = place("model_card.md")
    safety_report: Place = place("safety_report.md")
    tables: Place = place("tables")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Counts of figures, and of the paper's artefacts by status."""

    measures: int
    measures_missing: int
    artefacts: dict[str, int]


REPORTING = StageKind(
    name="reporting",
    config=NoSettings,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.reporting.stage:run",
    shows=True,
)


def add_report(plan: Plan) -> None:
    """Add the report of everything that a plan holds so far."""
    everything = tuple(StageFolder(stage.name, "") for stage in plan.stages)
    plan.add(REPORTING, NoSettings(), Inputs(stages=everything))
