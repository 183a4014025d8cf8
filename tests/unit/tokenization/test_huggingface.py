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
from camelid.tokenization import huggingface
from camelid.tokenization.chat import chat_format_of, load_chat_format
from camelid.tokenization.huggingface import read_huggingface_tokenizer, write_huggingface_tokenizer
from camelid.tokenization.tokenizer import (
    ByteLevelBPETokenizer,
    pre_tokenizer_model,
    tokenizer_from_vocabulary,
)
from camelid.tokenization.training import train_sentencepiece
from camelid.tokenization.vocabulary import Vocabulary, chat_template

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
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = pre_tokenizer_model(pre_tokenizer)
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
    with pytest.raises(
        CheckpointError, match=r"unknown format .* Name the one to use instead \(--"
    ):
        read_huggingface_tokenizer(strange)
    named = read_huggingface_tokenizer(strange, vocabulary.chat_format)
    assert named.vocabulary == vocabulary
    same = "{# by others #}" + chat_template(vocabulary.chat_format)
    (strange / "chat_template.jinja").write_text(same, encoding="utf-8")
    found = read_huggingface_tokenizer(strange).vocabulary
    assert found == replace(vocabulary, template=same)


DEFAULT = (
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
)
MARKED = (
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DATED = (
    "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set said = messages[0]['content']"
    "|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set said = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday: ' + strftime_now('%d') + said }}"
    "{{- '<|eot_id|>' }}{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] +"
    " '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
FOLDED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content']"
    ".strip() + ' [/INST]' }}{% elif m['role'] == 'system' %}{{ raise_exception('<<SYS>> is no"
    " turn') }}{% else %}{% generation %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}"
    "{% endgeneration %}{% endif %}{% endfor %}"
)
OTHERS = "{% for message in messages %}"
TEMPLATES = [
    ("smollm2", OTHERS + DEFAULT + MARKED, None),
    ("qwen2", OTHERS + MARKED, None),
    ("llama3", DATED, None),
    ("llama2", FOLDED, None),
    ("smollm2", (OTHERS + MARKED).replace("role'] + '\n'", "role'] + '<|im_sep|>'"), "another way"),
    ("smollm2", (OTHERS + MARKED).replace("assistant\n'", "assistant\n<think>'"), "another way"),
    ("llama3", DATED.replace("| trim + '<|eot_id|>'", "+ eos_token + '.'"), "another way"),
    ("llama2", FOLDED.replace("' [/INST]'", "' [/INST] '"), "another way"),
    ("llama2", "<<SYS>>", "another way"),
    ("qwen2", "<|im_start|>{% for", "cannot be rendered"),
    ("qwen2", "<|im_start|>{{ 'x' * 10 ** 11 }}", "cannot be rendered"),
    ("qwen2", "<|im_start|>{{ ''.__class__.__mro__ }}", "cannot be rendered"),
    ("llama2", OTHERS + MARKED, "needs the special tokens <|im_start|>, <|im_end|>; missing"),
]


@pytest.mark.parametrize(("kind", "template", "message"), TEMPLATES)
def test_case_chat_template_that_renders_otherwise(kind, template, message, tmp_path):
    """Other people's templates are rendered: marks alone do not make a format."""
    if kind == "llama2":
        data = library_json("stretch")
    else:
        write_huggingface_tokenizer(byte_level(kind), tmp_path / "made")
        data = json.loads((tmp_path / "made" / "tokenizer.json").read_text(encoding="utf-8"))
    folder = library_folder(tmp_path / "x", data, chat_template=template)
    if kind == "llama3":
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        changed = json.dumps(config | {"eos_token": "<|eot_id|>", "bos_token": LLAMA3[0]})
        (folder / "tokenizer_config.json").write_text(changed, encoding="utf-8")
    if message is None:
        assert read_huggingface_tokenizer(folder).vocabulary.template == template
    else:
        with pytest.raises(CheckpointError, match=message):
            read_huggingface_tokenizer(folder)


def test_case_named_chat_templates_are_known(tmp_path):
    listed = [{"name": "default", "template": chat_template("chatml")}]
    listed += [{"name": "tool_use", "template": "x"}]
    write_huggingface_tokenizer(byte_level("qwen2"), tmp_path / "a")
    one = edited(tmp_path / "a", tmp_path / "b", config=lambda c: c.update(chat_template=listed))
    assert read_huggingface_tokenizer(one).vocabulary.other_templates == ("tool_use",)
    (one / "additional_chat_templates").mkdir()
    (one / "additional_chat_templates" / "rag.jinja").write_text("x", encoding="utf-8")
    assert read_huggingface_tokenizer(one).vocabulary.other_templates == ("rag", "tool_use")


@pytest.mark.parametrize(
    ("kind", "decoder"),
    [
        ("bytes", None),
        ("bytes", {"type": "Fuse"}),
        ("stretch", None),
        ("stretch", {"type": "ByteFallback"}),
    ],
)
def test_case_decoder_ignored(kind, decoder, tmp_path):
    data = library_json(kind) | {"decoder": decoder}
    with pytest.raises(CheckpointError, match="its decoder gives"):
        read_huggingface_tokenizer(library_folder(tmp_path / "x", data))


def test_case_an_ordinary_token_named_as_a_special_one(tmp_path):
    data = library_json("bytes")
    for changes in ({"bos_token": "a"}, {"additional_special_tokens": ["a"]}):
        folder = library_folder(tmp_path / next(iter(changes)), data, **changes)
        with pytest.raises(CheckpointError, match="'a' is named as a special token"):
            read_huggingface_tokenizer(folder)
    read_huggingface_tokenizer(library_folder(tmp_path / "pad", data, pad_token="a"))


def test_case_switches_among_the_special_tokens_are_refused(tmp_path):
    folder = library_folder(tmp_path / "x", library_json("bytes"))
    read_huggingface_tokenizer(folder)
    for switch in ("add_eos_token", "add_bos_token"):
        (folder / "special_tokens_map.json").write_text(json.dumps({switch: False}))
        with pytest.raises(CheckpointError, match=f"{switch} in special_tokens_map.json"):
            read_huggingface_tokenizer(folder)


def test_case_a_text_is_opened_by_a_token_that_no_setting_names(tmp_path):
    write_huggingface_tokenizer(byte_level("llama3"), tmp_path / "a")

    def nameless(config):
        config.update(bos_token=None, add_bos_token=False)

    with pytest.raises(CheckpointError, match=r"opens texts with '<\|begin_of_text\|>'"):
        read_huggingface_tokenizer(edited(tmp_path / "a", tmp_path / "b", config=nameless))


def test_case_clean_up_of_spaces_is_that_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    forced = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
    folder = library_folder(
        tmp_path / "x", library_json("bytes"), clean_up_tokenization_spaces=True
    )
    ours, theirs = (
        read_huggingface_tokenizer(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    ids = ours.encode("I do n't , you 're")
    assert ours.decode(ids) == theirs.decode(ids) == "I do n't , you 're"
    for name in (forced, "do_lower_case"):
        other = library_folder(tmp_path / name, library_json("bytes"), **{name: True})
        with pytest.raises(CheckpointError, match=f"not supported: {name}"):
            read_huggingface_tokenizer(other)


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
    with pytest.raises(CheckpointError, match="must follow"):
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
        "states id 311": {"data": hole},
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


def library_json(kind):
    """Write a `tokenizer.json` of each kind with the library alone, as its value."""
    parts = tokenizers
    if kind == "bytes":
        alphabet = sorted(parts.pre_tokenizers.ByteLevel.alphabet())
        names = [*CHATML, *alphabet, "ab"]
        model = parts.models.BPE({t: i for i, t in enumerate(names)}, [("a", "b")])
        found = parts.Tokenizer(model)
        found.pre_tokenizer = pre_tokenizer_model("llama-bpe")
        special = CHATML
    else:
        pieces = ["▁", "a", "b", "f", "i", "▁a", "fi"]
        names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *pieces]
        model = parts.models.BPE(
            {t: i for i, t in enumerate(names)},
            [("▁", "a"), ("f", "i")],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
        found = parts.Tokenizer(model)
        if kind == "stretch":
            steps = [parts.normalizers.Prepend("▁"), parts.normalizers.Replace(" ", "▁")]
            found.normalizer = parts.normalizers.Sequence(steps)
        else:
            found.pre_tokenizer = parts.pre_tokenizers.Metaspace("▁", kind, split=False)
        found.decoder = parts.decoders.Sequence(
            [
                parts.decoders.Replace("▁", " "),
                parts.decoders.ByteFallback(),
                parts.decoders.Fuse(),
                parts.decoders.Strip(content=" ", left=1, right=0),
            ]
        )
        special = names[:3]
    if kind == "bytes":
        found.decoder = parts.decoders.ByteLevel()
    found.add_special_tokens(special)
    return json.loads(found.to_str())


def library_folder(folder, data, **config):
    eos = "</s>" if data["model"]["byte_fallback"] else "<|im_end|>"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    settings_ = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_), encoding="utf-8")
    return folder


def added(data, content, index=None, **flags):
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    index = len(data["model"]["vocab"]) if index is None else index
    data["added_tokens"].append({"id": index, "content": content, **plain, **flags})
    return data


SPACES = ["stretch", "first", "always"]
WORDY = [
    "a Section5A b",
    "Section5A",
    "aSection5Ab",
    " Section5A  a",
    "fi Section5ASection5A a",
    "",
]


@pytest.mark.parametrize("kind", ["bytes", *SPACES])
def test_case_added_words_are_encoded_and_exported_as_words(kind, tmp_path):
    source = library_folder(tmp_path / "source", added(library_json(kind), "Section5A"))
    library = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    expected = [e.ids for e in library.encode_batch(WORDY, add_special_tokens=False)]
    found = read_huggingface_tokenizer(source)
    word = found.vocabulary_size - 1
    assert found.encode_batch(WORDY) == expected
    assert [ids.count(word) for ids in expected] == [1, 1, 1, 1, 2, 0]
    assert [found.decode(ids) for ids in expected] == [library.decode(ids) for ids in expected]
    write_huggingface_tokenizer(found, tmp_path / "out")
    (tmp_path / "out" / "tokenizer.model").unlink(missing_ok=True)
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    theirs = again.encode_batch(WORDY, add_special_tokens=False)
    assert [e.ids for e in theirs] == expected
    entries = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["added_tokens"]
    assert [e["special"] for e in entries if e["content"] == "Section5A"] == [False]
    vocabulary = read_huggingface_tokenizer(tmp_path / "out").vocabulary
    assert replace(vocabulary, scores=found.vocabulary.scores) == found.vocabulary


def test_case_added_words_behind_a_sentencepiece_model(tmp_path):
    """As transformers 5 reads the folder; the model's own words as SentencePiece finds them."""
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=340,
        minloglevel=2,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["Marvale"],
    )
    library = sentencepiece.SentencePieceProcessor(str(tmp_path / "tokenizer.model"))
    assert 4 in read_huggingface_tokenizer(tmp_path).vocabulary.types
    found = read_huggingface_tokenizer(tmp_path)
    for text in ("the river in Marvale?", "aMarvaleb  Marvale, 1999"):
        assert found.encode(text) == library.encode(text)
        assert found.decode(found.encode(text)) == text
    config = {"added_tokens_decoder": {"340": {"content": "Section5A", "special": False}}}
    for legacy, behind in ((None, "of"), (True, "▁of")):
        text = json.dumps(config | ({"legacy": legacy} if legacy else {}))
        (tmp_path / "tokenizer_config.json").write_text(text)
        found = read_huggingface_tokenizer(tmp_path)
        ids = found.encode("the Section5Aof")
        assert ids.count(340) == 1
        rest = "".join(found.vocabulary.tokens[i] for i in ids[ids.index(340) + 1 :])
        assert rest == behind
    config["added_tokens_decoder"] = {"5": {"content": "Section5A", "special": False}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="'Section5A' has the id 5 of '<0x01>'"):
        read_huggingface_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("flags", "kind", "message"),
    [
        ({"lstrip": True}, "bytes", "'Section5A' has lstrip"),
        ({"single_word": True}, "first", "'Section5A' has single_word"),
        ({"normalized": True}, "stretch", "looked for behind the normalizer"),
    ],
)
def test_case_added_words_of_other_rules_are_refused(flags, kind, message, tmp_path):
    data = added(library_json(kind), "Section5A", **flags)
    with pytest.raises(CheckpointError, match=message):
        read_huggingface_tokenizer(library_folder(tmp_path / "x", data))


