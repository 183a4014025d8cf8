"""Damaged weights and tokenizers of every format (see `tests/helpers/fuzzing.py`).

What is taken nevertheless must mean here what it means to transformers: no field that changes what
a model says is passed over. Where there is no other reader (Meta, GGUF) a changed field must
change what is read, or be one of the few that are known to say nothing of the model.
"""

from __future__ import annotations

import json
import math
import random
import struct
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from fuzzing import JUNK, Targets, damaged, damaged_bytes, damaged_value, try_all

from camelid.formats.convert import convert, read_model
from camelid.formats.folder import build, save_model
from camelid.model.config import ModelConfig, RopeScalingConfig
from camelid.model.transformer import Transformer
from camelid.tokenization.chat import chat_format_of
from camelid.tokenization.huggingface import read_huggingface_tokenizer, write_huggingface_tokenizer
from camelid.tokenization.tokenizer import pre_tokenizer_model, tokenizer_from_vocabulary
from camelid.tokenization.vocabulary import Vocabulary

transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

target = Targets()
Files = dict[str, bytes]

# Tiny models, made once.

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>"]
LLAMA3 += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TEXT = ["what is the name of a river that runs 42 in Marvale? Yes, it's: so", "don't stop ."] * 40
PROBES = ["what is the name?", " Yes, it's  a\n\nriver 1999 .", "é \U0001f600"]


def byte_level(kind: str) -> Vocabulary:
    split = {"llama3": "llama-bpe", "qwen2": "qwen2", "smollm2": "smollm"}[kind]
    special = LLAMA3 if kind == "llama3" else CHATML
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = pre_tokenizer_model(split)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(TEXT, trainer)
    found = json.loads(model.to_str())["model"]
    tokens = [*sorted(found["vocab"], key=found["vocab"].get), *special]
    return Vocabulary(
        kind="byte_level_bpe",
        tokens=tuple(tokens),
        types=tuple(3 if token in special else 1 for token in tokens),
        merges=tuple(map(" ".join, found["merges"])),
        pre_tokenizer=split,
        bos_id=tokens.index(LLAMA3[0]) if kind == "llama3" else None,
        eos_id=tokens.index(special[-1]),
        chat_format="llama3" if kind == "llama3" else "chatml",
        end_ids=(tokens.index(special[1 if kind == "llama3" else 0]),),
    )


def pieces() -> Vocabulary:
    letters = [
        "\u2581",
        *"abcdehinorstw",
        "th",
        "the",
        "\u2581the",
        "\u2581a",
        "an",
        "is",
        "\u2581is",
    ]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    return Vocabulary(
        kind="sentencepiece",
        tokens=tuple(tokens),
        types=(2, 3, 3, *[6] * 256, *[1] * len(letters)),
        scores=(*[0.0] * 259, *(-float(index) for index in range(len(letters)))),
        bos_id=1,
        eos_id=2,
        chat_format="llama2",
    )


KINDS = ["llama2", "llama3", "qwen2", "smollm2"]
WHERE: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def where(tmp_path_factory: pytest.TempPathFactory) -> None:
    WHERE.append(tmp_path_factory.mktemp("models"))


@cache
def ours(kind: str) -> tuple[Path, Path]:
    """Return a tiny model as a run leaves it, and its tokenizer."""
    vocabulary = pieces() if kind == "llama2" else byte_level(kind)
    scaling = RopeScalingConfig(
        factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=8192
    )
    model = Transformer(
        ModelConfig(
            dim=16,
            layers=2,
            heads=4,
            kv_heads=2,
            ffn_dim=24,
            context=64,
            vocabulary_size=len(vocabulary.tokens),
            rope_theta=500_000.0 if kind == "llama3" else 10_000.0,
            rope_scaling=scaling if kind == "llama3" else None,
            qkv_bias=kind == "qwen2",
            tied_embeddings=kind == "smollm2",
        )
    )
    model.initialise(3)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter.detach(), -1, 1, generator=generator)
    folder, tokenizer = WHERE[-1] / f"{kind}-ours", WHERE[-1] / f"{kind}-tokenizer"
    save_model(model, folder)
    write_huggingface_tokenizer(tokenizer_from_vocabulary(vocabulary), tokenizer)
    return folder, tokenizer


