"""Right padding and selection of tokens in few distinct shapes.

The CPU kernels are made anew for each new matrix shape, so lengths and counts are rounded up.
Causal attention never looks at padding on the right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from camelid.errors import DataError

LENGTH_STEP = 16
"""Padded lengths are multiples of this."""
COUNT_STEP = 128
"""Selected token counts are multiples of this."""


def round_up(number: int, step: int) -> int:
    """Return the smallest multiple of `step` that is at least `number`."""
    return -(-number // step) * step


def pad_right(
    sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device, *, longest: int | None
) -> tuple[Tensor, Tensor]:
    """Return (tokens_BL, lengths_B).

    L is a multiple of `LENGTH_STEP`, or `longest`: padding never goes beyond a model's context.

    Args:
        sequences: Token ids.
        pad_id: What fills the rows.
        device: Where the tensors go.
        longest: The context of the model that reads them; None where positions are stated apart.

    Raises:
        DataError: A sequence is longer than `longest`.
    """
    lengths = [len(sequence) for sequence in sequences]
    width = round_up(max(lengths), LENGTH_STEP)
    if longest is not None:
        if max(lengths) > longest:
            raise DataError(
                f"a sequence of {max(lengths)} tokens for a model with a context of {longest}; "
                "shorten it, or set the longest sequence of the stage to at most the context."
            )
        width = min(width, longest)
    tokens = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return tokens.to(device), torch.tensor(lengths, device=device)


def select_padded(table_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, int]:
    """Return the rows of a table where a mask is true, filled up with repeats of the first row.

    Args:
        table_BLD: One vector a token.
        mask_BL: Which to take.

    Returns:
        Shape (N', D) with N' a multiple of `COUNT_STEP`, and N, how many are real.
    """
    indices_N = mask_BL.flatten().nonzero().squeeze(1)
    count = len(indices_N)
    padded = torch.zeros(round_up(count, COUNT_STEP), dtype=torch.long, device=indices_N.device)
    padded[:count] = indices_N
    return table_BLD.flatten(0, 1)[padded], count
