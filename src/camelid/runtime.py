"""Compute precision: fp32 master weights, bf16 compute where the hardware has it.

Source: choice (the paper names no precision). Norms, softmax over the vocabulary, losses and
rewards stay in fp32 either way.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def default_device() -> torch.device:
    """Return the accelerator when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: Precision) -> Literal["float32", "bfloat16"]:
    """Turn `auto` into what this machine computes fastest in."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # Either makes matrix products at least twice as fast as in fp32.
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    probes = [getattr(torch.cpu, name, None) for name in names]
    return "bfloat16" if any(probe is not None and probe() for probe in probes) else "float32"


def compute(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Return the context in which forward passes run."""
    if resolve_precision(precision) == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