def test_case_added_token_repeats_id(tmp_path):
    data = added(library_json("bytes"), "<dup>", index=5, special=True)
    token = next(t for t, i in data["model"]["vocab"].items() if i == 5)
    with pytest.raises(CheckpointError, match=f"'<dup>' states id 5, .* gives to '{token}'"):
        read_huggingface_tokenizer(library_folder(tmp_path / "a", data))
    folder = library_folder(tmp_path / "b", library_json("bytes"))
    (folder / "added_tokens.json").write_text(json.dumps({"<dup>": 5}))
    with pytest.raises(CheckpointError, match=f"'<dup>' has the id of '{token}'"):
        read_huggingface_tokenizer(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<dup>": 0}))
    with pytest.raises(CheckpointError, match=r"id 0 is .<dup>. and .* at once"):
        read_huggingface_tokenizer(folder)


def test_case_added_token_repeats_id_a_byte_is_missing(tmp_path):
    data = library_json("bytes")
    vocab = data["model"]["vocab"]
    vocab["zz"] = vocab.pop("#")
    with pytest.raises(CheckpointError, match="1 of 256 byte tokens"):
        read_huggingface_tokenizer(library_folder(tmp_path / "x", data))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("end_of_word_suffix", "</w>", "not supported: end_of_word_suffix '</w>'"),
        ("continuing_subword_prefix", "##", "not supported: continuing_subword_prefix"),
        ("dropout", 0.1, "not supported: dropout 0.1"),
    ],
)
def test_case_bpe_fields_ignored(field, value, message, tmp_path):
    data = library_json("bytes")
    data["model"][field] = value
    with pytest.raises(CheckpointError, match=message):
        read_huggingface_tokenizer(library_folder(tmp_path / "x", data))


