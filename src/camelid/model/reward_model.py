"""Reward model: the chat model with its next-token head replaced by a scalar regression head.

The score is read at the last real token of each row, found by its position, never by searching for
a padding id. The head works in fp32. Two reward models with the same architecture serve helpfulness
and safety.

Source: arXiv 2307.09288, Section 3.2.2. Read-out position and a zero-initialised head: Source:
choice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camelid.model.transformer import ModelConfig, Transformer


class RewardModel(nn.Module):
    """A transformer trunk and one scalar per position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = Transformer(config)
        self.head = nn.Linear(config.dim, 1, bias=False)
        nn.init.zeros_(self.head.weight)
        if not config.tied_embeddings:
            del self.trunk.output

    @property
    def config(self) -> ModelConfig:
        """Shape of the trunk."""
        return self.trunk.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.trunk.device

    @classmethod
    def from_chat_model(cls, chat_model: Transformer) -> RewardModel:
        """Start from a chat model's weights (Section 3.2.2)."""
        model = cls(chat_model.config).to(chat_model.device)
        state = {k: v for k, v in chat_model.state_dict().items() if k != "output.weight"}
        model.trunk.load_state_dict(state)
        return model

    def values(self, tokens_BL: Tensor) -> Tensor:
        """Return one scalar per position, shape (B, L), fp32."""
        hidden_BLD = self.trunk(tokens_BL)
        with torch.autocast(hidden_BLD.device.type, enabled=False):
            return F.linear(hidden_BLD.to(self.head.weight.dtype), self.head.weight).squeeze(-1)

    def forward(self, tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the raw score (before any sigmoid) of each row, shape (B,), fp32.

        Args:
            tokens_BL: Prompt and reply, padded on the right.
            lengths_B: Real tokens of each row.
        """
        return self.values(tokens_BL).gather(1, lengths_B[:, None] - 1).squeeze(1)
