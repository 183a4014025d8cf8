"""Time and memory of a stage on this machine, before it runs: work is counted, speed is measured.

Floating-point operations: 2 N a token forward and 6 N for a training step (Kaplan et al.,
arXiv 2001.08361, Section 2.1; N counts the matrices that a token passes), plus 4 and 12 layers D T
for attention over T tokens (PaLM, arXiv 2204.02311, Appendix B). Speed: a training step and decode
steps of a model of the same shapes with fewer layers and a small vocabulary, in about a second
each. Time is work over speed.

Source: choice.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from camelid.errors import counted
from camelid.inference.decoding import Decoder
from camelid.inference.generation import cache_type
from camelid.model.attention import KVCache
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.runtime import Runtime, compute

SLOTS = 128
"""Replies that are decoded at once, as `generate` does."""
LOGITS_TOKENS = 4096
"""Most tokens whose logits exist at once, as in `NextToken`."""
_BUDGET = 0.5
"""Seconds of a measurement, after a first pass that warms up."""
_VOCABULARY = 1024
_FIRST = 5e9
"""Parameters times tokens of the first pass, at most: 0.3 s at 100 GFLOP/s."""


def block_parameters(config: ModelConfig) -> int:
    """Return the parameters of one layer's matrices."""
    attention = 2 * config.dim * (config.dim + config.kv_heads * config.head_dim)
    return attention + 3 * config.dim * config.ffn_dim


