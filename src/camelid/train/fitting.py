"""Drives the loop inside a stage.

Resumes from the newest checkpoint, logs, checkpoints, shows progress.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence

from camelid.run.stage import StageContext
from camelid.runtime import Precision
from camelid.train.checkpoint import Checkpoints
from camelid.train.config import OptimizerConfig
from camelid.train.loop import BatchT_contra, ModelT_contra, Objective, StepResult, train
from camelid.train.metrics import MetricsFile, metrics_row
from camelid.train.optimizer import make_optimizer, make_schedule

CHECKPOINT_SECONDS = 90.0
"""Time between checkpoints inside a stage; it bounds what an interruption costs."""


def fit(
    model: ModelT_contra,
    objective: Objective[ModelT_contra, BatchT_contra],
    batches_from: Callable[[int], Iterator[Sequence[BatchT_contra]]],
    config: OptimizerConfig,
    *,
    steps: int,
    context: StageContext,
    name: str = "metrics",
    precision: Precision = "auto",
) -> Iterator[StepResult]:
    """Train a model to its last step and yield each step's result.

    Args:
        model: Trained in place; after an interruption it continues from the newest checkpoint.
        objective: What to minimise.
        batches_from: Micro-batches from the step after the given one on.
        config: Optimizer and schedule.
        steps: Optimizer steps in all.
        context: The stage; checkpoints live in its work folder, metrics go to its output.
        name: Name of the metrics file.
        precision: Compute type.
    """
    optimizer = make_optimizer({"model": (model, 1.0)}, config)
    checkpoints = Checkpoints(context.work / f"checkpoints_{name}")
    start, _ = checkpoints.restore(model, optimizer)
    log = context.work / f"{name}.jsonl"
    metrics = MetricsFile(log, key="step", last=start)
    saved = time.monotonic()
    results = train(
        model,
        objective,
        batches_from(start),
        optimizer,
        make_schedule(config, steps),
        steps=steps,
        start=start,
        clip=config.clip,
        precision=precision,
    )
    for result in results:
        metrics.append(metrics_row(result))
        context.progress.update(result.step, steps, loss=result.loss)
        yield result
        if time.monotonic() - saved > CHECKPOINT_SECONDS or result.step == steps:
            checkpoints.save(result.step, model, optimizer, {})
            saved = time.monotonic()
    shutil.copy(log, context.out / log.name)
