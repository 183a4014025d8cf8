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


_MODULES = {
    "tok_embeddings": ("model.embed_tokens", "token_embd"),
    "norm": ("model.norm", "output_norm"),
    "output": ("lm_head", "output"),
    "attention.wq": ("self_attn.q_proj", "attn_q"),
    "attention.wk": ("self_attn.k_proj", "attn_k"),
    "attention.wv": ("self_attn.v_proj", "attn_v"),
    "attention.wo": ("self_attn.o_proj", "attn_output"),
    "feed_forward.w1": ("mlp.gate_proj", "ffn_gate"),
    "feed_forward.w2": ("mlp.down_proj", "ffn_down"),
    "feed_forward.w3": ("mlp.up_proj", "ffn_up"),
    "attention_norm": ("input_layernorm", "attn_norm"),
    "ffn_norm": ("post_attention_layernorm", "ffn_norm"),
}
HUGGINGFACE = Names("model.layers", {n: hf for n, (hf, _) in _MODULES.items()} | {"head": "score"})
GGUF = Names("blk", {name: gguf for name, (_, gguf) in _MODULES.items()})


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
        tensors = {n: _interleaved(t, size) if _is_rotated(n) else t for n, t in tensors.items()}
    return dataclasses.replace(found, tensors=tensors)


def _is_rotated(name: str) -> bool:
    """Tell whether a tensor (our name) makes queries or keys."""
    return name.rpartition(".")[0].endswith(("attention.wq", "attention.wk"))


def _interleaved(tensor: StoredTensor, head_dim: int) -> StoredTensor:
    """Put the rows of whole heads from half-split into interleaved order."""

    def read(start: int, stop: int) -> Tensor:
        halves = torch.unflatten(tensor.read(start, stop), 0, (-1, 2, head_dim // 2))
        return halves.transpose(1, 2).flatten(0, 2)

    return dataclasses.replace(tensor, read=read, unit=head_dim)


def split_halves(name: str, tensor: Tensor, head_dim: int) -> Tensor:
    """Return a tensor (our name) for a format that rotates halves of a head."""
    if not _is_rotated(name):
        return tensor
    pairs = torch.unflatten(tensor, 0, (-1, head_dim // 2, 2))
    return pairs.transpose(1, 2).flatten(0, 2).contiguous()


def drop_tied_output(tensors: dict[str, StoredTensor], embedding: str, output: str) -> bool:
    """Remove an output table equal to the embeddings, a tied one that was written out; tell so."""
    one, other = tensors.get(embedding), tensors.get(output)
    if one is None or other is None or one.shape != other.shape or len(one.shape) != 2:
        return False
    rows, step = one.shape[0], max(1, BLOCK // max(1, one.shape[1]))
    parts = [(start, min(start + step, rows)) for start in range(0, rows, step)]
    equal = all(one.read(*part).equal(other.read(*part)) for part in parts)
    if equal:
        del tensors[output]
    return equal
