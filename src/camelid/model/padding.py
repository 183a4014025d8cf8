"""Right padding of token sequences; causal attention never looks at it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_right(
    sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return (tokens_BL, lengths_B)."""
    lengths = [len(sequence) for sequence in sequences]
    tokens = torch.full((len(sequences), max(lengths)), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return tokens.to(device), torch.tensor(lengths, device=device)