@pytest.mark.parametrize("split", ["llama-bpe", "smollm"])
def test_case_bpe_fields_ignored_merges(split, tmp_path):
    """A token that no merge makes is taken whole, or not, as `ignore_merges` says."""
    data = library_json("bytes")
    data["model"]["ignore_merges"] = split == "smollm"
    data["pre_tokenizer"] = json.loads(pre_tokenizer_model(split).__getstate__())
    # Every token has its merge: both ways give the same ids.
    read_huggingface_tokenizer(library_folder(tmp_path / "a", data))
    data["model"]["vocab"]["zebra"] = len(data["model"]["vocab"])
    with pytest.raises(CheckpointError, match="'zebra' has the ids"):
        read_huggingface_tokenizer(library_folder(tmp_path / "b", data))
    data["model"]["ignore_merges"] = split != "smollm"
    read_huggingface_tokenizer(library_folder(tmp_path / "c", data))


NORMALIZERS = [
    {"type": "NFKC"},
    {"type": "NFC"},
    {"type": "Lowercase"},
    {"type": "StripAccents"},
    {"type": "Replace", "pattern": {"String": "``"}, "content": "x"},
]


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=lambda n: n["type"])
@pytest.mark.parametrize("kind", ["bytes", *SPACES])
def test_case_normalizer_ignored(kind, normalizer, tmp_path):
    data = library_json(kind)
    if data["normalizer"] is None:
        data["normalizer"] = normalizer
    else:
        data["normalizer"]["normalizers"].insert(0, normalizer)
    with pytest.raises(CheckpointError, match="pre-tokenizer or normalizer is not one of"):
        read_huggingface_tokenizer(library_folder(tmp_path / "x", data))


