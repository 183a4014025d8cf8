"""The public API on tiny weights: what it gives is what the rooms below give."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import camelid
from camelid import Message
from camelid.errors import CheckpointError, ConfigError, DataError, MissingInputError
from camelid.formats.convert import convert
from camelid.formats.folder import save_model
from camelid.model.reward_model import RewardModel
from camelid.tokenization.huggingface import write_huggingface_tokenizer

PAIRS = Path(__file__).resolve().parents[2] / "examples" / "pairs.jsonl"
ASKED = ["How do I boil an egg?", "Why is the sky blue?"]


@pytest.fixture(scope="module")
def chat(tiny_weights):
    return camelid.load_model(tiny_weights, precision="float32")


@pytest.fixture(scope="module")
def rewarding(chat, tmp_path_factory):
    """A folder with an untrained reward model."""
    folder = tmp_path_factory.mktemp("reward") / "model"
    save_model(RewardModel.from_chat_model(chat.model, 3), folder)
    write_huggingface_tokenizer(chat.chat.tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def scorer(rewarding):
    return camelid.load_reward_model(rewarding, precision="float32")


@pytest.fixture(scope="module")
def pairs():
    return camelid.read_pairs(PAIRS).used


def texts(replies):
    return [reply.text for reply in replies]


def test_names_that_are_not_there_are_an_attribute_error():
    assert set(camelid.__all__) <= set(dir(camelid))
    with pytest.raises(AttributeError, match="no attribute 'load_models'"):
        _ = camelid.load_models


@pytest.mark.parametrize("layout", ["hf", "meta", "gguf"])
def test_weights_of_any_layout_give_the_same_replies(layout, chat, tiny_weights, tmp_path):
    convert(tiny_weights, tmp_path / "other", to=layout)
    other = camelid.load_model(tmp_path / "other", chat_format="llama2", precision="float32")
    for model in (chat, other):
        found = camelid.sample_replies(model, ASKED, temperature=0, max_new_tokens=12)
        assert [reply.prompt.messages[0].content for reply in found] == ASKED
        assert texts(found) == texts(
            camelid.sample_replies(chat, ASKED, temperature=0, max_new_tokens=12)
        )


def test_several_samples_of_several_prompts_repeat_by_their_seed(chat):
    given = {"samples": 3, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 6}
    first = camelid.sample_replies(chat, ASKED, seed=1, **given)
    assert [(reply.prompt.id, reply.sample) for reply in first] == [
        (str(prompt), sample) for prompt in range(2) for sample in range(3)
    ]
    assert len(set(texts(first))) > 3
    assert texts(first) == texts(camelid.sample_replies(chat, ASKED, seed=1, **given))
    assert texts(first) != texts(camelid.sample_replies(chat, ASKED, seed=2, **given))
    assert all(len(reply.tokens) <= 6 for reply in first)


def test_one_text_is_one_prompt_and_a_dialogue_is_one_too(chat):
    (reply,) = camelid.sample_replies(chat, ASKED[0], temperature=0, max_new_tokens=4)
    dialogue = (Message(role="user", content=ASKED[0]),)
    (same,) = camelid.sample_replies(chat, [dialogue], temperature=0, max_new_tokens=4)
    (again,) = camelid.sample_replies(chat, [reply.prompt], temperature=0, max_new_tokens=4)
    assert reply.tokens == same.tokens == again.tokens
    assert camelid.sample_replies(chat, []) == []


def test_a_long_prompt_loses_its_start_and_says_how_much(chat):
    (reply,) = camelid.sample_replies(chat, "egg " * 400, max_new_tokens=10)
    whole = len(chat.chat.render_prompt([Message(role="user", content="egg " * 400)]))
    assert reply.prompt_cut == whole - (chat.model.config.context - 10)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"max_new_tokens": 256}, "leave no room for a prompt"),
    ],
)
def test_settings_out_of_range(chat, settings, said):
    with pytest.raises(ConfigError, match=said):
        camelid.sample_replies(chat, ASKED, **settings)


def test_each_kind_of_model_has_its_function(tiny_weights, rewarding, tmp_path):
    with pytest.raises(CheckpointError, match=r"needed a reward model\. load_model reads it"):
        camelid.load_reward_model(tiny_weights)
    with pytest.raises(CheckpointError, match=r"needed a language model\. load_reward_model reads"):
        camelid.load_model(rewarding)
    with pytest.raises(MissingInputError, match="no model here"):
        camelid.load_model(tmp_path)


def test_case_a_run_or_a_stage_is_no_model_and_lists_its_own(tmp_path):
    for stage, kind in (("v1/reward_modeling", "reward_model"), ("v1/sft", "transformer")):
        folder = tmp_path / stage / "model"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        (folder / "config.json").write_text(json.dumps({"kind": kind}), encoding="utf-8")
    model, reward = (f"{tmp_path}/v1/{stage}/model" for stage in ("sft", "reward_modeling"))
    for path, listed in (
        (tmp_path, f"{model}, {reward} (a reward model). Name one of them, such as {model}."),
        (tmp_path / "v1/sft", f"of some: {model}. Name one of them, such as {model}."),
    ):
        with pytest.raises(MissingInputError, match=re.escape(listed)):
            camelid.load_model(str(path))


def test_scores_are_those_of_the_rows_alone(scorer):
    replies = ["Seven minutes.", "Because air scatters blue light, and so on and on."]
    found = camelid.score_replies(scorer, ASKED, replies)
    for asked, reply, score in zip(ASKED, replies, found, strict=True):
        prompt = scorer.chat.render_prompt([Message(role="user", content=asked)])
        row = [*prompt, *scorer.chat.encode_reply(reply), scorer.chat.end_id]
        with torch.no_grad():
            alone = scorer.model.values(torch.tensor([row]))[0, -1].item()
        assert score == pytest.approx(alone, rel=1e-4, abs=1e-6)
    with pytest.raises(DataError, match="2 prompts and 1 reply;"):
        camelid.score_replies(scorer, ASKED, ["one"])
    with pytest.raises(DataError, match=r"reply 1: \d+ tokens with its prompt, at most 256 fit"):
        camelid.score_replies(scorer, ASKED, ["short", "long " * 300])


def test_a_conversation_is_on_one_side(pairs):
    training, held_out = camelid.split_pairs(pairs, 0.25)
    assert len(training) + len(held_out) == len(pairs) == 60
    assert not {p.prompt for p in training} & {p.prompt for p in held_out}
    assert 6 <= len(held_out) <= 24
    # What is added to a file moves nothing that was there.
    assert camelid.split_pairs(pairs[:30], 0.25)[1] == [p for p in held_out if p in pairs[:30]]
    for share in (0.0, 1.0, math.nan):
        with pytest.raises(ConfigError, match="held_out is"):
            camelid.split_pairs(pairs, share)
    with pytest.raises(DataError, match="needed some of both"):
        camelid.split_pairs(pairs[:3])


def test_accuracy_counts_by_strength_and_its_interval_counts_prompts(scorer, pairs):
    long = replace(pairs[0], chosen="long " * 300)
    unrated = replace(pairs[1], strength=None)
    equal = replace(pairs[0], chosen="Egg.", rejected=" Egg. ")
    rows = [*pairs[:9], unrated, long, equal]
    found = camelid.accuracy_by_strength(scorer, rows)
    assert (found.too_long, found.equal) == (1, 1)
    strengths = ["significantly_better", "better", "slightly_better", "all"]
    assert list(found.by_strength) == strengths
    asked = [pair.prompt for pair in rows[:10]]
    chosen = camelid.score_replies(scorer, asked, [pair.chosen for pair in rows[:10]])
    rejected = camelid.score_replies(scorer, asked, [pair.rejected for pair in rows[:10]])
    right = [c > r for c, r in zip(chosen, rejected, strict=True)]
    everything = found.by_strength["all"]
    assert (everything.value, everything.n) == (sum(right) / 10, 10)
    first = found.by_strength["significantly_better"]
    assert (first.value, first.n) == (sum(right[0:9:3]) / 3, 3)
    # Ten comparisons of three prompts say no more than three.
    three = camelid.accuracy_by_strength(scorer, [pairs[0], pairs[3], pairs[6]])
    assert everything.high - everything.low >= 0.5
    assert three.by_strength["all"].n == 3
    with pytest.raises(DataError, match="none of 2 held-out comparisons can be scored"):
        camelid.accuracy_by_strength(scorer, [long, equal])


@pytest.fixture(scope="module")
def trained(chat, pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "new" / "rm"
    before = {name: tensor.clone() for name, tensor in chat.model.state_dict().items()}
    steps = []
    found = camelid.train_reward_model(
        chat,
        camelid.split_pairs(pairs, 0.25)[0],
        out,
        learning_rate=3e-3,
        batch_pairs=8,
        epochs=4,
        on_step=lambda *step: steps.append(step),
    )
    for name, tensor in chat.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    return out, found, steps


def test_a_trained_reward_model_is_a_folder_of_weights(trained, chat, pairs, tmp_path):
    out, found, steps = trained
    assert {path.name for path in out.parent.iterdir()} == {"rm"}
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "model.safetensors", "steps.jsonl"} <= names
    assert not {"work", "reward_model"} & names
    assert [step for step, *_ in steps] == list(range(1, found.steps + 1))
    rows = (out / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["loss"] for row in rows] == [loss for *_, loss in steps]
    assert steps[-1][2] < steps[0][2]
    one = camelid.load_reward_model(out, precision="float32")
    convert(out, tmp_path / "hf", to="hf")
    other = camelid.load_reward_model(tmp_path / "hf", chat_format="llama2", precision="float32")
    answers = [pair.chosen for pair in pairs[:4]]
    asked = [pair.prompt for pair in pairs[:4]]
    assert camelid.score_replies(one, asked, answers) == pytest.approx(
        camelid.score_replies(other, asked, answers), rel=1e-4, abs=1e-5
    )


def test_the_pairs_of_the_example_can_be_learned(trained, pairs):
    scorer = camelid.load_reward_model(trained[0], precision="float32")
    found = camelid.accuracy_by_strength(scorer, camelid.split_pairs(pairs, 0.25)[1])
    assert found.by_strength["all"].value > 0.75


def test_what_fails_leaves_nothing(trained, chat, pairs, tmp_path):
    with pytest.raises(ConfigError, match="exists already"):
        camelid.train_reward_model(chat, pairs, trained[0])
    with pytest.raises(DataError, match=r"no comparison for reward_model fits 4 tokens"):
        camelid.train_reward_model(chat, pairs, tmp_path / "rm", longest=4)
    with pytest.raises(ConfigError, match="epochs is 0"):
        camelid.train_reward_model(chat, pairs, tmp_path / "rm", epochs=0)
    with pytest.raises(ConfigError, match="learning_rate is 0"):
        camelid.train_reward_model(chat, pairs, tmp_path / "rm", learning_rate=0)
    assert not list(tmp_path.iterdir())


def test_pairs_say_what_was_left_out_and_changed(tmp_path):
    file = tmp_path / "own.jsonl"
    rows = [
        {"prompt": " Hi ", "chosen": "Hello.", "rejected": "Go.", "strength": "better"},
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "Hello."},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = camelid.read_pairs(file)
    [pair] = found.used
    assert (pair.prompt[0].content, pair.chosen, pair.strength) == ("Hi", "Hello.", "better")
    assert str(found.left_out).startswith("1 read and excluded: 1 x ")
    assert not found.changed


def test_what_is_given_in_the_place_of_another_is_named(scorer, tmp_path):
    with pytest.raises(ConfigError, match="needed what load_model gives"):
        camelid.sample_replies(scorer, "Hi")
    with pytest.raises(ConfigError, match="needed what load_reward_model gives"):
        camelid.score_replies(tmp_path, ["Hi"], ["Hello."])
    with pytest.raises(ConfigError, match=r"camelid\.Message"):
        camelid.score_replies(scorer, [[{"role": "user", "content": "Hi"}]], ["Hello."])
    with pytest.raises(ConfigError, match="chat_format"):
        camelid.load_model(tmp_path, chat_format="gemma")


def test_comparisons_of_one_conversation_cannot_be_parted(pairs):
    with pytest.raises(DataError, match="there are 1: give more conversations"):
        camelid.split_pairs([pairs[0], pairs[0]], 0.25)
