"""The reward of a reply: two reward models and the gate between them.

Source: arXiv 2307.09288, Section 3.2.3 (R_c).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from camelid.inference.replies import Reply
from camelid.inference.scoring import score_all
from camelid.losses import gated_reward, logit
from camelid.model.reward_model import RewardModel


@dataclass(frozen=True, slots=True)
class Rewards:
    """Raw rewards (logits) of some replies, in their order."""

    helpfulness: list[float]
    safety: list[float]
    """Empty without a safety model."""
    combined: list[float]
    """logit(R_c): the safety reward where the prompt is tagged or the gate closes, else
    helpfulness."""
    gated: list[bool]
    """True where the safety reward was chosen."""
    watched: list[float]
    """Raw rewards of the model that only watches; empty without one."""


@dataclass(frozen=True, slots=True)
class RewardPair:
    """The two reward models of a round and the gate's threshold on sigmoid(safety)."""

    helpfulness: RewardModel
    safety: RewardModel | None = None
    """None where helpfulness alone decides."""
    threshold: float = 0.15
    """The paper's; without a safety model it decides nothing."""

    def rate(self, replies: Sequence[Reply], *, watching: RewardModel | None = None) -> Rewards:
        """Score replies with both models, and with one that only watches, and combine."""
        models = [model for model in (self.helpfulness, self.safety, watching) if model]
        sequences = [reply.scored for reply in replies]
        helpfulness, *scores = score_all(models, sequences)
        watched = scores.pop() if watching else []
        if not scores:
            return Rewards(helpfulness, [], helpfulness, [False] * len(replies), watched)
        [safety] = scores
        tagged = [reply.prompt.is_safety for reply in replies]
        combined = gated_reward(
            torch.tensor(helpfulness), torch.tensor(safety), torch.tensor(tagged), self.threshold
        )
        # Rounded as in `gated_reward`, so that both decide alike at the boundary.
        boundary = torch.tensor(logit(self.threshold)).item()
        gated = [tag or s < boundary for tag, s in zip(tagged, safety, strict=True)]
        return Rewards(helpfulness, safety, combined.tolist(), gated, watched)
