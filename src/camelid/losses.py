"""Every equation of the recipe: pure functions that return sums, so that the loop divides once.

Shapes: N tokens, V vocabulary, B rows (pairs or rollouts), A answer length. "Any shape" means that
the function is elementwise. Computation is in float32, or in float64 where the input is float64.
Masks are positional booleans; what stands at a masked place, even a NaN, never enters a result.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from camelid.data.records import STRENGTHS
from camelid.errors import ConfigError

MARGINS: dict[Literal["none", "small", "large"], dict[str, float]] = {
    "none": dict(zip(STRENGTHS, (0.0, 0.0, 0.0, 0.0), strict=True)),
    "small": dict(zip(STRENGTHS, (1.0, 2 / 3, 1 / 3, 0.0), strict=True)),
    "large": dict(zip(STRENGTHS, (3.0, 2.0, 1.0, 0.0), strict=True)),
}
"""Margin m(r) of equation 2 by strength of preference, in units of the reward model's raw score.

Source: arXiv 2307.09288, Section A.3.3, Table 27.
"""

# exp(20) is 4.9e8: far beyond any ratio that the clip lets through, and far below overflow.
_LARGEST_LOG_RATIO = 20.0


class KLPenalty(NamedTuple):
    """Two unbiased estimates of KL(policy || reference) at sampled tokens, nats, any shape.

    k1 = log p - log q is signed, and the one to subtract from the reward; k3 = exp(-k1) - 1 + k1 is
    never negative: watch this one.
    """

    k1: Tensor
    k3: Tensor


class Advantages(NamedTuple):
    """Result of `generalised_advantages`, each of shape (B, A), 0 where masked."""

    advantages: Tensor
    returns: Tensor


class PolicyLoss(NamedTuple):
    """Result of `policy_loss_sum`: sums over the actions of the mask, each of shape ()."""

    loss: Tensor
    clipped: Tensor
    """Number of actions whose clipped term is the larger one, so that they carry no gradient."""


def _full_precision(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    # `where` instead of a product: 0 * NaN is NaN, and so is its gradient.
    values = _full_precision(values)
    return torch.where(mask, values, torch.zeros_like(values))


def cross_entropy_sum(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Next-token loss.

    Args:
        logits_NV: scores of every vocabulary entry, shape (N, V), any float type.
        targets_N: the tokens that follow, shape (N,), int64; only those that carry loss.

    Returns:
        Sum of -log p(target) in nats, shape ().

    Source: arXiv 2307.09288, Sections 2.2 and 3.1 (autoregressive objective).
    """
    return functional.cross_entropy(_full_precision(logits_NV), targets_N, reduction="sum")


