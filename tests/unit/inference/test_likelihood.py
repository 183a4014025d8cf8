"""Log-likelihoods of continuations against the full forward, one item at a time in float64."""

from __future__ import annotations

import random

import pytest
import torch

from camelid.inference.likelihood import Pair, _join, continuation_likelihoods
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer


def tiny(dtype=torch.float64, kv_heads=2):
    config = ModelConfig(
        dim=32,
        layers=2,
        heads=4,
        kv_heads=kv_heads,
        ffn_dim=48,
        vocabulary_size=23,
        context=95,
        tied_embeddings=True,
    )
    model = Transformer(config)
    model.initialise(5)
    return model.to(dtype)


def plain(model, pair):
    """Sum of log softmax over the continuation, and whether each token is the largest."""
    tokens = [*pair.context, *pair.continuation]
    with torch.no_grad():
        logits = model.logits(model(torch.tensor([tokens[:-1]])))[0].double()
    total, greedy = 0.0, True
    for index in range(len(pair.context), len(tokens)):
        row = logits[index - 1]
        total += (row[tokens[index]] - row.exp().sum().log()).item()
        greedy = greedy and int(row.argmax()) == tokens[index]
    return total, greedy


def items(seed):
    """Items as benchmarks have them: shared examples, several choices, letters, nested choices."""
    draw = random.Random(seed)

    def text(length):
        return tuple(draw.randrange(23) for _ in range(length))

    examples = text(20)
    pairs = []
    for _ in range(5):
        question = examples + text(draw.randrange(1, 12))
        pairs += [Pair(question, (letter,)) for letter in range(4)]
    for _ in range(4):
        question = text(draw.randrange(1, 15))
        choice = text(6)
        pairs += [Pair(question, choice), Pair(question, choice[:3]), Pair(question, text(4))]
    pairs += [Pair(text(1), text(1)), Pair(text(90), text(6)), pairs[0]]
    draw.shuffle(pairs)
    return pairs


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(("batch_tokens", "row_tokens"), [(2048, 1024), (64, 40), (1, 1)])
def test_equals_the_full_forward_of_each_item(batch_tokens, row_tokens, kv_heads):
    model = tiny(kv_heads=kv_heads)
    pairs = items(1)
    found = continuation_likelihoods(model, pairs, batch_tokens=batch_tokens, row_tokens=row_tokens)
    for pair, likelihood in zip(pairs, found, strict=True):
        total, greedy = plain(model, pair)
        # Each token's number is rounded to fp32, to 2^-24 of itself; all have one sign.
        assert likelihood.log_probability == pytest.approx(total, rel=2**-23)
        assert likelihood.greedy == greedy


def test_greedy_continuations_are_recognised():
    model = tiny()
    context = (3, 1, 4, 1, 5)
    tokens = list(context)
    with torch.no_grad():
        for _ in range(6):
            tokens.append(int(model.logits(model(torch.tensor([tokens])))[0, -1].argmax()))
    right = Pair(context, tuple(tokens[5:]))
    wrong = Pair(context, (*tokens[5:10], (tokens[10] + 1) % 23))
    found = continuation_likelihoods(model, [wrong, right])
    assert [likelihood.greedy for likelihood in found] == [False, True]


def test_common_beginnings_are_computed_once():
    pairs = items(2)
    inputs = {(*pair.context, *pair.continuation[:-1]) for pair in pairs}
    rows = _join(sorted(inputs), 1024)
    assert sorted(s for row in rows for s in row.sequences) == sorted(inputs)
    assert sum(row.length for row in rows) < 0.75 * sum(map(len, inputs))
    for row in rows:
        assert len({sequence[: row.shared] for sequence in row.sequences}) == 1
    assert all(row.length <= 30 or len(row.sequences) == 1 for row in _join(sorted(inputs), 30))
