"""GGUF files, in and out: weights, tokenizer and chat template of a language model in one file.

The header is read here with bounds, because a damaged one may claim any size; numbers are unpacked
and files are written by the `gguf` library. Architecture `llama` stores queries and keys for
interleaved rotary pairs, as we do, `qwen2` for rotated halves.

Source: the GGUF specification of the ggml project, version 3 (2 differs in nothing read here).
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from camelid.errors import CheckpointError, MissingInputError
from camelid.formats.folder import (
    Checkpoint,
    StoredTensor,
    empty_model,
    raise_problems,
    stream,
)
from camelid.formats.layout import GGUF, split_halves, under_our_names
from camelid.model.config import ModelConfig
from camelid.model.transformer import rotary_frequencies
from camelid.settings import from_json
from camelid.tokenization.gguf_vocabulary import write_gguf_vocabulary
from camelid.tokenization.vocabulary import Vocabulary

MOST_HEADER = 1 << 25
"""Longest header in bytes; that of a vocabulary of 262,144 takes 6 MB."""
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
MOST_FACTORS = 1 << 12
"""Largest half of a head size."""
_HALF_SPLIT = {"llama": False, "qwen2": True}
"""Architectures, and whether they rotate halves of a head."""
_ROPE_FACTORS = "rope_freqs.weight"
_SCALING = "camelid.rope_scaling"
"""Our own field with the four numbers of a rotary scaling; the format stores its effect only."""
_SIZES = {
    "context": "context_length",
    "dim": "embedding_length",
    "layers": "block_count",
    "ffn_dim": "feed_forward_length",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
"""Our names of sizes and numbers to the format's."""
_READ = (
    *("rope.scaling.type", "rope.scaling.factor", "rope.scale_linear", "expert_count"),
    *("attention.sliding_window", "rope.dimension_count", "attention.key_length"),
    "attention.value_length",
)
_WITHOUT_EFFECT = (
    *("vocab_size", "expert_used_count", "tensor_data_layout"),
    *("rope.scaling.original_context_length", "rope.scaling.finetuned"),
)
"""Fields on which nothing depends where the others are as they must be."""


def library() -> Any:
    """Return the `gguf` library.

    Raises:
        MissingInputError: It is not installed.
    """
    try:
        import gguf
        import gguf.quants
    except ImportError:
        raise MissingInputError(
            "GGUF files need the package gguf: pip install 'gguf>=0.17'."
        ) from None
    return gguf


class _Header:
    """The bounded reader of what stands before the weights."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.left = file, min(size, MOST_HEADER)

    def take(self, count: int) -> bytes:
        self.left -= count
        if self.left < 0:
            raise ValueError("the header does not end")
        return self._file.read(count)

    def numbers(self, code: str, count: int = 1) -> list[Any]:
        return list(struct.unpack(f"<{count}{code}", self.take(count * struct.calcsize(code))))

    def number(self, code: str) -> Any:
        return self.numbers(code)[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode()

    def value(self) -> Any:
        kind = self.number("I")
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_SCALARS[kind])
        kind, count = self.number("I"), self.number("Q")
        if kind == _STRING:
            # Counted first: each takes eight bytes at least.
            if count * 8 > self.left:
                raise ValueError("the header does not end")
            return [self.text() for _ in range(count)]
        return self.numbers(_SCALARS[kind], count)


@dataclass(frozen=True, slots=True)
class GGUFFile:
    """What a file holds."""

    fields: dict[str, Any]
    tensors: dict[str, StoredTensor]
    """Under GGUF's names."""
    path: Path


def open_gguf(path: Path) -> GGUFFile:
    """Read the header of a file.

    Raises:
        MissingInputError: There is no such file, or the package `gguf` is not installed.
        CheckpointError: The file is damaged.
    """
    library()
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file. Name another path.")
    try:
        with path.open("rb") as file:
            return _read_header(file, path)
    except (ValueError, KeyError, OSError, struct.error, OverflowError) as error:
        raise CheckpointError(f"{path}: not a readable GGUF file ({error}).") from None


