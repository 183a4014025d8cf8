"""Estimates before a run: work against torch's own count, memory against what a step holds."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from camelid.methods import estimate
from camelid.methods.estimate import (
    Speed,
    estimate_sampling,
    estimate_training,
    forward_flop,
    measure_speed,
)
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.runtime import Runtime

SHAPE = ModelConfig(
    dim=32, layers=3, heads=4, kv_heads=2, ffn_dim=48, vocabulary_size=40, context=64
)
FIXED = Speed(training=1e9, decoding=1e8, activation_bytes=1000.0, runtime=Runtime())


def test_operations_are_those_that_torch_counts():
    model, tokens_BL = Transformer(SHAPE), torch.zeros((2, 16), dtype=torch.long)
    with FlopCounterMode(display=False) as forward:
        hidden_BLD = model(tokens_BL, documents_BL=tokens_BL)
    counted = forward.get_total_flops()
    assert counted == 32 * forward_flop(SHAPE, 16, head=False)
    with FlopCounterMode(display=False) as whole:
        logits_BLV = model.logits(model(tokens_BL, documents_BL=tokens_BL))
        logits_BLV.sum().backward()
    assert whole.get_total_flops() == 3 * 32 * forward_flop(SHAPE, 16)
    assert hidden_BLD.shape == (2, 16, 32)


def test_memory_is_what_a_step_holds():
    """Weights, gradients and moments exactly; activations of all layers from those of one."""
    shape = dataclasses.replace(SHAPE, tied_embeddings=True)
    model = Transformer(shape)
    optimizer = torch.optim.AdamW(model.parameters())
    kept = estimate._activation_bytes(model, 16)
    optimizer.step()
    held = [p.nbytes + p.grad.nbytes for p in model.parameters()]
    held += [
        value.nbytes
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    ]
    found = estimate_training(
        shape,
        dataclasses.replace(FIXED, activation_bytes=kept / (16 * 3)),
        stage="fine-tuning",
        tokens=1,
        epochs=1,
        row_tokens=16,
        micro_rows=1,
    )
    logits = 2 * 16 * 40 * 4
    assert found.memory_bytes == sum(held) + kept + logits
    # At the least what enters each matrix product of each layer.
    assert kept > 3 * 16 * 4 * (32 + 32 + 32 + 48)


def test_training_time_is_work_over_speed():
    found = estimate_training(
        SHAPE,
        FIXED,
        stage="reward modeling",
        tokens=1000,
        epochs=2,
        row_tokens=16,
        micro_rows=4,
        reward_model=True,
    )
    matrices = 3 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48)
    flop = 2000 * (6 * matrices + 12 * 3 * 32 * 16)
    assert (found.tokens, found.flop) == (2000, flop)
    assert found.seconds == pytest.approx(flop / 1e9)
    assert found.memory_bytes == 20 * SHAPE.parameter_count + 64 * 3 * 1000


def test_sampling_reads_a_prompt_once_and_decodes_every_sample():
    found = estimate_sampling(
        SHAPE, FIXED, stage="s", prompts=5, prompt_tokens=10, samples=4, max_new_tokens=6
    )
    matrices = 3 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48)
    reading = 50 * (2 * matrices + 4 * 3 * 32 * 10)
    decoding = 120 * (2 * (matrices + 40 * 32) + 4 * 3 * 32 * 13)
    assert (found.tokens, found.flop) == (170, reading + decoding)
    assert found.seconds == pytest.approx(reading / 1e9 + decoding / 1e8)
    cache = 2 * 3 * 20 * 2 * 16 * 8 * 4
    assert found.memory_bytes == 4 * SHAPE.parameter_count + cache


def test_a_large_model_is_measured_on_some_of_its_layers(monkeypatch):
    monkeypatch.setattr(estimate, "_BUDGET", 0.01)
    built = []
    plain = estimate.Transformer
    monkeypatch.setattr(estimate, "Transformer", lambda few: built.append(few) or plain(few))
    large = ModelConfig(
        dim=512, layers=100, heads=8, kv_heads=8, ffn_dim=2048, vocabulary_size=50_000, context=64
    )
    speed = measure_speed(large, Runtime(), 8)
    [few] = built
    assert few.layers * estimate.block_parameters(large) <= 8e6
    assert (few.dim, few.ffn_dim, few.vocabulary_size) == (512, 2048, 1024)
    assert min(speed.training, speed.decoding, speed.activation_bytes) > 0