def forward_flop(config: ModelConfig, length: float, *, head: bool = True) -> float:
    """Return the floating-point operations of one token, forward.

    Args:
        config: Shape of the model.
        length: Tokens that attention reads.
        head: Whether the token's logits are computed.
    """
    passed = config.layers * block_parameters(config)
    passed += config.vocabulary_size * config.dim if head else 0
    return 2.0 * passed + 4.0 * config.layers * config.dim * length


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What this machine did with one model's shapes."""

    training: float
    """FLOP/s of a training step, forward and backward."""
    decoding: float
    """FLOP/s of decode steps of `SLOTS` replies."""
    activation_bytes: float
    """Kept from forward to backward, of a token in one layer."""
    runtime: Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a stage will cost."""

    stage: str
    work: str
    """What is done, in words."""
    tokens: int
    flop: float
    seconds: float
    memory_bytes: int
    counted: str
    """What the memory is of."""


def measure_speed(config: ModelConfig, runtime: Runtime, row_tokens: int) -> Speed:
    """Train and decode for at most three seconds on the model's shapes.

    Args:
        config: Shape of the model; its weights are not needed.
        runtime: Computes.
        row_tokens: Longest row.
    """
    layers = int(max(1, min(config.layers, 8e6 // block_parameters(config))))
    few = dataclasses.replace(
        config, layers=layers, vocabulary_size=min(config.vocabulary_size, _VOCABULARY)
    )
    with torch.device("meta"):
        shape = Transformer(few)
    model = runtime.place(shape.to_empty(device=runtime.device))
    model.reset_rotary()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.01)
    most = int(_FIRST / (layers * block_parameters(config)))
    length = max(8, min(row_tokens, config.context, 256, most))
    kept = _activation_bytes(model, length)
    took = _seconds(lambda: _train(model, length), model)
    model.zero_grad(set_to_none=True)
    work = 3 * length * forward_flop(few, length, head=False)
    return Speed(
        training=work / took,
        decoding=_decoding(model, min(length, 64)),
        activation_bytes=kept / (length * layers),
        runtime=runtime,
    )


def _train(model: Transformer, length: int) -> None:
    tokens_BL = torch.zeros((1, length), dtype=torch.long, device=model.device)
    with compute(model):
        # As packed rows: attention is masked by document.
        hidden_BLD = model(tokens_BL, documents_BL=tokens_BL)
    hidden_BLD.float().sum().backward()


def _activation_bytes(model: Transformer, length: int) -> int:
    """Return what one row keeps for the backward pass, beside the weights in any number type."""
    shapes = {shape for p in model.parameters() for shape in (p.shape, p.shape[::-1])}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.shape not in shapes:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _train(model, length)
    return sum(kept.values())


@torch.no_grad()
def _decoding(model: Transformer, length: int) -> float:
    """Return the FLOP/s of decode steps over a cache of so many tokens."""
    cache = KVCache(model.config, SLOTS, length, model.device, cache_type(model))
    decoder, given_2S = Decoder(model, cache), torch.zeros((2, SLOTS), dtype=torch.long)
    given_2S[1] = length - 1
    with compute(model):
        took = _seconds(lambda: decoder.step(given_2S), model)
    return SLOTS * forward_flop(model.config, length) / took


def _seconds(work: Callable[[], object], model: Transformer) -> float:
    """Return the mean seconds of some work once it is warm."""

    def wait() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    work()
    wait()
    began, times = time.perf_counter(), 0
    while not times or time.perf_counter() - began < _BUDGET:
        work()
        wait()
        times += 1
    return (time.perf_counter() - began) / times


def estimate_training(
    config: ModelConfig,
    speed: Speed,
    *,
    stage: str,
    tokens: int,
    epochs: int,
    row_tokens: int,
    micro_rows: int,
    reward_model: bool = False,
) -> Estimate:
    """Estimate fine-tuning or the training of a reward model.

    Args:
        config: Shape of the model.
        speed: From `measure_speed`.
        stage: Its name.
        tokens: Of the data, once.
        epochs: Passes over the data.
        row_tokens: Tokens a row.
        micro_rows: Rows in memory at once.
        reward_model: Whether it is one: no logits, and the chat model stays in memory beside it.
    """
    flop = 3 * epochs * tokens * forward_flop(config, row_tokens, head=not reward_model)
    weights, micro = config.parameter_count, micro_rows * row_tokens
    # fp32: weights, gradients and AdamW's two moments; and the weights in the compute type.
    memory = 16 * weights + (2 * weights if speed.runtime.precision == "bfloat16" else 0)
    memory += int(micro * config.layers * speed.activation_bytes)
    counted = "weights, gradients and AdamW's moments in fp32, activations of a micro-batch"
    if reward_model:
        memory += 4 * weights
        counted += ", the chat model"
    else:
        # Logits and their gradient.
        memory += 8 * min(micro, LOGITS_TOKENS) * config.vocabulary_size
        counted += ", its logits"
    passes = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    return Estimate(
        stage=stage,
        work=f"{passes}, rows of {row_tokens:,} tokens, {micro_rows} at once",
        tokens=epochs * tokens,
        flop=flop,
        seconds=flop / speed.training,
        memory_bytes=memory,
        counted=counted,
    )


def estimate_sampling(
    config: ModelConfig,
    speed: Speed,
    *,
    stage: str,
    prompts: int,
    prompt_tokens: float,
    samples: int,
    max_new_tokens: int,
) -> Estimate:
    """Estimate the sampling of replies, each as long as it may be.

    A prompt is read once at the speed of training, whatever the number of its samples.
    """
    read, new = prompts * prompt_tokens, prompts * samples * max_new_tokens
    reading = read * forward_flop(config, prompt_tokens, head=False)
    decoding = new * forward_flop(config, prompt_tokens + max_new_tokens / 2)
    kind = torch.bfloat16 if speed.runtime.device.type == "cuda" else torch.float32
    length = int(prompt_tokens) + max_new_tokens
    cache = KVCache.bytes(config, min(SLOTS, prompts * samples), length, kind)
    return Estimate(
        stage=stage,
        work=f"{counted(samples, 'reply')} of {max_new_tokens} tokens to each prompt",
        tokens=int(read + new),
        flop=reading + decoding,
        seconds=reading / speed.training + decoding / speed.decoding,
        memory_bytes=4 * config.parameter_count + cache,
        counted=f"weights in fp32, the cache of {counted(SLOTS, 'reply')}",
    )