def _read_header(file: BinaryIO, path: Path) -> GGUFFile:
    gguf, size = library(), path.stat().st_size
    header = _Header(file, size)
    magic, version = header.take(4), header.number("I")
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError(f"it starts with {magic!r}, version {version}; needed b'GGUF', 2 or 3")
    tensor_count, field_count = header.number("Q"), header.number("Q")
    if (tensor_count + field_count) * 12 > header.left:
        raise ValueError("the header does not end")
    fields = {header.text(): header.value() for _ in range(field_count)}
    if len(fields) < field_count:
        raise ValueError("a field stands there twice")
    found = []
    for _ in range(tensor_count):
        name = header.text()
        dimensions = header.number("I")
        if not 1 <= dimensions <= 4:
            raise ValueError(f"tensor {name!r} has {dimensions} dimensions")
        shape = tuple(reversed(header.numbers("Q", dimensions)))
        found.append(
            (name, shape, gguf.GGMLQuantizationType(header.number("I")), header.number("Q"))
        )
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise ValueError(f"alignment {alignment}")
    start = -(-file.tell() // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in found:
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        if name in tensors or shape[-1] % block or 0 in shape:
            raise ValueError(f"tensor {name!r} of shape {shape}, type {kind.name}")
        row_bytes = shape[-1] // block * block_bytes
        if start + offset + math.prod(shape[:-1]) * row_bytes > size:
            raise ValueError(f"tensor {name!r} goes beyond the end")
        read = _row_reader(path, start + offset, row_bytes, kind, vector=len(shape) == 1)
        tensors[name] = StoredTensor(shape, kind.name, read)
    return GGUFFile(fields, tensors, path)


def _row_reader(
    path: Path, offset: int, row_bytes: int, kind: Any, *, vector: bool
) -> Callable[[int, int], Tensor]:
    def read(start: int, stop: int) -> Tensor:
        first, count = (0, 1) if vector else (start, stop - start)
        # Read, not mapped: pages of a mapping that stays count as used memory.
        at = offset + first * row_bytes
        data = np.fromfile(path, np.uint8, count * row_bytes, offset=at).reshape(count, row_bytes)
        # Damaged scales give numbers that are not finite, which is reported with the tensor's name.
        with np.errstate(all="ignore"):
            rows = torch.from_numpy(
                data.view(np.float64)
                if kind.name == "F64"
                else library().quants.dequantize(data, kind)
            )
        return rows[0, start:stop] if vector else rows

    return read


def read_gguf(file: GGUFFile) -> Checkpoint:
    """Return the weights of an open file.

    Raises:
        CheckpointError: The model is of an unsupported kind, which is named.
    """
    architecture = file.fields.get("general.architecture")
    if architecture not in list(_HALF_SPLIT):
        raise CheckpointError(
            f"{file.path}: architecture {architecture!r}; needed one of {sorted(_HALF_SPLIT)}."
        )
    tensors = dict(file.tensors)
    factors = tensors.pop(_ROPE_FACTORS, None)
    config = _read_config(file, architecture, factors)
    stated = {key: file.fields.get(f"general.{key}") for key in ("name", "license")}
    metadata = {key: str(value) for key, value in stated.items() if value}
    found = Checkpoint(where=file.path, config=config, tensors=tensors, metadata=metadata)
    return under_our_names(found, GGUF, half_split=_HALF_SPLIT[architecture])


def _read_config(file: GGUFFile, architecture: str, factors: StoredTensor | None) -> ModelConfig:
    def get(key: str, default: Any = None) -> Any:
        return file.fields.get(f"{architecture}.{key}", default)

    def single(value: Any) -> Any:
        # The file holds single precision: 1e-5 reads back as 9.999999747e-06.
        return float(f"{value:.7g}") if isinstance(value, float) else value

    unsupported = {
        f"rotary scaling {get('rope.scaling.type')!r}": get("rope.scaling.type", "none") != "none",
        # A factor without a type means `linear` to llama.cpp.
        "linear rotary scaling": get("rope.scaling.type") is None
        and any(get(key, 0) not in (0, 1) for key in ("rope.scaling.factor", "rope.scale_linear")),
        "a mixture of experts": get("expert_count"),
        "a sliding window": get("attention.sliding_window"),
        "an adapter of another model": any(name.startswith("adapter.") for name in file.fields),
        "one part of several (join them with `llama-gguf-split --merge`)": (
            file.fields.get("split.count", 1) not in (0, 1)
        ),
    }
    known = (*_SIZES.values(), *_READ, *_WITHOUT_EFFECT)
    unsupported |= {
        f"{name} {value!r} (what this field does is not known)": True
        for name, value in file.fields.items()
        if name.startswith(f"{architecture}.")
        and name.removeprefix(f"{architecture}.") not in known
    }
    # Unlike the other two that may be left out, this one has no default in the format.
    unsupported[f"{architecture}.{_SIZES['norm_eps']} that is missing"] = (
        get(_SIZES["norm_eps"]) is None
    )
    raise_problems(file.path, [f"not supported: {n}" for n, found in unsupported.items() if found])
    embedding = file.tensors.get("token_embd.weight")
    stated = {ours: single(get(theirs)) for ours, theirs in _SIZES.items()}
    values: dict[str, Any] = {"kv_heads": stated["heads"]}
    values |= {ours: value for ours, value in stated.items() if value is not None}
    values["vocabulary_size"] = embedding.shape[0] if embedding else 0
    values["tied_embeddings"] = "output.weight" not in file.tensors
    values["qkv_bias"] = architecture == "qwen2"
    try:
        if factors is not None:
            values["rope_scaling"] = _read_scaling(file, factors)
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{file.path}: {error}") from None
    config = from_json(values, ModelConfig, str(file.path), error=CheckpointError)
    for key in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
        if get(key, config.head_dim) != config.head_dim:
            raise CheckpointError(
                f"{file.path}: {key} is {get(key)}, needed {config.head_dim} (width over heads)."
            )
    if factors is not None:
        _check_factors(config, factors, file.path)
    return config


def _read_scaling(file: GGUFFile, factors: StoredTensor) -> dict[str, Any]:
    """Return the scaling that our own field states, else Llama 3.1's with the largest factor."""
    keys = ("factor", "low_frequency_factor", "high_frequency_factor", "original_context")
    if factors.type != "F32" or len(factors.shape) != 1 or factors.shape[0] > MOST_FACTORS:
        raise ValueError(f"{_ROPE_FACTORS} of type {factors.type} and shape {factors.shape}")
    largest = float(factors.read(0, factors.shape[0]).max())
    numbers = file.fields.get(_SCALING, [largest, 1.0, 4.0, 8192.0])
    if not isinstance(numbers, list) or len(numbers) != len(keys):
        raise ValueError(f"{_SCALING} must be {len(keys)} numbers")
    values = {key: float(f"{number:.7g}") for key, number in zip(keys, numbers, strict=True)}
    return {**values, "original_context": int(values["original_context"])}


def _rope_factors(config: ModelConfig) -> Tensor:
    """Return what the frequencies are divided by, shape (K / 2,)."""
    unscaled = dataclasses.replace(config, rope_scaling=None)
    return rotary_frequencies(unscaled) / rotary_frequencies(config)


def _check_factors(config: ModelConfig, factors: StoredTensor, path: Path) -> None:
    expected = _rope_factors(config)
    if factors.shape != expected.shape or not torch.allclose(
        factors.read(0, len(expected)), expected, rtol=1e-4
    ):
        raise CheckpointError(
            f"{path}: {_ROPE_FACTORS} holds other factors than Llama 3's scaling gives "
            f"({config.rope_scaling}); other rotary scalings are not supported."
        )


def write_gguf(
    checkpoint: Checkpoint, path: Path, *, dtype: torch.dtype, vocabulary: Vocabulary, name: str
) -> None:
    """Write one file with weights, tokenizer and chat template.

    Args:
        checkpoint: A language model.
        path: The file; its folder exists.
        dtype: Number type of the tables; norms and biases are always fp32, as llama.cpp wants.
        vocabulary: Tokens, as many as the embedding table has rows.
        name: Name of the model.

    Raises:
        CheckpointError: The format has no place for something of this model, the model is not
            whole, or its values do not fit `dtype`.
    """
    gguf, config = library(), checkpoint.config
    architecture = "qwen2" if config.qkv_bias else "llama"
    if checkpoint.kind != "transformer" or (config.qkv_bias and config.rope_scaling):
        raise CheckpointError(
            f"{checkpoint.where}: GGUF has no reward heads, nor rotary scaling beside query, key "
            "and value biases. Use --to hf."
        )
    kinds = gguf.GGMLQuantizationType
    types = {torch.float32: kinds.F32, torch.float16: kinds.F16, torch.bfloat16: kinds.BF16}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_vocab_size(config.vocabulary_size)
    for ours, theirs in _SIZES.items():
        add = writer.add_float32 if ours in ("norm_eps", "rope_theta") else writer.add_uint32
        add(f"{architecture}.{theirs}", getattr(config, ours))
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_file_type({kinds.F32: 0, kinds.F16: 1, kinds.BF16: 32}[types[dtype]])
    write_gguf_vocabulary(writer, vocabulary)
    tensors = {n: t.shape for n, t in empty_model(checkpoint).state_dict().items()}
    if config.rope_scaling is not None:
        writer.add_array(_SCALING, list(map(float, dataclasses.astuple(config.rope_scaling))))
        writer.add_tensor_info(
            _ROPE_FACTORS, (config.head_dim // 2,), np.float32, config.head_dim * 2
        )
    for tensor_name, shape in tensors.items():
        kind = types[dtype] if len(shape) == 2 else kinds.F32
        size = shape.numel() * (dtype.itemsize if len(shape) == 2 else 4)
        writer.add_tensor_info(GGUF.theirs(tensor_name), tuple(shape), np.float32, size, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        if config.rope_scaling is not None:
            writer.write_tensor_data(_rope_factors(config).numpy())
        for tensor_name, rows in stream(checkpoint, dtype, vectors=torch.float32):
            if _HALF_SPLIT[architecture]:
                rows = split_halves(tensor_name, rows, config.head_dim)
            writer.write_tensor_data(rows.view(torch.uint8).numpy())
    finally:
        writer.close()
