"""The one sampler that generation and log-probabilities share.

Source: arXiv 2307.09288, Section 3.2.3 (temperature).
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def uniforms(seed: int, request: str, sample: int, count: int) -> NDArray[np.float64]:
    """Return the random numbers of one reply: a function of the request, not of its neighbours."""
    digest = hashlib.sha256(f"{seed}/{request}/{sample}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return generator.random(count)


def draw(logits_SV: Tensor, uniform_S: Tensor, temperature_S: Tensor, top_p: float = 1.0) -> Tensor:
    """Choose one token a row by the inverse of the cumulative distribution.

    Args:
        logits_SV: Raw logits.
        uniform_S: One number in [0, 1) a row.
        temperature_S: Divides the logits of its row; 0 takes the most probable token.
        top_p: As in `Sampling`.
    """
    logits = logits_SV if logits_SV.dtype == torch.float64 else logits_SV.float()
    greedy_S = temperature_S == 0
    probabilities_SV = torch.softmax(logits / temperature_S.masked_fill(greedy_S, 1)[:, None], -1)
    order = None
    if top_p < 1:
        probabilities_SV, order = probabilities_SV.sort(dim=-1, descending=True, stable=True)
        before = probabilities_SV.cumsum(-1) - probabilities_SV
        probabilities_SV = probabilities_SV.masked_fill(before > top_p, 0.0)
    cumulative_SV = probabilities_SV.cumsum(-1)
    wanted_S1 = uniform_S.to(cumulative_SV.dtype)[:, None] * cumulative_SV[:, -1:]
    index_S1 = torch.searchsorted(cumulative_SV, wanted_S1, right=True)
    index_S1 = index_S1.clamp(max=logits_SV.shape[-1] - 1)
    drawn_S = (index_S1 if order is None else order.gather(-1, index_S1)).squeeze(-1)
    return torch.where(greedy_S, logits_SV.argmax(-1), drawn_S)
