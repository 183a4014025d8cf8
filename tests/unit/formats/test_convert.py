"""The convert command end to end, memory while loading, and damaged files of every format."""

import contextlib
import json
import logging
import random
import struct
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import camelid
from camelid.cli import main
from camelid.cli.evaluate import find_model
from camelid.data.records import Message
from camelid.errors import CamelidError, CheckpointError
from camelid.formats.convert import convert, read_checkpoint, read_model, read_tokenizer
from camelid.formats.folder import build, load_transformer, save_model
from camelid.formats.huggingface import write_huggingface
from camelid.inference.replies import ModelResponder
from camelid.model.config import ModelConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.stage import NoInputs
from camelid.runtime import Runtime
from camelid.sources import weights as weights_stage
from camelid.sources.weights import stage as weights_run
from camelid.tokenization.chat import chat_format_of, load_chat_format
from camelid.tokenization.huggingface import write_huggingface_tokenizer
from camelid.tokenization.tokenizer import tokenizer_from_vocabulary
from camelid.tokenization.training import train_sentencepiece
from camelid.tokenization.vocabulary import Vocabulary, chat_template

ROOT = Path(__file__).parents[3]
SHAPE = {
    "dim": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn_dim": 96, "vocabulary_size": 420,
    "context": 4096,
}  # fmt: skip