@cache
def files_of(kind: str, to: str, shards: int | None = None) -> Files:
    """Return the files of a tiny model in a format."""
    folder, tokenizer = ours(kind)
    out = WHERE[-1] / f"{kind}-{to}-{shards}"
    convert(folder, out, to=to, shards=shards, tokenizer=tokenizer)  # type: ignore[arg-type]
    if out.is_file():
        return {"model.gguf": out.read_bytes()}
    return {path.name: path.read_bytes() for path in out.iterdir()}


def laid(folder: Path, files: Files) -> Path:
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


def changed(chance: random.Random, raw: bytes, known: dict[str, list[Any]]) -> tuple[bytes, Any]:
    """Return a JSON object with one thing changed, and its value if it still has one.

    `known` are fields that the format knows, with values that mean something.
    """
    if chance.random() < 0.8:
        name, value = chance.choice([(name, v) for name, values in known.items() for v in values])
        data = json.loads(raw)
        data[name] = value if chance.random() < 0.7 else chance.choice(JUNK)
        return json.dumps(data).encode(), data
    raw = damaged(chance, "x.json", raw)
    try:
        return raw, json.loads(raw)
    except (ValueError, RecursionError):
        return raw, None


# Weights.

SOME = [None, 0, 1, 2, 7, 0.5, True, False, "x", [], {}]
ROPE = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ROPE |= {"original_max_position_embeddings": 32}
CONFIG: dict[str, list[Any]] = {
    "rope_theta": [1e6, 10000, None], "rms_norm_eps": [1e-6, 0.1, None], "head_dim": [4, 8, None],
    "rope_scaling": [ROPE, {"type": "linear", "factor": 2.0}, {"type": "dynamic", "factor": 2.0}],
    "rope_parameters": [ROPE, ROPE | {"rope_theta": 7.0}, {"rope_type": "default"}, {"factor": 2}],
    "hidden_act": ["gelu", "silu", "relu", "swish", None], "attention_bias": SOME,
    "mlp_bias": SOME, "tie_word_embeddings": SOME, "num_key_value_heads": [1, 2, 4, None],
    "use_sliding_window": SOME, "sliding_window": [4, 0, None], "max_window_layers": [0, 1],
    "layer_types": [["sliding_attention"] * 2, ["full_attention"] * 2, ["full_attention"], []],
    "partial_rotary_factor": [0.5, 1.0], "pretraining_tp": [2, 1], "attention_dropout": [0.0, 0.5],
    "logit_scale": [2.0], "final_logit_softcapping": [3.0], "residual_multiplier": [0.5, 1.0],
    "embedding_multiplier": [2.0], "attention_multiplier": [1.0], "layernorm_epsilon": [0.1],
    "quantization_config": [{"quant_method": "gptq"}, {}, None], "qk_norm": SOME, "clip_qkv": [1.0],
    "max_position_embeddings": [8, 32, 128, None], "vocab_size": [10, 279, 500],
"dtype": ["float16"],
    "model_type": ["mistral", "llama", "qwen2", "qwen3", None], "is_causal": SOME,
    "architectures": [["MistralForCausalLM"], ["LlamaForCausalLM"], [], ["LlamaModel"], None],
    "use_bidirectional_attention": SOME, "intermediate_size": [24, 32], "num_hidden_layers": [1, 3],
    "attn_implementation": ["eager"], "attention_chunk_size": [4], "no_rope_layers": [[0, 1]],
    "use_mrope": SOME, "rope_interleaved": SOME, "is_decoder": SOME, "adapters": [{}, {"a": 1}],
    "eos_token_id": [1, [1, 2], [], None, 10**6, -1], "text_config": [{}, {"hidden_size": 8}],
}  # fmt: skip
IDS = [[5, 70, 99, 31, 257, 40, 1, 8]]


