"""The transformer of Llama 2 in one file, with Meta's parameter names.

Pre-normalisation with RMSNorm, rotary position embedding on interleaved pairs, grouped-query
attention (multi-head and multi-query attention are its ends), SwiGLU, no biases. Relatives may have
tied embeddings, query, key and value biases (Qwen2) and scaled rotary frequencies (Llama 3.1).

Shape suffixes: B batch, L length, D model width, F feed-forward width, H query heads, G key-value
heads, K head size, V vocabulary, S cache slots, C cache capacity, N any number of tokens.

Source: arXiv 2307.09288, Section 2.2 (architecture) and A.2.1 (grouped-query attention).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camelid.errors import DataError
from camelid.model.attention import (
    CacheStep,
    DocumentBlocks,
    attention_mask,
    plain_attention,
)
from camelid.model.config import ModelConfig
from camelid.runtime import Compute


def rotary_frequencies(config: ModelConfig, device: torch.device | None = None) -> Tensor:
    """Return radians per token of each rotary pair, shape (K / 2,), scaled as Llama 3.1 does."""
    exponents = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32)
    frequencies = 1.0 / config.rope_theta ** (exponents / config.head_dim)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    # The order of operations is that of the references: it decides the last bit.
    turns = scaling.original_context / (2 * math.pi / frequencies)
    share = (turns - low) / (high - low)
    between = (1 - share) * frequencies / scaling.factor + share * frequencies
    scaled = torch.where(turns < low, frequencies / scaling.factor, between)
    return torch.where(turns > high, frequencies, scaled)


def rotary_table(config: ModelConfig, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return cosines and signed sines, shape (context, K), for interleaved pairs (fp32)."""
    positions = torch.arange(config.context, device=device).float()
    angles = torch.outer(positions, rotary_frequencies(config, device))
    cosines = angles.cos().repeat_interleave(2, -1)
    sines = torch.stack((-angles.sin(), angles.sin()), -1).flatten(-2)
    return cosines, sines


def apply_rotary(x_BLHK: Tensor, cosines_BLK: Tensor, sines_BLK: Tensor) -> Tensor:
    """Rotate each interleaved pair (x0, x1) by its position's angle."""
    swapped = torch.unflatten(x_BLHK, -1, (-1, 2)).flip(-1).flatten(-2)
    return x_BLHK * cosines_BLK.unsqueeze(-2) + swapped * sines_BLK.unsqueeze(-2)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed in fp32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Normalise the last dimension."""
        if x_BLD.dtype in (torch.float32, torch.float64):
            return F.rms_norm(x_BLD, self.weight.shape, self.weight.to(x_BLD.dtype), self.eps)
        normed = F.rms_norm(x_BLD.float(), self.weight.shape, self.weight, self.eps)
        return normed.to(x_BLD.dtype)


class Attention(nn.Module):
    """Grouped-query attention over a causal context."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        kv_dim, bias = config.kv_heads * config.head_dim, config.qkv_bias
        self.wq = nn.Linear(config.dim, config.dim, bias=bias)
        self.wk = nn.Linear(config.dim, kv_dim, bias=bias)
        self.wv = nn.Linear(config.dim, kv_dim, bias=bias)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self,
        x_BLD: Tensor,
        rotary: tuple[Tensor, Tensor],
        positions_BL: Tensor,
        mask_BLC: Tensor | DocumentBlocks | None,
        *,
        layer: int,
        step: CacheStep | None,
    ) -> Tensor:
        """Attend; `mask_BLC` as made by `attention_mask`."""
        batch, length, _ = x_BLD.shape
        q = self.wq(x_BLD).view(batch, length, self.heads, self.head_dim)
        k = self.wk(x_BLD).view(batch, length, self.kv_heads, self.head_dim)
        v = self.wv(x_BLD).view(batch, length, self.kv_heads, self.head_dim)
        q, k = apply_rotary(q, *rotary), apply_rotary(k, *rotary)
        if step is not None:
            step.cache.write(layer, step.slots_B, positions_BL, k, v)
        if step is not None and step.limit is not None:
            keys = step.cache.keys[layer][:, :, : step.limit]
            values = step.cache.values[layer][:, :, : step.limit]
        else:
            keys, values = k.transpose(1, 2), v.transpose(1, 2)
        grouped = self.heads != self.kv_heads
        if isinstance(mask_BLC, DocumentBlocks):
            attended = mask_BLC.attend(
                q.transpose(1, 2), keys, values, block_mask=mask_BLC.mask, enable_gqa=grouped
            )
            attended = attended.transpose(1, 2).flatten(2)
        elif mask_BLC is not None and mask_BLC.is_floating_point():
            attended = plain_attention(q, keys, values, mask_BLC)
        else:
            attended = F.scaled_dot_product_attention(
                q.transpose(1, 2),
                keys,
                values,
                attn_mask=None if mask_BLC is None else mask_BLC.unsqueeze(1),
                is_causal=mask_BLC is None,
                enable_gqa=grouped,
            )
            attended = attended.transpose(1, 2).flatten(2)
        projected: Tensor = self.wo(attended)
        return projected


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.w2 = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_dim, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Apply the gated feed-forward layer."""
        out_BLD: Tensor = self.w2(F.silu(self.w1(x_BLD)) * self.w3(x_BLD))
        return out_BLD


class Block(nn.Module):
    """One pre-normalised layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self,
        x_BLD: Tensor,
        rotary: tuple[Tensor, Tensor],
        positions_BL: Tensor,
        mask_BLC: Tensor | DocumentBlocks | None,
        *,
        layer: int,
        step: CacheStep | None,
    ) -> Tensor:
        """Return x + attention, then + feed-forward."""
        normed = self.attention_norm(x_BLD)
        attended: Tensor = self.attention(
            normed, rotary, positions_BL, mask_BLC, layer=layer, step=step
        )
        h_BLD = x_BLD + attended
        out_BLD: Tensor = h_BLD + self.feed_forward(self.ffn_norm(h_BLD))
        return out_BLD


