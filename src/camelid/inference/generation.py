"""The generation engine: a fixed number of slots over one KV cache.

It is shared by every stage and by chat. A prompt is prefilled once and its cache forked for all its
samples; a slot is refilled as its row ends; each row draws from random numbers keyed by (seed,
request, sample), so a reply does not depend on what else is in the batch beyond rounding. The
policy's weights are used in place.

Source: choice (the paper names no engine); Section 3.2.3 asks for K samples a prompt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camelid.data.records import StopReason
from camelid.errors import DataError
from camelid.inference.drawing import draw, uniforms
from camelid.inference.sampling import Sampling
from camelid.model.attention import CacheStep, KVCache
from camelid.model.padding import pad_right
from camelid.model.transformer import Transformer
from camelid.runtime import compute


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to answer."""

    id: str
    tokens: tuple[int, ...]
    samples: int = 1
    first_sample: int = 0
    """Number of the first sample; continues an earlier set with other random numbers."""
    temperature: float | None = None
    """Stands in for that of the call's `Sampling`."""
    ended: Callable[[Sequence[int]], bool] | None = None
    """Whether the tokens sampled so far end the reply, beside the end token (stop strings)."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled reply."""

    request_id: str
    sample: int
    tokens: tuple[int, ...]
    """Sampled tokens; the end token or stop string is included when `stop_reason` is `stop`."""
    stop_reason: StopReason


@dataclass(slots=True)
class _Row:
    request: Request
    sample: int
    temperature: float
    uniforms: list[float]
    generated: list[int]


