"""From sampled replies to the tensors of PPO: rewards, advantages, returns, mini-batches.

Source: arXiv 2307.09288, Section 3.2.3, equation 4. Old log-probabilities come from a
teacher-forced pass of the training forward, never from the sampler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from camelid.data.records import RolloutSummary
from camelid.inference.replies import Reply
from camelid.inference.rewards import RewardPair
from camelid.inference.scoring import action_log_probabilities
from camelid.losses import (
    explained_variance,
    generalised_advantages,
    kl_penalty,
    token_rewards,
    whiten,
)
from camelid.model.actor_critic import ActorCritic
from camelid.model.padding import pad_right
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.train.objectives import RolloutBatch


class Models(NamedTuple):
    """What scores a rollout."""

    actor_critic: ActorCritic
    """Policy and critic as they are now."""
    reference: Transformer
    """The policy's start, pi_0."""
    rewards: RewardPair
    """Reward models with their gate."""
    guard: RewardModel
    """Watches only."""


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """Coefficients of the reward and of the advantages."""

    beta: float
    gamma: float
    lam: float
    missing_end_penalty: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """One batch of replies with what PPO needs of each action; tensors (B, A) on the CPU."""

    replies: Sequence[Reply]
    mask_BA: Tensor
    logp_BA: Tensor
    values_BA: Tensor
    advantages_BA: Tensor
    returns_BA: Tensor
    device: torch.device
    context: int
    """Longest sequence that the policy can read."""
    summary: RolloutSummary


def make_rollout(models: Models, replies: Sequence[Reply], settings: RolloutSettings) -> Rollout:
    """Score replies, one a row, and compute whitened advantages over the whole batch."""
    model = models.actor_critic
    rated = models.rewards.rate(replies, watching=models.guard)
    own, base = action_log_probabilities(
        (model.policy, models.reference),
        [reply.sequence for reply in replies],
        [len(reply.prompt_tokens) for reply in replies],
        temperature=settings.temperature,
        critic=model.critic,
    )
    logp_BA = pad_sequence([row.logp for row in own], batch_first=True)
    ref_BA = pad_sequence([row.logp for row in base], batch_first=True)
    values_BA = pad_sequence(
        [row.values for row in own if row.values is not None], batch_first=True
    )
    lengths_B = torch.tensor([len(reply.tokens) for reply in replies])
    mask_BA = torch.arange(logp_BA.shape[1])[None, :] < lengths_B[:, None]
    scores_B = whiten(torch.tensor(rated.combined))
    cut_B = torch.tensor([reply.stop_reason == "length" for reply in replies])
    scores_B = scores_B - settings.missing_end_penalty * cut_B
    kl = kl_penalty(logp_BA, ref_BA)
    rewards_BA = token_rewards(scores_B, kl.k1, mask_BA, settings.beta)
    advantages_BA, returns_BA = generalised_advantages(
        rewards_BA, values_BA, mask_BA, settings.gamma, settings.lam
    )
    count = len(replies)
    sampled_N = logp_BA.new_tensor([logp for reply in replies for logp in reply.logp])
    summary = RolloutSummary(
        reward=sum(rated.combined) / count,
        guard_reward=sum(rated.watched) / count,
        kl=float((kl.k1 * mask_BA).sum()) / count,
        kl_k3=float((kl.k3 * mask_BA).sum()) / count,
        entropy=float(-(logp_BA * mask_BA).sum() / mask_BA.sum()),
        eos_share=1 - float(cut_B.float().mean()),
        reply_length=float(lengths_B.float().mean()),
        value_explained_variance=float(explained_variance(values_BA, returns_BA, mask_BA)),
        gated_share=sum(rated.gated) / count,
        sampler_gap=float((sampled_N - logp_BA[mask_BA]).abs().mean()) if len(sampled_N) else None,
    )
    return Rollout(
        replies,
        mask_BA,
        logp_BA,
        values_BA,
        whiten(advantages_BA, mask_BA),
        returns_BA,
        model.device,
        model.policy.config.context,
        summary,
    )


def mini_batches(
    rollout: Rollout, minibatch_rows: int, micro_rows: int, *, seed: int
) -> Iterator[list[RolloutBatch]]:
    """Yield the micro-batches of each mini-batch: every row once, in an order drawn by the seed.

    In the order of the prompts, those of one kind would all fall into one mini-batch.
    """
    order = np.random.default_rng(seed).permutation(len(rollout.replies)).tolist()
    for start in range(0, len(order), minibatch_rows):
        rows = order[start : start + minibatch_rows]
        rows.sort(key=lambda row: len(rollout.replies[row].sequence))
        yield [
            _batch(rollout, rows[at : at + micro_rows]) for at in range(0, len(rows), micro_rows)
        ]


def _batch(rollout: Rollout, rows: list[int]) -> RolloutBatch:
    replies = [rollout.replies[row] for row in rows]
    sequences = [reply.sequence for reply in replies]
    tokens_BL, lengths_B = pad_right(sequences, 0, rollout.device, longest=rollout.context)
    actions_BL = torch.zeros(tokens_BL.shape, dtype=torch.bool)
    for index, reply in enumerate(replies):
        actions_BL[index, len(reply.prompt_tokens) : len(reply.sequence)] = True
    mask_BA = rollout.mask_BA[rows]

    def flat(table_BA: Tensor) -> Tensor:
        return table_BA[rows][mask_BA].to(rollout.device)

    return RolloutBatch(
        tokens_BL=tokens_BL,
        actions_BL=actions_BL.to(rollout.device),
        old_logp_N=flat(rollout.logp_BA),
        advantages_N=flat(rollout.advantages_BA),
        returns_N=flat(rollout.returns_BA),
        old_values_N=flat(rollout.values_BA),
        token_count=int(lengths_B.sum()),
    )
