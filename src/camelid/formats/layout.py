"""Other formats' tensor names, and the order of query and key rows under their rotary embedding.

Ours, Meta's and GGUF's Llama rotate interleaved pairs (x0, x1), (x2, x3), ...; Hugging Face, and
GGUF's Qwen2, rotate the first half of a head with its second half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from camelid.formats.folder import BLOCK, Checkpoint, StoredTensor, empty_model


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a format."""

    layers: str
    """What stands before the number of a block."""
    modules: Mapping[str, str]
    """Our module (inside a block, or outside of all) to theirs."""

    def theirs(self, name: str) -> str:
        """Return their name of one of our tensors."""
        module, _, kind = name.removeprefix("trunk.").rpartition(".")
        if not module.startswith("layers."):
            return f"{self.modules[module]}.{kind}"
        _, layer, inner = module.split(".", 2)
        return f"{self.layers}.{layer}.{self.modules[inner]}.{kind}"


def under_our_names(found: Checkpoint, names: Names, *, half_split: bool) -> Checkpoint:
    """Return a checkpoint under our names and in our order of rows.

    Args:
        found: Tensors under the names of another format; unknown ones keep theirs, to be refused.
        names: Those names.
        half_split: Whether the format rotates halves of a head.
    """
    ours = {names.theirs(name): name for name in empty_model(found).state_dict()}
    # Under our own names too: a foreign tensor that happens to have one is no tensor of ours.
    taken = {name: f"{name} (of another format)" for name in ours.values() if name not in ours}
    tensors = {ours.get(n, taken.get(n, n)): tensor for n, tensor in found.tensors.items()}
    if half_split:
        size = found.config.head_dim
        tensors = {n: _interleaved(t, size) if is_rotated(n) else t for n, t in tensors.items()}
    return dataclasses.replace(found, tensors=tensors)


def is_rotated(name: str) -> bool:
    """Tell whether a tensor (our name) makes queries or keys."""
    return name.rpartition(".")[0].endswith(("attention.wq", "attention.wk"))


def interleave(rows: Tensor, head_dim: int) -> Tensor:
    """Put the rows of whole heads from half-split into interleaved order."""
    return torch.unflatten(rows, 0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


def split_halves(rows: Tensor, head_dim: int) -> Tensor:
    """Undo `interleave`."""
    return torch.unflatten(rows, 0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)


def _interleaved(tensor: StoredTensor, head_dim: int) -> StoredTensor:
    def read(start: int, stop: int) -> Tensor:
        return interleave(tensor.read(start, stop), head_dim)

    return dataclasses.replace(tensor, read=read, unit=head_dim)


def same_values(one: StoredTensor, other: StoredTensor) -> bool:
    """Tell whether two stored tables are equal: a tied output that was written out."""
    if one.shape != other.shape or len(one.shape) != 2:
        return False
    rows, step = one.shape[0], max(1, BLOCK // max(1, one.shape[1]))
    starts = range(0, rows, step)
    return all(
        one.read(s, min(s + step, rows)).equal(other.read(s, min(s + step, rows))) for s in starts
    )
