"""Scores and log-probabilities of given token sequences, in batches of similar length.

Source: arXiv 2307.09288, Section 3.2.2 (reward model scores) and 3.2.3 (log-probabilities for the
KL term).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camelid.inference.replies import Reply
from camelid.losses import log_probabilities
from camelid.model.padding import common_beginning, pad_pairs, pad_right, select_padded
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.runtime import compute


def length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield item numbers, longest first, so that rows x longest stays within `batch_tokens`."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def _context(models: Sequence[RewardModel | Transformer]) -> int:
    """Return the longest sequence that every model can read."""
    return min(model.config.context for model in models)


def score(
    model: RewardModel, sequences: Sequence[list[int]], *, batch_tokens: int = 2048
) -> list[float]:
    """Return the raw reward (logit) of each prompt + reply, in the given order."""
    return score_all((model,), sequences, batch_tokens=batch_tokens)[0]


@torch.no_grad()
def score_all(
    models: Sequence[RewardModel], sequences: Sequence[list[int]], *, batch_tokens: int = 2048
) -> list[list[float]]:
    """Return the raw rewards (logits) of each prompt + reply by every model, padded once."""
    scores = [[0.0] * len(sequences) for _ in models]
    for indices in length_batches([len(s) for s in sequences], batch_tokens):
        rows, context = [sequences[i] for i in indices], _context(models)
        tokens, lengths = pad_right(rows, 0, models[0].device, longest=context)
        for model, found in zip(models, scores, strict=True):
            with compute(model):
                values = model(tokens, lengths[:, None] - 1)[:, 0].tolist()
            for index, value in zip(indices, values, strict=True):
                found[index] = value
    return scores


@torch.no_grad()
def score_pairs(
    model: RewardModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_tokens: int = 2048,
) -> list[tuple[float, float]]:
    """Return the raw rewards (logits) of two sequences each, their common beginning read once."""
    scores: dict[int, tuple[float, float]] = {}
    lengths = [len(a) + len(b) - common_beginning(a, b) for a, b in pairs]
    for indices in length_batches(lengths, batch_tokens):
        chosen = [pairs[index] for index in indices]
        rows = pad_pairs(chosen, 0, model.device, longest=model.config.context)
        with compute(model):
            found = model(
                rows.tokens_BL,
                rows.ends_B2,
                positions_BL=rows.positions_BL,
                documents_BL=rows.documents_BL,
            )
        scores |= {i: (a, b) for i, (a, b) in zip(indices, found.tolist(), strict=True)}
    return [scores[index] for index in range(len(pairs))]


@dataclass(frozen=True, slots=True)
class ActionValues:
    """What one sequence's actions are worth, tensors of shape (actions,) on the CPU."""

    logp: Tensor
    values: Tensor | None


@torch.no_grad()
def action_log_probabilities(
    models: Sequence[Transformer],
    sequences: Sequence[list[int]],
    prompt_lengths: Sequence[int],
    *,
    temperature: float = 1.0,
    critic: RewardModel | None = None,
    batch_tokens: int = 8192,
) -> list[list[ActionValues]]:
    """Return teacher-forced log-probabilities (and critic values) of the tokens after each prompt.

    Args:
        models: The policy and its references: the same rows go through each, padded once.
        sequences: Prompt and reply of each row.
        prompt_lengths: Tokens of the prompt; the rest are actions.
        temperature: Divides the logits, as when sampling.
        critic: Values of the states before each action, when given; they stand with the first
            model's rows.
        batch_tokens: Most tokens (padding included) in one forward pass.

    Returns:
        For each model one entry a sequence.
    """
    device = models[0].device
    results: list[dict[int, ActionValues]] = [{} for _ in models]
    for indices in length_batches([len(s) for s in sequences], batch_tokens):
        rows = [sequences[i] for i in indices]
        tokens_BL, _ = pad_right(rows, 0, device, longest=_context(models))
        states_BL = torch.zeros(tokens_BL.shape, dtype=torch.bool)
        for row, index in enumerate(indices):
            states_BL[row, prompt_lengths[index] - 1 : len(sequences[index]) - 1] = True
        states_BL = states_BL.to(device)
        targets_N = tokens_BL.roll(-1, 1)[states_BL]
        counts = [len(sequences[index]) - prompt_lengths[index] for index in indices]
        for model, found in zip(models, results, strict=True):
            values = None
            with compute(model):
                hidden_ND, count = select_padded(model(tokens_BL), states_BL)
                logits_NV = model.logits(hidden_ND)[:count]
                logp_N = log_probabilities(logits_NV, targets_N, temperature).cpu()
                if critic is not None and found is results[0]:
                    values = torch.split(critic.values(tokens_BL)[states_BL].cpu(), counts)
            for row, (index, logp) in enumerate(
                zip(indices, torch.split(logp_N, counts), strict=True)
            ):
                found[index] = ActionValues(logp, None if values is None else values[row])
    return [[found[index] for index in range(len(sequences))] for found in results]


def sequence_log_ratios(
    model: Transformer, reference: Transformer, replies: Sequence[Reply], *, temperature: float
) -> list[float]:
    """Return the log-ratio of each whole reply between a model and its reference, in nats.

    At the temperature of the replies, and drawn without a top-p cut, the mean estimates their
    Kullback-Leibler divergence; with a cut it does not.
    """
    own, base = action_log_probabilities(
        (model, reference),
        [reply.sequence for reply in replies],
        [len(reply.prompt_tokens) for reply in replies],
        temperature=temperature,
    )
    return [float((a.logp - b.logp).sum()) for a, b in zip(own, base, strict=True)]