def log_probabilities(logits_NV: Tensor, tokens_N: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token under the distribution that the sampler draws from.

    Args:
        logits_NV: shape (N, V), any float type.
        tokens_N: shape (N,), int64.
        temperature: the sampler's; old, new and reference policy all take the same.

    Returns:
        log p in nats, shape (N,), float32 or float64.

    Source: arXiv 2307.09288, Section 3.2.3; dividing by the temperature is a choice: the ratio of
        PPO is only then 1 before the first step.
    """
    scaled_NV = _full_precision(logits_NV) / temperature
    return -functional.cross_entropy(scaled_NV, tokens_N, reduction="none")


def entropy(logits_NV: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of each next-token distribution, for the log only.

    Args:
        logits_NV: shape (N, V); an entry of -inf has probability 0.
        temperature: the sampler's.

    Returns:
        Entropy in nats, shape (N,).

    Source: choice; the paper has no entropy bonus, but a collapse shows here first.
    """
    # `entr` and not -p log p, which is NaN where p is 0.
    probabilities_NV = torch.softmax(_full_precision(logits_NV) / temperature, dim=-1)
    terms_NV: Tensor = torch.special.entr(probabilities_NV)
    return terms_NV.sum(-1)


def ranking_loss_sum(chosen_B: Tensor, rejected_B: Tensor, margin_B: Tensor) -> Tensor:
    """Binary ranking loss with a margin, -log sigmoid(r_c - r_r - m).

    Args:
        chosen_B: raw scores of the preferred replies, shape (B,).
        rejected_B: raw scores of the other replies, shape (B,).
        margin_B: from `MARGINS` by strength of preference, shape (B,).

    Returns:
        Sum over pairs, shape ().

    Source: arXiv 2307.09288, Section 3.2.2, equation 2 (equation 1 where the margin is 0).
    """
    difference_B = _full_precision(chosen_B) - _full_precision(rejected_B)
    return -functional.logsigmoid(difference_B - margin_B).sum()


def safety_auxiliary_sum(
    chosen_B: Tensor,
    rejected_B: Tensor,
    chosen_safe_B: Tensor,
    rejected_safe_B: Tensor,
    labelled_B: Tensor,
) -> Tensor:
    """Auxiliary loss of the safety reward model: tell safe replies from unsafe ones.

    Args:
        chosen_B: raw scores of the preferred replies, shape (B,).
        rejected_B: raw scores of the other replies, shape (B,).
        chosen_safe_B: true where the preferred reply is safe, shape (B,), bool.
        rejected_safe_B: true where the other reply is safe, shape (B,), bool.
        labelled_B: false where the pair has no safety label and adds 0, shape (B,), bool.

    Returns:
        Sum over pairs of the mean of the pair's two binary cross entropies, shape ().

    Source: arXiv 2307.09288, Section A.3.4, Table 29. The formula is a choice, the paper gives
        none: its recall is measured at a score of 0.5, and this loss puts the boundary there.
    """
    scores_2B = _full_precision(torch.stack((chosen_B, rejected_B)))
    safe_2B = torch.stack((chosen_safe_B, rejected_safe_B)).to(scores_2B.dtype)
    losses_2B = functional.binary_cross_entropy_with_logits(scores_2B, safe_2B, reduction="none")
    return _masked(losses_2B.mean(0), labelled_B).sum()


def logit(probability: float) -> float:
    """Inverse of the sigmoid: the raw score of a reward model whose sigmoid is `probability`.

    Raises:
        ConfigError: `probability` is not strictly between 0 and 1.

    Source: arXiv 2307.09288, Section 3.2.3, definition of the whitened reward.
    """
    if not 0.0 < probability < 1.0:
        raise ConfigError(
            f"A probability of {probability} has no logit; give one strictly between 0 and 1."
        )
    return math.log(probability) - math.log1p(-probability)


def gated_reward(
    helpfulness_B: Tensor, safety_B: Tensor, is_safety_B: Tensor, threshold: float = 0.15
) -> Tensor:
    """logit(R_c): the safety score on safety prompts and below the threshold, else helpfulness.

    The gate compares raw scores with logit(threshold), and the logit of a sigmoid is the raw score
    itself; going through the sigmoid gives inf from a score of 17 in float32 (6.5 in bfloat16).

    Args:
        helpfulness_B: raw scores of the helpfulness reward model, shape (B,).
        safety_B: raw scores of the safety reward model, shape (B,).
        is_safety_B: true for prompts tagged as able to draw an unsafe reply, shape (B,), bool.
        threshold: safety probability strictly below which the safety score is taken.

    Returns:
        The chosen raw score, shape (B,).

    Source: arXiv 2307.09288, Section 3.2.3, definition of R_c after equation 4.
    """
    helpfulness_B, safety_B = _full_precision(helpfulness_B), _full_precision(safety_B)
    # The threshold is rounded to the scores' precision, so a score of exactly 0.15 stays ungated.
    boundary = torch.tensor(logit(threshold), dtype=safety_B.dtype, device=safety_B.device)
    return torch.where(is_safety_B | (safety_B < boundary), safety_B, helpfulness_B)


def whiten(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scale to mean 0 and variance 1 over the mask.

    Args:
        values: rewards of the whole rollout batch, shape (B,), or advantages, (B, A).
        mask: places that count, same shape, bool; all of them if None.

    Returns:
        (values - mean) / sqrt(unbiased variance + 1e-8), same shape, 0 where masked. A single value
        and equal values carry no information and give exactly 0.

    Source: arXiv 2307.09288, Section 3.2.3. Population, unbiased variance and the shift of the mean
        are choices; the paper only says "whiten".
    """
    values = _full_precision(values)
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    counted_N = values[mask]
    count = counted_N.numel()
    if count == 0:
        return torch.zeros_like(values)
    # The mean of equal values is off by a rounding error, which 1 / sqrt(1e-8) would blow up.
    equal = counted_N.min() == counted_N.max()
    mean = torch.where(equal, counted_N.min(), counted_N.mean())
    variance = (counted_N - mean).square().sum() / max(count - 1, 1)
    return _masked((values - mean) * torch.rsqrt(variance + 1e-8), mask)


def kl_penalty(logp: Tensor, ref_logp: Tensor) -> KLPenalty:
    """Estimates of the KL divergence from the reference at tokens sampled from the policy.

    Args:
        logp: log-probabilities under the policy that sampled, nats, any shape.
        ref_logp: the same under the reference, same shape.

    Returns:
        An estimate per token. k1 is neither clipped nor made absolute: only so is it unbiased.

    Source: arXiv 2307.09288, Section 3.2.3, equation 4; the estimator is a choice.
    """
    k1 = _full_precision(logp) - _full_precision(ref_logp)
    return KLPenalty(k1=k1, k3=torch.expm1(-k1) + k1)


def token_rewards(scores_B: Tensor, k1_BA: Tensor, mask_BA: Tensor, beta: float) -> Tensor:
    """Spread R = score - beta KL over the actions: the penalty on each, the score on the last.

    Args:
        scores_B: whitened gated reward of each reply, shape (B,).
        k1_BA: `kl_penalty(...).k1`, nats, shape (B, A).
        mask_BA: true at the actions of the policy, shape (B, A), bool; holes are allowed.
        beta: coefficient of the penalty, reward per nat.

    Returns:
        Rewards, shape (B, A), 0 where masked; a row without any action has none.

    Source: arXiv 2307.09288, Section 3.2.3, equation 4; the split over tokens is a choice.
    """
    positions_A = torch.arange(mask_BA.shape[1], device=mask_BA.device)
    last_B = torch.where(mask_BA, positions_A, -1).amax(1)
    is_last_BA = positions_A == last_B[:, None]
    penalties_BA = -beta * _masked(k1_BA, mask_BA)
    return penalties_BA + torch.where(is_last_BA, _full_precision(scores_B)[:, None], 0.0)


def generalised_advantages(
    rewards_BA: Tensor, values_BA: Tensor, mask_BA: Tensor, gamma: float = 1.0, lam: float = 0.95
) -> Advantages:
    """Generalised advantage estimation (GAE) over the actions of each row.

    An action before a hole (text that the policy did not write) is followed by the first action
    after it. The state after the last action is worth 0, however the reply ended.

    Args:
        rewards_BA: shape (B, A).
        values_BA: value of the state before each action, shape (B, A).
        mask_BA: true at the actions of the policy, shape (B, A), bool.
        gamma: discount per action.
        lam: decay of the sum of temporal differences; 1 gives the Monte Carlo return.

    Returns:
        Advantages, and returns (advantages + values) as targets of the value model.

    Source: choice; the paper names PPO (arXiv 1707.06347) but neither value model nor estimator.
        The defaults are those of most public implementations.
    """
    rewards_BA, values_BA = _masked(rewards_BA, mask_BA), _masked(values_BA, mask_BA)
    advantages_BA = torch.empty_like(values_BA)
    next_value_B = torch.zeros_like(values_BA[:, 0])
    next_advantage_B = torch.zeros_like(next_value_B)
    for t in reversed(range(values_BA.shape[1])):
        acts_B, value_B = mask_BA[:, t], values_BA[:, t]
        difference_B = rewards_BA[:, t] + gamma * next_value_B - value_B
        advantage_B = difference_B + gamma * lam * next_advantage_B
        next_advantage_B = torch.where(acts_B, advantage_B, next_advantage_B)
        next_value_B = torch.where(acts_B, value_B, next_value_B)
        advantages_BA[:, t] = torch.where(acts_B, advantage_B, 0.0)
    return Advantages(advantages=advantages_BA, returns=advantages_BA + values_BA)


def policy_loss_sum(
    new_logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, clip: float = 0.2
) -> PolicyLoss:
    """Clipped policy loss, max(-A ratio, -A clip(ratio, 1 - clip, 1 + clip)).

    Args:
        new_logp: log-probabilities under the policy in training, nats, any shape.
        old_logp: log-probabilities under the policy that sampled, same shape.
        advantages: same shape.
        mask: true at the actions, same shape, bool.
        clip: largest change of the ratio that is still rewarded.

    Returns:
        Sums over actions; the log-ratio is limited to +-20 against overflow.

    Source: arXiv 2307.09288, Section 3.2.3 (PPO, clip threshold 0.2); arXiv 1707.06347, equation 7.
    """
    log_ratio = _masked(new_logp, mask) - _masked(old_logp, mask)
    log_ratio = log_ratio.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)
    advantages = _masked(advantages, mask)
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return PolicyLoss(
        loss=torch.maximum(unclipped, clipped).sum(),
        clipped=(clipped > unclipped).sum(),
    )


def value_loss_sum(
    new_values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float = 0.2
) -> Tensor:
    """Clipped value loss, 0.5 max((v - R)^2, (clip(v, v_old - clip, v_old + clip) - R)^2).

    Args:
        new_values: of the value model in training, any shape.
        old_values: of the value model at the time of the rollout, same shape.
        returns: targets, same shape.
        mask: true at the actions, same shape, bool.
        clip: largest change of a value that still lowers the loss, in units of the reward.

    Returns:
        Sum over actions, shape ().

    Source: choice; the paper does not describe its value model.
    """
    new_values, old_values = _masked(new_values, mask), _masked(old_values, mask)
    returns = _masked(returns, mask)
    near_values = torch.clamp(new_values, old_values - clip, old_values + clip)
    errors = torch.maximum((new_values - returns).square(), (near_values - returns).square())
    return 0.5 * errors.sum()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Share of the variance of the returns that the value model explains.

    Args:
        values: any shape; `returns` and `mask` (bool) have the same.
        returns: targets of the value model.
        mask: true at the actions.

    Returns:
        1 - var(returns - values) / var(returns), shape (): 1 is perfect, 0 is a constant guess,
        less is worse than that. NaN where the returns do not vary: there is nothing to explain.

    Source: choice; the usual monitor of a value model.
    """
    values_N, returns_N = _full_precision(values[mask]), _full_precision(returns[mask])
    if returns_N.numel() == 0 or bool(returns_N.min() == returns_N.max()):
        return returns_N.new_tensor(torch.nan)
    return 1 - (returns_N - values_N).var(correction=0) / returns_N.var(correction=0)
