"""Greedy replies of given weights: those of transformers, from each format that people bring.

Tiny random models with several end tokens, an added word, and more rows than tokens, written by
transformers; here Meta's and GGUF's form are our converter's, foreign ones are in
`test_foreign_replies.py`.
"""

import json
import random

import pytest
import tokenizers
import torch
import transformers

from camelid.formats.convert import convert
from camelid.inference.generation import Request, generate
from camelid.inference.models import NamedModel
from camelid.inference.sampling import Sampling
from camelid.runtime import Runtime

WORD = "Section5A"
PADDING = 13
NEW_TOKENS = 24
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|end|>"]
LLAMA = ["<unk>", "<s>", "</s>", "<|end|>"]


def texts(count, seed):
    generator = random.Random(seed)
    words = [
        "the",
        "river",
        "under",
        WORD,
        "of 1999",
        "runs;",
        "naïve",
        "日本",
        "\n",
        "it's",
        "a  b",
    ]
    return [" ".join(generator.choices(words, k=generator.randint(2, 9))) for _ in range(count)]


def trained(kind):
    """Train a tokenizer with the library alone; return it with its further end token."""
    parts, split = tokenizers, tokenizers.pre_tokenizers
    corpus = [text.replace(WORD, "law") for text in texts(300, 1)]
    if kind == "bytes":
        model = parts.Tokenizer(parts.models.BPE())
        model.pre_tokenizer = split.Sequence(
            [split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)]
        )
        model.decoder = parts.decoders.ByteLevel()
        first, alphabet = CHATML, split.ByteLevel.alphabet()
    else:
        model = parts.Tokenizer(parts.models.BPE(unk_token="<unk>", byte_fallback=True))
        model.pre_tokenizer = split.Metaspace("▁", "first", split=False)
        model.decoder = parts.decoders.Sequence(
            [
                parts.decoders.Replace("▁", " "),
                parts.decoders.ByteFallback(),
                parts.decoders.Fuse(),
                parts.decoders.Strip(content=" ", left=1, right=0),
            ]
        )
        first, alphabet = [*LLAMA, *(f"<0x{i:02X}>" for i in range(256))], []
    trainer = parts.trainers.BpeTrainer(
        vocab_size=len(first) + 300,
        special_tokens=first,
        initial_alphabet=alphabet,
        max_token_length=8,
        show_progress=False,
    )
    model.train_from_iterator(corpus, trainer)
    # The trainer calls the byte tokens special ones, which a text could then name.
    data = json.loads(model.to_str())
    data["added_tokens"] = data["added_tokens"][:4]
    model = parts.Tokenizer.from_str(json.dumps(data))
    model.add_tokens([tokenizers.AddedToken(WORD, special=False)])
    if kind == "pieces":
        model.post_processor = parts.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return model


@pytest.fixture(scope="module", params=["bytes", "pieces"])
def scene(request, tmp_path_factory):
    """A folder that transformers wrote, and its replies to twenty prompts."""
    root, kind = tmp_path_factory.mktemp("replies"), request.param
    model = trained(kind)
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    marks = {"eos_token": CHATML[2]} if kind == "bytes" else marks
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=model, **marks)
    tokens = len(fast)
    ends = [2, 0, 3] if kind == "bytes" else [2, 3]
    config = transformers.LlamaConfig(
        vocab_size=tokens + PADDING,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=None if kind == "bytes" else 1,
        eos_token_id=2,
    )
    theirs = transformers.LlamaForCausalLM(config).eval()
    # Where people state several: the library writes them to a file of their own.
    theirs.generation_config.eos_token_id = ends
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in theirs.parameters():
            scale, centre = (0.2, 1.0) if parameter.ndim == 1 else (0.3, 0.0)
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=generator))
        table = theirs.lm_head.weight
        # Ends and the word come up, and so would rows without a token.
        table[[*ends, model.token_to_id(WORD)]] *= 1.5
        table[tokens:] *= 2
        if kind == "pieces":
            # A random model would say what is shown in other ways: bytes that are no text, <unk>.
            table[[0, *range(4, 260)]] = 0
    theirs.save_pretrained(root / "hf")
    fast.save_pretrained(root / "hf")
    expected = []
    for text in (prompts := texts(20, 2)):
        ids = fast(text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            found = theirs.generate(
                **ids,
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                pad_token_id=0,
                suppress_tokens=list(range(tokens, tokens + PADDING)),
            )
        prompt = ids.input_ids[0].tolist()
        new = found[0, len(prompt) :].tolist()
        expected.append((prompt, new, fast.decode(new, skip_special_tokens=True)))
    return root, prompts, expected, ends


def test_the_replies_try_what_they_should(scene):
    _, prompts, expected, ends = scene
    last = [new[-1] for _, new, _ in expected]
    assert set(ends) <= set(last)
    assert any(token not in ends for token in last)
    assert any(WORD in text for _, _, text in expected)
    assert any(WORD in prompt for prompt in prompts)


@pytest.mark.parametrize("form", ["hf", "meta", "gguf"])
def test_replies_equal_those_of_transformers(scene, form, tmp_path):
    root, prompts, expected, _ = scene
    path = root / "hf"
    if form != "hf":
        path = tmp_path / form
        convert(root / "hf", path, to=form)
    model, tokenizer = NamedModel(name="x", path=path).load(Runtime())
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    rows = [[*bos, *tokenizer.encode(text)] for text in prompts]
    assert rows == [ids for ids, _, _ in expected]
    replies = generate(
        model,
        [Request(str(i), tuple(row)) for i, row in enumerate(rows)],
        Sampling(temperature=0.0, max_new_tokens=NEW_TOKENS),
        end_ids=tokenizer.end_ids,
        never=tokenizer.unused_ids,
        seed=0,
    )
    assert [list(reply.tokens) for reply in replies] == [new for _, new, _ in expected]
    assert [tokenizer.decode(reply.words) for reply in replies] == [text for _, _, text in expected]
