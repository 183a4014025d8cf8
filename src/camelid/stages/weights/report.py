"""What the report shows of given weights: the model's shape."""

from __future__ import annotations

from camelid.report.model_table import model_table
from camelid.run.finished import Found
from camelid.run.item import Item, StageReport, Table
from camelid.run.stage import NoInputs
from camelid.stages.weights import Config, Outputs, Result

Seen = Found[Config, NoInputs, Outputs, Result]


def _model(seen: Seen) -> Table:
    return model_table(seen.last.result.model)


def _caption(seen: Seen) -> str:
    result = seen.last.result
    return f"Given weights: {result.name} ({result.file}), licence {result.license}."


REPORT: StageReport[Seen] = StageReport(
    items=(
        Item(
            anchor="model",
            title="The model",
            caption=_caption,
            draw=_model,
            section="run",
            paper=("Table 1",),
            card="Model Details",
        ),
    ),
)
