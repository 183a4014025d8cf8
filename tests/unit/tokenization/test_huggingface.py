"""Tokenizer folders: written and read back, and as transformers reads them."""

import contextlib
import json
import logging
import random
import shutil
from dataclasses import replace

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.records import Message
from camelid.errors import CamelidError, CheckpointError, DataError, MissingInputError
from camelid.tokenization.chat import chat_format_of, load_chat_format
from camelid.tokenization.huggingface import read_huggingface_tokenizer, write_huggingface_tokenizer
from camelid.tokenization.tokenizer import ByteLevelBPETokenizer
from camelid.tokenization.training import train_sentencepiece
from camelid.tokenization.vocabulary import Vocabulary

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3 = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
WORDS = ["what is the", "name of a", "river that", "runs 1999", "42 in Marvale?", "Yes, it's:", ""]


def corpus():
    generator = random.Random(0)
    return [" ".join(generator.choices(WORDS, k=12)) for _ in range(300)]


def trained_merges(pre_tokenizer):
    """Train a small byte-level vocabulary with the library."""
    model = tokenizer_of(CHATML, [], pre_tokenizer)._model
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(corpus(), trainer)
    found = json.loads(model.to_str())["model"]
    tokens = sorted(found["vocab"], key=found["vocab"].get)
    return tokens, [" ".join(merge) for merge in found["merges"]]


def byte_level(kind):
    pre_tokenizer = {"smollm2": "smollm", "qwen2": "qwen2", "llama3": "llama-bpe"}[kind]
    special = LLAMA3 if kind == "llama3" else CHATML
    tokens, merges = trained_merges(pre_tokenizer)
    # SmolLM2's special tokens come first, those of the others last.
    tokens = [*special, *tokens] if kind == "smollm2" else [*tokens, *special]
    return tokenizer_of(tokens, merges, pre_tokenizer)


def tokenizer_of(tokens, merges, pre_tokenizer):
    llama3 = pre_tokenizer == "llama-bpe" and LLAMA3[0] in tokens
    return ByteLevelBPETokenizer(
        Vocabulary(
            kind="byte_level_bpe",
            tokens=tuple(tokens),
            types=tuple(3 if token in (LLAMA3 if llama3 else CHATML) else 1 for token in tokens),
            merges=tuple(merges),
            pre_tokenizer=pre_tokenizer,
            bos_id=tokens.index(LLAMA3[0]) if llama3 else None,
            eos_id=tokens.index("<|eot_id|>" if llama3 else "<|im_end|>"),
            chat_format="llama3" if llama3 else "chatml",
        )
    )


