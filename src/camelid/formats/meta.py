"""Meta's checkpoint directories, in and out: `params.json` and `consolidated.NN.pth`.

A file holds the share of one model-parallel process: some rows of most tables, some columns of
those whose input is divided, all of the norms. Nothing is unpickled but tensors (`weights_only`).

Source: the released reference code (rule of the feed-forward width, division among processes).
"""

from __future__ import annotations

import dataclasses
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camelid.errors import CheckpointError
from camelid.formats.folder import (
    DOWNLOAD_AGAIN,
    Checkpoint,
    StoredTensor,
    raise_problems,
    read_object,
    stream,
)
from camelid.formats.layout import drop_tied_output
from camelid.model.config import ModelConfig, ffn_width
from camelid.run.files import write_json
from camelid.settings import from_json

PARAMETERS = "params.json"
SHARDS = (1, 2, 4, 8)
_BY_COLUMNS = ("tok_embeddings", "wo", "w2")
_BY_ROWS = ("wq", "wk", "wv", "w1", "w3", "output")
_KNOWN = (
    *("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "multiple_of"),
    *("ffn_dim_multiplier", "norm_eps", "rope_theta"),
    *("use_scaled_rope", "rope_scaling_factor", "rope_high_freq_factor"),
)
_SCALED_ROPE: dict[str, Any] = {"low_frequency_factor": 1.0, "original_context": 8192}
"""What `use_scaled_rope` always means; its two other numbers may be given."""
_LLAMA_3_2 = ((2048, 16), (3072, 28))
"""Width and layers of Llama 3.2's 1B and 3B, which mean a factor of 32 and do not say so."""
_LLAMA_2_THETA = 10_000.0
_LLAMA_3_THETA = 500_000.0
"""Rotary bases of Llama 2 and of Llama 3, whose code divides the rows of the embedding table."""
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


class _Shard:
    """One `.pth` file, of whose tensors some rows are read at a time."""

    def __init__(self, path: Path) -> None:
        self._path, self._bytes = path, path.stat().st_size
        try:
            found: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            records = _places_of_records(path)
        except Exception as error:  # noqa: BLE001  the reader of pickles raises anything on bad bytes
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path}: no readable checkpoint ({reason}).") from None
        named = isinstance(found, dict) and all(isinstance(key, str) for key in found)
        if not named or not all(isinstance(value, Tensor) for value in found.values()):
            raise CheckpointError(f"{path}: must hold tensors by name and nothing else.")
        # Where the file starts in memory follows from the places of its records.
        pointers = sorted({t.untyped_storage().data_ptr() for t in found.values()})
        starts = {place - start for place, start in zip(pointers, records, strict=False)}
        if len(pointers) != len(records) or len(starts) != 1:
            raise CheckpointError(f"{path}: holds other data than its tensors. Save it again.")
        self._places = {name: t.data_ptr() - min(starts) for name, t in found.items()}
        found.pop("rope.freqs", None)  # rotary frequencies are computed here
        # On the meta device: the pages of a mapping that stays count as used memory.
        self.tensors = {
            name: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")
            for name, t in found.items()
        }

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return some rows, mapped as long as they are held; none where they lie outside."""
        tensor, place = self.tensors[name], self._places[name]
        size = len(tensor)
        part = tensor[min(max(start, 0), size) : min(max(stop, 0), size)]
        numbers = torch.from_file(
            str(self._path), size=self._bytes // tensor.itemsize, dtype=tensor.dtype
        )
        at = place // tensor.itemsize + part.storage_offset()
        return numbers.as_strided(part.shape, part.stride(), at)


def _places_of_records(path: Path) -> list[int]:
    """Return where the numbers of a `.pth` file lie in it, and compare its checksums."""
    places = []
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        for record in archive.infolist():
            if record.filename.split("/")[1:-1] == ["data"]:
                # The name and an extra field, whose lengths stand here, precede the numbers.
                file.seek(record.header_offset + 26)
                places.append(record.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))))
    return sorted(places)


def read_meta(directory: Path) -> Checkpoint:
    """Read a directory of 1, 2, 4 or 8 shards.

    The context is not stored: it is taken to be 4,096 tokens (Llama 2), 8,192 with the larger
    rotary base of Llama 3 and 131,072 with its scaling (Source: choice, as in common converters).
    An output table equal to the embeddings is taken to be tied.

    Raises:
        CheckpointError: A file is damaged, shards do not fit each other or `params.json`, or that
            names something unsupported.
    """
    files = sorted(directory.glob("consolidated.*.pth"))
    if [f.name for f in files] != [f"consolidated.{n:02}.pth" for n in range(len(files))]:
        raise CheckpointError(
            f"{directory}: the numbers of consolidated.NN.pth have gaps; needed 00, 01 and so on."
        )
    if len(files) not in SHARDS:
        raise CheckpointError(f"{directory}: {len(files)} shards; needed one of {SHARDS}.")
    shards = [_Shard(file) for file in files]
    shapes = [{name: tuple(t.shape) for name, t in shard.tensors.items()} for shard in shards]
    problems = [
        f"{name} differs from shard 0"
        for other in shapes[1:]
        for name in sorted(shapes[0].keys() | other.keys())
        if other.get(name) != shapes[0].get(name)
    ]
    raise_problems(directory, problems)
    params = read_object(directory / PARAMETERS, DOWNLOAD_AGAIN)
    tensors = {name: _joined(shards, name, params.get("dim"), directory) for name in shapes[0]}
    tied = drop_tied_output(tensors, "tok_embeddings.weight", "output.weight")
    embedding = tensors.get("tok_embeddings.weight")
    rows = embedding.shape[0] if embedding and embedding.shape else 0
    config = _config(params, directory / PARAMETERS, vocabulary_size=rows, tied=tied)
    return Checkpoint(where=directory, config=config, tensors=tensors)


def _joined(shards: list[_Shard], name: str, dim: Any, where: Path) -> StoredTensor:
    first, count = shards[0].tensors[name], len(shards)
    part, shape = name.split(".")[-2:][0], list(first.shape)
    # Llama 3 divides the rows of the embedding table, Llama 2 the columns.
    whole_rows = part == "tok_embeddings" and shape[1:] == [dim]
    by_rows = len(shape) == 2 and (part in _BY_ROWS or whole_rows)
    by_columns = len(shape) == 2 and part in _BY_COLUMNS and not by_rows
    offset = shape[0] if by_rows else 0
    if by_rows or by_columns:
        shape[by_columns] *= count

    def read(start: int, stop: int) -> Tensor:
        parts = [s.rows(name, start - i * offset, stop - i * offset) for i, s in enumerate(shards)]
        if by_rows or by_columns:
            return torch.cat(parts, int(by_columns))
        # As bits: what is not a number equals nothing, and is reported with the other problems.
        bits = [p.contiguous().view(torch.uint8) for p in parts]
        if not all(p.equal(bits[0]) for p in bits):
            raise CheckpointError(f"{where}: {name} must be the same in every shard and is not.")
        return parts[0]

    return StoredTensor(tuple(shape), _TYPES.get(first.dtype, str(first.dtype)), read)


def _config(params: dict[str, Any], path: Path, *, vocabulary_size: int, tied: bool) -> ModelConfig:
    strange = sorted(params.keys() - set(_KNOWN))
    raise_problems(path, [f"not supported: {name}" for name in strange])
    dim: Any = params.get("dim")
    multiple = params.get("multiple_of", 256)
    multiplier, kv_heads = params.get("ffn_dim_multiplier"), params.get("n_kv_heads")
    theta = params.get("rope_theta", _LLAMA_2_THETA)
    numbers = type(dim) is int and type(multiple) is int and multiple > 0
    if not numbers or not isinstance(multiplier, int | float | None):
        raise CheckpointError(f"{path}: dim, multiple_of, ffn_dim_multiplier must be numbers.")
    scaled = params.get("use_scaled_rope", False)
    given = [name for name in ("rope_scaling_factor", "rope_high_freq_factor") if name in params]
    if type(scaled) is not bool or (given and not scaled):
        raise CheckpointError(
            f"{path}: use_scaled_rope is {scaled!r}, with {given}; needed true or false, and these "
            "only with true."
        )
    scaling, context = None, 4096
    if scaled:
        small = (dim, params.get("n_layers")) in _LLAMA_3_2
        scaling, context = dict(_SCALED_ROPE), 131_072
        for ours, theirs, usual in (
            ("factor", "rope_scaling_factor", 32.0 if small else 8.0),
            ("high_frequency_factor", "rope_high_freq_factor", 4.0),
        ):
            scaling[ours] = usual if (number := params.get(theirs)) is None else number
    elif isinstance(theta, int | float) and theta >= _LLAMA_3_THETA:
        context = 8192
    try:
        values = {
            "dim": dim,
            "layers": params.get("n_layers"),
            "heads": params.get("n_heads"),
            "kv_heads": params.get("n_heads") if kv_heads is None else kv_heads,
            "ffn_dim": ffn_width(dim, multiplier=multiplier, multiple_of=multiple),
            "vocabulary_size": vocabulary_size,
            "context": context,
            "norm_eps": params.get("norm_eps", 1e-5),
            "rope_theta": theta,
            "tied_embeddings": tied,
            "rope_scaling": scaling,
        }
        config = from_json(values, ModelConfig, str(path), error=CheckpointError)
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    if params.get("vocab_size", -1) not in (-1, vocabulary_size):
        raise CheckpointError(
            f"{path}: vocab_size {params['vocab_size']}, but the table has {vocabulary_size} rows; "
            "needed the same number, or -1."
        )
    return config


def write_meta(
    checkpoint: Checkpoint, directory: Path, *, dtype: torch.dtype, shards: int = 1
) -> None:
    """Write `params.json` and the shards; tied embeddings are written out as an output table.

    Args:
        checkpoint: A language model.
        directory: An empty folder.
        dtype: Number type of the weights.
        shards: Number of model-parallel processes, one of `SHARDS`.

    Raises:
        CheckpointError: The format has no place for something of this model, sizes cannot be
            divided, the model is not whole, or its values do not fit `dtype`.
    """
    config, scaling = checkpoint.config, checkpoint.config.rope_scaling
    standard = scaling is None or _SCALED_ROPE.items() <= dataclasses.asdict(scaling).items()
    if checkpoint.kind != "transformer" or config.qkv_bias or not standard:
        raise CheckpointError(
            f"{checkpoint.where}: Meta's format has no reward heads, no query, key and value "
            "biases and one kind of rotary scaling. Use --to hf."
        )
    sizes = (config.dim, config.kv_heads, config.heads, config.ffn_dim, config.vocabulary_size)
    if shards not in SHARDS or any(size % shards for size in sizes):
        raise CheckpointError(
            f"{shards} shards: needed one of {SHARDS} that divides width, heads, key-value heads, "
            f"feed-forward width and vocabulary {sizes}."
        )
    for shard in range(shards):
        # One pass a shard: the memory of one shard, not of the model.
        state: dict[str, Tensor] = {}
        for name, tensor in stream(checkpoint, dtype):
            by_rows = config.rope_theta == _LLAMA_3_THETA and name == "tok_embeddings.weight"
            state[name] = _share("output.weight" if by_rows else name, tensor, shard, shards)
            if config.tied_embeddings and name == "tok_embeddings.weight":
                state["output.weight"] = _share("output.weight", tensor, shard, shards)
        torch.save(state, directory / f"consolidated.{shard:02}.pth")
    multiplier, multiple = _width_rule(config)
    params = {
        "dim": config.dim,
        "n_layers": config.layers,
        "n_heads": config.heads,
        "n_kv_heads": config.kv_heads,
        "vocab_size": config.vocabulary_size,
        "multiple_of": multiple,
        "norm_eps": config.norm_eps,
    }
    if config.rope_theta != _LLAMA_2_THETA:
        # Llama 2's own code knows no such entry.
        params["rope_theta"] = config.rope_theta
    if multiplier is not None:
        params["ffn_dim_multiplier"] = multiplier
    if scaling is not None:
        params |= {
            "use_scaled_rope": True,
            "rope_scaling_factor": scaling.factor,
            "rope_high_freq_factor": scaling.high_frequency_factor,
        }
    write_json(directory / PARAMETERS, params)


def _share(name: str, tensor: Tensor, shard: int, shards: int) -> Tensor:
    part = name.split(".")[-2]
    if part in (*_BY_ROWS, *_BY_COLUMNS):
        tensor = tensor.chunk(shards, 1 if part in _BY_COLUMNS else 0)[shard]
    # A view would be stored with all that it is a view of.
    return tensor.clone()


def _width_rule(config: ModelConfig) -> tuple[float | None, int]:
    """Return multiplier and multiple that give the width under `ffn_width`."""
    usual: list[tuple[float | None, int]] = [(None, 256), (1.3, 4096), (1.3, 1024), (1.5, 256)]
    for multiplier, multiple in usual:
        if ffn_width(config.dim, multiplier=multiplier, multiple_of=multiple) == config.ffn_dim:
            return multiplier, multiple
    # Half a unit more: the rule rounds down.
    return (config.ffn_dim + 0.5) / (8 * config.dim // 3), 1