class Transformer(nn.Module):
    """Decoder-only transformer of Section 2.2."""

    rotary_cosines: Tensor
    rotary_sines: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.precision: Compute = "float32"
        self.tok_embeddings = nn.Embedding(config.vocabulary_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        if not config.tied_embeddings:
            self.output = nn.Linear(config.dim, config.vocabulary_size, bias=False)
        self.reset_rotary()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tok_embeddings.weight.device

    def reset_rotary(self) -> None:
        """Compute the rotary tables anew (they are no part of the saved weights)."""
        cosines, sines = rotary_table(self.config, self.device)
        self.register_buffer("rotary_cosines", cosines, persistent=False)
        self.register_buffer("rotary_sines", sines, persistent=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw the weights: normal with deviation 1/sqrt(fan in).

        Residual outputs have it over sqrt(2 layers).

        Source: choice (the paper names no initialisation). At the paper's widths this is close to
        the usual 0.02; at small widths 0.02 is far too little and learning starts hundreds of steps
        late.
        """
        generator = torch.Generator().manual_seed(seed % 2**63)
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            deviation = parameter.shape[1] ** -0.5
            if name.endswith(("wo.weight", "w2.weight")):
                deviation /= math.sqrt(2 * self.config.layers)
            drawn = torch.empty(parameter.shape).normal_(0.0, deviation, generator=generator)
            parameter.copy_(drawn)

    def forward(
        self,
        tokens_BL: Tensor,
        *,
        positions_BL: Tensor | None = None,
        documents_BL: Tensor | None = None,
        step: CacheStep | None = None,
    ) -> Tensor:
        """Return the final hidden states, shape (B, L, D).

        Args:
            tokens_BL: Token ids. Rows may be padded on the right: causal attention never looks
                there.
            positions_BL: Position of each token in its document; 0..L-1 by default.
            documents_BL: Document number of each token of a packed row: attention stays inside a
                document and the row's `SHARED` tokens. None: each row is one document.
            step: Use of the cache for generation; None without a cache.
        """
        batch, length = tokens_BL.shape
        if positions_BL is None:
            if length > self.config.context:
                raise DataError(
                    f"rows of {length} tokens for a model with a context of {self.config.context}; "
                    "shorten the rows."
                )
            positions_BL = torch.arange(length, device=tokens_BL.device).expand(batch, length)
        x_BLD = self.tok_embeddings(tokens_BL)
        if torch.is_autocast_enabled(x_BLD.device.type):
            # The residual stream follows the compute type; norms and losses go back to fp32.
            x_BLD = x_BLD.to(torch.get_autocast_dtype(x_BLD.device.type))
        rotary = (
            self.rotary_cosines[positions_BL].to(x_BLD.dtype),
            self.rotary_sines[positions_BL].to(x_BLD.dtype),
        )
        mask_BLC = attention_mask(positions_BL, documents_BL, step, x_BLD.dtype)
        for index, block in enumerate(self.layers):
            x_BLD = block(x_BLD, rotary, positions_BL, mask_BLC, layer=index, step=step)
        normed_BLD: Tensor = self.norm(x_BLD)
        return normed_BLD

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Project hidden states to the vocabulary, in the compute type, shape (..., V)."""
        weight = self.tok_embeddings.weight if self.config.tied_embeddings else self.output.weight
        return F.linear(hidden_ND, weight)
