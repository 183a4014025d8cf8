"""Policy and value function of PPO: two separate transformers in one module.

One module, so that one optimizer with two parameter groups trains both in the one loop.

Source: arXiv 2307.09288, Section 3.2.3. The value function is not specified there; a critic of its
own that starts from the helpfulness reward model with a zero head is Source: choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from camelid.model.padding import select_padded
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.runtime import Compute


class ActorCritic(nn.Module):
    """The policy pi and the critic V."""

    def __init__(self, policy: Transformer, critic: RewardModel) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.policy.device

    @property
    def precision(self) -> Compute:
        """Number type of the policy's matrix products."""
        return self.policy.precision

    def forward(self, tokens_BL: Tensor, actions_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return (logits, values) at the states before each action.

        Args:
            tokens_BL: Prompt and reply, padded on the right.
            actions_BL: True where a token is an action of the policy.

        Returns:
            logits_NV and values_N of the N actions, row after row.
        """
        states_BL = torch.zeros_like(actions_BL)
        states_BL[:, :-1] = actions_BL[:, 1:]
        hidden_BLD = self.policy(tokens_BL)
        hidden_ND, count = select_padded(hidden_BLD, states_BL)
        return self.policy.logits(hidden_ND)[:count], self.critic.values(tokens_BL)[states_BL]
