"""Attention written out against a loop in float64, and against the fused kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from camelid.model import attention
from camelid.model.attention import CacheStep, KVCache, attention_mask, plain_attention
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attend_by_loop(q, k, v, may_look):
    """One query at a time; q is (B, L, H, K), k and v are (B, L, G, K)."""
    batch, length, heads, size = q.shape
    share = heads // k.shape[2]
    out = np.zeros((batch, length, heads, size))
    for b in range(batch):
        for i in range(length):
            for h in range(heads):
                seen = [j for j in range(length) if may_look(b, i, j)]
                scores = np.array([q[b, i, h] @ k[b, j, h // share] for j in seen]) / size**0.5
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                out[b, i, h] = sum(
                    w * v[b, j, h // share] for w, j in zip(weights, seen, strict=True)
                )
    return out.reshape(batch, length, -1)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("packed", [False, True])
def test_plain_attention_is_that_of_a_loop(groups, packed):
    q, k, v = drawn(1, 2, 7, 4, 6), drawn(2, 2, 7, groups, 6), drawn(3, 2, 7, groups, 6)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 2, 2, -1]]) if packed else None
    positions = torch.arange(7).expand(2, 7)
    bias = attention_mask(positions, documents, None, torch.float64)
    found = plain_attention(q, k.transpose(1, 2), v.transpose(1, 2), bias)

    def may_look(b, i, j):
        return j <= i and (documents is None or documents[b, i] == documents[b, j])

    expected = attend_by_loop(q.numpy(), k.numpy(), v.numpy(), may_look)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_long_rows_take_the_fused_kernel_and_give_the_same(monkeypatch, kv_heads):
    config = ModelConfig(
        dim=32,
        layers=2,
        heads=4,
        kv_heads=kv_heads,
        ffn_dim=48,
        vocabulary_size=31,
        context=64,
    )
    model = Transformer(config).double()
    model.initialise(1)
    tokens = torch.randint(0, 31, (2, 24), generator=torch.Generator().manual_seed(1))
    documents = (torch.arange(24) // 9).expand(2, 24)

    def hidden():
        cache = KVCache(config, 2, 24, torch.device("cpu"), torch.float64)
        prefilled = model(tokens, step=CacheStep(cache, torch.arange(2), None))
        return model(tokens), model(tokens, documents_BL=documents), prefilled

    plain = hidden()
    used = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(attention, "PLAIN_LENGTH", 23)
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: used.append(1) or fused(*args, **kwargs),
    )
    for one, other in zip(plain, hidden(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    assert len(used) == 3 * config.layers


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_blocks_of_documents_hide_what_the_mask_hides(monkeypatch):
    """What an accelerator computes for long packed rows, without its compiler."""
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(attention, "_flex_attention", lambda: flex_attention)
    q, k, v = drawn(1, 2, 300, 4, 16), drawn(2, 2, 300, 2, 16), drawn(3, 2, 300, 2, 16)
    documents = torch.arange(300).expand(2, -1) // 70
    documents = torch.where(documents == 0, attention.SHARED, documents)
    documents[1] //= 2
    bias = attention_mask(torch.arange(300).expand(2, -1), documents, None, torch.float64)
    given = (k.transpose(1, 2), v.transpose(1, 2))
    blocks = attention.document_blocks(documents)
    found = blocks.attend(q.transpose(1, 2), *given, block_mask=blocks.mask, enable_gqa=True)
    expected = plain_attention(q, *given, bias)
    torch.testing.assert_close(found.transpose(1, 2).flatten(2), expected)
