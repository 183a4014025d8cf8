"""GGUF files against the `gguf` library's own reader, writer and numbers."""

import dataclasses
import math
import struct

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize

from camelid.cli.evaluate import find_model
from camelid.errors import CheckpointError, MissingInputError
from camelid.formats.folder import build, read_folder, save_model
from camelid.formats.gguf import open_gguf, read_gguf, write_gguf
from camelid.formats.layout import split_halves
from camelid.model.config import ModelConfig, RopeScalingConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.runtime import Runtime
from camelid.tokenization.gguf_vocabulary import read_gguf_vocabulary
from camelid.tokenization.tokenizer import tokenizer_from_vocabulary
from camelid.tokenization.vocabulary import BYTE_ALPHABET, Vocabulary, chat_template

Kind = gguf.GGMLQuantizationType
SHAPE = {
    "dim": 256, "layers": 2, "heads": 4, "kv_heads": 2, "ffn_dim": 512, "vocabulary_size": 259,
    "context": 64,
}  # fmt: skip
VOCABULARY = Vocabulary(
    kind="byte_level_bpe",
    tokens=("<|im_start|>", "<|im_end|>", *BYTE_ALPHABET, "ab"),
    types=(3, 3, *[1] * 257),
    merges=("a b",),
    pre_tokenizer="smollm",
    bos_id=None,
    eos_id=1,
    chat_format="chatml",
)
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
PIECES = Vocabulary(
    kind="sentencepiece",
    tokens=("<unk>", "<s>", "</s>", *BYTES, "\u2581", "a", "\u2581a"),
    types=(2, 3, 3, *[6] * 256, 1, 1, 1),
    scores=(0.0, 0.0, 0.0, *[0.0] * 256, -1.0, -2.0, -3.0),
    bos_id=1,
    eos_id=2,
    chat_format="llama2",
)
SCALED = RopeScalingConfig(
    factor=8.0, low_frequency_factor=1.5, high_frequency_factor=3.0, original_context=40
)


def make_model(seed=0, **changes):
    model = Transformer(ModelConfig(**(SHAPE | changes)))
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter.detach(), 0.5, 1.5, generator=generator)
    return model


def stored(model, folder):
    save_model(model, folder)
    return read_folder(folder)


def write(model, path, dtype=torch.float32, vocabulary=VOCABULARY):
    checkpoint = stored(model, path.with_name(f"{path.stem}-folder"))
    write_gguf(checkpoint, path, dtype=dtype, vocabulary=vocabulary, name="test model")
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied_embeddings": True, "kv_heads": 4, "norm_eps": 1e-6},
        {"rope_scaling": SCALED, "rope_theta": 500000.0},
        {"qkv_bias": True, "kv_heads": 1, "rope_theta": 1e6},
    ],
)
def test_round_trip_is_exact(changes, tmp_path):
    model = make_model(**changes)
    path = write(model, tmp_path / "m.gguf")
    again = build(read_gguf(open_gguf(path)))
    assert again.config == model.config
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    # What the library reads: queries as they are for llama, in halves for qwen2.
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    queries = model.layers[1].attention.wq.weight.detach()
    expected = (
        split_halves("layers.1.attention.wq.weight", queries, 64)
        if "qkv_bias" in changes
        else queries
    )
    assert np.array_equal(tensors["blk.1.attn_q.weight"].data, expected.numpy())
    assert ("output.weight" in tensors) != model.config.tied_embeddings
    assert all(tensor.data_offset % 32 == 0 for tensor in tensors.values())
    if "rope_scaling" in changes:
        for index, found in enumerate(tensors["rope_freqs.weight"].data):
            turns = 40 * 500000.0 ** (-index / 32) / (2 * math.pi)
            share = min(1.0, max(0.0, (turns - 1.5) / (3.0 - 1.5)))
            # In fp32 the power and six operations on it, each rounded to 6e-8 of its result.
            assert found == pytest.approx(1 / ((1 - share) / 8 + share), rel=1e-5)


def test_llama_31_scaling_from_the_factors_alone(tmp_path):
    scaling = RopeScalingConfig(
        factor=32.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=8192
    )
    model = make_model(rope_scaling=scaling, rope_theta=500000.0)
    path = write(model, tmp_path / "m.gguf")
    file = open_gguf(path)
    del file.fields["camelid.rope_scaling"]
    assert read_gguf(file).config == model.config
    other = dataclasses.replace(scaling, high_frequency_factor=8.0)
    file = open_gguf(write(make_model(rope_scaling=other), tmp_path / "other.gguf"))
    del file.fields["camelid.rope_scaling"]
    with pytest.raises(CheckpointError, match="other factors than Llama 3's"):
        read_gguf(file)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_norms_whole(dtype, tmp_path):
    model = make_model()
    again = build(read_gguf(open_gguf(write(model, tmp_path / "m.gguf", dtype)))).state_dict()
    for name, tensor in model.state_dict().items():
        expected = tensor.to(dtype).float() if tensor.ndim == 2 else tensor
        assert torch.equal(again[name], expected), name


