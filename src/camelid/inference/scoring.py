"""Scores and log-probabilities of given token sequences, in batches of similar length.

Source: arXiv 2307.09288, Section 3.2.2 (reward model scores) and 3.2.3 (log-probabilities for the
KL term).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camelid.losses import log_probabilities
from camelid.model.padding import pad_right, select_padded
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.runtime import Precision, compute


def length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield item numbers, longest first, so that rows x longest stays within `batch_tokens`."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


@torch.no_grad()
def score(
    model: RewardModel,
    sequences: Sequence[list[int]],
    *,
    precision: Precision = "auto",
    batch_tokens: int = 2048,
) -> list[float]:
    """Return the raw reward (logit) of each prompt + reply, in the given order."""
    scores = [0.0] * len(sequences)
    for indices in length_batches([len(s) for s in sequences], batch_tokens):
        tokens, lengths = pad_right([sequences[i] for i in indices], 0, model.device)
        with compute(model.device, precision):
            values = model(tokens, lengths).tolist()
        for index, value in zip(indices, values, strict=True):
            scores[index] = value
    return scores


@dataclass(frozen=True, slots=True)
class ActionValues:
    """What one sequence's actions are worth, tensors of shape (actions,) on the CPU."""

    logp: Tensor
    values: Tensor | None


@torch.no_grad()
def action_log_probabilities(
    model: Transformer,
    sequences: Sequence[list[int]],
    prompt_lengths: Sequence[int],
    *,
    temperature: float = 1.0,
    critic: RewardModel | None = None,
    precision: Precision = "auto",
    batch_tokens: int = 8192,
) -> list[ActionValues]:
    """Return teacher-forced log-probabilities (and critic values) of the tokens after each prompt.

    Args:
        model: The policy or the reference.
        sequences: Prompt and reply of each row.
        prompt_lengths: Tokens of the prompt; the rest are actions.
        temperature: Divides the logits, as when sampling.
        critic: Values of the states before each action, when given.
        precision: Compute type.
        batch_tokens: Most tokens (padding included) in one forward pass.
    """
    results: list[ActionValues | None] = [None] * len(sequences)
    for indices in length_batches([len(s) for s in sequences], batch_tokens):
        tokens_BL, _ = pad_right([sequences[i] for i in indices], 0, model.device)
        states_BL = torch.zeros(tokens_BL.shape, dtype=torch.bool)
        for row, index in enumerate(indices):
            states_BL[row, prompt_lengths[index] - 1 : len(sequences[index]) - 1] = True
        states_BL = states_BL.to(model.device)
        with compute(model.device, precision):
            hidden_ND, count = select_padded(model(tokens_BL), states_BL)
            logits_NV = model.logits(hidden_ND)[:count]
            targets_N = tokens_BL.roll(-1, 1)[states_BL]
            logp_N = log_probabilities(logits_NV, targets_N, temperature).cpu()
            values_N = critic.values(tokens_BL)[states_BL].cpu() if critic is not None else None
        start = 0
        for index in indices:
            stop = start + len(sequences[index]) - prompt_lengths[index]
            values = None if values_N is None else values_N[start:stop]
            results[index] = ActionValues(logp_N[start:stop], values)
            start = stop
    return [result for result in results if result is not None]
