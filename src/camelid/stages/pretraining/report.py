"""What the report shows of pretraining: the model and its losses.

A study holds several models; their curves then share one plot.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from camelid.report import figure
from camelid.report.estimates import measure
from camelid.report.model_table import model_table
from camelid.run.finished import Finished, Found
from camelid.run.item import Drawing, Measure, NotApplicableError, StageReport, Table
from camelid.stages.pretraining import Config, Inputs, Outputs, Result

Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def _millions(
    stage: Finished[Config, Inputs, Outputs, Result], steps: Iterable[int]
) -> list[float]:
    """Tokens seen after each step, in millions."""
    a_step = stage.result.tokens / stage.result.steps
    return [step * a_step / 1e6 for step in steps]


@REPORT.item("run", "Pretraining", "Loss of each step, and on the validation corpus.", "Figure 5")
def training_loss(seen: Seen) -> Drawing:
    """Figure 5: training perplexity against tokens."""
    several = len(seen.stages) > 1
    with figure.figure(height=3) as ((axes,), out):
        for index, stage in enumerate(seen.stages):
            checked = stage.rows(stage.outputs.validation)
            if not several:
                rows = stage.rows(stage.outputs.metrics)
                tokens = _millions(stage, (row.step for row in rows))
                axes.plot(tokens, np.exp([row.loss for row in rows]), label="training")
            axes.plot(
                _millions(stage, (row.step for row in checked)),
                np.exp([row.loss for row in checked]),
                "o-" if several else "o",
                color=figure.colour(index if several else 1),
                label=stage.part if several else "validation",
            )
        kind = "validation perplexity" if several else "perplexity"
        axes.set(yscale="log", xlabel="training tokens (millions)", ylabel=f"{kind} (a token)")
        figure.plain_numbers(axes.yaxis)
        figure.legend(axes)
    return out[0]


@REPORT.item(
    "run", "The model", "Settings and result of pretraining.", "Table 1", card="Model Details"
)
def _model(seen: Seen) -> Table:
    if len(seen.stages) > 1:
        raise NotApplicableError("this run holds several models")
    stage = seen.last
    return model_table(
        stage.config.model,
        tokens=stage.result.tokens,
        learning_rate=stage.config.optimizer.learning_rate,
    )


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    if len(seen.stages) == 1:
        result = seen.last.result
        yield measure(
            "pretraining.validation_perplexity",
            "perplexity",
            lambda: (result.validation_perplexity, result.validation_tokens),
            headline=("validation perplexity", "pretraining"),
        )