QUANTISED = {
    Kind.Q8_0: 1e-2, Kind.Q4_0: 0.2, Kind.Q4_1: 0.2, Kind.Q5_0: 0.1, Kind.Q5_1: 0.1,
    Kind.Q4_K: None, Kind.Q5_K: None, Kind.Q6_K: None,
}  # fmt: skip


def write_quantised(path, model, kind):
    """Write with the library; K types, which it cannot make, get random blocks of sane scale."""
    writer = gguf.GGUFWriter(path, "llama")
    config, generator = model.config, np.random.default_rng(0)
    writer.add_block_count(config.layers)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.dim)
    writer.add_feed_forward_length(config.ffn_dim)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.layers)
    packed = {}
    for name, tensor in model.state_dict().items():
        theirs = names.get_name(name, try_suffixes=(".weight",))
        values = tensor.numpy()
        if tensor.ndim == 1:
            writer.add_tensor(theirs, values)
            continue
        if QUANTISED[kind] is None:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            rows, blocks = len(values), values.shape[1] // block
            data = generator.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
            scales = generator.uniform(1e-3, 2e-3, (rows, blocks, 2)).astype(np.float16)
            if kind == Kind.Q6_K:
                data[..., -2:] = scales[..., :1].view(np.uint8)
            else:
                data[..., :4] = scales.view(np.uint8)
            data = data.reshape(rows, blocks * size)
        else:
            data = quantize(values, kind)
        packed[name] = data
        writer.add_tensor(theirs, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return packed


@pytest.mark.parametrize("kind", QUANTISED, ids=lambda kind: kind.name)
def test_quantised_types(kind, tmp_path, monkeypatch):
    # Several reads a tensor: rows must not be mixed up.
    monkeypatch.setattr("camelid.formats.folder.BLOCK", 1000)
    model = make_model()
    packed = write_quantised(tmp_path / "q.gguf", model, kind)
    file = open_gguf(tmp_path / "q.gguf")
    assert {tensor.type for tensor in file.tensors.values()} == {kind.name, "F32"}
    found = build(read_gguf(file)).state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1:
            assert torch.equal(found[name], tensor)
            continue
        assert np.array_equal(found[name].numpy(), dequantize(packed[name], kind)), name
        assert found[name].std() > 1e-3
        if QUANTISED[kind] is not None:
            error = (found[name] - tensor).norm() / tensor.norm()
            assert 0 < error < QUANTISED[kind]


@pytest.mark.parametrize("vocabulary", [VOCABULARY, PIECES], ids=["bytes", "pieces"])
def test_vocabulary_travels(vocabulary, tmp_path):
    model = make_model(vocabulary_size=len(vocabulary.tokens))
    path = write(model, tmp_path / "m.gguf", vocabulary=vocabulary)
    assert read_gguf_vocabulary(open_gguf(path).fields) == vocabulary
    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.tokens"].contents() == list(vocabulary.tokens)
    assert fields["tokenizer.ggml.add_bos_token"].contents() == (vocabulary.bos_id is not None)
    mark = "<<SYS>>" if vocabulary is PIECES else "<|im_start|>"
    assert mark in fields["tokenizer.chat_template"].contents()
    assert fields["general.name"].contents() == "test model"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", "t5", "tokenizer 't5'"),
        ("pre", "gpt-4o", "pre-tokenizer 'gpt-4o'"),
        ("tokens", [1, 2], "tokens must be a list of str"),
        ("token_type", None, "token_type must be a list"),
        ("merges", ["x y"], "unknown token"),
        ("eos_token_id", 999, "EOS has id 999"),
        ("eos_token_id", "1", "eos_token_id must be a int"),
        ("remove_extra_whitespaces", True, "not supported: tokenizer.ggml.remove_extra"),
        ("eot_token_id", 999, "an end token has id 999"),
        ("eot_token_id", "1", "eot_token_id must be a int"),
        ("add_bos_token", 1, "add_bos_token is 1; needed true or false"),
        ("add_space_prefix", 0, "add_space_prefix is 0; needed true or false"),
    ],
)
def test_refused_vocabularies(field, value, message, tmp_path):
    """Fields of the tokenizer."""
    fields = open_gguf(write(make_model(), tmp_path / "m.gguf")).fields
    fields[f"tokenizer.ggml.{field}"] = value
    with pytest.raises(CheckpointError, match=message):
        read_gguf_vocabulary(fields)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("general.architecture", "gemma3", "architecture 'gemma3'"),
        ("llama.rope.scaling.type", "yarn", "rotary scaling 'yarn'"),
        ("llama.rope.scaling.factor", 4.0, "linear rotary scaling"),
        ("llama.rope.scale_linear", 2.0, "linear rotary scaling"),
        ("llama.expert_count", 8, "mixture of experts"),
        ("llama.attention.sliding_window", 512, "sliding window"),
        ("llama.attention.key_length", 128, "key_length is 128, needed 64"),
        ("llama.attention.head_count", [4, 4], "must be a whole number"),
        ("llama.block_count", 3, "missing layers.2.attention.wq.weight"),
        ("llama.block_count", 2**40, "layers is 1099511627776, but must be from 1"),
        ("llama.context_length", 2**40, "context is 1099511627776, but must be from 1"),
        ("llama.embedding_length", None, "is missing"),
        ("llama.attention.layer_norm_rms_epsilon", None, "epsilon that is missing"),
        ("adapter.type", "lora", "an adapter of another model"),
        ("split.count", 3, "one part of several"),
        ("llama.logit_scale", 0.5, r"llama.logit_scale 0\.5 \(what this field does"),
    ],
)
def test_refused_models(field, value, message, tmp_path):
    file = open_gguf(write(make_model(), tmp_path / "m.gguf"))
    file.fields[field] = value
    if value is None:
        del file.fields[field]
    with pytest.raises(CheckpointError, match=message):
        build(read_gguf(file))


