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
from numpy.typing import NDArray
from torch import Tensor

from camelid.data.records import StopReason
from camelid.errors import DataError
from camelid.inference.decoding import Decoder
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


def uniforms(seed: int, request: str, sample: int, count: int) -> NDArray[np.float64]:
    """Return the random numbers of one reply: a function of the request, not of its neighbours."""
    digest = hashlib.sha256(f"{seed}/{request}/{sample}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return generator.random(count)


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
        end_ids=np.array(sorted(end_ids), dtype=np.int64),
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


class _Slots:
    """What each slot of the cache holds, a row a slot; N numbers at most are drawn in each."""

    def __init__(self, count: int, longest_reply: int) -> None:
        self.request: list[Request | None] = [None] * count
        self.sample_S = np.zeros(count, dtype=np.int64)
        self.temperature_S = np.zeros(count)
        self.uniform_SN = np.zeros((count, longest_reply))
        self.token_SN = np.zeros((count, longest_reply), dtype=np.int64)
        self.logp_SN = np.zeros((count, longest_reply))
        self.drawn_S = np.zeros(count, dtype=np.int64)
        """Tokens drawn so far."""
        self.room_S = np.zeros(count, dtype=np.int64)
        """Tokens that may be drawn."""
        self.prompt_S = np.ones(count, dtype=np.int64)
        """Tokens of the prompt."""

    def __len__(self) -> int:
        return len(self.request)

    def keep(self, slots: NDArray[np.int64]) -> None:
        """Shrink to the given slots, in that order."""
        self.request = [self.request[slot] for slot in slots]
        for name, table in vars(self).items():
            if isinstance(table, np.ndarray):
                setattr(self, name, table[slots])


class _Engine:
    """State of one `generate` call."""

    def __init__(
        self,
        model: Transformer,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        end_ids: NDArray[np.int64],
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
        self.decoder = Decoder(model, self.cache)
        self.slots = _Slots(count, sampling.max_new_tokens)
        self.done: list[Completion] = []

    def run(self) -> list[Completion]:
        while self.queue or any(self.slots.request):
            self._refill()
            if any(self.slots.request):
                self._decode()
        return sorted(self.done, key=lambda c: (self.order[c.request_id], c.sample))

    def _refill(self) -> None:
        """Prefill as many waiting prompts as fit in free slots, in padded batches of 32."""
        free = [index for index, request in enumerate(self.slots.request) if request is None]
        # Refilling a few rows at a time would prefill in tiny batches; wait for a quarter of the
        # slots.
        slots = len(self.slots)
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
            for sample, slot in enumerate(slots, request.first_sample):
                self._fill(slot, request, sample)
            filled += slots
            sources += [index] * len(slots)
        self._take(logits_BV[sources], np.array(filled))

    def _fill(self, slot: int, request: Request, sample: int) -> None:
        state, longest = self.slots, self.sampling.max_new_tokens
        temperature = request.temperature
        if temperature is None:
            temperature = self.sampling.temperature
        state.request[slot], state.sample_S[slot] = request, sample
        state.temperature_S[slot] = temperature
        state.uniform_SN[slot] = uniforms(self.seed, request.id, sample, longest)
        state.drawn_S[slot], state.prompt_S[slot] = 0, len(request.tokens)
        state.room_S[slot] = min(longest, self.capacity - len(request.tokens))

    def _take(self, logits_AV: Tensor, active_A: NDArray[np.int64]) -> None:
        """Draw the next token of the active slots and retire rows that end."""
        state = self.slots
        drawn_A = state.drawn_S[active_A]
        numbers = (state.uniform_SN[active_A, drawn_A], state.temperature_S[active_A])
        drawing_2A = torch.from_numpy(np.stack(numbers)).to(logits_AV.device)
        temperature_A = drawing_2A[1].to(torch.promote_types(logits_AV.dtype, torch.float32))
        if len(self.never):
            logits_AV = logits_AV.index_fill(-1, self.never, -torch.inf)
        drawn = draw(logits_AV, drawing_2A[0], temperature_A, self.sampling.top_p)
        # At once: token ids are exact in float64.
        token_A, logp_A = torch.stack([part.double() for part in drawn]).cpu().numpy()
        state.token_SN[active_A, drawn_A] = token_A
        state.logp_SN[active_A, drawn_A] = logp_A
        state.drawn_S[active_A] += 1
        stopped_A = np.isin(token_A, self.end_ids)
        for index, slot in enumerate(active_A):
            request = state.request[slot]
            if self.on_token is not None:
                self.on_token(int(token_A[index]))
            if request is not None and request.ended is not None and not stopped_A[index]:
                stopped_A[index] = request.ended(
                    state.token_SN[slot, : drawn_A[index] + 1].tolist()
                )
        full_S = state.drawn_S == state.room_S
        for slot, stopped in zip(active_A, stopped_A, strict=True):
            if stopped or full_S[slot]:
                self._retire(int(slot), "stop" if stopped else "length")

    def _retire(self, slot: int, reason: StopReason) -> None:
        state = self.slots
        request, count = state.request[slot], state.drawn_S[slot]
        if request is not None:
            tokens = tuple(state.token_SN[slot, :count].tolist())
            logp = tuple(state.logp_SN[slot, :count].tolist())
            sample = int(state.sample_S[slot])
            self.done.append(Completion(request.id, sample, tokens, reason, logp))
        # An empty slot rides along at its beginning.
        state.request[slot], state.drawn_S[slot], state.prompt_S[slot] = None, 0, 1

    def _decode(self) -> None:
        """Advance every slot by one token; slots that stand empty ride along and are ignored."""
        state = self.slots
        active_A = np.array([i for i, request in enumerate(state.request) if request is not None])
        if not self.queue and len(active_A) <= len(state) // 2:
            # No prompt waits: the tail does not decode empty rows.
            self.cache.keep(active_A.tolist())
            state.keep(active_A)
            self.decoder = Decoder(self.model, self.cache)
            active_A = np.arange(len(state))
        last_S = np.maximum(state.drawn_S - 1, 0)
        tokens_S = state.token_SN[np.arange(len(state)), last_S]
        positions_S = state.prompt_S + state.drawn_S - 1
        logits_SV = self.decoder.step(torch.from_numpy(np.stack((tokens_S, positions_S))))
        if len(active_A) < len(state):
            logits_SV = logits_SV[torch.from_numpy(active_A)]
        self._take(logits_SV, active_A)
