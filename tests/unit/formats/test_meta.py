"""Meta's directories: shards written by plain slicing here, read and written by the package."""

import json

import pytest
import torch

from camelid.errors import CheckpointError
from camelid.formats.folder import build, read_folder, save_model
from camelid.formats.meta import read_meta, write_meta
from camelid.model.config import ModelConfig, RopeScalingConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer

SHAPE = {
    "dim": 64, "layers": 2, "heads": 8, "kv_heads": 8, "ffn_dim": 256, "vocabulary_size": 136,
    "context": 4096,
}  # fmt: skip
PARAMS = {
    "dim": 64, "n_layers": 2, "n_heads": 8, "multiple_of": 256, "norm_eps": 1e-5, "vocab_size": -1,
}  # fmt: skip


def make_model(**changes):
    model = Transformer(ModelConfig(**(SHAPE | changes)))
    model.initialise(1)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter.detach(), 0.5, 1.5)
    return model


def share(name, tensor, shard, shards, *, llama3):
    """Cut by the table of the reference: columns of wo, w2 (and Llama 2's embeddings)."""
    part = name.split(".")[-2]
    if part in ("attention_norm", "ffn_norm", "norm"):
        return tensor.clone()
    columns = part in ("wo", "w2") or (part == "tok_embeddings" and not llama3)
    size = tensor.shape[1 if columns else 0] // shards
    start, stop = shard * size, (shard + 1) * size
    return (tensor[:, start:stop] if columns else tensor[start:stop]).clone()


def write_by_hand(folder, model, shards, *, llama3=False, dtype=torch.float32, **params):
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        state = {
            name: share(name, tensor.to(dtype), shard, shards, llama3=llama3)
            for name, tensor in model.state_dict().items()
        }
        state["rope.freqs"] = torch.ones(4)
        torch.save(state, folder / f"consolidated.{shard:02}.pth")
    (folder / "params.json").write_text(json.dumps(PARAMS | params))
    return folder


def assert_same(model, again):
    assert model.state_dict().keys() == again.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
@pytest.mark.parametrize("llama3", [False, True])
def test_read_shards_cut_by_the_reference(shards, llama3, tmp_path):
    model = make_model()
    again = build(read_meta(write_by_hand(tmp_path, model, shards, llama3=llama3)))
    assert again.config == model.config
    assert_same(model, again)


def test_what_params_say(tmp_path):
    model = make_model(kv_heads=2, ffn_dim=224, context=131072, rope_theta=500000.0).bfloat16()
    params = {
        "n_kv_heads": 2, "ffn_dim_multiplier": 1.3, "multiple_of": 32, "rope_theta": 500000.0,
        "use_scaled_rope": True, "vocab_size": 136,
    }  # fmt: skip
    folder = write_by_hand(tmp_path, model, 2, llama3=True, dtype=torch.bfloat16, **params)
    again = build(read_meta(folder))
    assert again.config.rope_scaling == RopeScalingConfig(
        factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=8192
    )
    assert again.config.context == 131072
    assert again.tok_embeddings.weight.dtype == torch.float32
    assert_same(model.float(), again)
    write_by_hand(tmp_path, model, 2, llama3=True, **params, rope_scaling_factor=32)
    assert read_meta(folder).config.rope_scaling.factor == 32


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied_embeddings": True, "kv_heads": 4},
        {"ffn_dim": 172},
        {"ffn_dim": 168, "rope_theta": 5e5, "context": 8192},
    ],
)
def test_round_trip_is_exact(shards, changes, tmp_path):
    model = make_model(**changes)
    save_model(model, tmp_path / "ours")
    out = tmp_path / "meta"
    out.mkdir()
    write_meta(read_folder(tmp_path / "ours"), out, dtype=torch.float32, shards=shards)
    assert len(list(out.glob("*.pth"))) == shards
    state = torch.load(out / "consolidated.00.pth", weights_only=True)
    for name in ("output", "tok_embeddings", "layers.1.attention.wo", "layers.0.attention.wk"):
        whole = model.state_dict().get(f"{name}.weight", model.tok_embeddings.weight.detach())
        expected = share(f"{name}.weight", whole, 0, shards, llama3=model.config.rope_theta == 5e5)
        assert torch.equal(state[f"{name}.weight"], expected)
    # Llama 2's code knows no such entry.
    params = json.loads((out / "params.json").read_text())
    assert ("rope_theta" in params) == (model.config.rope_theta != 10000.0)
    again = build(read_meta(out))
    assert again.config == model.config
    assert_same(model, again)


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    save_model(make_model(qkv_bias=True), tmp_path / "biases")
    save_model(RewardModel(ModelConfig(**SHAPE)), tmp_path / "reward")
    save_model(make_model(kv_heads=2), tmp_path / "two")
    out = tmp_path / "meta"
    out.mkdir()
    for name in ("biases", "reward"):
        with pytest.raises(CheckpointError, match="no reward heads, no query"):
            write_meta(read_folder(tmp_path / name), out, dtype=torch.float32)
    for shards in (3, 4, 16):
        with pytest.raises(CheckpointError, match=f"{shards} shards: needed one of"):
            write_meta(read_folder(tmp_path / "two"), out, dtype=torch.float32, shards=shards)