def test_case_further_chat_templates_are_known_and_other_fields_refused(tmp_path):
    fields = open_gguf(write(make_model(), tmp_path / "m.gguf")).fields
    more = fields | {"tokenizer.chat_template.tool_use": "x", "tokenizer.chat_templates": ["x"]}
    assert read_gguf_vocabulary(more).other_templates == ("tool_use",)
    with pytest.raises(CheckpointError, match=r"not supported: tokenizer\.rwkv"):
        read_gguf_vocabulary(fields | {"tokenizer.rwkv.world": "x"})


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    reward = RewardModel(ModelConfig(**SHAPE))
    both = make_model(qkv_bias=True, rope_scaling=SCALED)
    for model in (reward, both):
        with pytest.raises(CheckpointError, match="GGUF has no reward heads"):
            write(model, tmp_path / "m.gguf")


def test_damage(tmp_path):
    whole = write(make_model(), tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for size in (0, 3, 100, 400, len(whole) - 200):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.gguf: not a readable GGUF file"):
            open_gguf(path)
    with pytest.raises(MissingInputError, match="no such file"):
        open_gguf(tmp_path / "none.gguf")
    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    for value in (
        struct.pack("<IIQ", 9, 8, 2**60),  # an array of texts
        struct.pack("<IIQ", 9, 0, 2**60),  # an array of bytes
        struct.pack("<IIQ", 9, 9, 1),  # an array of arrays
        struct.pack("<IQ", 8, 2**62),  # a text
        struct.pack("<I", 77),
    ):
        path.write_bytes(start + value + b"\0" * 200)
        with pytest.raises(CheckpointError, match="not a readable GGUF file"):
            open_gguf(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**61, 2**61) + b"\0" * 200)
    with pytest.raises(CheckpointError, match="the header does not end"):
        open_gguf(path)


def test_chat_tokens_that_a_file_calls_words_are_not_found_in_text(tmp_path):
    """Old converters mark chat tokens so; SentencePiece would find them in what a user writes."""
    fields = dict(open_gguf(write(make_model(vocabulary_size=262), tmp_path / "m.gguf",
                                  vocabulary=PIECES)).fields)  # fmt: skip
    fields["tokenizer.ggml.tokens"] = [*PIECES.tokens[:-2], "<|im_end|>", "<|im_start|>"]
    fields["tokenizer.ggml.token_type"] = [*PIECES.types[:-2], 4, 4]
    del fields["tokenizer.chat_template"]
    vocabulary = read_gguf_vocabulary(fields)
    assert vocabulary.chat_format == "chatml"
    text = "a <|im_start|> a<|im_end|>"
    assert not {260, 261} & set(tokenizer_from_vocabulary(vocabulary).encode(text))
    fields["tokenizer.ggml.add_space_prefix"] = False
    with pytest.raises(CheckpointError, match="without a space in front"):
        read_gguf_vocabulary(fields)