@torch.no_grad()
def logits_of(path: Path) -> torch.Tensor:
    """Return what our reading of a model says of some ids."""
    model = build(read_model(path).checkpoint)
    assert isinstance(model, Transformer)
    return model.logits(model(torch.tensor(IDS)))


@torch.no_grad()
def their_logits(path: Path) -> torch.Tensor | None:
    """Return what transformers says of them, None where it refuses."""
    try:
        config = transformers.AutoConfig.from_pretrained(path)
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            path, config=config, dtype=torch.float32, output_loading_info=True
        )
        found = model(torch.tensor(IDS)).logits
    except Exception:  # noqa: BLE001
        return None
    return None if any(info.values()) else found


def same_as_transformers(folder: Path, data: Any) -> None:
    found = logits_of(folder)
    expected = their_logits(folder)
    if expected is None:
        return
    # Two implementations in fp32; weights of size one make every field show.
    assert found.shape == expected.shape, data
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max(), data


@target(6)
def huggingface_configs(chance: random.Random, folder: Path) -> None:
    """`config.json`: taken as transformers takes it."""
    files = dict(files_of(chance.choice(KINDS), "hf"))
    files["config.json"], data = changed(chance, files["config.json"], CONFIG)
    same_as_transformers(laid(folder, files), data)


GENERATION: dict[str, list[Any]] = {
    "eos_token_id": [1, 2, [1, 2], [], None, 10**6, -1, True, 2.0, "2"],
    "stop_strings": [["x"], "x"], "suppress_tokens": [[5]], "bad_words_ids": [[[5]]],
    "forced_eos_token_id": [2], "forced_bos_token_id": [2], "begin_suppress_tokens": [[5]],
    "temperature": [0.5], "repetition_penalty": [1.3], "max_new_tokens": [5], "unknown": [1],
    "no_repeat_ngram_size": [2], "sequence_bias": [[[[5], 1.0]]], "guidance_scale": [2.0],
}  # fmt: skip
DRAWN = {
    "temperature",
    "repetition_penalty",
    "max_new_tokens",
    "no_repeat_ngram_size",
    "max_length",
}
"""Fields that say how replies are drawn: a user's choice here, kept for exports."""


@target(3)
def generation_configs(chance: random.Random, folder: Path) -> None:
    """`generation_config.json`: end tokens are taken, no limit on what is said is passed over."""
    kind = chance.choice(KINDS)
    files = dict(files_of(kind, "hf"))
    name = "generation_config.json"
    files[name], data = changed(chance, files[name], GENERATION)
    before = json.loads(files_of(kind, "hf")[name])
    found = read_model(laid(folder, files))
    ends = data.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        assert end is None or end in found.tokenizer.end_ids
    nothing = (None, [], {})
    new = {n for n, v in data.items() if not (v is False or v in nothing) and n not in before}
    assert new <= DRAWN, new - DRAWN


@target(4)
def indexes(chance: random.Random, folder: Path) -> None:
    """The index of several files: each tensor is where it says, and listed."""
    kind = chance.choice(KINDS)
    files = dict(files_of(kind, "hf", 3))
    name = "model.safetensors.index.json"
    if chance.random() < 0.2:
        del files[chance.choice([n for n in files if n.endswith("safetensors")])]
    files[name] = damaged(chance, name, files[name])
    found = logits_of(laid(folder, files))
    torch.testing.assert_close(found, reference(kind))


@cache
def reference(kind: str) -> torch.Tensor:
    folder = WHERE[-1] / f"{kind}-reference"
    folder.mkdir()
    return logits_of(laid(folder, files_of(kind, "hf")))


