"""Drives the loop inside a stage: resumes from the newest checkpoint, logs, checkpoints.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from torch import nn

from camelid.data.records import MetricsRow
from camelid.run.place import Rows
from camelid.run.stage import StageContext
from camelid.train.checkpoint import Checkpoints
from camelid.train.config import OptimizerConfig
from camelid.train.loop import BatchT_contra, ModelT_contra, Objective, StepResult, train
from camelid.train.metrics import RowsFile, metrics_row
from camelid.train.optimizer import make_optimizer, make_schedule

CHECKPOINT_SECONDS = 90.0
"""Time between checkpoints inside a stage; it bounds what an interruption costs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """A part of the model with its share of the learning rate; its gradient is clipped apart."""

    module: nn.Module
    factor: float = 1.0


class Fitting(Generic[ModelT_contra]):
    """One training session: what it resumes from and what it keeps.

    Args:
        model: Trained in place; after an interruption it continues from the newest checkpoint.
        config: Optimizer and schedule.
        steps: Optimizer steps in all.
        context: The stage; checkpoints live in its work folder.
        metrics: Where the metrics are written at the end.
        modules: Parts of the model that learn, all of it by default.
        every: Checkpoints are written after a multiple of this many steps only.
    """

    def __init__(
        self,
        model: ModelT_contra,
        config: OptimizerConfig,
        *,
        steps: int,
        context: StageContext,
        metrics: Rows[MetricsRow],
        modules: Mapping[str, Module] | None = None,
        every: int = 1,
    ) -> None:
        self.model, self.config, self.steps, self.every = model, config, steps, every
        parts = modules or {"model": Module(module=model)}
        self.optimizer = make_optimizer(
            {name: (part.module, part.factor) for name, part in parts.items()}, config
        )
        self._log = dataclasses.replace(metrics, folder=context.work)
        self._metrics = metrics
        self._checkpoints = Checkpoints(context.work / f"checkpoints_{metrics.name}")
        self.start, self.state = self._checkpoints.restore(model, self.optimizer)
        """Steps already done, and what the stage keeps beside the weights."""

    def set_factor(self, owner: str, factor: float) -> None:
        """Change a module's share of the learning rate from the next step on."""
        for group in self.optimizer.param_groups:
            if group["owner"] == owner:
                group["factor"] = factor

    def run(
        self,
        objective: Objective[ModelT_contra, BatchT_contra],
        batches: Iterator[Sequence[BatchT_contra]],
    ) -> Iterator[StepResult]:
        """Train to the last step and yield each step's result.

        Args:
            objective: What to minimise.
            batches: Micro-batches of the steps after `start`.
        """
        rows = RowsFile(self._log, key="step", last=self.start)
        saved = time.monotonic()
        results = train(
            self.model,
            objective,
            batches,
            self.optimizer,
            make_schedule(self.config, self.steps),
            steps=self.steps,
            start=self.start,
            clip=self.config.clip,
        )
        for result in results:
            rows.append(metrics_row(result))
            yield result
            due = time.monotonic() - saved > CHECKPOINT_SECONDS and result.step % self.every == 0
            if due or result.step == self.steps:
                self._checkpoints.save(result.step, self.model, self.optimizer, self.state)
                saved = time.monotonic()

    def keep_metrics(self) -> None:
        """Copy the metrics to the stage's outputs."""
        shutil.copy(self._log.path, self._metrics.path)


def fit(
    model: ModelT_contra,
    objective: Objective[ModelT_contra, BatchT_contra],
    batches_from: Callable[[int], Iterator[Sequence[BatchT_contra]]],
    config: OptimizerConfig,
    *,
    steps: int,
    context: StageContext,
    metrics: Rows[MetricsRow],
) -> Iterator[StepResult]:
    """Train a model to its last step, show progress and yield each step's result.

    Args:
        model: As in `Fitting`.
        objective: What to minimise.
        batches_from: Micro-batches from the step after the given one on.
        config: Optimizer and schedule.
        steps: Optimizer steps in all.
        context: The stage.
        metrics: Where the metrics are written.
    """
    fitting = Fitting(model, config, steps=steps, context=context, metrics=metrics)
    for result in fitting.run(objective, batches_from(fitting.start)):
        context.progress.update(result.step, steps, loss=result.loss)
        yield result
    fitting.keep_metrics()