KINDS = ["llama2", "llama3", "smollm2", "qwen2"]


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    """A folder of each kind, beside a model's `config.json` as exports have one."""
    root = tmp_path_factory.mktemp("folder")
    if request.param == "llama2":
        (root / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
        train_sentencepiece(root / "corpus.txt", root / "out", vocabulary_size=380)
    else:
        write_huggingface_tokenizer(byte_level(request.param), root / "out")
    architecture = {"model_type": "qwen2" if request.param == "qwen2" else "llama"}
    (root / "out" / "config.json").write_text(json.dumps(architecture), encoding="utf-8")
    return root / "out"


@pytest.fixture(scope="module")
def chat(folder):
    return load_chat_format(folder)


@pytest.fixture(scope="module")
def transformers_tokenizer(folder):
    transformers = pytest.importorskip("transformers")
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("transformers").addHandler(handler)
    found = transformers.AutoTokenizer.from_pretrained(folder)
    logging.getLogger("transformers").removeHandler(handler)
    assert records == []
    return found


def test_round_trip(folder, chat, tmp_path):
    write_huggingface_tokenizer(chat.tokenizer, tmp_path)
    again = read_huggingface_tokenizer(tmp_path)
    assert again.vocabulary == chat.tokenizer.vocabulary
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_transformers_gives_the_same_ids(transformers_tokenizer, chat):
    generator = random.Random(0)
    alphabet = [*WORDS, " ", "  ", "\n", "\n\n", "\t", "é", "e\u0301", "日本", "😀", ";\n", "I'LL"]
    texts = ["".join(generator.choices(alphabet, k=12)) for _ in range(400)]
    expected = transformers_tokenizer(texts, add_special_tokens=False).input_ids
    assert chat.tokenizer.encode_batch(texts) == expected
    decoded = transformers_tokenizer.batch_decode(expected)
    assert [chat.tokenizer.decode(ids) for ids in expected] == decoded
    bos = [] if chat.tokenizer.bos_id is None else [chat.tokenizer.bos_id]
    assert transformers_tokenizer("the end").input_ids == [*bos, *chat.tokenizer.encode("the end")]
    assert len(transformers_tokenizer) == chat.tokenizer.vocabulary_size
    assert transformers_tokenizer.eos_token_id == chat.tokenizer.eos_id


PUBLIC = {
    # The formats' public templates, written out as plain code from their documentation.
    "llama2": lambda system, pairs: "".join(
        f"<s>[INST] {(system_block(system) if not index else '') + user} [/INST]"
        + (f" {answer} </s>" if answer is not None else "")
        for index, (user, answer) in enumerate(pairs)
    ),
    "llama3": lambda system, pairs: (
        "<|begin_of_text|>"
        + (llama3_turn("system", system) if system is not None else "")
        + "".join(
            llama3_turn("user", user)
            + (
                llama3_turn("assistant", answer)
                if answer is not None
                else "<|start_header_id|>assistant<|end_header_id|>\n\n"
            )
            for user, answer in pairs
        )
    ),
    "chatml": lambda system, pairs: (
        (f"<|im_start|>system\n{system}<|im_end|>\n" if system is not None else "")
        + "".join(
            f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
            + (f"{answer}<|im_end|>\n" if answer is not None else "")
            for user, answer in pairs
        )
    ),
}


def system_block(system):
    return "" if system is None else f"<<SYS>>\n{system}\n<</SYS>>\n\n"


def llama3_turn(role, content):
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>"


def messages_of(system, pairs):
    messages = [] if system is None else [Message(role="system", content=system)]
    for user, answer in pairs:
        messages.append(Message(role="user", content=user))
        if answer is not None:
            messages.append(Message(role="assistant", content=answer, train=True))
    return messages


@pytest.mark.parametrize("system", [None, "", "Be brief.\n\nAlways."])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("finished", [True, False])
def test_template_gives_our_ids_and_the_public_text(
    transformers_tokenizer, chat, system, count, finished
):
    name = chat.tokenizer.vocabulary.chat_format
    texts = ["What is 42?", "日本 é 😀\n\n- it's", "the river;\n 1999", "", "'Yes'"]
    pairs = [(texts[index], f"Marvale{texts[-index]}.") for index in range(count)]
    if not finished:
        pairs[-1] = (pairs[-1][0], None)
    messages = messages_of(system, pairs)
    turns = [{"role": m.role, "content": m.content} for m in messages]
    text = transformers_tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=not finished
    )
    public = PUBLIC[name](system, pairs)
    if name == "chatml" and finished:
        # The line break behind the last message is left out.
        public = public.removesuffix("\n")
    if name == "llama2" and finished:
        assert public.endswith(" </s>")
    assert text == public
    found = transformers_tokenizer.apply_chat_template(
        turns, add_generation_prompt=not finished
    ).input_ids
    ours = chat.render(messages).ids if finished else chat.render_prompt(messages)
    assert ours == found
    bos_count = {"llama2": count, "llama3": 1, "chatml": 0}[name]
    if chat.tokenizer.bos_id is not None:
        assert ours.count(chat.tokenizer.bos_id) == bos_count


# No special tokens: a template cannot tell them from its own.
content = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<▁"), max_size=20)
tagged = st.lists(st.sampled_from(["[INST]", "[/INST]", " a", "\u2028", "\x1f"]) | content).map(
    "".join
)


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(tagged, min_size=2, max_size=6), system=st.none() | tagged)
def test_template_gives_our_ids_for_any_text(transformers_tokenizer, chat, contents, system):
    pairs = list(zip(contents[::2], contents[1::2], strict=False))
    messages = messages_of(system, pairs)
    turns = [{"role": m.role, "content": m.content} for m in messages]
    template = transformers_tokenizer.apply_chat_template
    assert chat.render(messages).ids == template(turns).input_ids
    prompt = template(turns[:-1], add_generation_prompt=True).input_ids
    assert chat.render_prompt(messages[:-1]) == prompt