@pytest.mark.parametrize("kind", [3, 5])
def test_case_added_token_repeats_id_a_byte_of_another_type(kind, tmp_path):
    """A text with that byte could not be written."""
    fields = dict(open_gguf(write(make_model(), tmp_path / "m.gguf")).fields)
    types = list(VOCABULARY.types)
    types[VOCABULARY.tokens.index("#")] = kind
    fields["tokenizer.ggml.token_type"] = types
    with pytest.raises(CheckpointError, match=r"1 of 256 byte tokens .* \(\['#'\]"):
        read_gguf_vocabulary(fields)


def test_case_bytes_of_no_text_may_have_no_token(tmp_path):
    """SmolLM2's vocabulary lacks control characters and bytes that UTF-8 does not use."""
    fields = dict(open_gguf(write(make_model(), tmp_path / "m.gguf")).fields)
    names = {byte: token for token, byte in BYTE_ALPHABET.items()}
    for byte in (0x04, 0x1D, 0xC0, 0xF1, 0xFF):
        fields["tokenizer.ggml.tokens"] = [
            "unlike" if token == names[byte] else token for token in VOCABULARY.tokens
        ]
        tokenizer = tokenizer_from_vocabulary(read_gguf_vocabulary(fields))
        assert tokenizer.decode(tokenizer.encode("aé\x04b\n")) == (
            "aéb\n" if byte == 0x04 else "aé\x04b\n"
        )
    for byte in (0x09, 0x0A, 0x20, 0xC3, 0xF0, 0xF3, 0xF4):
        fields["tokenizer.ggml.tokens"] = [
            "unlike" if token == names[byte] else token for token in VOCABULARY.tokens
        ]
        with pytest.raises(CheckpointError, match="1 of 256 byte tokens"):
            read_gguf_vocabulary(fields)


@pytest.mark.parametrize("source", [VOCABULARY, PIECES], ids=["bytes", "pieces"])
def test_case_added_words_travel_as_words(source, tmp_path):
    vocabulary = dataclasses.replace(
        source,
        tokens=(*source.tokens, "Section5A"),
        types=(*source.types, 4),
        scores=None if source.scores is None else (*source.scores, 0.0),
        end_ids=(0, 7, 9),
        space_in_front="stretch" if source.scores is None else "first",
        template="{# the source's #}" + chat_template(source.chat_format),
    )
    path = write(
        make_model(vocabulary_size=len(vocabulary.tokens)),
        tmp_path / "m.gguf",
        vocabulary=vocabulary,
    )
    file = open_gguf(path)
    assert read_gguf_vocabulary(file.fields) == vocabulary
    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.token_type"].contents()[-1] == 4
    # The format's own places for further ends.
    assert [fields[f"tokenizer.ggml.{n}_token_id"].contents() for n in ("eot", "eom")] == [0, 7]
    tokenizer, word = tokenizer_from_vocabulary(vocabulary), len(vocabulary.tokens) - 1
    for text in ("a Section5A b", "aSection5Ab", "Section5A"):
        assert tokenizer.encode(text).count(word) == 1
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_named_chat_format_stands_in_for_an_unknown_template(tmp_path):
    fields = dict(open_gguf(write(make_model(), tmp_path / "m.gguf")).fields)
    fields["tokenizer.chat_template"] = "{{ '<|user|>' }}"
    with pytest.raises(CheckpointError, match="--chat-format"):
        read_gguf_vocabulary(fields)
    assert read_gguf_vocabulary(fields, "chatml").chat_format == "chatml"


def test_a_model_to_evaluate_needs_no_known_chat_format(tmp_path):
    for name, vocabulary in (("bytes", VOCABULARY), ("pieces", PIECES)):
        model = make_model(vocabulary_size=len(vocabulary.tokens))
        path = write(model, tmp_path / f"{name}.gguf", vocabulary=vocabulary)
        _, tokenizer = find_model(str(path)).load(Runtime())
        assert tokenizer.decode(tokenizer.encode("ab")) == "ab"


def test_double_precision_is_read(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "d.gguf", "llama")
    values = np.linspace(0, 1, 6).reshape(2, 3)
    writer.add_tensor("x", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensor = open_gguf(tmp_path / "d.gguf").tensors["x"]
    assert tensor.type == "F64"
    assert np.array_equal(tensor.read(0, 2).numpy(), values)
