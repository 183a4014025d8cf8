"""Shapes of the paper's four models.

The paper prints no dimension; these are the released parameter files' and, for 34B, Code Llama
34B's, which starts from it. Source: arXiv 2307.09288, Table 1 (sizes, context, grouped-query
attention) and A.2.1.
"""

from __future__ import annotations

from camelid.model.config import ModelConfig, ffn_width


def _shape(dim: int, layers: int, heads: int, kv_heads: int, ffn_dim: int) -> ModelConfig:
    return ModelConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        ffn_dim=ffn_dim,
        vocabulary_size=32000,
        context=4096,
    )


def llama2_7b() -> ModelConfig:
    """Return the shape of 7B: 6,738,415,616 parameters."""
    return _shape(4096, 32, 32, 32, ffn_width(4096))


def llama2_13b() -> ModelConfig:
    """Return the shape of 13B: 13,015,864,320 parameters."""
    return _shape(5120, 40, 40, 40, ffn_width(5120))


def llama2_34b() -> ModelConfig:
    """Return the shape of 34B: 33,743,970,304 parameters."""
    return _shape(8192, 48, 64, 8, ffn_width(8192, multiplier=1.0))


def llama2_70b() -> ModelConfig:
    """Return the shape of 70B: 68,976,648,192 parameters."""
    return _shape(8192, 80, 64, 8, ffn_width(8192, multiplier=1.3, multiple_of=4096))
