"""Vectors of replies, against one reply at a time."""

from __future__ import annotations

import pytest
import torch

from camelid.data.records import Message
from camelid.formats.folder import load_transformer
from camelid.inference.embedding import embed_replies
from camelid.tokenization.chat import load_chat_format

LAYER = 1
PROMPTS = [
    (Message(role="user", content=text),)
    for text in ("Say hello.", "What is a goat?", "Name three birds that sing.")
]
REPLIES = ["Hello!", "A goat is an animal with horns that eats whatever it finds.", ""]


@pytest.fixture(scope="module")
def reader(tiny_weights):
    return load_transformer(tiny_weights).double(), load_chat_format(tiny_weights)


@torch.no_grad()
def alone(model, prompt, reply):
    # The fixture has one layer: what follows it is the last norm alone.
    kept = []
    hook = model.norm.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    model(torch.tensor([[*prompt, *reply]]))
    hook.remove()
    hidden = kept[0][0]
    rows = [hidden[len(prompt) + place] for place in range(len(reply))]
    return (sum(rows) / len(rows)).tolist()


@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_states_are_the_mean_over_the_reply(reader, batch_tokens):
    model, chat = reader
    found = embed_replies(
        model, chat, PROMPTS, REPLIES, layer=LAYER, longest=200, batch_tokens=batch_tokens
    )
    assert found.cut_N == [False] * 3
    for row, messages, text in zip(found.states_ND, PROMPTS, REPLIES, strict=True):
        reply = [*chat.encode_reply(text), chat.end_id]
        # Hidden states are read in fp32.
        expected = alone(model, chat.render_prompt(messages), reply)
        assert row.tolist() == pytest.approx(expected, abs=1e-5)


def test_of_a_long_prompt_the_end_is_read_of_a_long_reply_the_beginning(reader):
    model, chat = reader
    found = embed_replies(model, chat, PROMPTS, REPLIES, layer=LAYER, longest=16)
    lengths = []
    for row, messages, text in zip(found.states_ND, PROMPTS, REPLIES, strict=True):
        prompt, reply = chat.render_prompt(messages), [*chat.encode_reply(text), chat.end_id]
        kept = prompt[-8:]
        lengths.append(len(prompt) > 8 or len(kept) + len(reply) > 16)
        expected = alone(model, kept, reply[: 16 - len(kept)])
        assert row.tolist() == pytest.approx(expected, abs=1e-5)
    assert found.cut_N == lengths
    assert any(lengths)


def test_never_more_than_the_context(reader):
    model, chat = reader
    found = embed_replies(model, chat, PROMPTS[:1], ["goat " * 900], layer=LAYER, longest=10_000)
    assert found.cut_N == [True]
    assert found.states_ND.shape == (1, model.config.dim)
    assert embed_replies(model, chat, [], [], layer=LAYER, longest=9).states_ND.shape == (
        0,
        model.config.dim,
    )
