"""Where and how a process computes: device, precision, threads. Made once, handed to stages.

fp32 master weights, bf16 compute where the hardware has it. Norms, softmax over the vocabulary,
losses and rewards stay in fp32 either way. A model carries the precision that it was loaded with,
so nothing between a stage and a forward pass names it.

Source: choice (the paper names no precision).
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import nn

Compute = Literal["float32", "bfloat16"]
ModuleT = TypeVar("ModuleT", bound="ComputingModule")


class ComputingModule(Protocol):
    """What every model of this package says of itself."""

    precision: Compute
    """Number type of its matrix products."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def to(self, device: torch.device) -> Any:
        """Move the weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """What a process computes with; the defaults are those of the tests."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """The accelerator when there is one, else the CPU."""
    precision: Compute = "float32"
    """Number type of matrix products."""
    threads: int = 1
    """CPU threads of tensor operations; part of what makes a run repeatable to the bit."""

    @property
    def device_name(self) -> str:
        """`cpu`, or `cuda` with the name of the accelerator."""
        if self.device.type != "cuda":
            return self.device.type
        return f"cuda ({torch.cuda.get_device_name()})"

    @property
    def torch_version(self) -> str:
        """Version of torch; recorded, not part of a fingerprint."""
        return str(torch.__version__)

    def place(self, model: ModuleT) -> ModuleT:
        """Return the model on this device, computing in this precision."""
        model.to(self.device)
        model.precision = self.precision
        return model


def core_count() -> int:
    """Return the cores of this process; fewer than the machine's in a container or by `taskset`."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def open_runtime(precision: Compute | Literal["auto"], threads: int | None) -> Runtime:
    """Set the threads of this process and return what it computes with.

    Args:
        precision: As set; `auto` takes bf16 where the hardware multiplies in it.
        threads: CPU threads; None for the cores of the machine.
    """
    torch.set_num_threads(threads or core_count())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    resolved = fastest_precision() if precision == "auto" else precision
    return Runtime(device=device, precision=resolved, threads=torch.get_num_threads())


def fastest_precision() -> Compute:
    """Return what this machine computes fastest in."""
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # Either makes matrix products at least twice as fast as in fp32.
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    probes = [getattr(torch.cpu, name, None) for name in names]
    return "bfloat16" if any(probe is not None and probe() for probe in probes) else "float32"


def compute(model: nn.Module) -> AbstractContextManager[Any]:
    """Return the context in which forward passes of a model run."""
    # A bare module, as tests train them, computes in fp32.
    if getattr(model, "precision", "float32") == "float32":
        return nullcontext()
    device = next(model.parameters()).device
    return torch.autocast(device.type, dtype=torch.bfloat16)
