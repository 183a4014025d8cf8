"""Hugging Face directories: transformers writes what we read, and reads what we write."""

import dataclasses
import json
import logging
import tracemalloc
import warnings

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, Qwen2Config

from camelid.errors import CheckpointError
from camelid.formats.convert import read_model
from camelid.formats.folder import build, read_folder, save_model
from camelid.formats.huggingface import read_huggingface, write_huggingface
from camelid.model.config import ModelConfig, RopeScalingConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer, rotary_table

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
SHAPE = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
TOKENS = torch.randint(0, 131, (2, 200), generator=torch.Generator().manual_seed(1))


def reference(*, family="llama", kv_heads=4, tied=False, rope=None, kind="CausalLM", **extra):
    """Return one of transformers' own models with random weights, also in biases and norms."""
    config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[family](
        **SHAPE,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=tied,
        rope_parameters=rope or {"rope_type": "default", "rope_theta": 10000.0},
        **extra,
    )
    name = {"llama": "Llama", "qwen2": "Qwen2"}[family]
    model = getattr(transformers, f"{name}For{kind}")(config).eval()
    generator = torch.Generator().manual_seed(kv_heads)
    with torch.no_grad():
        for parameter in model.parameters():
            scale, centre = (0.2, 1.0) if parameter.ndim == 1 else (0.1, 0.0)
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
    return model


CASES = {
    "multi-head": {"kv_heads": 4},
    "grouped": {"kv_heads": 2},
    "multi-query": {"kv_heads": 1},
    "tied": {"kv_heads": 2, "tied": True},
    "llama 3 scaling": {"kv_heads": 2, "rope": LLAMA3},
    "qwen2": {"family": "qwen2", "kv_heads": 2},
    "qwen2 tied": {"family": "qwen2", "kv_heads": 1, "tied": True},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shard_size", ["5GB", "60KB"])
@torch.no_grad()
def test_read_what_transformers_writes(case, shard_size, tmp_path, in_float64):
    theirs = reference(**CASES[case])
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard_size == "60KB")
    ours = build(read_huggingface(tmp_path))
    assert ours.config.parameter_count == sum(p.numel() for p in theirs.parameters())
    assert ours.config.parameter_count == sum(p.numel() for p in ours.parameters())
    in_float64(ours, theirs)
    expected = theirs(TOKENS).logits
    assert (ours.logits(ours(TOKENS)) - expected).abs().max() < 1e-10
    assert expected.std() > 0.2


@torch.no_grad()
def test_rotary_scaling_is_that_of_transformers():
    scaling = RopeScalingConfig(
        factor=32.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=8192
    )
    config = ModelConfig(
        dim=256, layers=1, heads=2, kv_heads=2, ffn_dim=8, vocabulary_size=8, context=3000,
        rope_theta=500000.0, rope_scaling=scaling,
    )  # fmt: skip
    rope = {**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 8192}
    theirs = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(
        LlamaConfig(hidden_size=256, num_attention_heads=2, rope_parameters=rope)
    )
    cosines, sines = theirs(torch.zeros(1), torch.arange(3000)[None])
    ours = rotary_table(config)
    # A frequency is rounded to 2^-24 of itself in each of about eight operations, and stands for
    # angles of up to 3,000 radians; under another formula they differ by whole turns.
    for found, expected in ((ours[0][:, ::2], cosines), (ours[1][:, 1::2], sines)):
        torch.testing.assert_close(found, expected[0, :, :64], atol=3000 * 2**-21, rtol=0)
    plain = rotary_table(dataclasses.replace(config, rope_scaling=None))
    changed = (plain[0] != ours[0]).any(0)[::2]
    assert not changed[:25].any()
    assert changed[35:].all()


