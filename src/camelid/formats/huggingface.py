"""Hugging Face model directories, in and out: `config.json` and safetensors.

Llama 2, Llama 3.x, their relatives of the same architecture (SmolLM2, TinyLlama) and Qwen2, as
language models (`...ForCausalLM`) or with one score (`...ForSequenceClassification`).

Source: the classes `LlamaConfig` and `Qwen2Config` of the transformers library.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camelid.errors import CheckpointError
from camelid.formats.folder import (
    DOWNLOAD_AGAIN,
    Checkpoint,
    ModelKind,
    StoredTensor,
    empty_model,
    raise_problems,
    read_object,
    read_safetensors,
    save_tensors,
    stream,
)
from camelid.formats.layout import HUGGINGFACE, drop_tied_output, split_halves, under_our_names
from camelid.model.config import ModelConfig
from camelid.run.files import write_json
from camelid.settings import from_json

INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9
"""Most bytes of a file unless a number of files is asked for (the custom of transformers)."""
_KINDS: dict[str, ModelKind] = {
    "ForCausalLM": "transformer",
    "ForSequenceClassification": "reward_model",
}
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
_READ = (
    *("architectures", "model_type", "hidden_act", "rope_parameters", "rope_scaling", "rope_theta"),
    *("head_dim", "layer_types", "use_sliding_window", "attention_bias", "mlp_bias", "id2label"),
    *("quantization_config", "eos_token_id"),
)
_OFF: dict[str, Any] = {
    "rope_interleaved": False,
    "use_mrope": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "is_decoder": False,
    "pruned_heads": {},
    "partial_rotary_factor": 1.0,
    "num_labels": 1,
}
"""Fields that must have this value where they stand."""
_WITHOUT_EFFECT = (
    *("attention_dropout", "initializer_range", "use_cache", "pretraining_tp", "torch_dtype"),
    *("dtype", "transformers_version", "_name_or_path", "_commit_hash", "_attn_implementation"),
    *("_attn_implementation_autoset", "bos_token_id", "pad_token_id", "sep_token_id", "label2id"),
    *("max_window_layers", "sliding_window", "is_llama_config", "transformers.js_config"),
    *("return_dict", "output_hidden_states", "output_attentions", "torchscript", "problem_type"),
    *("use_bfloat16", "tf_legacy_loss", "chunk_size_feed_forward", "finetuning_task", "prefix"),
    *("tie_encoder_decoder", "task_specific_params", "tokenizer_class", "unsloth_version"),
    *("unsloth_fixed", "max_length", "min_length", "do_sample", "early_stopping", "num_beams"),
    *("num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p"),
    *("repetition_penalty", "length_penalty", "no_repeat_ngram_size", "num_return_sequences"),
    *("encoder_no_repeat_ngram_size", "output_scores", "return_dict_in_generate"),
    *("remove_invalid_values",),
)
"""Fields that the hidden states and logits do not depend on. Others are refused by name."""
_NO_GENERATION = (
    *("_from_model_config", "transformers_version", "bos_token_id", "eos_token_id"),
    *("pad_token_id", "use_cache", "output_attentions", "output_hidden_states"),
)
"""Fields of `generation_config.json` that are no settings of generation."""
_DRAWN = (
    *("do_sample", "temperature", "top_k", "top_p", "top_h", "min_p", "typical_p", "eta_cutoff"),
    *("epsilon_cutoff", "repetition_penalty", "encoder_repetition_penalty", "diversity_penalty"),
    *("length_penalty", "penalty_alpha", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
    *("num_beams", "num_beam_groups", "early_stopping", "num_return_sequences", "max_length"),
    *("max_new_tokens", "min_length", "min_new_tokens", "max_time", "renormalize_logits"),
    *("remove_invalid_values", "cache_implementation", "cache_config", "max_cache_len"),
    *("return_dict_in_generate", "output_scores", "output_logits", "low_memory", "is_assistant"),
    *("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
    *(
        "prompt_lookup_num_tokens",
        "max_matching_ngram_size",
        "assistant_early_exit",
        "_commit_hash",
    ),
    *("assistant_lookbehind", "target_lookbehind", "disable_compile", "compile_config"),
    *("prefill_chunk_size", "chat_format", "max_window_size", "use_mtp", "speculation_type"),
)
"""Fields that say how replies are drawn, and at what cost: here the user's choice. What limits the
words themselves (`stop_strings`, `suppress_tokens`, ...) would be passed over: it is refused."""


def read_huggingface(directory: Path) -> Checkpoint:
    """Read a directory with `config.json` and safetensors, one file or several with an index.

    Raises:
        CheckpointError: Something is damaged, missing or of an unsupported kind, which is named.
    """
    config, kind, ends = _read_config(directory / "config.json")
    file = directory / "generation_config.json"
    generation = read_object(file, DOWNLOAD_AGAIN) if file.is_file() else {}
    ends = (*ends, *_ends(generation, file))
    limits = [
        f"not supported: {name} {value!r} (it changes what is said, or is not known)"
        for name, value in generation.items()
        # 0 is a token's id.
        if name not in (*_NO_GENERATION, *_DRAWN)
        and not (value is None or value is False or value in ([], {}))
    ]
    raise_problems(file, limits)
    # Old conversions hold the rotary frequencies too, which are computed here.
    stored = {
        name: tensor
        for name, tensor in _read_files(directory).items()
        if not name.endswith(".rotary_emb.inv_freq")
    }
    if config.tied_embeddings:
        tables = (HUGGINGFACE.theirs(f"{n}.weight") for n in ("tok_embeddings", "output"))
        drop_tied_output(stored, *tables)
    found = Checkpoint(
        where=directory,
        config=config,
        kind=kind,
        tensors=stored,
        end_ids=tuple(dict.fromkeys(ends)),
        generation={k: v for k, v in generation.items() if k not in _NO_GENERATION},
    )
    return under_our_names(found, HUGGINGFACE, half_split=True)


def _read_files(directory: Path) -> dict[str, StoredTensor]:
    single = directory / "model.safetensors"
    if single.is_file():
        # Where there is an index too, transformers does not look at it either.
        return read_safetensors(single)
    if not (directory / INDEX).is_file():
        raise CheckpointError(
            f"{directory}: needed model.safetensors or {INDEX}, neither is here (pickled "
            "weights are not read: convert them to safetensors)."
        )
    places = read_object(directory / INDEX, DOWNLOAD_AGAIN).get("weight_map")
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
    raise_problems(directory / INDEX, problems)
    return stored


def _read_rope(data: dict[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """Return kind and numbers of the rotary embedding, which may stand in three entries.

    Version 5 of transformers keeps base and scaling together, older ones apart; people add the
    older entry by hand, which then counts.
    """
    kinds: dict[str, str] = {}
    merged: dict[str, Any] = {}
    for entry in ("rope_parameters", "rope_scaling"):
        found = data.get(entry)
        if not isinstance(found, dict | None):
            raise CheckpointError(f"{path}: the rotary parameters must be an object.")
        numbers = {k: v for k, v in (found or {}).items() if v is not None}
        stated = {str(numbers.pop(key)) for key in ("rope_type", "type") if key in numbers}
        if len(stated) > 1:
            raise CheckpointError(f"{path}: {entry} has two types, {sorted(stated)}; state one.")
        if found:
            kinds[entry] = stated.pop() if stated else "default"
        for key, value in numbers.items():
            if merged.setdefault(key, value) != value:
                raise CheckpointError(
                    f"{path}: rope_parameters and rope_scaling state {key} {merged[key]} and "
                    f"{value}; keep the one that the model was trained with."
                )
    if len(set(kinds.values())) > 1:
        raise CheckpointError(
            f"{path}: rope_parameters is of type {kinds['rope_parameters']!r}, rope_scaling of "
            f"type {kinds['rope_scaling']!r}; keep the one that the model was trained with."
        )
    kind = next(iter(kinds.values()), "default")
    theta = data.get("rope_theta")
    if theta is not None and merged.setdefault("rope_theta", theta) != theta:
        raise CheckpointError(
            f"{path}: rope_theta is {theta} and, with the rotary parameters, "
            f"{merged['rope_theta']}; keep the one that the model was trained with."
        )
    return kind, merged


def _read_config(path: Path) -> tuple[ModelConfig, ModelKind, tuple[int, ...]]:
    data = read_object(path, DOWNLOAD_AGAIN)
    rope_type, rope = _read_rope(data, path)
    family = {"llama": "Llama", "qwen2": "Qwen2"}.get(str(data.get("model_type")))
    known = {f"{family}{ending}": kind for ending, kind in _KINDS.items()}
    names = data.get("architectures")
    kind = known.get(str(names[0])) if isinstance(names, list) and len(names) == 1 else None
    labels, types = data.get("id2label"), data.get("layer_types") or []
    one_label = isinstance(labels, dict) and len(labels) == 1
    all_full = isinstance(types, list) and all(type_ == "full_attention" for type_ in types)
    unsupported = {
        f"architecture {names} of type {data.get('model_type')!r} (known: llama and qwen2, as "
        "language models or with one score)": kind is None,
        f"activation {data.get('hidden_act')!r}": data.get("hidden_act", "silu") != "silu",
        f"rotary embedding {rope_type!r}": rope_type not in ("default", "llama3"),
        "partial rotary embedding": rope.pop("partial_rotary_factor", 1.0) != 1.0,
        "sliding window": data.get("use_sliding_window") or not all_full,
        "biases of the output projection": data.get("attention_bias"),
        "biases of the feed-forward layer": data.get("mlp_bias"),
        "quantised weights": data.get("quantization_config"),
        "several labels": kind == "reward_model" and not one_label,
    }
    unsupported |= {
        f"{name} {value!r} (what this field does is not known)": True
        for name, value in data.items()
        if name not in (*_SIZES.values(), *_READ, *_WITHOUT_EFFECT)
        and value is not None
        and (name not in _OFF or value != _OFF[name])
    }
    scaling = _SCALING.values() if rope_type == "llama3" else ()
    unsupported |= {
        f"{name} of the rotary embedding {rope_type!r}": True
        for name in rope
        if name not in ("rope_theta", *scaling)
    }
    raise_problems(path, [f"not supported: {name}" for name, found in unsupported.items() if found])
    values = {ours: data[theirs] for ours, theirs in _SIZES.items() if theirs in data}
    # The format's defaults, not ours.
    values = {"norm_eps": 1e-6, "kv_heads": 32 if family == "Qwen2" else None} | values
    if values["kv_heads"] is None:
        values["kv_heads"] = values.get("heads")
    values["qkv_bias"] = family == "Qwen2"
    values["rope_theta"] = rope.get("rope_theta", 10000.0)
    if rope_type == "llama3":
        values["rope_scaling"] = {o: rope[t] for o, t in _SCALING.items() if t in rope}
    config = from_json(values, ModelConfig, str(path), error=CheckpointError)
    if data.get("head_dim") not in (None, config.head_dim):
        raise CheckpointError(
            f"{path}: head_dim {data['head_dim']}, needed {config.head_dim} (width over heads)."
        )
    return config, kind or "transformer", _ends(data, path)


def _ends(data: dict[str, Any], path: Path) -> tuple[int, ...]:
    """Return the end tokens that a file states, one or a list."""
    found = data.get("eos_token_id")
    ends = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(index) is int for index in ends):
        raise CheckpointError(f"{path}: eos_token_id is {found!r}; needed an id or a list of ids.")
    return tuple(ends)


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
    shards: list[list[str]] = [[]]
    sizes = [0]
    for name, tensor in empty_model(checkpoint).state_dict().items():
        size = tensor.numel() * dtype.itemsize
        if sizes[-1] and sizes[-1] + size > limit:
            shards.append([])
            sizes.append(0)
        shards[-1].append(name)
        sizes[-1] += size
    count = len(shards)
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    written = dict(zip(["model.safetensors"] if count == 1 else names, shards, strict=True))
    last = {members[-1]: file for file, members in written.items()}
    shard: dict[str, Tensor] = {}
    for name, tensor in stream(checkpoint, dtype):
        shard[HUGGINGFACE.theirs(name)] = split_halves(name, tensor, config.head_dim)
        if name in last:
            save_tensors(shard, directory / last[name])
            shard.clear()
    if count > 1:
        places = {HUGGINGFACE.theirs(n): file for file, found in written.items() for n in found}
        weight_map = dict(sorted(places.items()))
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map}
        write_json(directory / INDEX, index)
    write_json(directory / "config.json", _describe(checkpoint, dtype) | special_ids)
    if checkpoint.kind == "transformer":
        generation = dict(checkpoint.generation) or {"_from_model_config": True}
        write_json(directory / "generation_config.json", generation | special_ids)


def _describe(checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, Any]:
    config = checkpoint.config
    family = "Qwen2" if config.qkv_bias else "Llama"
    ending = next(ending for ending, kind in _KINDS.items() if kind == checkpoint.kind)
    described = {
        "architectures": [f"{family}{ending}"],
        "model_type": family.lower(),
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
    }
    if config.rope_scaling is not None:
        scaling = dataclasses.asdict(config.rope_scaling)
        renamed = {theirs: scaling[ours] for ours, theirs in _SCALING.items()}
        described["rope_scaling"] = {"rope_type": "llama3", **renamed}
    if not config.qkv_bias:
        described |= {"attention_bias": False, "mlp_bias": False, "head_dim": config.head_dim}
    if checkpoint.kind == "reward_model":
        described |= {"id2label": {"0": "score"}, "label2id": {"score": 0}}
    return described