@target(4)
def safetensors_headers(chance: random.Random, folder: Path) -> None:
    """The header of a safetensors file: shapes, types and places are what they are."""
    kind = chance.choice(KINDS)
    files = dict(files_of(kind, "hf"))
    raw = files["model.safetensors"]
    size = struct.unpack("<Q", raw[:8])[0]
    header, rest = raw[8 : 8 + size], raw[8 + size :]
    if chance.random() < 0.8:
        header = json.dumps(damaged_value(chance, json.loads(header))).encode()
        claimed = (
            len(header) if chance.random() < 0.9 else chance.choice([0, 2**63, 10**9, size + 1])
        )
        raw = struct.pack("<Q", claimed) + header + rest
    else:
        raw = damaged_bytes(chance, raw[: 8 + size]) + rest
    files["model.safetensors"] = raw
    same_as_transformers(laid(folder, files), header[:300])


PARAMS: dict[str, list[Any]] = {
    "dim": [16, 32], "n_layers": [1, 2, 3], "n_heads": [2, 4, 8], "n_kv_heads": [1, 2, 4, None, 0],
    "vocab_size": [-1, 279, 10, None], "multiple_of": [1, 2, 256], "norm_eps": [1e-6, 0.1],
    "ffn_dim_multiplier": [1.3, None, 0.57], "rope_theta": [1e4, 5e5, 7.0],
    "use_scaled_rope": SOME, "rope_scaling_factor": [2.0, 32, None],
    "rope_high_freq_factor": [2.0, 4.0, None], "max_seq_len": [8], "max_batch_size": [1],
    "moe": [{"num_experts": 8}], "sliding_window": [4], "head_dim": [4, 8],
    "quantization_args": [{}],
    "lora_args": [{"rank": 8}], "unknown": [1], "model": [{}],
}  # fmt: skip
IDLE_PARAMS = {"max_seq_len", "max_batch_size"}
"""What Meta's code takes for the sizes of its buffers."""


@target(4)
def meta_parameters(chance: random.Random, folder: Path) -> None:
    """`params.json`: a field that says something is read or refused."""
    kind = chance.choice(["llama2", "llama3", "smollm2"])
    files = dict(files_of(kind, "meta"))
    before = json.loads(files["params.json"])
    if chance.random() < 0.1:
        name = chance.choice([n for n in files if n.endswith(".pth")])
        files[name] = damaged_bytes(chance, files[name])
    files["params.json"], data = changed(chance, files["params.json"], PARAMS)
    config = read_model(laid(folder, files)).checkpoint.config
    original = read_model(laid(folder, files_of(kind, "meta")))
    said = {
        name for name in before.keys() | data.keys()
        if data.get(name) != before.get(name) and name not in IDLE_PARAMS
    }  # fmt: skip
    if config == original.checkpoint.config:
        # The same by another word: a default, or a number that the width is rounded to.
        same = {"n_kv_heads", "vocab_size", "multiple_of", "ffn_dim_multiplier"}
        same |= {name for name in said if data.get(name) in (None, False, 10_000)}
        assert said <= same, {name: data.get(name) for name in said - same}


