"""The transformer against transformers' own Llama, which is written independently."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer

NAMES = {
    "tok_embeddings": "model.embed_tokens",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "output.": "lm_head.",
}


def to_half_split(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder interleaved rotary rows to the half-split order of transformers."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def reference_of(model: Transformer) -> LlamaForCausalLM:
    config = model.config
    reference = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary_size,
            hidden_size=config.dim,
            intermediate_size=config.ffn_dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            rms_norm_eps=config.norm_eps,
            rope_theta=config.rope_theta,
            max_position_embeddings=config.context,
            tie_word_embeddings=config.tied_embeddings,
        )
    )
    state = {}
    for name, tensor in model.state_dict().items():
        renamed = name
        for ours, theirs in NAMES.items():
            renamed = renamed.replace(ours, theirs)
        if renamed.startswith("layers."):
            renamed = f"model.{renamed}"
        if name == "norm.weight":
            renamed = "model.norm.weight"
        if name.endswith("wq.weight"):
            tensor = to_half_split(tensor, config.heads)
        if name.endswith("wk.weight"):
            tensor = to_half_split(tensor, config.kv_heads)
        state[renamed] = tensor
    if config.tied_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    reference.load_state_dict(state)
    return reference


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_equal_transformers(kv_heads: int, tied: bool, in_float64) -> None:
    config = ModelConfig(
        dim=64,
        layers=3,
        heads=4,
        kv_heads=kv_heads,
        ffn_dim=96,
        vocabulary_size=101,
        context=128,
        tied_embeddings=tied,
    )
    model = Transformer(config)
    model.initialise(kv_heads)
    assert sum(p.numel() for p in model.parameters()) == config.parameter_count
    tokens = torch.randint(0, 101, (2, 77), generator=torch.Generator().manual_seed(1))
    reference = reference_of(model)
    in_float64(model, reference)
    with torch.no_grad():
        ours = model.logits(model(tokens))
        theirs = reference(tokens).logits
    assert (ours - theirs).abs().max() < 1e-10
    assert ours.std() > 0.01
