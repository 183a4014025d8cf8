"""Hugging Face model directories, in and out: `config.json` and safetensors.

Llama 2, Llama 3.x, their relatives of the same architecture (SmolLM2, TinyLlama) and Qwen2, as
language models (`...ForCausalLM`) or with one score (`...ForSequenceClassification`).

Source: the classes `LlamaConfig` and `Qwen2Config` of the transformers library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from camelid.errors import CheckpointError, ConfigError
from camelid.formats.folder import Checkpoint, ModelKind, StoredTensor, read_safetensors, stream
from camelid.formats.layout import Names, is_rotated, same_values, split_halves, under_our_names
from camelid.model.config import ModelConfig
from camelid.run.files import read_json, write_json
from camelid.settings import from_json

INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9
"""Most bytes of a file unless a number of files is asked for (the custom of transformers)."""
_ADVICE = "Get the directory again from where it came."
_KINDS: dict[str, ModelKind] = {
    "ForCausalLM": "transformer",
    "ForSequenceClassification": "reward_model",
}
_NAMES = Names(
    layers="model.layers",
    modules={
        "tok_embeddings": "model.embed_tokens",
        "norm": "model.norm",
        "output": "lm_head",
        "head": "score",
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    },
)
_SIZES = {
    "dim": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "ffn_dim": "intermediate_size",
    "vocabulary_size": "vocab_size",
    "context": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "tied_embeddings": "tie_word_embeddings",
}
_SCALING = {
    "factor": "factor",
    "low_frequency_factor": "low_freq_factor",
    "high_frequency_factor": "high_freq_factor",
    "original_context": "original_max_position_embeddings",
}


def read_huggingface(directory: Path) -> Checkpoint:
    """Read a directory with `config.json` and safetensors, one file or several with an index.

    Raises:
        CheckpointError: Something is damaged, missing or of an unsupported kind, which is named.
    """
    config, kind = _read_config(directory / "config.json")
    # Old conversions hold the rotary frequencies too, which are computed here.
    stored = {
        name: tensor
        for name, tensor in _read_files(directory).items()
        if not name.endswith(".rotary_emb.inv_freq")
    }
    embedding, output = (
        stored.get(_NAMES.theirs(f"{n}.weight")) for n in ("tok_embeddings", "output")
    )
    if config.tied_embeddings and embedding and output and same_values(embedding, output):
        del stored[_NAMES.theirs("output.weight")]
    found = Checkpoint(where=directory, config=config, kind=kind, tensors=stored)
    return under_our_names(found, _NAMES, half_split=True)


def _read_files(directory: Path) -> dict[str, StoredTensor]:
    single = directory / "model.safetensors"
    if single.is_file():
        # Where there is an index too, transformers does not look at it either.
        return read_safetensors(single)
    if not (directory / INDEX).is_file():
        raise CheckpointError(
            f"{directory}: neither model.safetensors nor {INDEX} is here (pickled weights are "
            "not read: convert them to safetensors)."
        )
    index = read_json(directory / INDEX, _ADVICE)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(f, str) for f in places.values()):
        raise CheckpointError(f"{directory / INDEX}: needs 'weight_map', tensor name to file name.")
    present = {path.name for path in directory.iterdir() if path.is_file()}
    stored: dict[str, StoredTensor] = {}
    problems = []
    for file in sorted(set(places.values())):
        if file not in present:
            problems.append(f"no file {file!r} in this folder")
            continue
        tensors = read_safetensors(directory / file)
        stored.update(tensors)
        named = {name for name, place in places.items() if place == file}
        problems += [f"{name} is not in {file}" for name in sorted(named - tensors.keys())]
        problems += [f"{name} of {file} is not listed" for name in sorted(tensors.keys() - named)]
    if problems:
        raise CheckpointError(f"{directory / INDEX}: {'; '.join(problems[:10])}.")
    return stored


def _read_config(path: Path) -> tuple[ModelConfig, ModelKind]:
    data = read_json(path, _ADVICE)
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: must hold an object.")
    values = {ours: data[theirs] for ours, theirs in _SIZES.items() if theirs in data}
    values.setdefault("tied_embeddings", False)
    if values.get("kv_heads") is None:
        values["kv_heads"] = values.get("heads")
    values["qkv_bias"] = data.get("model_type") == "qwen2"
    # Version 5 of transformers keeps base and scaling together, older ones apart.
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise CheckpointError(f"{path}: the rotary parameters must be an object.")
    values["rope_theta"] = rope.get("rope_theta", data.get("rope_theta", 10000.0))
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type == "llama3":
        values["rope_scaling"] = {o: rope[t] for o, t in _SCALING.items() if t in rope}
    kind = _kind(data)
    _refuse(path, data, rope, rope_type, kind)
    try:
        config: ModelConfig = from_json(values, ModelConfig, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if data.get("head_dim") not in (None, config.head_dim):
        raise CheckpointError(
            f"{path}: head_dim {data['head_dim']}, needed {config.head_dim} (width over heads)."
        )
    return config, kind or "transformer"


def _kind(data: dict[str, Any]) -> ModelKind | None:
    """Return what the architecture is, None where it is none of ours."""
    names = data.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else None
    family = {"llama": "Llama", "qwen2": "Qwen2"}.get(str(data.get("model_type")))
    return next((kind for ending, kind in _KINDS.items() if name == f"{family}{ending}"), None)


def _refuse(
    path: Path, data: dict[str, Any], rope: dict[str, Any], rope_type: Any, kind: ModelKind | None
) -> None:
    """Raise CheckpointError with everything that this transformer does not compute."""
    labels, types = data.get("id2label"), data.get("layer_types") or []
    unsupported = {
        f"architecture {data.get('architectures')} of type {data.get('model_type')!r}": kind
        is None,
        f"activation {data.get('hidden_act')!r}": data.get("hidden_act", "silu") != "silu",
        f"rotary embedding {rope_type!r}": rope_type not in ("default", "llama3", None),
        "partial rotary embedding": rope.get("partial_rotary_factor", 1.0) != 1.0,
        "sliding window": bool(data.get("use_sliding_window"))
        or not isinstance(types, list)
        or any(type_ != "full_attention" for type_ in types),
        "biases of the output projection": bool(data.get("attention_bias")),
        "biases of the feed-forward layer": bool(data.get("mlp_bias")),
        "quantised weights": bool(data.get("quantization_config")),
        "several labels": kind == "reward_model"
        and (not isinstance(labels, dict) or len(labels) != 1),
    }
    found = [name for name, present in unsupported.items() if present]
    if found:
        raise CheckpointError(f"{path}: not supported: {', '.join(found)}.")


def write_huggingface(
    checkpoint: Checkpoint,
    directory: Path,
    *,
    dtype: torch.dtype,
    files: int | None = None,
    special_ids: dict[str, int | list[int] | None],
) -> None:
    """Write `config.json`, `generation_config.json` and safetensors.

    Args:
        checkpoint: The model.
        directory: An empty folder.
        dtype: Number type of the weights.
        files: About how many files; None: as many as `SHARD_BYTES` needs.
        special_ids: `bos_token_id`, `eos_token_id` (several as a list) and `pad_token_id`.

    Raises:
        CheckpointError: The model is not whole, or its values do not fit `dtype`.
    """
    config = checkpoint.config
    limit = SHARD_BYTES if files is None else -(-config.parameter_count * dtype.itemsize // files)
    shard: dict[str, Tensor] = {}
    places: dict[str, int] = {}
    sizes = [0]

    def save() -> None:
        save_file(shard, directory / f"{len(sizes)}.safetensors", {"format": "pt"})
        shard.clear()

    for name, tensor in stream(checkpoint, dtype):
        if sizes[-1] and sizes[-1] + tensor.nbytes > limit:
            save()
            sizes.append(0)
        sizes[-1] += tensor.nbytes
        places[_NAMES.theirs(name)] = len(sizes)
        rows = split_halves(tensor, config.head_dim) if is_rotated(name) else tensor
        shard[_NAMES.theirs(name)] = rows.contiguous()
    save()
    written = {n: f"model-{n:05}-of-{len(sizes):05}.safetensors" for n in range(1, len(sizes) + 1)}
    if len(sizes) == 1:
        written = {1: "model.safetensors"}
    else:
        weight_map = {name: written[place] for name, place in sorted(places.items())}
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map}
        write_json(directory / INDEX, index)
    for number, file in written.items():
        (directory / f"{number}.safetensors").rename(directory / file)
    write_json(directory / "config.json", _describe(checkpoint, dtype, special_ids))
    if checkpoint.kind == "transformer":
        write_json(
            directory / "generation_config.json", {"_from_model_config": True, **special_ids}
        )


def _describe(
    checkpoint: Checkpoint, dtype: torch.dtype, special_ids: dict[str, int | list[int] | None]
) -> dict[str, Any]:
    config = checkpoint.config
    family = "Qwen2" if config.qkv_bias else "Llama"
    ending = next(ending for ending, kind in _KINDS.items() if kind == checkpoint.kind)
    scaling = config.rope_scaling
    described = {
        "architectures": [f"{family}{ending}"],
        "model_type": family.lower(),
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "rope_theta": config.rope_theta,
        "rope_scaling": None
        if scaling is None
        else {"rope_type": "llama3", **{t: getattr(scaling, o) for o, t in _SCALING.items()}},
        "torch_dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
        **special_ids,
    }
    if not config.qkv_bias:
        described |= {"attention_bias": False, "mlp_bias": False, "head_dim": config.head_dim}
    if checkpoint.kind == "reward_model":
        described |= {"id2label": {"0": "score"}, "label2id": {"score": 0}}
    return described