def test_case_normalizer_ignored_other_spaces(tmp_path):
    stretch, first = library_json("stretch"), library_json("first")
    stretch["normalizer"]["normalizers"][0]["prepend"] = "_"
    first["pre_tokenizer"]["split"] = True
    for number, data in enumerate((stretch, first)):
        with pytest.raises(CheckpointError, match="is not one of stretch, first, always"):
            read_huggingface_tokenizer(library_folder(tmp_path / str(number), data))
    folder = library_folder(tmp_path / "x", library_json("first"), add_prefix_space=False)
    with pytest.raises(CheckpointError, match="add_prefix_space"):
        read_huggingface_tokenizer(folder)
    folder = library_folder(tmp_path / "y", library_json("bytes"), add_prefix_space=True)
    with pytest.raises(CheckpointError, match="add_prefix_space"):
        read_huggingface_tokenizer(folder)


def test_ids_are_compared_with_the_library(tmp_path, monkeypatch):
    """What the fields did not show: here a reading that forgets the merges."""
    monkeypatch.setattr(
        huggingface, "tokenizer_from_vocabulary",
        lambda v: tokenizer_from_vocabulary(replace(v, merges=())),
    )  # fmt: skip
    data = library_json("bytes")
    data["model"]["vocab"]["fu"] = len(data["model"]["vocab"])
    data["model"]["merges"].append(["f", "u"])
    with pytest.raises(CheckpointError, match="in the library `tokenizers` and"):
        read_huggingface_tokenizer(library_folder(tmp_path / "x", data))
