"""Attention written out for short rows, its masks, and the cache of keys and values.

Shape suffixes as in `camelid.model.transformer`; M query heads of a group, N query rows of a group
(heads and positions), B rows.

Source: arXiv 2307.09288, Section 2.2 and A.2.1 (grouped-query attention); what is written out and
what goes through the fused kernel is Source: choice, by measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from camelid.model.config import ModelConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.nn.attention.flex_attention import BlockMask

SHARED = -2
"""Document number of tokens that all documents of their row may look at: a common prefix."""
PLAIN_LENGTH = 512
"""Longest row, in tokens, for which attention on CPU is written out."""
FLEX_LENGTH = 1024
"""Shortest packed row for which attention on an accelerator skips the blocks between documents."""


def plain_attention(
    q_BLHK: Tensor, keys_BGCK: Tensor, values_BGCK: Tensor, bias_BLC: Tensor
) -> Tensor:
    """Attend by two matrix products and a softmax; returns shape (B, L, D).

    On CPU this takes a third to two thirds of the time of the fused kernel for short rows, at the
    price of scores in memory. The query heads of a group become query rows: no key is repeated.

    Args:
        q_BLHK: Queries.
        keys_BGCK: Keys of C positions; their type is that of the products.
        values_BGCK: Values.
        bias_BLC: 0 where a query may look, else minus infinity.
    """
    batch, length, heads, size = q_BLHK.shape
    groups, columns = keys_BGCK.shape[1:3]
    q_BGMLK = torch.unflatten(q_BLHK, 2, (groups, -1)).permute(0, 2, 3, 1, 4).to(keys_BGCK.dtype)
    with torch.autocast(q_BLHK.device.type, enabled=False):
        scores_BGNC = q_BGMLK.reshape(batch, groups, -1, size) @ keys_BGCK.transpose(-1, -2)
        scores_BHLC = scores_BGNC.view(batch, heads, length, columns)
        scores_BHLC = torch.add(bias_BLC.unsqueeze(1), scores_BHLC, alpha=size**-0.5)
        softmax_type = torch.promote_types(scores_BHLC.dtype, torch.float32)
        weights_BHLC = scores_BHLC.softmax(-1, dtype=softmax_type).to(values_BGCK.dtype)
        out_BGNK = weights_BHLC.view(batch, groups, -1, columns) @ values_BGCK
    out_BLHK = out_BGNK.view(batch, heads, length, size).transpose(1, 2).to(q_BLHK.dtype)
    return out_BLHK.flatten(2)


@dataclass(frozen=True, slots=True)
class DocumentBlocks:
    """Which blocks of packed rows may look at which, and the attention that skips the others."""

    mask: BlockMask
    attend: Callable[..., Tensor]
    """PyTorch's `flex_attention`, compiled at its first call."""


@cache
def _flex_attention() -> Callable[..., Tensor]:
    # Imported where it is needed: a CPU never does.
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def document_blocks(documents_BL: Tensor) -> DocumentBlocks:
    """Return the blocks of packed rows, with the rule inside a block."""
    from torch.nn.attention.flex_attention import create_block_mask

    def inside(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        other = documents_BL[row, key]
        same: Any = (documents_BL[row, query] == other) | (other == SHARED)
        found: Tensor = same & (query >= key)
        return found

    batch, length = documents_BL.shape
    mask = create_block_mask(inside, batch, None, length, length, device=documents_BL.device)
    return DocumentBlocks(mask, _flex_attention())


def attention_mask(
    positions_BL: Tensor, documents_BL: Tensor | None, step: CacheStep | None, dtype: torch.dtype
) -> Tensor | DocumentBlocks | None:
    """Return where queries may look: a bias of `dtype` for `plain_attention`, else a truth table.

    Blocks stand for long packed rows on an accelerator, None for plain causal attention in the
    fused kernel.
    """
    length, device = positions_BL.shape[1], positions_BL.device
    decoding = step is not None and step.limit is not None
    plain = decoding or (device.type == "cpu" and length <= PLAIN_LENGTH)
    if step is not None and step.limit is not None:
        mask_BLC = torch.arange(step.limit, device=device) <= positions_BL[:, -1:, None]
        dtype = step.cache.keys[0].dtype
    elif documents_BL is not None and device.type == "cuda" and length >= FLEX_LENGTH:
        return document_blocks(documents_BL)
    elif documents_BL is not None:
        keys_B1L = documents_BL[:, None, :]
        mask_BLC = ((documents_BL[:, :, None] == keys_B1L) | (keys_B1L == SHARED)).tril()
    elif plain:
        mask_BLC = torch.ones(1, length, length, dtype=torch.bool).tril()
    else:
        return None
    if not plain:
        return mask_BLC
    return torch.zeros(mask_BLC.shape, dtype=dtype, device=device).masked_fill(
        ~mask_BLC, -torch.inf
    )


class KVCache:
    """Keys and values of S sequences with room for C tokens each.

    Slots are rows; a slot's tokens lie from position 0 on, so rows of different length need no
    padding.
    """

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        capacity: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (slots, config.kv_heads, capacity, config.head_dim)
        self.keys = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.layers)]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    @staticmethod
    def bytes(config: ModelConfig, slots: int, capacity: int, dtype: torch.dtype) -> int:
        """Return the size of a cache of this shape."""
        numbers = 2 * config.layers * slots * config.kv_heads * capacity * config.head_dim
        return numbers * dtype.itemsize

    def write(
        self, layer: int, slots_B: Tensor, positions_BL: Tensor, k_BLGK: Tensor, v_BLGK: Tensor
    ) -> None:
        """Store new keys and values of some slots at the given positions."""
        rows = slots_B[:, None]
        self.keys[layer].transpose(1, 2)[rows, positions_BL] = k_BLGK.to(self.keys[layer].dtype)
        self.values[layer].transpose(1, 2)[rows, positions_BL] = v_BLGK.to(self.values[layer].dtype)

    def copy(self, source: int, targets: list[int], length: int) -> None:
        """Fork the first `length` tokens of one slot into others."""
        for table in (*self.keys, *self.values):
            table[targets, :, :length] = table[source, :, :length].clone()

    def keep(self, slots: list[int]) -> None:
        """Shrink to the given slots, in that order."""
        self.keys = [table[slots] for table in self.keys]
        self.values = [table[slots] for table in self.values]


@dataclass(frozen=True, slots=True)
class CacheStep:
    """How one forward pass uses the cache."""

    cache: KVCache
    slots_B: Tensor
    """Slot of each row."""
    limit: int | None
    """None: prefill from position 0. Else: decode over the first `limit` positions, all slots in
    order."""
