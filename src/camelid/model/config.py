"""Shape of a transformer.

Source: arXiv 2307.09288, Section 2.2 and A.2.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from camelid.errors import CheckpointError, ConfigError
from camelid.settings import Range, Share, Tokens, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class RopeScalingConfig:
    """Llama 3's slower rotary frequencies for a context longer than the one of pretraining.

    Source: the released reference code of Llama 3.1 (not in the paper).
    """

    factor: Annotated[float, Range(1, 10_000)]
    """Divides the low frequencies."""
    low_frequency_factor: Annotated[float, Range(0, 10_000, above=True)]
    """A frequency with fewer turns than this over the original context is low."""
    high_frequency_factor: Annotated[float, Range(0, 10_000, above=True)]
    """One with more turns than this stays; in between the change is gradual."""
    original_context: Tokens
    """Context of pretraining, in tokens."""

    def __post_init__(self) -> None:
        if self.low_frequency_factor >= self.high_frequency_factor:
            raise ConfigError(
                f"model: rope scaling has the low frequency factor {self.low_frequency_factor} and "
                f"the high one {self.high_frequency_factor}; low must be below high."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class ModelConfig:
    """Shape of a transformer. Presets of the paper's sizes are in `camelid.recipes`."""

    dim: Annotated[int, Range(1, 2**17)]
    """Model width D."""
    layers: Annotated[int, Range(1, 2**12)]
    """Number of blocks."""
    heads: Annotated[int, Range(1, 2**12)]
    """Query heads H."""
    kv_heads: Annotated[int, Range(1, 2**12)]
    """Key-value heads G; H for multi-head attention, 1 for multi-query (A.2.1)."""
    ffn_dim: Annotated[int, Range(1, 2**20)]
    """Feed-forward width F; the paper's rule is `ffn_width`."""
    vocabulary_size: Annotated[int, Range(1, 2**24)]
    """Number of token ids V."""
    context: Tokens
    """Longest sequence in tokens."""
    norm_eps: Share = 1e-5
    """Added to the mean square in RMSNorm."""
    rope_theta: Annotated[float, Range(0, 1e12, above=True)] = 10000.0
    """Base of the rotary frequencies."""
    tied_embeddings: bool = False
    """Whether the output projection is the embedding table (not in Llama 2)."""
    qkv_bias: bool = False
    """Whether query, key and value projections have biases (Qwen2; not in Llama 2)."""
    rope_scaling: RopeScalingConfig | None = None
    """Scaled rotary frequencies (Llama 3.1 and later; not in Llama 2)."""

    def __post_init__(self) -> None:
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ConfigError(
                f"model: dim {self.dim} over {self.heads} heads must give an even head size."
            )
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"model: heads {self.heads} must be a multiple of kv_heads {self.kv_heads}."
            )

    def require_context(self, tokens: int, setting: str) -> None:
        """Check that sequences of so many tokens fit.

        Raises:
            ConfigError: They do not; names the setting that says so.
        """
        if tokens > self.context:
            raise ConfigError(
                f"{setting} is {tokens}, but the model's context is {self.context} tokens; set it "
                f"to at most {self.context}."
            )

    def require_vocabulary(self, ids: int, tokenizer: str) -> None:
        """Check that each id has a row of the embedding table, and each row an id.

        Raises:
            CheckpointError: They are not as many; names the tokenizer.
        """
        if ids != self.vocabulary_size:
            raise CheckpointError(
                f"{tokenizer}: a tokenizer of {ids} ids for a model of {self.vocabulary_size} "
                "rows; use the one that the model was trained with."
            )

    @property
    def head_dim(self) -> int:
        """Head size K."""
        return self.dim // self.heads

    @property
    def parameter_count(self) -> int:
        """Exact number of parameters."""
        attention = 2 * self.dim * self.dim + 2 * self.dim * self.kv_heads * self.head_dim
        if self.qkv_bias:
            attention += self.dim + 2 * self.kv_heads * self.head_dim
        block = attention + 3 * self.dim * self.ffn_dim + 2 * self.dim
        tables = 1 if self.tied_embeddings else 2
        return tables * self.vocabulary_size * self.dim + self.layers * block + self.dim


def ffn_width(dim: int, *, multiplier: float | None = None, multiple_of: int = 256) -> int:
    """Return the feed-forward width of Llama 2 for a model width.

    Source: arXiv 2307.09288, A.2.1 (the factor 1.3 under grouped-query attention); rule of the
    released reference code.
    """
    width = 2 * (4 * dim) // 3
    if multiplier is not None:
        width = int(multiplier * width)
    return multiple_of * math.ceil(width / multiple_of)