def make_model(**changes):
    model = Transformer(ModelConfig(**(SHAPE | changes)))
    model.initialise(5)
    return model


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Make what a run leaves: a tokenizer, a language model and a reward model."""
    root = tmp_path_factory.mktemp("run")
    (root / "run.json").write_text("{}", encoding="utf-8")
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    (root / "corpus.txt").write_text(text, encoding="utf-8")
    folder = root / "tokenizer_training" / "tokenizer"
    train_sentencepiece(root / "corpus.txt", folder, vocabulary_size=420)
    save_model(make_model(), root / "ppo" / "model")
    reward = RewardModel.from_chat_model(make_model())
    save_model(reward, root / "v1" / "reward_modeling" / "helpfulness_rm")
    return root


def assert_near(found, expected):
    """Compare two implementations in fp32, which differ by about 1e-6 of the largest value."""
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


def assert_same(one, other):
    assert one.config == other.config
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_round_trips_through_the_command(run_folder, tmp_path, capsys):
    source, original = run_folder / "ppo" / "model", load_transformer(run_folder / "ppo" / "model")
    hf, meta, file = tmp_path / "hf", tmp_path / "meta", tmp_path / "m.gguf"
    assert main(["convert", str(source), str(hf), "--to", "hf"]) == 0
    assert "format hf" in capsys.readouterr().out
    assert main(["convert", str(hf), str(meta), "--to", "meta", "--shards", "2"]) == 0
    assert main(["convert", str(meta), str(file), "--to", "gguf"]) == 0
    last = tmp_path / "last"
    assert main(["convert", str(file), str(last), "--to", "hf", "--shards", "3"]) == 0
    ids = load_chat_format(run_folder / "tokenizer_training" / "tokenizer").tokenizer.encode
    for path in (hf, meta, file, last):
        assert_same(original, build(read_checkpoint(path)))
        assert read_tokenizer(path).encode("The Work, 2004.") == ids("The Work, 2004.")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hf", "last", "m.gguf", "meta"]


@torch.no_grad()
def test_transformers_takes_the_directory(run_folder, tmp_path, caplog):
    convert(run_folder / "ppo" / "model", tmp_path / "hf", to="hf")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        transformers.logging.enable_propagation()
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
        transformers.logging.disable_propagation()
    assert not caplog.records
    chat = load_chat_format(run_folder / "tokenizer_training" / "tokenizer")
    turns = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="What is a Licensor?"),
        Message(role="assistant", content="The copyright owner."),
        Message(role="user", content="And You?"),
    ]
    ids = chat.render_prompt(turns)
    plain = [{"role": turn.role, "content": turn.content} for turn in turns]
    assert list(tokenizer.apply_chat_template(plain, return_dict=False)) == ids
    ours = load_transformer(run_folder / "ppo" / "model")
    tokens = torch.tensor([ids])
    assert_near(model(tokens).logits, ours.logits(ours(tokens)))
    assert model.generation_config.eos_token_id == chat.end_id


@torch.no_grad()
def test_reward_model_pads_with_what_ends_no_text(run_folder, tmp_path):
    source = run_folder / "v1" / "reward_modeling" / "helpfulness_rm"
    convert(source, tmp_path / "hf", to="hf")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    ours = build(read_checkpoint(source))
    pad = theirs.config.pad_token_id
    assert pad not in (None, theirs.config.eos_token_id)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "hf").pad_token_id == pad
    # Texts that end with the end-of-text token, of different lengths.
    rows = [[1, 300, 301, 302, 2], [1, 310, 2]]
    tokens = torch.tensor([row + [pad] * (5 - len(row)) for row in rows])
    expected = ours(tokens, torch.tensor([[4], [2]]))
    assert_near(theirs(tokens).logits, expected)


def test_refusals_leave_nothing_behind(run_folder, tmp_path, capsys):
    source = str(run_folder / "ppo" / "model")
    (tmp_path / "there").mkdir()
    cases = [
        ([source, str(tmp_path / "there"), "--to", "hf"], "exists already"),
        ([source, str(tmp_path / "x"), "--to", "meta", "--shards", "3"], "3 shards"),
        ([source, str(tmp_path / "x"), "--to", "hf", "--shards", "0"], "--shards is 0, but must"),
        ([source, str(tmp_path / "x"), "--to", "onnx"], "invalid choice"),
        ([str(tmp_path), str(tmp_path / "x"), "--to", "hf"], "no model here"),
        (
            [
                str(run_folder / "v1" / "reward_modeling" / "helpfulness_rm"),
                str(tmp_path / "x"), "--to", "gguf",
            ],
            "no reward heads",
        ),
    ]  # fmt: skip
    for words, message in cases:
        assert main(["convert", *words]) == 2
        assert message in capsys.readouterr().err
    save_model(make_model(), tmp_path / "alone" / "model")
    words = ["convert", str(tmp_path / "alone" / "model"), str(tmp_path / "x"), "--to", "hf"]
    assert main(words) == 2
    assert "--tokenizer" in capsys.readouterr().err
    tokenizer = str(run_folder / "tokenizer_training" / "tokenizer")
    assert main([*words, "--tokenizer", tokenizer]) == 0
    small = tmp_path / "small"
    save_model(make_model(vocabulary_size=300), small)
    words = ["convert", str(small), str(tmp_path / "y"), "--to", "hf", "--tokenizer", tokenizer]
    assert main(words) == 2
    assert "each id needs a row" in capsys.readouterr().err
    broken = make_model()
    with torch.no_grad():
        broken.norm.weight[0] = float("nan")
    save_model(broken, tmp_path / "broken")
    words = ["convert", str(tmp_path / "broken"), str(tmp_path / "y"), "--to", "gguf"]
    assert main([*words, "--tokenizer", tokenizer]) == 2
    assert "norm.weight holds values that are not finite" in capsys.readouterr().err
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["alone", "broken", "small", "there", "x"]


MEASURE = """
import sys, resource, torch
from pathlib import Path
from camelid.formats.convert import read_checkpoint
from camelid.formats.folder import build
torch.set_num_threads(1)
(torch.zeros(64, 64) @ torch.zeros(64, 64)).sum()
# What torch imports when it first builds on the meta device is no part of the weights.
with torch.device("meta"):
    torch.nn.Embedding(2, 2), torch.nn.Linear(2, 2), torch.arange(4).float().cos()