GGUF_VALUES: list[tuple[int, bytes]] = [
    (4, struct.pack("<I", 7)), (4, struct.pack("<I", 0)), (7, b"\1"), (7, b"\0"),
    (6, struct.pack("<f", 0.5)), (6, struct.pack("<f", math.nan)), (10, struct.pack("<Q", 2**63)),
    (8, struct.pack("<Q", 1) + b"x"), (8, struct.pack("<Q", 0)), (5, struct.pack("<i", -1)),
    (9, struct.pack("<IQ", 4, 0)), (9, struct.pack("<IQI", 4, 1, 9)), (0, b"\3"), (12, bytes(8)),
    (9, struct.pack("<IQQ", 8, 1, 1) + b"y"), (9, struct.pack("<IQ", 4, 2**40)), (13, b""),
]  # fmt: skip
GGUF_NAMES = (
    *("llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.expert_count"),
    *("llama.attention.sliding_window", "llama.attention.key_length", "llama.logit_scale"),
    *("llama.rope.freq_base", "llama.attention.causal", "llama.attention.scale", "llama.unknown"),
    *("llama.rope.dimension_count", "llama.pooling_type", "llama.residual_scale"),
    *("llama.embedding_scale", "qwen2.rope.freq_base", "general.alignment", "general.type"),
    *("general.name", "adapter.type", "split.count", "split.no", "tokenizer.ggml.add_bos_token"),
    *("tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces"),
    *("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eos_token_ids"),
    *("tokenizer.ggml.precompiled_charsmap", "tokenizer.ggml.pre", "tokenizer.ggml.added_tokens"),
    *("tokenizer.chat_template", "tokenizer.chat_template.tool_use", "tokenizer.huggingface.json"),
    *("tokenizer.ggml.unknown_token_id", "tokenizer.ggml.eog_token_ids", "tokenizer.rwkv.world"),
    *(
        "llama.decoder_start_token_id",
        "llama.feature_length",
        "tokenizer.ggml.normalizer.lowercase",
    ),
)
GGUF_IDLE = (
    *("general.name", "general.type", "general.alignment", "llama.vocab_size", "qwen2.vocab_size"),
    *(
        "tokenizer.huggingface.json",
        "split.count",
        "split.no",
        "general.file_type",
        "general.quantization_version",
        "tokenizer.ggml.unknown_token_id",
    ),
    *("tokenizer.ggml.padding_token_id", "tokenizer.ggml.add_eos_token"),
)
"""Fields without effect on replies."""
GGUFField = tuple[str, int, bytes]


def gguf_parts(raw: bytes) -> tuple[list[GGUFField], int]:
    """Return name, type and bytes of the fields of a file, and where they end."""
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    at = 24

    def number(code: str) -> int:
        nonlocal at
        found: int = struct.unpack_from(f"<{code}", raw, at)[0]
        at += struct.calcsize(code)
        return found

    def skip(kind: int) -> None:
        nonlocal at
        if kind == 8:
            length = number("Q")
            at += length
        elif kind == 9:
            inner, count = number("I"), number("Q")
            for _ in range(count):
                skip(inner)
        else:
            at += sizes[kind]

    fields = []
    for _ in range(struct.unpack_from("<Q", raw, 16)[0]):
        length = number("Q")
        name, at = raw[at : at + length].decode(), at + length
        kind, start = number("I"), at
        skip(kind)
        fields.append((name, kind, raw[start:at]))
    return fields, at


def gguf_with(raw: bytes, end: int, fields: list[GGUFField]) -> bytes:
    """Return a file with other fields; the weights are laid where they then begin."""
    header = b"".join(
        struct.pack("<Q", len(name.encode())) + name.encode() + struct.pack("<I", kind) + value
        for name, kind, value in fields
    )
    # Padding bytes between header and weights: those of the old file end at a multiple of 32.
    infos = raw[end:]
    start = raw[:24][:16] + struct.pack("<Q", len(fields)) + header
    shift = (end - len(start)) % 32
    # Behind a field of our own whose length makes up for it, all places stay right.
    filler = struct.pack("<Q", 12) + b"general.fill" + struct.pack("<IQ", 8, 0)
    shift = (end - len(start) - len(filler)) % 32
    filler = struct.pack("<Q", 12) + b"general.fill" + struct.pack("<IQ", 8, shift) + b"x" * shift
    return raw[:16] + struct.pack("<Q", len(fields) + 1) + header + filler + infos