def edited(folder, target, *, remove=(), **changes):
    """Copy a folder with other values in its JSON files: `config` and `data`."""
    shutil.copytree(folder, target)
    for name in remove:
        (target / name).unlink(missing_ok=True)
    for file, change in (
        ("tokenizer_config.json", changes.get("config")),
        ("tokenizer.json", changes.get("data")),
    ):
        if change is not None:
            values = json.loads((target / file).read_text(encoding="utf-8"))
            change(values)
            (target / file).write_text(json.dumps(values), encoding="utf-8")
    return target


def test_other_layouts_of_the_same_tokenizer(folder, chat, tmp_path):
    """What other writers leave out or write otherwise."""
    vocabulary = chat.tokenizer.vocabulary
    text = "the river 1999;\n  it's é 😀 \n\n [INST]"

    def bare(config):
        # As a base model's folder: no chat template, tokens as objects, no hint of the BOS.
        for name in ("chat_template", "add_bos_token", "vocabulary_size"):
            del config[name]
        for name in ("bos_token", "eos_token"):
            if config[name] is not None:
                config[name] = {"content": config[name], "lstrip": False}

    def pairs_as_text(data):
        merges = [" ".join(merge) for merge in data["model"]["merges"]]
        data["model"]["merges"] = merges

    found = read_huggingface_tokenizer(
        edited(folder, tmp_path / "a", config=bare, data=pairs_as_text)
    )
    assert found.vocabulary == vocabulary
    # A SentencePiece vocabulary without its model: the scores come from the merges.
    found = read_huggingface_tokenizer(edited(folder, tmp_path / "b", remove=["tokenizer.model"]))
    assert found.encode(text) == chat.tokenizer.encode(text)
    assert replace(found.vocabulary, scores=vocabulary.scores) == vocabulary
    template = "{% for m in messages %}{{ '<|user|>' + m.content }}{% endfor %}"
    strange = edited(folder, tmp_path / "c", config=lambda c: c.update(chat_template=template))
    with pytest.raises(CheckpointError, match="unknown format"):
        read_huggingface_tokenizer(strange)
    named = read_huggingface_tokenizer(strange, vocabulary.chat_format)
    assert named.vocabulary == vocabulary
    mark = {"llama2": "<<SYS>>", "llama3": LLAMA3[2], "chatml": CHATML[1]}
    (strange / "chat_template.jinja").write_text(mark[vocabulary.chat_format], encoding="utf-8")
    assert read_huggingface_tokenizer(strange).vocabulary == vocabulary


def test_model_with_more_rows_than_tokens(folder, chat, tmp_path):
    size = chat.tokenizer.vocabulary_size
    padded = chat.tokenizer.vocabulary.padded(size + 7)
    write_huggingface_tokenizer(type(chat.tokenizer)(padded), tmp_path)
    found = read_huggingface_tokenizer(tmp_path)
    assert found.vocabulary == padded
    assert found.vocabulary_size == size + 7
    assert found.decode([size + 3]) == ""
    assert found.encode("the river") == chat.tokenizer.encode("the river")
    with pytest.raises(CheckpointError, match=f"{size + 7} ids"):
        padded.padded(size)


