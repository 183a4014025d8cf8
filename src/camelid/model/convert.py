"""Llama-architecture weights from GGUF files, with the tokenizer that the file carries.

GGUF stores the query and key projections for interleaved rotary pairs, which is also Meta's and our
layout: they are read as they lie. Quantised tensors become fp32.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from camelid.data.byte_level_bpe import ByteLevelBPETokenizer
from camelid.errors import CheckpointError, ConfigError, MissingInputError
from camelid.model.transformer import ModelConfig, Transformer
from camelid.model.weights import fill

_OUTER = {
    "token_embd.weight": "tok_embeddings.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "output.weight",
}
_IN_BLOCK = {
    "attn_q": "attention.wq",
    "attn_k": "attention.wk",
    "attn_v": "attention.wv",
    "attn_output": "attention.wo",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
    "attn_norm": "attention_norm",
    "ffn_norm": "ffn_norm",
}
_CONTROL = 3
"""GGUF's token type of special tokens."""


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A model and tokenizer read from one file."""

    model: Transformer
    tokenizer: ByteLevelBPETokenizer
    tensor_types: dict[str, int]
    """Number of tensors of each storage type in the file."""
    metadata: dict[str, str]
    """Name and licence as the file states them."""


def meta_name(name: str) -> str:
    """Return Meta's name of a GGUF tensor; an unknown name stays, to be refused as unexpected."""
    if name in _OUTER:
        return _OUTER[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _IN_BLOCK and parts[3] == "weight":
        return f"layers.{parts[1]}.{_IN_BLOCK[parts[2]]}.weight"
    return name


class _Fields:
    """The key-value part of a file."""

    def __init__(self, reader: Any, path: Path) -> None:
        self._fields, self._path = reader.fields, path

    def get(self, key: str) -> Any:
        """Return the value, None where absent."""
        field = self._fields.get(key)
        return None if field is None else field.contents()

    def need(self, key: str) -> Any:
        """Return the value, or raise CheckpointError."""
        value = self.get(key)
        if value is None:
            raise CheckpointError(f"{self._path}: the field {key!r} is missing.")
        return value


def _read_config(fields: _Fields, path: Path, *, vocabulary_size: int, tied: bool) -> ModelConfig:
    architecture = fields.need("general.architecture")
    if architecture != "llama":
        raise CheckpointError(
            f"{path}: architecture {architecture!r}; only 'llama' is supported by this transformer."
        )
    scaling = fields.get("llama.rope.scaling.type")
    if scaling not in (None, "none"):
        raise CheckpointError(f"{path}: rotary scaling {scaling!r} is not supported.")
    heads = fields.need("llama.attention.head_count")
    dim = fields.need("llama.embedding_length")
    for key in ("llama.rope.dimension_count", "llama.attention.key_length"):
        if fields.get(key) not in (None, dim // heads):
            raise CheckpointError(
                f"{path}: {key} is {fields.get(key)}, needed {dim // heads} (width over heads)."
            )
    try:
        return ModelConfig(
            dim=dim,
            layers=fields.need("llama.block_count"),
            heads=heads,
            kv_heads=fields.get("llama.attention.head_count_kv") or heads,
            ffn_dim=fields.need("llama.feed_forward_length"),
            vocabulary_size=vocabulary_size,
            context=fields.need("llama.context_length"),
            # The file holds single precision: 1e-5 reads back as 9.999999747e-06.
            norm_eps=float(f"{fields.need('llama.attention.layer_norm_rms_epsilon'):.6g}"),
            rope_theta=float(fields.get("llama.rope.freq_base") or 10000.0),
            tied_embeddings=tied,
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _read_tokenizer(fields: _Fields, path: Path) -> ByteLevelBPETokenizer:
    kind = (fields.need("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise CheckpointError(
            f"{path}: tokenizer {kind[0]!r} with pre-tokenizer {kind[1]!r}; only the byte-level "
            "BPE 'gpt2' with 'smollm' (every digit apart) is supported."
        )
    tokens = fields.need("tokenizer.ggml.tokens")
    types = fields.need("tokenizer.ggml.token_type")
    special = {
        token: index
        for index, (token, type_) in enumerate(zip(tokens, types, strict=True))
        if type_ == _CONTROL
    }
    eos = tokens[fields.need("tokenizer.ggml.eos_token_id")]
    if eos not in special:
        raise CheckpointError(f"{path}: the end token {eos!r} is not marked as special.")
    merges = fields.need("tokenizer.ggml.merges")
    return ByteLevelBPETokenizer.from_merges(tokens, merges, special, eos=eos)


def load_gguf(path: Path) -> ConvertedModel:
    """Read a Llama-architecture GGUF file.

    Args:
        path: File with F32, F16 or quantised tensors (whatever `gguf` can dequantise).

    Raises:
        MissingInputError: There is no such file, or the package `gguf` is not installed.
        CheckpointError: The file is damaged, of another architecture or tokenizer, or tensors are
            missing, superfluous or of another shape (all listed in one message).
    """
    try:
        import gguf
        from gguf.quants import dequantize
    except ImportError:
        raise MissingInputError(
            "Reading GGUF files needs the package gguf: pip install 'camelid[gguf]'."
        ) from None
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file.")
    try:
        reader: Any = gguf.GGUFReader(path)
        fields = _Fields(reader, path)
        names = [tensor.name for tensor in reader.tensors]
        embedding = next((t for t in reader.tensors if t.name == "token_embd.weight"), None)
        config = _read_config(
            fields,
            path,
            vocabulary_size=0 if embedding is None else int(embedding.shape[1]),
            tied="output.weight" not in names,
        )
        tokenizer = _read_tokenizer(fields, path)
        state = {
            meta_name(tensor.name): torch.from_numpy(
                dequantize(tensor.data, tensor.tensor_type).astype("float32", copy=True)
            )
            for tensor in reader.tensors
        }
    except (ValueError, IndexError, KeyError, TypeError, OSError, struct.error) as error:
        raise CheckpointError(f"{path}: not a readable GGUF file ({error}).") from None
    if tokenizer.vocabulary_size != config.vocabulary_size:
        raise CheckpointError(
            f"{path}: {tokenizer.vocabulary_size} tokens, but the embedding table has "
            f"{config.vocabulary_size} rows."
        )
    with torch.device("meta"):
        empty = Transformer(config)
    model: Transformer = fill(empty, state, str(path))
    return ConvertedModel(
        model=model,
        tokenizer=tokenizer,
        tensor_types=dict(Counter(tensor.tensor_type.name for tensor in reader.tensors)),
        metadata={
            key: str(fields.get(f"general.{key}") or "not stated") for key in ("name", "license")
        },
    )