@target(7.5)
def gguf_headers(chance: random.Random, folder: Path) -> None:
    """The header of a GGUF file: a field that says something is read or refused."""
    kind = chance.choice(KINDS)
    raw = files_of(kind, "gguf")["model.gguf"]
    fields, end = gguf_parts(raw)
    name = ""
    if chance.random() < 0.25:
        size = min(len(raw), chance.choice([30, 400, end + 1200]))
        raw = damaged_bytes(chance, raw[:size]) + raw[size:]
    else:
        names = [field[0] for field in fields]
        name = chance.choice([*names, *GGUF_NAMES])
        if name.startswith("llama.") and kind == "qwen2":
            name = name.replace("llama.", "qwen2.")
        if name in names and chance.random() < 0.2:
            fields = [field for field in fields if field[0] != name]
        else:
            new = (name, *chance.choice(GGUF_VALUES))
            place = names.index(name) if name in names else len(names)
            fields[place : place + 1] = [new, *([new] if chance.random() < 0.1 else [])]
        raw = gguf_with(raw, end, fields)
    file = folder / "m.gguf"
    file.write_bytes(raw)
    before = folder / "before.gguf"
    before.write_bytes(files_of(kind, "gguf")["model.gguf"])
    found, original = read_model(file), read_model(before)
    chat_format_of(found.tokenizer)
    build(found.checkpoint)
    if name and name not in GGUF_IDLE and not name.startswith("general."):
        one, other = (m.tokenizer.vocabulary for m in (found, original))
        value = {n: v for n, _, v in fields}.get(name)
        was = {n: v for n, _, v in gguf_parts(before.read_bytes())[0]}.get(name)
        nothing = value in (b"\0", bytes(4), bytes(8)) and was is None
        # What may be left out, and what only the other kinds have.
        nothing |= value is None and name.endswith(("freq_base", "chat_template", "ggml.pre"))
        nothing |= name.startswith("qwen2." if kind != "qwen2" else "llama.")
        nothing |= name == "tokenizer.ggml.add_space_prefix" and kind != "llama2"
        same = (found.checkpoint.config, one) == (original.checkpoint.config, other)
        assert not same or nothing or value == was, (name, value, was)


# Tokenizers.

TOKENIZER_CONFIG: dict[str, list[Any]] = {
    "clean_up_tokenization_spaces": SOME, "add_prefix_space": SOME, "add_bos_token": SOME,
    "add_eos_token": SOME, "legacy": SOME, "split_special_tokens": SOME, "do_lower_case": SOME,
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": SOME,
    "tokenizer_class": ["LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer", None, "BertTokenizer"],
    "extra_special_tokens": [["the"], {"x": "the"}, [], {}, ["new"]], "model_max_length": [8],
    "additional_special_tokens": [["the"], ["<|im_end|>"]], "eos_token": ["a", "the", None, "zz"],
    "bos_token": ["a", "<s>", None, "zz", {"content": "a"}], "unk_token": ["a", None, "<unk>"],
    "added_tokens_decoder": [{"5": {"content": "new"}}, {"9999": {"content": "new"}}, {"1": {}}],
    "chat_template": ["<<SYS>>", "<|im_start|>{{ x }}", "{% for", 7, [], [{"name": "default"}]],
    "sp_model_kwargs": [{"enable_sampling": True}, {}], "end_token_ids": [[5], 5, [10**6], [True]],
    "vocabulary_size": [10**9, 5, None, "x", 10**30], "unknown": [1],
    "use_default_system_prompt": SOME, "spaces_between_special_tokens": SOME, "errors": ["strict"],
}  # fmt: skip
BPE: dict[str, list[Any]] = {
    "normalizer": [{"type": "Lowercase"}, {"type": "NFKC"}, {"type": "NFC"}, None],
    "pre_tokenizer": [None, {"type": "Whitespace"}, {"type": "Digits", "individual_digits": True}],
    "decoder": [None, {"type": "ByteLevel"}, {"type": "Metaspace"}, {"type": "Fuse"}],
    "post_processor": [None, {"type": "ByteLevel"}], "truncation": [None], "padding": [None],
    "added_tokens": [[], [{"id": 300, "content": "new", "special": False}]],
}  # fmt: skip
MODEL: dict[str, list[Any]] = {
    "dropout": [0.5, 0.0], "unk_token": ["a", None], "continuing_subword_prefix": ["##", ""],
    "end_of_word_suffix": ["</w>", ""], "fuse_unk": SOME, "byte_fallback": SOME,
    "ignore_merges": SOME, "type": ["WordPiece", "Unigram", "BPE", None], "cache_capacity": [0],
}  # fmt: skip
ADDED: dict[str, list[Any]] = {
    "lstrip": SOME, "rstrip": SOME, "single_word": SOME, "normalized": SOME, "special": SOME,
    "content": ["the", "x", ""], "id": [0, 5, 400, -1],
}  # fmt: skip


