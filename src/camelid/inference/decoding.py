"""One decode step of all slots; on an accelerator recorded once and replayed.

A step of a small model is some hundred short kernels, and the host needs longer to launch them than
the device to run them. A CUDA graph launches them as one.

Source: choice (the paper names no engine).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from camelid.model.attention import CacheStep, KVCache
from camelid.model.transformer import Transformer

REACH = 128
"""A recorded step looks at a multiple of this many positions of the cache, so that few are kept."""
WARM_STEPS = 3
"""Steps before one is recorded: libraries choose kernels and weights are cast in the first ones."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    given_2S: Tensor
    """Tokens and positions that a replay reads."""
    logits_SV: Tensor
    """What a replay writes."""


class Decoder:
    """Advances every slot of a cache by one token."""

    def __init__(self, model: Transformer, cache: KVCache) -> None:
        self._model, self._cache = model, cache
        slots, _, self._capacity, _ = cache.keys[0].shape
        self._slots_S = torch.arange(slots, device=model.device)
        self._seen: Counter[int] = Counter()
        self._recorded: dict[int, _Recorded] = {}

    def step(self, given_2S: Tensor) -> Tensor:
        """Return the next logits of every slot, shape (S, V); valid until the next step.

        Args:
            given_2S: Last token of each slot and where it stands, on the host.
        """
        reach = int(given_2S[1].max()) + 1
        if self._model.device.type != "cuda":
            return self._forward(given_2S, reach)
        reach = min(self._capacity, -(-reach // REACH) * REACH)
        self._seen[reach] += 1
        if self._seen[reach] <= WARM_STEPS:
            return self._forward(given_2S.to(self._model.device), reach)
        if reach not in self._recorded:
            self._recorded[reach] = self._record(given_2S, reach)
        recorded = self._recorded[reach]
        recorded.given_2S.copy_(given_2S)
        recorded.graph.replay()
        return recorded.logits_SV

    def _forward(self, given_2S: Tensor, reach: int) -> Tensor:
        tokens_S1, positions_S1 = given_2S[..., None]
        step = CacheStep(self._cache, self._slots_S, reach)
        hidden_S1D = self._model(tokens_S1, positions_BL=positions_S1, step=step)
        return self._model.logits(hidden_S1D[:, 0])

    def _record(self, given_2S: Tensor, reach: int) -> _Recorded:
        given, graph = given_2S.to(self._model.device), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits_SV = self._forward(given, reach)
        return _Recorded(graph, given, logits_SV)
