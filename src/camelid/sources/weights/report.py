"""What the report shows of given weights: the model's shape."""

from __future__ import annotations

from camelid.report.model_table import model_table
from camelid.run.finished import Found
from camelid.run.item import StageReport, Table
from camelid.run.stage import NoInputs
from camelid.sources.weights import Config, Outputs, Result

Seen = Found[Config, NoInputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def _caption(seen: Seen) -> str:
    result = seen.last.result
    return f"Given weights: {result.name} ({result.file}), licence {result.license}."


@REPORT.item("run", "The model", _caption, "Table 1", card="Model Details")
def _model(seen: Seen) -> Table:
    return model_table(seen.last.result.model)