def changed_tokenizer(chance: random.Random, raw: bytes) -> bytes:
    """Return a `tokenizer.json` with one thing changed, mostly a field with a meaning."""
    data, kind = json.loads(raw), chance.randrange(5)
    if kind == 0:
        name = chance.choice(list(BPE))
        data[name] = chance.choice(BPE[name])
    elif kind == 1:
        name = chance.choice(list(MODEL))
        data["model"][name] = chance.choice(MODEL[name])
    elif kind == 2:
        name = chance.choice(list(ADDED))
        chance.choice(data["added_tokens"])[name] = chance.choice(ADDED[name])
    elif kind == 3:
        part = chance.choice(["vocab", "merges"])
        data["model"][part] = damaged_value(chance, data["model"][part])
    else:
        return damaged(chance, "tokenizer.json", raw)
    return json.dumps(data).encode()


def same_tokens_as_transformers(folder: Path, name: str) -> None:
    tokenizer = read_huggingface_tokenizer(folder)
    chat_format_of(tokenizer)
    try:
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        # Text never becomes a special token here.
        expected = [
            theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids
            for text in PROBES
        ]
        opened, plain = theirs("w").input_ids, theirs("w", add_special_tokens=False).input_ids
    except BaseException as error:  # panics of the library are no `Exception`
        if isinstance(error, KeyboardInterrupt | MemoryError | TimeoutError):
            raise
        return
    found = tokenizer.encode_batch(PROBES)
    assert found == expected, name
    for ids in found:
        text = theirs.decode(ids, skip_special_tokens=True)
        assert tokenizer.decode(ids) == text, (name, ids)
    # Whether a text is opened by BOS, as the settings say where they say it; an end token is put
    # behind none here.
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    assert name == "tokenizer.json" or opened[: len(bos + plain)] == bos + plain, (name, opened)
    if theirs.eos_token_id is not None:
        assert theirs.eos_token_id in tokenizer.end_ids


@target(10)
def tokenizer_files(chance: random.Random, folder: Path) -> None:
    """Files of a tokenizer: the ids, texts and ends of transformers, or a refusal."""
    kind = chance.choice(KINDS)
    _, source = ours(kind)
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    files["config.json"] = b'{"model_type": "%s"}' % (b"qwen2" if kind == "qwen2" else b"llama")
    if chance.random() < 0.2:
        settings = json.loads(files["tokenizer_config.json"])
        named = {n: settings.pop(n) for n in list(settings) if n.endswith("_token")}
        named.pop("add_bos_token", None)
        files["special_tokens_map.json"] = json.dumps(named).encode()
        files["tokenizer_config.json"] = json.dumps(settings).encode()
    name = chance.choice([n for n in files if n != "config.json"])
    if name == "tokenizer.json":
        files[name] = changed_tokenizer(chance, files[name])
    elif name == "tokenizer.model":
        files[name] = damaged_bytes(chance, files[name])
        if chance.random() < 0.8:
            del files["tokenizer.json"]
    else:
        files[name], _ = changed(chance, files[name], TOKENIZER_CONFIG)
    same_tokens_as_transformers(laid(folder, files), name)


@pytest.mark.parametrize("name", target)
@pytest.mark.filterwarnings("ignore")
def test_nothing_but_a_camelid_error(name, tmp_path, request):
    transformers.logging.set_verbosity(60)
    transformers.logging.disable_progress_bar()
    try_all(name, target, tmp_path, request.config.getoption("fuzz"), lambda folder: [str(folder)])
