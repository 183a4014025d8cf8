"""The one training loop: every stage that learns goes through `train`.

An objective returns sums; the loop divides once by the weight of the whole step, so any split into
micro-batches gives the same gradient.

Source: arXiv 2307.09288, Section 2.2 (clipping). The contract is Source: choice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from camelid.errors import TrainingError
from camelid.runtime import compute
from camelid.train.optimizer import Schedule


class Batch(Protocol):
    """One micro-batch."""

    @property
    def token_count(self) -> int:
        """Tokens processed, padding excluded."""
        ...


ModelT_contra = TypeVar("ModelT_contra", bound=nn.Module, contravariant=True)
BatchT_contra = TypeVar("BatchT_contra", bound=Batch, contravariant=True)


class Objective(Protocol[ModelT_contra, BatchT_contra]):
    """What a stage minimises."""

    def weight(self, batch: BatchT_contra) -> Tensor:
        """Tokens, pairs or actions that count, known before the forward pass; stays on the device.

        A whole number of shape ().
        """
        ...

    def loss_sum(
        self, model: ModelT_contra, batch: BatchT_contra
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of losses and sums of metrics (each divided by the same weight)."""
        ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one optimizer step did."""

    step: int
    """Counted from 1."""
    loss: float
    """Loss per unit of weight."""
    metrics: dict[str, float]
    """Metrics per unit of weight."""
    grad_norm: float
    """Largest norm over the separately clipped modules, before clipping."""
    learning_rate: float
    tokens: int
    seconds: float
    """Time of forward, backward and update, without making the batch."""


def train(
    model: ModelT_contra,
    objective: Objective[ModelT_contra, BatchT_contra],
    batches: Iterator[Sequence[BatchT_contra]],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    steps: int,
    start: int = 0,
    clip: float = 1.0,
) -> Iterator[StepResult]:
    """Train and yield one result per optimizer step.

    Args:
        model: What the objective evaluates.
        objective: Weight and sum of losses of a micro-batch.
        batches: The micro-batches of each step; must begin with step `start + 1`.
        optimizer: From `make_optimizer`.
        schedule: Learning rate of a step.
        steps: Last step.
        start: Steps already done (resuming).
        clip: Largest gradient norm of each module.

    Raises:
        TrainingError: The loss or the gradient is not finite; the weights are untouched.
    """
    owners: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        owners.setdefault(group["owner"], []).extend(group["params"])
    device = next(iter(owners.values()))[0].device
    for step in range(start + 1, steps + 1):
        micro_batches = next(batches)
        began = time.perf_counter()
        # Whole numbers below 2**24, so the division is exact in fp32 too.
        total = torch.stack([objective.weight(batch) for batch in micro_batches]).sum().float()
        optimizer.zero_grad(set_to_none=True)
        loss_total = torch.zeros((), dtype=torch.float64, device=device)
        sums: dict[str, Tensor] = {}
        for batch in micro_batches:
            with compute(model):
                loss, metrics = objective.loss_sum(model, batch)
            (loss / total).backward()  # type: ignore[no-untyped-call]
            loss_total += loss.detach().double()
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double()
        norms = [nn.utils.clip_grad_norm_(owned, clip) for owned in owners.values()]
        # The one moment at which the host waits for the device.
        counted, loss_sum, *values = torch.stack(
            [value.double().to(device) for value in (total, loss_total, *norms, *sums.values())]
        ).tolist()
        if counted <= 0:
            raise TrainingError(
                f"step {step}: no token, pair or action counts in this batch; at least one must."
            )
        grad_norm, loss_value = max(values[: len(norms)]), loss_sum / counted
        if not all(map(math.isfinite, (loss_value, *values[: len(norms)]))):
            raise TrainingError(
                f"step {step}: loss {loss_value} with gradient norm {grad_norm}; "
                "both must be finite. The weights were not changed. "
                "Lower the learning rate or look at the batch."
            )
        learning_rate = schedule(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        optimizer.step()
        yield StepResult(
            step=step,
            loss=loss_value,
            metrics={n: v / counted for n, v in zip(sums, values[len(norms) :], strict=True)},
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            tokens=sum(batch.token_count for batch in micro_batches),
            seconds=time.perf_counter() - began,
        )
