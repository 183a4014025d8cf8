"""Reward model: the chat model with its next-token head replaced by a scalar regression head.

The score is read at the last real token of each row, found by its position, never by searching for
a padding id. The head works in fp32. Two reward models with the same architecture serve helpfulness
and safety.

Source: arXiv 2307.09288, Section 3.2.2. Read-out position and start of the head: Source: choice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.runtime import Compute

HEAD_DEVIATION = 0.02
"""Standard deviation of a new head's weights."""


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

    @property
    def precision(self) -> Compute:
        """Number type of the trunk's matrix products."""
        return self.trunk.precision

    @precision.setter
    def precision(self, value: Compute) -> None:
        """Set it on the trunk."""
        self.trunk.precision = value

    @classmethod
    def from_chat_model(cls, chat_model: Transformer, seed: int = 0) -> RewardModel:
        """Start from a chat model's weights (Section 3.2.2) and a small random head.

        Source: choice (the paper names no start of the head). From a zero head hardly any gradient
        reaches the trunk, and AdamW's epsilon of 1e-5 drowns what does.
        """
        model = cls(chat_model.config)
        generator = torch.Generator().manual_seed(seed % 2**63)
        nn.init.normal_(model.head.weight, std=HEAD_DEVIATION, generator=generator)
        model = model.to(chat_model.device)
        model.precision = chat_model.precision
        state = {k: v for k, v in chat_model.state_dict().items() if k != "output.weight"}
        model.trunk.load_state_dict(state)
        return model

    def values(
        self,
        tokens_BL: Tensor,
        *,
        positions_BL: Tensor | None = None,
        documents_BL: Tensor | None = None,
    ) -> Tensor:
        """Return one scalar per position, shape (B, L), fp32; arguments as the trunk's."""
        hidden_BLD = self.trunk(tokens_BL, positions_BL=positions_BL, documents_BL=documents_BL)
        with torch.autocast(hidden_BLD.device.type, enabled=False):
            return F.linear(hidden_BLD.to(self.head.weight.dtype), self.head.weight).squeeze(-1)

    def forward(
        self,
        tokens_BL: Tensor,
        ends_BE: Tensor,
        *,
        positions_BL: Tensor | None = None,
        documents_BL: Tensor | None = None,
    ) -> Tensor:
        """Return raw scores (before any sigmoid), shape (B, E), fp32.

        Args:
            tokens_BL: Prompts and replies, padded on the right.
            ends_BE: Where in its row the last token of each of E replies stands.
            positions_BL: As the trunk's.
            documents_BL: As the trunk's.
        """
        values_BL = self.values(tokens_BL, positions_BL=positions_BL, documents_BL=documents_BL)
        return values_BL.gather(1, ends_BE)