import gguf.quants, safetensors
def kilobytes(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
before = kilobytes("VmRSS")
model = build(read_checkpoint(Path(sys.argv[1])))
weights = sum(p.nbytes for p in model.parameters()) / 1024
print((kilobytes("VmHWM") - before) / 1024, weights / 1024)
"""


@pytest.fixture(scope="module")
def large(run_folder):
    """Save 413 MiB of fp32 weights.

    At any size blocks and the allocator keep 15 to 60 MiB, here a small part.
    """
    shape = {
        "dim": 768, "layers": 15, "heads": 12, "kv_heads": 4, "ffn_dim": 2048, "context": 512,
        "vocabulary_size": 18000,
    }  # fmt: skip
    model = Transformer(ModelConfig(**shape, tied_embeddings=True))
    model.initialise(1)
    save_model(model, run_folder / "large")
    return run_folder / "large"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize(
    "case", ["ours", "hf float32", "hf bfloat16", "meta float32", "meta bfloat16", "gguf float16"]
)
def test_loading_needs_little_more_than_the_weights(case, large, run_folder, tmp_path):
    path = large
    if case != "ours":
        to, dtype = case.split()
        path = tmp_path / "m"
        settings_ = {"shards": 4} if to == "meta" else {}
        tokenizer = run_folder / "tokenizer_training" / "tokenizer"
        convert(large, path, to=to, dtype=getattr(torch, dtype), tokenizer=tokenizer, **settings_)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        env={"PYTHONPATH": str(Path(camelid.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak, weights = map(float, done.stdout.split())
    assert weights > 400
    assert 0.9 * weights < peak < 1.2 * weights


def small_models(root):
    """Write the same tiny model in each format; return the file of each whose bytes are mutated."""
    model = make_model(dim=16, ffn_dim=256, vocabulary_size=420, layers=1)
    save_model(model, root / "ours")
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    (root / "corpus.txt").write_text(text, encoding="utf-8")
    train_sentencepiece(root / "corpus.txt", root / "tokenizer", vocabulary_size=420)
    for to, name in (("hf", "hf"), ("meta", "meta"), ("gguf", "m.gguf")):
        convert(root / "ours", root / name, to=to, tokenizer=root / "tokenizer")
    sharded = root / "sharded"
    sharded.mkdir()
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    checkpoint = read_checkpoint(root / "ours")
    write_huggingface(checkpoint, sharded, dtype=torch.float32, files=2, special_ids=ids)
    return {
        "safetensors": root / "hf" / "model.safetensors",
        "config": root / "hf" / "config.json",
        "index": sharded / "model.safetensors.index.json",
        "params": root / "meta" / "params.json",
        "ours": root / "ours" / "config.json",
        "meta": root / "meta" / "consolidated.00.pth",
        "gguf": root / "m.gguf",
    }


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return small_models(tmp_path_factory.mktemp("small"))


def load(path):
    """Load the model and tokenizer that a mutated file belongs to; only a CamelidError may pass."""
    place = path if path.suffix == ".gguf" else path.parent
    for read in (lambda: build(read_checkpoint(place)), lambda: read_tokenizer(place)):
        with contextlib.suppress(CamelidError):
            read()


HEADERS = {"safetensors": 3000, "meta": 3000, "gguf": 14000}
TARGETS = ["safetensors", "config", "index", "params", "ours", "meta", "gguf"]


@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 8), mode=st.integers(0, 5))
def test_damaged_bytes_give_one_clear_error(name, targets, seed, changes, mode):
    path, generator = targets[name], random.Random(seed)
    whole = path.read_bytes()
    data = bytearray(whole)
    end = min(len(data), HEADERS.get(name, len(data)))
    if mode == 0:
        del data[generator.randrange(len(data)) :]
    elif mode == 1:
        data[:] = generator.randbytes(generator.randrange(2000))
    elif mode == 2:
        start = generator.randrange(end)
        data[start : start + 8] = struct.pack("<Q", generator.choice([2**63, 2**40, 2**31, 0]))
    elif mode == 3:
        start = generator.randrange(end)
        data[start:start] = data[start : start + generator.randrange(60)]
    else:
        for _ in range(changes):
            data[generator.randrange(end)] = generator.randrange(256)
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(path)
    finally:
        path.write_bytes(whole)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("name", ["config", "index", "params", "ours"])
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_strange_values_give_one_clear_error(name, targets, data):
    path = targets[name]
    whole = path.read_bytes()
    found = json.loads(whole)
    inner = found["model"] if name == "ours" else found
    known = ["rope_parameters", "layer_types", "id2label", "rope_scaling", "n_kv_heads"]
    key = data.draw(st.sampled_from([*inner, *known, "use_scaled_rope", "ffn_dim_multiplier"]))
    inner[key] = data.draw(VALUES)
    path.write_text(json.dumps(found), encoding="utf-8", errors="surrogatepass")
    try:
        load(path)
    finally:
        path.write_bytes(whole)


def test_headers_that_claim_much_take_little_memory(tmp_path):
    claims = {
        "a.gguf": b"GGUF"
        + struct.pack("<IQQQ", 3, 0, 1, 1)
        + b"k"
        + struct.pack("<IIQ", 9, 8, 2**50),
        "b.gguf": b"GGUF" + struct.pack("<IQQ", 3, 2**50, 0),
        "c.gguf": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**50),
    }
    for name, start in claims.items():
        (tmp_path / name).write_bytes(start + bytes(1000))
    # A real length: eight bytes a text would be 600 million texts.
    sparse = tmp_path / "sparse.gguf"
    with sparse.open("wb") as file:
        file.write(claims["a.gguf"][:-8] + struct.pack("<Q", 600_000_000))
        file.truncate(5 * 10**9)
    hf = tmp_path / "hf"
    hf.mkdir()
    (hf / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (hf / "model.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{" * 1000)
    tracemalloc.start()
    for path in (*(tmp_path / name for name in claims), sparse, hf):
        with pytest.raises(CamelidError):
            read_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20


def test_ends_of_the_source_and_of_the_tokenizer_are_kept(run_folder, tmp_path):
    """A chat model may stop at several tokens, and a base model at another than its template."""
    first, second = tmp_path / "first", tmp_path / "second"
    convert(run_folder / "ppo" / "model", first, to="hf")
    generation = first / "generation_config.json"
    assert json.loads(generation.read_text())["eos_token_id"] == 2
    generation.write_text(json.dumps({"eos_token_id": [2, 7, 9]}))
    convert(first, second, to="hf")
    for name in ("config.json", "generation_config.json"):
        assert json.loads((second / name).read_text())["eos_token_id"] == [2, 7, 9]
    assert transformers.AutoModelForCausalLM.from_pretrained(second).generation_config


def test_a_named_chat_format_stands_in_for_the_template(run_folder, tmp_path):
    """Zephyr's, of TinyLlama-Chat, is not ours."""
    convert(run_folder / "ppo" / "model", tmp_path / "hf", to="hf")
    file = tmp_path / "hf" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": "<|user|>"}))
    assert find_model(str(tmp_path / "hf")).load(Runtime())[1].encode("The Work")
    words = ["convert", str(tmp_path / "hf"), str(tmp_path / "out"), "--to", "gguf"]
    assert main(words) == 2
    assert main([*words, "--chat-format", "llama2"]) == 0
    with pytest.raises(CamelidError, match=r"im_start.* is no special token"):
        convert(tmp_path / "hf", tmp_path / "other", to="hf", chat_format="chatml")


def test_a_tokenizer_above_a_meta_folder_or_named_as_a_file(run_folder, tmp_path):
    convert(run_folder / "ppo" / "model", tmp_path / "llama" / "7b", to="meta")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        (tmp_path / "llama" / "7b" / name).rename(tmp_path / "llama" / name)
    (tmp_path / "llama" / "7b" / "tokenizer.json").unlink()
    expected = read_tokenizer(run_folder / "ppo" / "model").encode("The Work")
    above = tmp_path / "llama" / "tokenizer.model"
    for place in (tmp_path / "llama" / "7b", above):
        assert read_tokenizer(place).encode("The Work") == expected
    # A folder of Hugging Face's does not take what lies about.
    (tmp_path / "llama" / "hf").mkdir()
    (tmp_path / "llama" / "hf" / "config.json").write_text("{}")
    with pytest.raises(CamelidError, match=r"no tokenizer .*weights\.tokenizer"):
        read_tokenizer(tmp_path / "llama" / "hf")


def given(folder, *, rows, tokens=320, ends=2, **changes):
    """Write a folder of Hugging Face's with a byte-level tokenizer of 320 tokens for chat."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "ab"]
    names += [f"<|extra{i}|>" for i in range(tokens - len(names))]
    vocabulary = Vocabulary(
        kind="byte_level_bpe",
        tokens=tuple(names),
        types=tuple(1 if name in (*alphabet, "ab") else 3 for name in names),
        merges=("a b",),
        pre_tokenizer="smollm",
        bos_id=None,
        eos_id=2,
        chat_format="chatml",
    )
    write_huggingface_tokenizer(tokenizer_from_vocabulary(vocabulary), folder)
    save_model(make_model(vocabulary_size=rows, context=128), folder.parent / "ours")
    checkpoint = read_checkpoint(folder.parent / "ours")
    ids = {"bos_token_id": None, "eos_token_id": ends, "pad_token_id": 0}
    write_huggingface(checkpoint, folder, dtype=torch.float32, special_ids=ids)
    for name, fields in changes.items():
        file = folder / f"{name}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        file.write_text(json.dumps(found | fields), encoding="utf-8")
    return folder


@pytest.mark.parametrize("to", ["hf", "meta", "gguf"])
def test_case_several_end_ids_stated_in_the_config_are_kept(to, tmp_path):
    """A list in `config.json` alone, where `generation_config.json` states none."""
    source = given(tmp_path / "hf", rows=320, ends=[2, 0, 300, 301])
    (source / "generation_config.json").unlink()
    assert set(read_model(source).tokenizer.end_ids) == {2, 0, 300, 301}
    convert(source, tmp_path / "out", to=to)
    assert set(read_model(tmp_path / "out").tokenizer.end_ids) == {2, 0, 300, 301}
    _, tokenizer = find_model(str(tmp_path / "out")).load(Runtime())
    assert set(tokenizer.end_ids) == {2, 0, 300, 301}
    if to == "hf":
        for name in ("config.json", "generation_config.json"):
            found = json.loads((tmp_path / "out" / name).read_text(encoding="utf-8"))
            assert found["eos_token_id"] == [2, 0, 300, 301]


def test_case_several_end_ids_beyond_the_table(tmp_path):
    with pytest.raises(CamelidError, match="an end token has id 999 of 320"):
        read_model(given(tmp_path / "hf", rows=320, ends=[2, 999]))


def test_case_several_end_ids_reach_the_stages(tmp_path):
    template = {"chat_template": SYSTEM}
    source = given(tmp_path / "hf", rows=320, ends=[2, 0], tokenizer_config=template)
    checkpoint, tokenizer = read_model(source)
    assert chat_format_of(tokenizer).end_ids == (2, 0)
    config = weights_stage.Config(path=str(source))
    outputs = weights_stage.Outputs("weights", tmp_path / "run" / "weights")
    weights_run.run(config, NoInputs(), outputs, None)
    chat = load_chat_format(outputs.tokenizer.path)
    assert chat.end_ids == (2, 0)
    # Trained on dialogues as they are rendered here, it is exported with the template for them.
    assert (tokenizer.vocabulary.template, chat.tokenizer.vocabulary.template) == (SYSTEM, None)
    assert load_transformer(outputs.model.path).config == checkpoint.config


def test_case_padded_vocabulary_every_way_in_pads_alike(tmp_path):
    source = given(tmp_path / "hf", rows=400)
    _, tokenizer = find_model(str(source)).load(Runtime())
    assert tokenizer.vocabulary_size == 400
    assert tokenizer.unused_ids == list(range(320, 400))
    assert tokenizer.decode([*tokenizer.encode("ab"), 365]) == "ab"
    for to in ("hf", "meta", "gguf"):
        convert(source, tmp_path / f"to-{to}", to=to)
        assert read_model(tmp_path / f"to-{to}").tokenizer.unused_ids == list(range(320, 400))


def test_case_padded_vocabulary_with_fewer_rows_than_tokens(tmp_path, capsys):
    source = given(tmp_path / "hf", rows=310)
    message = "320 ids, the embedding table 310 rows"
    with pytest.raises(CamelidError, match=message):
        find_model(str(source)).load(Runtime())
    outputs = weights_stage.Outputs("weights", tmp_path / "run" / "weights")
    with pytest.raises(CamelidError, match=message):
        weights_run.run(weights_stage.Config(path=str(source)), NoInputs(), outputs, None)
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "gguf"]) == 2
    assert message in capsys.readouterr().err


SYSTEM = "{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}" + chat_template("chatml")


def test_newcomer_6_the_chat_template_of_the_source_is_kept(tmp_path, capsys):
    source = given(tmp_path / "hf", rows=320, tokenizer_config={"chat_template": SYSTEM})
    file, again, other = tmp_path / "m.gguf", tmp_path / "again", tmp_path / "other"
    assert main(["convert", str(source), str(file), "--to", "gguf"]) == 0
    assert main(["convert", str(file), str(again), "--to", "hf"]) == 0
    assert "Note" not in capsys.readouterr().out
    settings_ = json.loads((again / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings_["chat_template"] == SYSTEM
    # Another template is written where it is asked for, and aloud.
    words = ["convert", str(source), str(other), "--to", "hf", "--chat-format", "chatml"]
    assert main(words) == 0
    assert "Note: the chat template is that of chatml" in capsys.readouterr().out
    settings_ = json.loads((other / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings_["chat_template"] == chat_template("chatml")


def test_settings_of_generation_are_kept_or_named(tmp_path, capsys):
    sampling = {"temperature": 0.6, "repetition_penalty": 1.1}
    source = given(tmp_path / "hf", rows=320, generation_config=sampling)
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "hf"]) == 0
    assert "Note" not in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert sampling.items() <= written.items()
    assert main(["convert", str(source), str(tmp_path / "m.gguf"), "--to", "gguf"]) == 0
    assert "no place for repetition_penalty, temperature: left out" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["stop_strings", "suppress_tokens", "forced_eos_token_id"])
def test_case_limits_of_what_is_said_are_not_passed_over(name, tmp_path):
    source = given(tmp_path / "hf", rows=320, generation_config={name: [5]})
    with pytest.raises(CamelidError, match=f"generation_config.json: not supported: {name}"):
        read_checkpoint(source)


def test_case_report_damaged_a_model_names_its_stage(tmp_path):
    """Also where no run is in progress: `chat`, `evaluate` and `convert` read models too."""
    folder = tmp_path / "run" / "v1" / "sft" / "model"
    save_model(make_model(vocabulary_size=40), folder)
    weights = folder / "model.safetensors"
    raw = weights.read_bytes()
    weights.write_bytes(raw[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"checksum .* Get the directory again"):
        read_checkpoint(folder)
    (tmp_path / "run" / "run.json").write_text("{}", encoding="utf-8")
    for damage in (weights, folder / "config.json"):
        damage.write_bytes(raw[:-1])
        with pytest.raises(CheckpointError, match=r"--redo v1/sft$"):
            read_checkpoint(folder)


def test_case_named_chat_templates_are_not_dropped_in_silence(tmp_path, capsys):
    listed = [{"name": n, "template": chat_template("chatml")} for n in ("default", "tool_use")]
    source = given(tmp_path / "hf", rows=320, tokenizer_config={"chat_template": listed})
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "hf"]) == 0
    assert "Note: the chat templates tool_use beside the default" in capsys.readouterr().out


def test_newcomer_6_weights_have_the_permissions_of_other_files(tmp_path):
    source = given(tmp_path / "hf", rows=320)
    (tmp_path / "plain").touch()
    mode = (tmp_path / "plain").stat().st_mode
    for folder in (source, tmp_path / "ours"):
        assert (folder / "model.safetensors").stat().st_mode == mode


def test_case_padded_vocabulary_of_another_tokenizer_in_a_run(run_folder, tmp_path):
    tokenizer = run_folder / "tokenizer_training" / "tokenizer"
    assert ModelResponder.load(run_folder / "ppo" / "model", tokenizer, Runtime()).chat
    save_model(make_model(vocabulary_size=430), tmp_path / "model")
    with pytest.raises(CamelidError, match="a tokenizer of 420 ids for a model of 430 rows"):
        ModelResponder.load(tmp_path / "model", tokenizer, Runtime())