@torch.no_grad()
def generate(
    model: Transformer,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    end_id: int,
    seed: int,
    slots: int = 128,
    on_token: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Sample replies.

    Args:
        model: The policy.
        requests: Prompts, each at least one token long.
        sampling: Temperature, top-p and length.
        end_id: Token that ends a reply.
        seed: Seed of the random numbers.
        slots: Rows decoded at once.
        on_token: Called with each sampled token at once; makes sense for one request.

    Returns:
        Completions in the order of requests and sample numbers.

    Raises:
        DataError: A prompt is empty or leaves no room for a token in the context.
    """
    for request in requests:
        if not 1 <= len(request.tokens) < model.config.context:
            raise DataError(
                f"prompt {request.id!r} has {len(request.tokens)} tokens; between 1 and "
                f"{model.config.context - 1} needed. Shorten it or drop earlier turns."
            )
    engine = _Engine(model, requests, sampling, end_id=end_id, seed=seed, slots=slots)
    engine.on_token = on_token
    with compute(model):
        return engine.run()


def cache_type(model: Transformer) -> torch.dtype:
    """Return the number type of the cache: bf16 on an accelerator that computes in it."""
    if model.device.type != "cpu" and model.precision == "bfloat16":
        return torch.bfloat16
    return model.tok_embeddings.weight.dtype


class _Engine:
    """State of one `generate` call."""

    def __init__(
        self,
        model: Transformer,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        end_id: int,
        seed: int,
        slots: int,
    ) -> None:
        self.model, self.sampling, self.end_id, self.seed = model, sampling, end_id, seed
        # Similar lengths decode together, so that short rows do not pay for a long one's cache.
        self.queue = deque(sorted(requests, key=lambda request: -len(request.tokens)))
        self.order = {request.id: index for index, request in enumerate(requests)}
        if len(self.order) != len(requests):
            raise DataError("two generation requests share an id; ids must be unique.")
        self.slots = min(slots, sum(request.samples for request in requests)) if requests else 0
        longest = max((len(request.tokens) for request in requests), default=0)
        self.capacity = min(model.config.context, longest + sampling.max_new_tokens)
        self.cache = KVCache(
            model.config, self.slots, self.capacity, model.device, cache_type(model)
        )
        self.rows: list[_Row | None] = [None] * self.slots
        self.lengths = [0] * self.slots
        self.next_token = [0] * self.slots
        self.done: list[Completion] = []
        self.on_token: Callable[[int], None] | None = None

    def run(self) -> list[Completion]:
        while self.queue or any(row is not None for row in self.rows):
            self._refill()
            if any(row is not None for row in self.rows):
                self._decode()
        return sorted(self.done, key=lambda c: (self.order[c.request_id], c.sample))

    def _refill(self) -> None:
        """Prefill as many waiting prompts as fit in free slots, in one padded batch."""
        free = [index for index, row in enumerate(self.rows) if row is None]
        # Refilling a few rows at a time would prefill in tiny batches; wait for a quarter of the
        # slots.
        if not self.queue or (len(free) < max(1, self.slots // 4) and len(free) < self.slots):
            return
        taken: list[tuple[Request, list[int]]] = []
        while self.queue and free:
            request = self.queue.popleft()
            count = min(request.samples, len(free))
            taken.append((request, free[:count]))
            free = free[count:]
            if count < request.samples:
                rest = replace(
                    request,
                    samples=request.samples - count,
                    first_sample=request.first_sample + count,
                )
                self.queue.appendleft(rest)
        if not taken:
            return
        for start in range(0, len(taken), 32):
            self._prefill(taken[start : start + 32])

    def _prefill(self, taken: list[tuple[Request, list[int]]]) -> None:
        lengths = [len(request.tokens) for request, _ in taken]
        device = self.model.device
        # The cache has room for the rounded-up length: every prompt leaves room for a reply.
        tokens, _ = pad_right([request.tokens for request, _ in taken], 0, device)
        tokens = tokens[:, : self.capacity]
        slots_B = torch.tensor([slots[0] for _, slots in taken], device=device)
        hidden_BLD = self.model(tokens, step=CacheStep(self.cache, slots_B, None))
        last = torch.tensor(lengths, device=device) - 1
        logits_BV = self.model.logits(hidden_BLD[torch.arange(len(taken), device=device), last])
        expanded: list[Tensor] = []
        filled: list[int] = []
        for row, (request, slots) in enumerate(taken):
            if len(slots) > 1:
                self.cache.copy(slots[0], slots[1:], lengths[row])
            for offset, slot in enumerate(slots):
                sample = request.first_sample + offset
                numbers = uniforms(self.seed, request.id, sample, self.sampling.max_new_tokens)
                temperature = request.temperature
                if temperature is None:
                    temperature = self.sampling.temperature
                self.rows[slot] = _Row(request, sample, temperature, numbers.tolist(), [])
                self.lengths[slot] = lengths[row]
                expanded.append(logits_BV[row])
                filled.append(slot)
        self._take(torch.stack(expanded), filled)

    def _take(self, logits_SV: Tensor, slots: list[int]) -> None:
        """Draw the next token of some slots and retire rows that end."""
        rows = [row for slot in slots if (row := self.rows[slot]) is not None]
        numbers = [[row.uniforms[len(row.generated)], row.temperature] for row in rows]
        drawing_S2 = torch.tensor(numbers, dtype=torch.float64, device=logits_SV.device)
        temperature_S = drawing_S2[:, 1].to(torch.promote_types(logits_SV.dtype, torch.float32))
        chosen = draw(logits_SV, drawing_S2[:, 0], temperature_S, self.sampling.top_p).tolist()
        for slot, row, token in zip(slots, rows, chosen, strict=True):
            row.generated.append(token)
            if self.on_token is not None:
                self.on_token(token)
            self.next_token[slot] = token
            full = (
                len(row.generated) == self.sampling.max_new_tokens
                or self.lengths[slot] + 1 >= self.capacity
            )
            ended = row.request.ended
            stopped = token == self.end_id or (ended is not None and ended(row.generated))
            if stopped or full:
                reason: StopReason = "stop" if stopped else "length"
                self.done.append(
                    Completion(row.request.id, row.sample, tuple(row.generated), reason)
                )
                self.rows[slot] = None

    def _decode(self) -> None:
        """Advance every slot by one token; slots that stand empty ride along and are ignored."""
        active = [index for index, row in enumerate(self.rows) if row is not None]
        if not self.queue and len(active) <= self.slots // 2:
            self._shrink(active)
            active = list(range(self.slots))
        device = self.model.device
        slots = list(range(self.slots))
        positions = [self.lengths[s] if self.rows[s] is not None else 0 for s in slots]
        limit = max(positions) + 1
        tokens_S1 = torch.tensor(self.next_token, device=device)[:, None]
        positions_S1 = torch.tensor(positions, device=device)[:, None]
        step = CacheStep(self.cache, torch.arange(self.slots, device=device), limit)
        hidden_S1D = self.model(tokens_S1, positions_BL=positions_S1, step=step)
        for slot in active:
            self.lengths[slot] += 1
        self._take(self.model.logits(hidden_S1D[:, 0])[active], active)

    def _shrink(self, active: list[int]) -> None:
        """Drop the empty slots once no prompt waits: the tail does not decode empty rows."""
        self.cache.keep(active)
        self.rows = [self.rows[slot] for slot in active]
        self.lengths = [self.lengths[slot] for slot in active]
        self.next_token = [self.next_token[slot] for slot in active]
        self.slots = len(active)
