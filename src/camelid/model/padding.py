"""Right padding and selection of tokens in few distinct shapes.

The CPU kernels are made anew for each new matrix shape, so lengths and counts are rounded up.
Causal attention never looks at padding on the right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from camelid.errors import DataError
from camelid.model.attention import SHARED

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
        _require_fit(lengths, longest)
        width = min(width, longest)
    tokens = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return tokens.to(device), torch.tensor(lengths, device=device)


class PairRows(NamedTuple):
    """One row a pair of sequences: what both begin with once, then the rest of each."""

    tokens_BL: Tensor
    positions_BL: Tensor
    """Places in the sequences; a row may be longer than the context, a sequence may not."""
    documents_BL: Tensor
    """As the transformer's: the rests do not see each other."""
    ends_B2: Tensor
    """Where the last token of each sequence stands."""


def pad_pairs(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    pad_id: int,
    device: torch.device,
    *,
    longest: int,
) -> PairRows:
    """Lay out pairs of sequences, each with its common beginning computed once.

    Args:
        pairs: Token ids of two sequences each.
        pad_id: What fills the rows.
        device: Where the tensors go.
        longest: The context of the model that reads them.

    Raises:
        DataError: A sequence is longer than `longest`.
    """
    _require_fit((len(sequence) for pair in pairs for sequence in pair), longest)
    tokens: list[list[int]] = []
    positions: list[list[int]] = []
    documents: list[list[int]] = []
    ends: list[tuple[int, int]] = []
    for first, second in pairs:
        shared = common_beginning(first, second)
        tokens.append([*first, *second[shared:]])
        positions.append([*range(len(first)), *range(shared, len(second))])
        rests = (len(first) - shared, len(second) - shared)
        documents.append([SHARED] * shared + [0] * rests[0] + [1] * rests[1])
        ends.append((len(first) - 1, len(first) + rests[1] - 1))
    return PairRows(
        pad_right(tokens, pad_id, device, longest=None)[0],
        pad_right(positions, 0, device, longest=None)[0],
        pad_right(documents, -1, device, longest=None)[0],
        torch.tensor(ends, device=device),
    )


def common_beginning(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences share at their start, their last ones left out."""
    most = min(len(first), len(second)) - 1
    return next((i for i in range(most) if first[i] != second[i]), most)


def _require_fit(lengths: Iterable[int], longest: int) -> None:
    most = max(lengths)
    if most > longest:
        raise DataError(
            f"a sequence of {most} tokens for a model with a context of {longest}; "
            "shorten it, or set the longest sequence of the stage to at most the context."
        )


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
