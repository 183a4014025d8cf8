"""Reporting: the run's results as a page, a model card, a safety report and machine-read figures.

Source: arXiv 2307.09288 as a whole; Table 52 for the model card. It reads only files of the run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from camelid.benchmarks.report import REPORT as BENCHMARKS
from camelid.benchmarks.report import evaluated
from camelid.plan import Plan
from camelid.report.cards import model_card, safety_report
from camelid.report.page import make_report, render, render_search
from camelid.run.finished import FinishedRun
from camelid.run.item import Measure
from camelid.run.place import Json, Place, StageFolder, StageInputs, StageOutputs, place
from camelid.run.stage import NoSettings, StageContext, StageKind


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
    replies: Place = place("replies.html", optional=True)
    """Where a judge saw any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Counts of figures, and of the paper's artefacts by status."""

    measures: int
    measures_missing: int
    artefacts: dict[str, int]


def run(_: NoSettings, __: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Write page, summary, cards and tables."""
    seen = FinishedRun(context.root, context.stages)
    report = make_report(
        seen,
        (BENCHMARKS, bool(evaluated(seen))),
        model_card=outputs.model_card.name,
        safety_report=outputs.safety_report.name,
        search=outputs.replies.name,
    )
    outputs.tables.path.mkdir()
    for drawn in report.drawn:
        if drawn.table is not None:
            drawn.table.write_csv(outputs.tables.path / f"{drawn.item.anchor}.csv")
    outputs.summary.write(tuple(report.measures))
    texts = {outputs.model_card: model_card(report), outputs.safety_report: safety_report(report)}
    files = [outputs.summary.name, *(file.name for file in texts)]
    if report.search:
        texts[outputs.replies] = render_search(report, outputs.page.name)
        files.insert(0, outputs.replies.name)
    for file, text in {**texts, outputs.page: render(report, files)}.items():
        file.path.write_text(text, encoding="utf-8")
    index = report.index()
    return Result(
        measures=sum(measure.value is not None for measure in report.measures),
        measures_missing=sum(measure.value is None for measure in report.measures),
        artefacts=dict(Counter(artefact.status for artefact in index)),
    )


REPORTING = StageKind(
    name="reporting",
    config=NoSettings,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run=run,
    shows=True,
)


def add_report(plan: Plan) -> None:
    """Add the report of everything that a plan holds so far."""
    everything = tuple(StageFolder(stage.name, "") for stage in plan.stages)
    plan.add(REPORTING, NoSettings(), Inputs(stages=everything))
