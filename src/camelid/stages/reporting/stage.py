"""Draws the report of the run."""

from __future__ import annotations

from collections import Counter

from camelid.benchmarks.report import REPORT as BENCHMARKS
from camelid.benchmarks.report import evaluated
from camelid.report.cards import model_card, safety_report
from camelid.report.page import make_report, render
from camelid.run.finished import FinishedRun
from camelid.run.stage import NoSettings, StageContext
from camelid.stages.reporting import Inputs, Outputs, Result


def run(_: NoSettings, __: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Write page, summary, cards and tables."""
    seen = FinishedRun(context.root, context.stages)
    report = make_report(
        seen,
        (BENCHMARKS, bool(evaluated(seen))),
        model_card=outputs.model_card.name,
        safety_report=outputs.safety_report.name,
    )
    outputs.tables.path.mkdir()
    for drawn in report.drawn:
        if drawn.table is not None:
            drawn.table.write_csv(outputs.tables.path / f"{drawn.item.anchor}.csv")
    outputs.summary.write(tuple(report.measures))
    texts = {outputs.model_card: model_card(report), outputs.safety_report: safety_report(report)}
    files = [outputs.summary.name, *(place.name for place in texts)]
    for place, text in {**texts, outputs.page: render(report, files)}.items():
        place.path.write_text(text, encoding="utf-8")
    index = report.index()
    return Result(
        measures=sum(measure.value is not None for measure in report.measures),
        measures_missing=sum(measure.value is None for measure in report.measures),
        artefacts=dict(Counter(artefact.status for artefact in index)),
    )
