"""The generation engine: a fixed number of slots over one KV cache.

It is shared by every stage and by chat. A prompt is prefilled once and its cache forked for all its
samples; a slot is refilled as its row ends; each row draws from random numbers keyed by (seed,
request, sample), so a reply does not depend on what else is in the batch beyond rounding. The
policy's weights are used in place.

Source: choice (the paper names no engine); Section 3.2.3 asks for K samples a prompt.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from camelid.data.records import StopReason
from camelid.errors import DataError
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
    logp: tuple[float, ...] = field(default=(), compare=False)
    """Of each token, in the distribution that it was drawn from; 0 where it was not drawn."""

    @property
    def words(self) -> tuple[int, ...]:
        """The tokens without what ended them."""
        return self.tokens[:-1] if self.stop_reason == "stop" else self.tokens


@dataclass(slots=True)
class _Row:
    request: Request
    sample: int
    temperature: float
    uniforms: list[float]
    generated: list[int]
    logp: list[float]

    @property
    def position(self) -> int:
        """Where the last token stands."""
        return len(self.request.tokens) + len(self.generated) - 1


def uniforms(seed: int, request: str, sample: int, count: int) -> list[float]:
    """Return the random numbers of one reply: a function of the request, not of its neighbours."""
    digest = hashlib.sha256(f"{seed}/{request}/{sample}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    numbers: list[float] = generator.random(count).tolist()
    return numbers


def draw(
    logits_SV: Tensor, uniform_S: Tensor, temperature_S: Tensor, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Choose one token a row by the inverse of the cumulative distribution.

    Args:
        logits_SV: Raw logits.
        uniform_S: One number in [0, 1) a row.
        temperature_S: Divides the logits of its row; 0 takes the most probable token.
        top_p: As in `Sampling`.

    Returns:
        The tokens, and the log-probability of each (0 where the most probable one is taken).
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
    share_S = (probabilities_SV.gather(-1, index_S1) / cumulative_SV[:, -1:]).squeeze(-1)
    logp_S = share_S.log().masked_fill(greedy_S, 0.0)
    return torch.where(greedy_S, logits_SV.argmax(-1), drawn_S), logp_S


@torch.no_grad()
def generate(
    model: Transformer,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    end_ids: Collection[int],
    seed: int,
    never: Sequence[int] = (),
    slots: int = 128,
    on_token: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Sample replies.

    Args:
        model: The policy.
        requests: Prompts, each at least one token long.
        sampling: Temperature, top-p and length.
        end_ids: Tokens of which each ends a reply.
        seed: Seed of the random numbers.
        never: Ids that are not drawn: rows of the embedding table that stand for no token.
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
    engine = _Engine(
        model,
        requests,
        sampling,
        end_ids=frozenset(end_ids),
        never=torch.tensor(list(never), dtype=torch.long, device=model.device),
        seed=seed,
        slots=slots,
        on_token=on_token,
    )
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
        end_ids: frozenset[int],
        never: Tensor,
        seed: int,
        slots: int,
        on_token: Callable[[int], None] | None,
    ) -> None:
        self.model, self.sampling, self.seed = model, sampling, seed
        self.end_ids, self.never, self.on_token = end_ids, never, on_token
        # Similar lengths decode together, so that short rows do not pay for a long one's cache.
        self.queue = deque(sorted(requests, key=lambda request: -len(request.tokens)))
        self.order = {request.id: index for index, request in enumerate(requests)}
        if len(self.order) != len(requests):
            raise DataError("two generation requests share an id; ids must be unique.")
        count = min(slots, sum(request.samples for request in requests))
        longest = max((len(request.tokens) for request in requests), default=0)
        self.capacity = min(model.config.context, longest + sampling.max_new_tokens)
        self.cache = KVCache(model.config, count, self.capacity, model.device, cache_type(model))
        self.rows: list[_Row | None] = [None] * count
        self.done: list[Completion] = []

    def run(self) -> list[Completion]:
        while self.queue or any(self.rows):
            self._refill()
            if any(self.rows):
                self._decode()
        return sorted(self.done, key=lambda c: (self.order[c.request_id], c.sample))

    def _refill(self) -> None:
        """Prefill as many waiting prompts as fit in free slots, in padded batches of 32."""
        free = [index for index, row in enumerate(self.rows) if row is None]
        # Refilling a few rows at a time would prefill in tiny batches; wait for a quarter of the
        # slots.
        slots = len(self.rows)
        if len(free) < max(1, slots // 4) and len(free) < slots:
            return
        taken: list[tuple[Request, list[int]]] = []
        while self.queue and free:
            request = self.queue.popleft()
            count = min(request.samples, len(free))
            taken.append((request, free[:count]))
            free = free[count:]
            if count < request.samples:
                samples, first = request.samples - count, request.first_sample + count
                self.queue.appendleft(replace(request, samples=samples, first_sample=first))
        for start in range(0, len(taken), 32):
            self._prefill(taken[start : start + 32])

    def _prefill(self, taken: list[tuple[Request, list[int]]]) -> None:
        device = self.model.device
        prompts = [request.tokens for request, _ in taken]
        tokens, lengths_B = pad_right(prompts, 0, device, longest=self.capacity)
        slots_B = torch.tensor([slots[0] for _, slots in taken], device=device)
        step = CacheStep(self.cache, slots_B, None)
        hidden_BLD = self.model(tokens, step=step)
        every_B = torch.arange(len(taken), device=device)
        logits_BV = self.model.logits(hidden_BLD[every_B, lengths_B - 1])
        filled: list[int] = []
        sources: list[int] = []
        for index, (request, slots) in enumerate(taken):
            if len(slots) > 1:
                self.cache.copy(slots[0], slots[1:], len(request.tokens))
            temperature = request.temperature
            if temperature is None:
                temperature = self.sampling.temperature
            for sample, slot in enumerate(slots, request.first_sample):
                numbers = uniforms(self.seed, request.id, sample, self.sampling.max_new_tokens)
                self.rows[slot] = _Row(request, sample, temperature, numbers, [], [])
            filled += slots
            sources += [index] * len(slots)
        self._take(logits_BV[sources], filled)

    def _take(self, logits_SV: Tensor, slots: list[int]) -> None:
        """Draw the next token of some slots and retire rows that end."""
        rows = [row for slot in slots if (row := self.rows[slot]) is not None]
        numbers = [[row.uniforms[len(row.generated)], row.temperature] for row in rows]
        drawing_S2 = torch.tensor(numbers, dtype=torch.float64, device=logits_SV.device)
        temperature_S = drawing_S2[:, 1].to(torch.promote_types(logits_SV.dtype, torch.float32))
        if len(self.never):
            logits_SV = logits_SV.index_fill(-1, self.never, -torch.inf)
        drawn = draw(logits_SV, drawing_S2[:, 0], temperature_S, self.sampling.top_p)
        # At once: token ids are exact in float64.
        chosen = torch.stack([part.double() for part in drawn], 1).tolist()
        for slot, row, (number, logp) in zip(slots, rows, chosen, strict=True):
            token = int(number)
            row.generated.append(token)
            row.logp.append(logp)
            if self.on_token is not None:
                self.on_token(token)
            ended = row.request.ended
            stopped = token in self.end_ids or (ended is not None and ended(row.generated))
            full = len(row.generated) == self.sampling.max_new_tokens
            if stopped or full or row.position + 1 >= self.capacity:
                reason: StopReason = "stop" if stopped else "length"
                tokens, logp_ = tuple(row.generated), tuple(row.logp)
                self.done.append(Completion(row.request.id, row.sample, tokens, reason, logp_))
                self.rows[slot] = None

    def _decode(self) -> None:
        """Advance every slot by one token; slots that stand empty ride along and are ignored."""
        active = [index for index, row in enumerate(self.rows) if row is not None]
        if not self.queue and len(active) <= len(self.rows) // 2:
            # No prompt waits: the tail does not decode empty rows.
            self.cache.keep(active)
            self.rows = [self.rows[slot] for slot in active]
            active = list(range(len(active)))
        device = self.model.device
        positions = [row.position if row else 0 for row in self.rows]
        tokens = [row.generated[-1] if row else 0 for row in self.rows]
        step = CacheStep(
            self.cache, torch.arange(len(self.rows), device=device), max(positions) + 1
        )
        hidden_S1D = self.model(
            torch.tensor(tokens, device=device)[:, None],
            positions_BL=torch.tensor(positions, device=device)[:, None],
            step=step,
        )
        self._take(self.model.logits(hidden_S1D[:, 0])[active], active)