def test_tokens_behind_a_sentencepiece_model(tmp_path):
    """Fine-tuned Llama 2 models add tokens, for example ChatML's."""
    (tmp_path / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    train_sentencepiece(tmp_path / "corpus.txt", tmp_path / "out", vocabulary_size=380)
    plain = read_huggingface_tokenizer(tmp_path / "out")

    def more(config):
        del config["vocabulary_size"], config["chat_template"]
        config["eos_token"] = "<|im_end|>"
        config["added_tokens_decoder"] = {
            str(380 + index): {"content": name, "special": True}
            for index, name in enumerate(["<|im_start|>", "<|im_end|>"])
        }

    target = edited(tmp_path / "out", tmp_path / "more", config=more, remove=["tokenizer.json"])
    chat = load_chat_format(target)
    assert chat.tokenizer.vocabulary.chat_format == "chatml"
    assert (chat.end_id, chat.tokenizer.eos_id) == (381, 381)
    text = "the river <|im_end|> 1999"
    assert chat.tokenizer.encode(text) == plain.encode(text)
    gap = edited(
        target,
        tmp_path / "gap",
        config=lambda c: c["added_tokens_decoder"].update(
            {"390": {"content": "x", "special": True}}
        ),
    )
    with pytest.raises(CheckpointError, match="do not follow"):
        load_chat_format(gap)


def test_refused_kinds(tmp_path):
    good = tmp_path / "good"
    write_huggingface_tokenizer(byte_level("llama3"), good)
    other = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    def unigram(data):
        data["model"]["type"] = "Unigram"

    def gpt2(data):
        data["pre_tokenizer"] = json.loads(other.__getstate__())

    def hole(data):
        data["added_tokens"][-1]["id"] += 5

    def lower(data):
        data["normalizer"] = {"type": "Lowercase"}

    cases = {
        "type 'Unigram'": {"data": unigram},
        "pre-tokenizer": {"data": gpt2},
        "not one of smollm": {"data": lower},
        "are not 0 to": {"data": hole},
        "eos_token": {"config": lambda c: c.pop("eos_token")},
    }
    for number, (message, change) in enumerate(cases.items()):
        with pytest.raises(CheckpointError, match=message):
            read_huggingface_tokenizer(edited(good, tmp_path / str(number), **change))
    with pytest.raises(MissingInputError, match="no tokenizer here"):
        read_huggingface_tokenizer(tmp_path)
    # The special tokens of the format that is asked for are not there.
    with pytest.raises(DataError, match="im_start"):
        chat_format_of(read_huggingface_tokenizer(good, "chatml"))


def test_sentencepiece_of_another_kind_is_refused(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    flags = {"byte_fallback": True, "normalization_rule_name": "identity"}
    kinds = {
        "byte tokens": {"normalization_rule_name": "identity", "model_type": "bpe"},
        "another way": flags | {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc"},
        "is not supported": flags | {"model_type": "bpe", "add_dummy_prefix": False},
    }
    for message, options in kinds.items():
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus()),
            model_prefix=str(tmp_path / "tokenizer"),
            vocab_size=330 if "byte_fallback" in options else 60,
            minloglevel=2,
            **options,
        )
        with pytest.raises(CheckpointError, match=message):
            read_huggingface_tokenizer(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["llama2", "llama3"])
def test_damaged_files_give_one_clear_error(tmp_path_factory, sources, kind, data):
    """Any bytes, cut or changed bytes, any JSON value anywhere: a `CamelidError` or a tokenizer."""
    target = tmp_path_factory.mktemp("fuzz") / "x"
    shutil.copytree(sources[kind], target)
    name = data.draw(st.sampled_from(sorted(path.name for path in target.iterdir())))
    raw = (target / name).read_bytes()
    way = data.draw(st.sampled_from(["bytes", "cut", "flip", "json"]))
    if way == "json" and name.endswith(".json"):
        values = json.loads(raw)
        place = values
        for _ in range(data.draw(st.integers(0, 3))):
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            inner = place[data.draw(st.sampled_from(keys))]
            if not isinstance(inner, dict | list) or not inner:
                break
            place = inner
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        place[key] = data.draw(json_values)
        raw = json.dumps(values).encode()
    elif way == "bytes":
        raw = data.draw(st.binary(max_size=200) | st.just(b"[" * 100_000))
    elif way == "cut":
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    else:
        at = data.draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + data.draw(st.binary(min_size=1, max_size=4)) + raw[at + 1 :]
    (target / name).write_bytes(raw)
    with contextlib.suppress(CamelidError):
        chat = load_chat_format(target)
        chat.tokenizer.decode(chat.render_prompt([Message(role="user", content="the river")]))
    shutil.rmtree(target)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    (root / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    train_sentencepiece(root / "corpus.txt", root / "llama2", vocabulary_size=380)
    write_huggingface_tokenizer(byte_level("llama3"), root / "llama3")
    return {"llama2": root / "llama2", "llama3": root / "llama3"}


def test_added_tokens_of_old_slow_tokenizers(tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    train_sentencepiece(tmp_path / "corpus.txt", tmp_path / "out", vocabulary_size=380)

    def old(config):
        del config["vocabulary_size"], config["chat_template"]

    target = edited(tmp_path / "out", tmp_path / "old", config=old, remove=["tokenizer.json"])
    added = {"<|im_end|>": 381, "<|im_start|>": 380}
    (target / "added_tokens.json").write_text(json.dumps(added))
    vocabulary = read_huggingface_tokenizer(target).vocabulary
    assert vocabulary.tokens[380:] == ("<|im_start|>", "<|im_end|>")
    assert vocabulary.chat_format == "chatml"


def test_a_tiktoken_file_is_refused_by_name(tmp_path):
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(CheckpointError, match=r"tiktoken .*--tokenizer"):
        read_huggingface_tokenizer(tmp_path)
