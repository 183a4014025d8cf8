"""Pretraining (Section 2).

A transformer learns to predict every token of the corpus: AdamW, cosine learning rate with warm-up
to 10 % of the peak, weight decay 0.1, clipping 1.0. Documents are packed in rows, each isolated
from its neighbours (masking within a row is not specified in the paper: Source: choice).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from camelid.data.records import MetricsRow
from camelid.data.rendered import Order
from camelid.model.config import ModelConfig
from camelid.report import figure
from camelid.report.estimates import measure
from camelid.report.texts import model_table
from camelid.run.finished import Finished, Found
from camelid.run.item import Drawing, Line, Measure, NotApplicableError, StageReport, Table
from camelid.run.place import (
    Corpus,
    ModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.settings import BatchSize, PaperValue, Range, Steps, Tokens, bounded
from camelid.train.config import OptimizerConfig, paper_optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of pretraining."""

    model: ModelConfig
    """Shape of the transformer."""
    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 3e-4 (7B, 13B) or 1.5e-4 (34B, 70B)."""
    batch_rows: BatchSize
    """Rows per optimizer step; the paper's batch is 4M tokens."""
    row_tokens: Tokens
    """Tokens a row; the paper's context is 4096."""
    tokens: Annotated[int, Range(1, 10**14)]
    """Tokens to train on, rounded up to whole steps; the paper's models saw 2.0T."""
    order: Order = "shuffled"
    """Order of the documents; `as_written` follows the corpus file (Source: choice)."""
    micro_rows: BatchSize = 8
    """Rows in memory at once; cannot change the result."""
    validate_every: Steps = 200
    """Steps between validation losses."""

    def __post_init__(self) -> None:
        self.model.require_context(self.row_tokens, "pretraining.row_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    corpus: Corpus
    validation: Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationRow:
    """Cross entropy on the validation corpus after a step."""

    step: int
    loss: float
    """In nats a token."""


class Outputs(StageOutputs):
    """What the stage writes."""

    model: ModelFolder = place("model")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")
    validation: Rows[ValidationRow] = place("validation.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was learned from how much."""

    validation_perplexity: float
    validation_tokens: int
    parameters: int
    steps: int
    tokens: int
    corpus_tokens: int
    epochs: float
    padding_share: float


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
        yield measure("pretraining.parameters", "parameters", lambda: float(result.parameters))
        yield measure("pretraining.tokens", "count", lambda: float(result.tokens))


@REPORT.lines
def _lines(seen: Seen) -> Iterable[Line]:
    if len(seen.stages) == 1:
        yield Line(
            tile="trained",
            text="A transformer of {pretraining.parameters} parameters, pretrained on "
            "{pretraining.tokens} tokens of text.",
        )


_BASE = "Section 2.2"
PRETRAINING = StageKind(
    name="pretraining",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.pretraining.stage:run",
    report=REPORT,
    paper={
        **paper_optimizer("3e-4 (7B, 13B), 1.5e-4 (34B, 70B)", _BASE),
        "optimizer.schedule": PaperValue("cosine", _BASE),
        "optimizer.warmup_minimum": PaperValue("2,000 steps", _BASE),
        "optimizer.final_fraction": PaperValue("0.1", _BASE),
        "row_tokens": PaperValue("4,096", "Table 1"),
        "batch_rows": PaperValue("4M tokens", "Table 1"),
        "tokens": PaperValue("2.0T", "Table 1"),
    },
)
