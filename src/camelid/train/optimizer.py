"""AdamW and the learning-rate schedules of the paper.

Source: arXiv 2307.09288, Section 2.2 (AdamW 0.9, 0.95, 1e-5, weight decay 0.1, clipping 1.0, cosine
to 10 %), 3.2.2 (warm-up of 3 % of steps, at least 5), 3.2.3 (constant rate).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from camelid.train.config import OptimizerConfig


def cosine_with_warmup(
    step: int, steps: int, warmup: int, peak: float, final_fraction: float
) -> float:
    """Return the learning rate of one step, steps counted from 1.

    Linear warm-up reaches `peak` at step `warmup`; a half cosine reaches `final_fraction * peak` at
    `steps`.

    Source: arXiv 2307.09288, Section 2.2.
    """
    if step <= warmup:
        return peak * step / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    low = final_fraction * peak
    return low + (peak - low) * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_steps(config: OptimizerConfig, steps: int) -> int:
    """Return max(minimum, 3 % of the steps, rounded up), at most half of them (Section 3.2.2)."""
    wanted = max(config.warmup_minimum, math.ceil(config.warmup_fraction * steps))
    return max(1, min(wanted, steps // 2))


Schedule = Callable[[int], float]


def make_schedule(config: OptimizerConfig, steps: int) -> Schedule:
    """Return the learning rate as a function of the step (from 1)."""
    if config.schedule == "constant":
        return lambda _step: config.learning_rate
    warmup = warmup_steps(config, steps)
    return lambda step: cosine_with_warmup(
        step, steps, warmup, config.learning_rate, config.final_fraction
    )


def make_optimizer(
    modules: dict[str, tuple[nn.Module, float]], config: OptimizerConfig
) -> torch.optim.AdamW:
    """Build AdamW over named modules.

    Args:
        modules: Name to (module, factor on the learning rate). The gradient of each is clipped on
            its own.
        config: Settings.
    """
    groups: list[dict[str, Any]] = []
    for name, (module, factor) in modules.items():
        trainable = [p for p in module.parameters() if p.requires_grad]
        common = {"owner": name, "factor": factor}
        matrices = [p for p in trainable if p.ndim >= 2]
        vectors = [p for p in trainable if p.ndim < 2]
        groups.append({"params": matrices, "weight_decay": config.weight_decay, **common})
        groups.append({"params": vectors, "weight_decay": 0.0, **common})
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