def test_views_of_a_larger_table_are_read(tmp_path):
    model = make_model()
    write_by_hand(tmp_path, model, 1)
    path = tmp_path / "consolidated.00.pth"
    state = torch.load(path, weights_only=True)
    for name, tensor in state.items():
        if tensor.ndim == 2:
            table = torch.full((len(tensor) + 3, tensor.shape[1] + 5), torch.nan)
            state[name] = table[1:-2, 2:-3].copy_(tensor)
    # Two names of one storage.
    state["norm.weight"] = state["layers.0.attention_norm.weight"]
    torch.save(state, path)
    loaded = build(read_meta(tmp_path)).state_dict()
    expected = {**model.state_dict(), "norm.weight": state["norm.weight"]}
    assert all(loaded[name].equal(expected[name]) for name in expected)


def test_damage_is_named(tmp_path):
    model = make_model()
    write_by_hand(tmp_path, model, 2)
    second = tmp_path / "consolidated.01.pth"
    whole = second.read_bytes()
    state = torch.load(second, weights_only=True)
    torch.save({**state, "norm.weight": state["norm.weight"] + 1, "more": torch.ones(2)}, second)
    with pytest.raises(CheckpointError, match="more differs from shard 0"):
        read_meta(tmp_path)
    torch.save({**state, "norm.weight": state["norm.weight"] + 1}, second)
    with pytest.raises(CheckpointError, match=r"norm\.weight must be the same in every shard"):
        build(read_meta(tmp_path))
    first = torch.load(tmp_path / "consolidated.00.pth", weights_only=True)
    for path, shard in ((tmp_path / "consolidated.00.pth", first), (second, state)):
        torch.save({**shard, "norm.weight": torch.full((64,), float("nan"))}, path)
    with pytest.raises(CheckpointError, match=r"norm\.weight holds values that are not finite"):
        build(read_meta(tmp_path))
    torch.save(first, tmp_path / "consolidated.00.pth")
    state["layers.0.attention.wq.weight"][0, 0] = float("inf")
    torch.save(state, second)
    with pytest.raises(CheckpointError, match=r"wq\.weight holds values that are not finite"):
        build(read_meta(tmp_path))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    short = (whole[:-30], whole[:100], b"", b"\x80\x02cos\nsystem\n", whole[:300] + b"\0" * 500)
    for bad in (flipped, *short):
        second.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"consolidated\.01\.pth: no readable checkpoint"):
            read_meta(tmp_path)
    second.write_bytes(flipped)
    with pytest.raises(CheckpointError, match=r"wrong checksum of consolidated\.01/data/\d+"):
        read_meta(tmp_path)
    torch.save({"a": 1}, second)
    with pytest.raises(CheckpointError, match="must hold tensors by name"):
        read_meta(tmp_path)
    second.rename(tmp_path / "consolidated.03.pth")
    with pytest.raises(CheckpointError, match="have gaps"):
        read_meta(tmp_path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_layers": 3}, "missing layers.2.attention.wq.weight"),
        ({"multiple_of": 100}, r"w1.weight has shape \(256, 64\), needed \(200, 64\)"),
        ({"vocab_size": 137}, "vocab_size 137, but the table has 136 rows"),
        ({"moe_args": {}}, "not supported: moe_args"),
        ({"dim": None}, "must be numbers"),
        ({"n_heads": 7}, "even head size"),
        ({"rope_theta": "1e4"}, "params.json"),
        ({"ffn_dim_multiplier": float("inf")}, "params.json"),
        ({"ffn_dim_multiplier": "x"}, "params.json"),
        ({"use_scaled_rope": "no"}, "use_scaled_rope is 'no'"),
        ({"rope_scaling_factor": 8.0}, "only with true"),
        ({"n_kv_heads": 0}, "must be from 1"),
    ],
)
def test_params_that_do_not_fit(params, message, tmp_path):
    folder = write_by_hand(tmp_path, make_model(), 1, **params)
    with pytest.raises(CheckpointError, match=message):
        build(read_meta(folder))


@pytest.mark.parametrize(
    ("dim", "layers", "factor"), [(2048, 16, 32.0), (3072, 28, 32.0), (4096, 32, 8.0)]
)
def test_llama_32_means_a_larger_factor(dim, layers, factor, tmp_path):
    params = {
        "dim": dim, "n_layers": layers, "n_heads": 32 if dim != 3072 else 24, "n_kv_heads": 8,
        "rope_theta": 500000.0, "use_scaled_rope": True,
    }  # fmt: skip
    torch.save({"tok_embeddings.weight": torch.zeros(4, dim)}, tmp_path / "consolidated.00.pth")
    (tmp_path / "params.json").write_text(json.dumps(params))
    assert read_meta(tmp_path).config.rope_scaling.factor == factor