def our_model(seed=0, **changes):
    shape = {
        "dim": 64, "layers": 3, "heads": 4, "kv_heads": 2, "ffn_dim": 96, "vocabulary_size": 131,
        "context": 256,
    }  # fmt: skip
    model = Transformer(ModelConfig(**(shape | changes)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 1.0 if parameter.ndim == 1 else 0.0
            parameter.copy_(centre + 0.1 * torch.randn(parameter.shape, generator=generator))
    return model


SCALED = RopeScalingConfig(
    factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=32
)
OURS = {
    "grouped": {},
    "tied": {"tied_embeddings": True, "kv_heads": 1},
    "scaled": {"rope_theta": 500000.0, "rope_scaling": SCALED},
    "biases": {"qkv_bias": True, "tied_embeddings": True, "rope_theta": 1e6},
}


def stored(model, folder):
    save_model(model, folder)
    return read_folder(folder)


def load_without_warning(cls, folder, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        transformers.logging.enable_propagation()
        model, info = cls.from_pretrained(folder, output_loading_info=True)
        transformers.logging.disable_propagation()
    assert not caplog.records
    assert not any(info.values()), info
    return model.eval()


@pytest.mark.parametrize("case", OURS)
@pytest.mark.parametrize("files", [None, 4])
@torch.no_grad()
def test_transformers_reads_what_we_write(case, files, tmp_path, caplog, in_float64):
    model = our_model(**OURS[case])
    checkpoint = stored(model, tmp_path / "ours")
    out = tmp_path / "hf"
    out.mkdir()
    write_huggingface(checkpoint, out, dtype=torch.float32, files=files, special_ids=SPECIAL)
    count = len(list(out.glob("*.safetensors")))
    assert count == 1 if files is None else 3 <= count <= 5
    theirs = load_without_warning(transformers.AutoModelForCausalLM, out, caplog)
    assert type(theirs).__name__.startswith("Qwen2" if case == "biases" else "Llama")
    assert theirs.generation_config.eos_token_id == 2
    again = build(read_huggingface(out))
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    in_float64(model, theirs)
    assert (theirs(TOKENS).logits - model.logits(model(TOKENS))).abs().max() < 1e-10


@torch.no_grad()
def test_bfloat16_halves_the_files_and_is_read_back(tmp_path):
    model = our_model().bfloat16().float()
    out = tmp_path / "hf"
    out.mkdir()
    write_huggingface(
        stored(model, tmp_path / "ours"), out, dtype=torch.bfloat16, special_ids=SPECIAL
    )
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    kinds = {tensor.dtype for tensor in load_file(out / "model.safetensors").values()}
    assert kinds == {torch.bfloat16}
    again = build(read_huggingface(out)).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    large = our_model()
    with torch.no_grad():
        large.layers[1].attention.wv.weight[3, 3] = 1e6
    with pytest.raises(CheckpointError, match=r"layers\.1\.attention\.wv\.weight .*float16"):
        write_huggingface(
            stored(large, tmp_path / "large"), out, dtype=torch.float16, special_ids=SPECIAL
        )


@pytest.mark.parametrize("biases", [False, True])
@torch.no_grad()
def test_reward_model_scores_in_transformers(biases, tmp_path, caplog, in_float64):
    model = RewardModel.from_chat_model(our_model(qkv_bias=biases))
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(3))
    out = tmp_path / "hf"
    out.mkdir()
    write_huggingface(
        stored(model, tmp_path / "ours"),
        out,
        dtype=torch.float32,
        special_ids={**SPECIAL, "pad_token_id": 0},
    )
    theirs = load_without_warning(transformers.AutoModelForSequenceClassification, out, caplog)
    ends = torch.tensor([[199], [139]])
    tokens = TOKENS.clamp(min=1)
    tokens[1, 140:] = 0
    again = build(read_huggingface(out))
    assert isinstance(again, RewardModel)
    assert torch.equal(again(tokens, ends), model(tokens, ends))
    theirs.save_pretrained(tmp_path / "again")
    assert torch.equal(
        build(read_huggingface(tmp_path / "again"))(tokens, ends), again(tokens, ends)
    )
    in_float64(model.trunk, theirs)
    expected = theirs(tokens, attention_mask=(tokens != 0).long()).logits
    assert expected.shape == (2, 1)
    assert (model.double()(tokens, ends) - expected).abs().max() < 1e-10
    assert (expected[0] - expected[1]).abs() > 0.1


def edited(folder, **changes):
    path = folder / "config.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in data.items() if v != "absent"}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mistral"}, "of type 'mistral'"),
        ({"architectures": ["LlamaForTokenClassification"]}, "LlamaForTokenClassification"),
        ({"architectures": "absent"}, "architecture None"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rotary embedding 'yarn'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "rotary embedding 'linear'"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}},
            "low_frequency_factor is missing",
        ),
        ({"rope_scaling": [1]}, "must be an object"),
        ({"use_sliding_window": True}, "sliding window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding window"),
        ({"attention_bias": True}, "biases of the output projection"),
        ({"mlp_bias": True}, "biases of the feed-forward layer"),
        ({"quantization_config": {"bits": 4}}, "quantised weights"),
        ({"head_dim": 32}, "head_dim 32, needed 16"),
        ({"hidden_size": "absent"}, "dim is missing"),
        ({"hidden_size": "64"}, "must be a whole number"),
        ({"num_hidden_layers": 10**9}, "layers is 1000000000, but must be from 1"),
        ({"num_hidden_layers": 2}, "unexpected model.layers.2.self_attn.q_proj.weight"),
        ({"max_position_embeddings": 10**12}, "context is 1000000000000, but must be from 1"),
        ({"intermediate_size": 10**40}, "ffn_dim is 10+, but must be from 1"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"num_key_value_heads": 3}, "multiple of kv_heads"),
        ({"tie_word_embeddings": True}, "unexpected lm_head.weight"),
        ({"intermediate_size": 80}, r"w1.weight has shape \(96, 64\), needed \(80, 64\)"),
    ],
)
def test_refused_configurations(changes, message, tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    checkpoint = stored(our_model(), tmp_path / "ours")
    write_huggingface(checkpoint, folder, dtype=torch.float32, special_ids=SPECIAL)
    edited(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        build(read_huggingface(folder))


def test_what_does_not_fit_is_listed(tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    checkpoint = stored(our_model(), tmp_path / "ours")
    write_huggingface(checkpoint, folder, dtype=torch.float32, special_ids=SPECIAL)
    file = folder / "model.safetensors"
    whole = load_file(file)
    state = dict(whole)
    del state["model.norm.weight"]
    state["model.layers.0.self_attn.q_norm.weight"] = torch.ones(16)
    state["model.layers.1.mlp.up_proj.weight"] = torch.ones(96, 63)
    state["model.layers.2.mlp.up_proj.weight"] = torch.ones(96, 64, dtype=torch.int8)
    save_file(state, file)
    with pytest.raises(CheckpointError) as caught:
        build(read_huggingface(folder))
    for part in (
        "missing norm.weight",
        "unexpected model.layers.0.self_attn.q_norm.weight",
        "layers.1.feed_forward.w3.weight has shape (96, 63), needed (96, 64)",
        "layers.2.feed_forward.w3.weight is stored as I8",
    ):
        assert part in str(caught.value)
    state = dict(whole)
    for layer in (0, 2):
        name = f"model.layers.{layer}.self_attn.k_proj.weight"
        state[name] = state[name].clone()
        state[name][1, layer] = float("nan")
    save_file(state, file)
    with pytest.raises(CheckpointError, match=r"0\.attention\.wk.*2\.attention\.wk"):
        build(read_huggingface(folder))
    # Old conversions hold rotary frequencies, which are computed; a tied output may be written out.
    state = {**whole, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    state["lm_head.weight"] = whole["model.embed_tokens.weight"].clone()
    save_file(state, edited(folder, tie_word_embeddings=True) / "model.safetensors")
    assert build(read_huggingface(folder)).config.tied_embeddings
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        read_huggingface(folder)
    file.rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled weights are not read"):
        read_huggingface(folder)


def test_an_index_must_agree_with_its_files(tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    checkpoint = stored(our_model(), tmp_path / "ours")
    write_huggingface(checkpoint, folder, dtype=torch.float32, files=3, special_ids=SPECIAL)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    norm = index["weight_map"].pop("model.norm.weight")
    index["weight_map"]["model.more.weight"] = norm
    index["weight_map"]["model.far.weight"] = "../../etc/passwd"
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError) as caught:
        read_huggingface(folder)
    for part in (
        f"model.more.weight is not in {norm}",
        f"model.norm.weight of {norm} is not listed",
        "no file '../../etc/passwd' in this folder",
    ):
        assert part in str(caught.value)
    for text in ("{", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', "[" * 100_000, '"\udcff"'):
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(CheckpointError, match=r"index\.json"):
            read_huggingface(folder)


def test_a_whole_file_is_read_before_an_index_as_transformers_does(tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    checkpoint = stored(our_model(), tmp_path / "ours")
    write_huggingface(checkpoint, folder, dtype=torch.float32, special_ids=SPECIAL)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone"}}')
    build(read_huggingface(folder))


def test_our_own_names_in_a_foreign_file_are_refused(tmp_path):
    folder = tmp_path / "hf"
    folder.mkdir()
    checkpoint = stored(our_model(), tmp_path / "ours")
    write_huggingface(checkpoint, folder, dtype=torch.float32, special_ids=SPECIAL)
    file = folder / "model.safetensors"
    save_file({**load_file(file), "norm.weight": torch.ones(64)}, file)
    with pytest.raises(CheckpointError, match=r"unexpected norm\.weight \(of another format\)"):
        build(read_huggingface(folder))
    # Meta's names and order of rows under a Hugging Face configuration.
    save_file(dict(our_model().state_dict()), file)
    with pytest.raises(CheckpointError, match=r"missing .*wq"):
        build(read_huggingface(folder))


def described(tmp_path, *, drop=(), model=None, **changes):
    """Write a folder with some fields of its `config.json` changed or left out."""
    folder = tmp_path / "hf"
    folder.mkdir()
    checkpoint = stored(model or our_model(), tmp_path / "ours")
    write_huggingface(checkpoint, folder, dtype=torch.float32, special_ids=SPECIAL)
    edited(folder, **changes, **dict.fromkeys(drop, "absent"))
    return folder


@torch.no_grad()
@pytest.mark.parametrize("biases", [False, True])
def test_case_rms_norm_eps_missing_takes_the_formats_default(biases, tmp_path, in_float64):
    model = our_model(qkv_bias=biases, norm_eps=1e-3)
    dropped = ("rms_norm_eps", "num_key_value_heads", "tie_word_embeddings", "rope_theta")
    if biases:
        # Qwen2's default is 32 heads, not as many as there are queries.
        dropped = ("rms_norm_eps", "tie_word_embeddings")
    else:
        model = our_model(kv_heads=4, norm_eps=1e-3)
    folder = described(tmp_path, model=model, drop=dropped)
    ours = build(read_huggingface(folder))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert ours.config.norm_eps == theirs.config.rms_norm_eps == 1e-6
    in_float64(ours, theirs)
    assert (ours.logits(ours(TOKENS)) - theirs(TOKENS).logits).abs().max() < 1e-10


def test_case_rms_norm_eps_missing_heads_of_qwen2(tmp_path):
    folder = described(tmp_path, model=our_model(qkv_bias=True), drop=("num_key_value_heads",))
    with pytest.raises(CheckpointError, match="multiple of kv_heads 32"):
        read_huggingface(folder)


DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "'default', rope_scaling of"),
        ({"rope_scaling": {"rope_type": None, "type": "linear"}}, "'default', rope_scaling of"),
        ({"rope_scaling": {"rope_theta": 5e5}}, "state rope_theta 10000.0 and 500000.0"),
        ({"rope_theta": 5e5}, "rope_theta is 500000.0 and, .* 10000.0"),
        ({"rope_parameters": DEFAULT | {"type": "yarn"}}, "two types"),
        ({"rope_parameters": DEFAULT | {"factor": 4.0}}, "factor of the rotary embedding"),
        (
            {"rope_parameters": None, "rope_scaling": {"rope_type": None, "type": "linear"}},
            "rotary embedding 'linear'",
        ),
        ({"rope_parameters": None, "rope_scaling": {"factor": 4.0}}, "factor of the rotary"),
    ],
)
def test_case_rope_two_entries_that_disagree(changes, message, tmp_path):
    folder = described(tmp_path, **({"rope_parameters": DEFAULT, "rope_theta": "absent"} | changes))
    with pytest.raises(CheckpointError, match=message):
        read_huggingface(folder)


def test_case_rope_two_entries_that_agree(tmp_path):
    folder = described(
        tmp_path, rope_parameters=LLAMA3, rope_scaling={**LLAMA3, "type": "llama3"}, rope_theta=5e5
    )
    config = read_huggingface(folder).config
    assert config.rope_theta == 5e5
    assert config.rope_scaling == SCALED


@pytest.mark.parametrize(
    ("field", "value"),
    [("logit_scale", 0.5), ("rope_interleaved", True), ("use_rope", False), ("num_labels", 3)],
)
def test_an_unread_field_is_refused_by_name(field, value, tmp_path):
    with pytest.raises(CheckpointError, match=f"not supported: {field} {value}"):
        read_huggingface(described(tmp_path, **{field: value}))


def test_fields_without_effect_are_let_through(tmp_path):
    folder = described(
        tmp_path, rope_interleaved=False, use_cache=False, temperature=0.6, logit_scale=None
    )
    assert read_huggingface(folder).config == our_model().config


def test_case_huge_vocab_size_is_refused_before_memory_is_taken(tmp_path):
    folder = described(tmp_path, vocab_size=16_000_000)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"has shape \(131, 64\), needed \(16000000, 64\)"):
        read_model(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20


def test_case_several_end_ids_are_read_from_both_files(tmp_path):
    folder = described(tmp_path, eos_token_id=[2, 7])
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [9, 2], "temperature": 0.6})
    )
    checkpoint = read_huggingface(folder)
    assert checkpoint.end_ids == (2, 7, 9)
    assert checkpoint.generation == {"temperature": 0.6}
    with pytest.raises(CheckpointError, match="eos_token_id is 'x'; needed an id"):
        read_huggingface(edited(folder, eos_token_id="x"))
