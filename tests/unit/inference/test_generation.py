"""The generation engine against a plain loop without cache, slots or batches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from camelid.errors import ConfigError, DataError
from camelid.inference.generation import Completion, Request, draw, generate, uniforms
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer

END = 5


def make_model() -> Transformer:
    config = ModelConfig(
        dim=32, layers=2, heads=4, kv_heads=2, ffn_dim=48, vocabulary_size=40, context=64
    )
    model = Transformer(config)
    model.initialise(0)
    model.double()
    with torch.no_grad():
        model.output.weight.mul_(3)
    return model


def make_requests() -> list[Request]:
    generator = torch.Generator().manual_seed(2)
    return [
        Request(
            f"r{i}",
            tuple(torch.randint(6, 40, (2 + 3 * i,), generator=generator).tolist()),
            samples=1 + i % 4,
        )
        for i in range(9)
    ]


@torch.no_grad()
def plain_loop(model: Transformer, request: Request, sample: int, sampling: Sampling, seed: int):
    numbers = uniforms(seed, request.id, sample, sampling.max_new_tokens)
    ids, out = list(request.tokens), []
    for number in numbers:
        logits = model.logits(model(torch.tensor([ids])))[0, -1]
        if sampling.temperature == 0:
            token = int(logits.argmax())
        else:
            p = torch.softmax(logits / sampling.temperature, -1).numpy()
            order = np.argsort(-p, kind="stable") if sampling.top_p < 1 else np.arange(len(p))
            p = p[order]
            if sampling.top_p < 1:
                p[(np.cumsum(p) - p) > sampling.top_p] = 0
            cumulative = np.cumsum(p)
            index = int(np.searchsorted(cumulative, number * cumulative[-1], side="right"))
            token = int(order[index])
        out.append(token)
        ids.append(token)
        if token == END:
            break
    return Completion(request.id, sample, tuple(out), "stop" if out[-1] == END else "length")


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0, max_new_tokens=15),
        Sampling(temperature=0.6, top_p=0.9, max_new_tokens=15),
        Sampling(temperature=0.0, max_new_tokens=6),
    ],
)
@pytest.mark.parametrize("slots", [1, 3, 64])
def test_engine_equals_the_plain_loop(sampling: Sampling, slots: int) -> None:
    model, requests = make_model(), make_requests()
    found = generate(model, requests, sampling, end_ids=[END], seed=7, slots=slots)
    expected = [
        plain_loop(model, request, sample, sampling, 7)
        for request in requests
        for sample in range(request.samples)
    ]
    assert found == expected
    if sampling.temperature == 1.0:
        assert {completion.stop_reason for completion in found} == {"stop", "length"}


def test_samples_of_a_prompt_differ_and_continue() -> None:
    model = make_model()
    sampling = Sampling(max_new_tokens=8)
    four = generate(model, [Request("a", (7, 8), 4)], sampling, end_ids=[END], seed=1)
    assert len({completion.tokens for completion in four}) > 1
    tail = generate(model, [Request("a", (7, 8), 2, 2)], sampling, end_ids=[END], seed=1)
    assert [c.tokens for c in tail] == [c.tokens for c in four[2:]]


def test_draw_follows_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)).expand(10_000, 3)
    numbers = torch.linspace(0, 1 - 1e-4, 10_000, dtype=torch.float64)
    ones = torch.ones(10_000)
    drawn, logp = draw(logits, numbers, ones)
    assert logp.tolist() == pytest.approx(logits[0, drawn].tolist())
    counts = drawn.bincount(minlength=3) / 10_000
    assert counts.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=2e-4)
    drawn, logp = draw(logits, numbers, ones, 0.6)
    # Of the two tokens that the cut leaves.
    of_kept = torch.tensor([0.625, 0.375, 0.0], dtype=torch.float64).log()
    assert logp.tolist() == pytest.approx(of_kept[drawn].tolist())
    kept = drawn.bincount(minlength=3) / 10_000
    assert kept.tolist() == pytest.approx([0.625, 0.375, 0.0], abs=2e-4)
    flatter = draw(logits, numbers, 2 * ones)[0].bincount(minlength=3) / 10_000
    roots = torch.tensor([0.5, 0.3, 0.2]).sqrt()
    assert flatter.tolist() == pytest.approx((roots / roots.sum()).tolist(), abs=2e-4)
    greedy, logp = draw(logits, numbers, 0 * ones)
    assert (greedy.unique().tolist(), logp.unique().tolist()) == ([0], [0.0])


def test_each_request_has_its_own_temperature() -> None:
    model = make_model()
    requests = [Request(str(i), (7, i), 2, temperature=t) for i, t in enumerate((0.0, 0.7, None))]
    mixed = generate(model, requests, Sampling(max_new_tokens=8), end_ids=[END], seed=1)
    for request, temperature in zip(requests, (0.0, 0.7, 1.0), strict=True):
        sampling = Sampling(temperature=temperature, max_new_tokens=8)
        alone = Request(request.id, request.tokens, 2)
        found = generate(model, [alone], sampling, end_ids=[END], seed=1)
        assert [c.tokens for c in found] == [c.tokens for c in mixed if c.request_id == request.id]


@torch.no_grad()
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_b5_the_engine_says_how_probable_each_token_was(temperature: float) -> None:
    model, requests = make_model(), make_requests()
    sampling = Sampling(temperature=temperature, max_new_tokens=15)
    prompts = {request.id: request.tokens for request in requests}
    for reply in generate(model, requests, sampling, end_ids=[END], seed=7, slots=3):
        prompt = prompts[reply.request_id]
        ids = torch.tensor([[*prompt, *reply.tokens]])
        logp_LV = (model.logits(model(ids))[0] / temperature).log_softmax(-1)
        states = range(len(prompt) - 1, ids.shape[1] - 1)
        forced = [float(logp_LV[i, ids[0, i + 1]]) for i in states]
        assert reply.logp == pytest.approx(forced, abs=1e-9)


def test_prompts_that_cannot_be_answered_are_refused() -> None:
    model = make_model()
    for tokens in ((), tuple([7] * 64)):
        with pytest.raises(DataError, match="tokens; between 1 and 63"):
            generate(model, [Request("x", tokens)], Sampling(), end_ids=[END], seed=0)
    with pytest.raises(DataError, match="share an id"):
        generate(
            model,
            [Request("x", (7,)), Request("x", (8,))],
            Sampling(),
            end_ids=[END],
            seed=0,
        )


def test_a_full_context_ends_a_reply() -> None:
    model = make_model()
    [reply] = generate(
        model,
        [Request("x", tuple([7] * 60))],
        Sampling(temperature=0, max_new_tokens=50),
        end_ids=[99],
        seed=0,
    )
    assert reply.stop_reason == "length"
    assert len(reply.tokens) == 4


def test_case_several_end_ids_each_ends_a_reply() -> None:
    model, requests, sampling = make_model(), make_requests(), Sampling(max_new_tokens=15)
    one = generate(model, requests, sampling, end_ids=[END], seed=7)
    [other] = [token for token, _ in Counter(one[0].tokens[1:]).most_common(1)]
    found = generate(model, requests, sampling, end_ids=[END, other], seed=7)
    last = {reply.tokens[-1] for reply in found if reply.stop_reason == "stop"}
    assert last == {END, other}
    for reply, whole in zip(found, one, strict=True):
        ends = [i for i, token in enumerate(whole.tokens) if token in (END, other)]
        assert reply.tokens == whole.tokens[: ends[0] + 1 if ends else None]
        assert other not in reply.words


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_case_padded_vocabulary_rows_without_a_token_are_not_drawn(temperature: float) -> None:
    """As if the table had no such rows."""
    model, requests = make_model(), make_requests()
    sampling = Sampling(temperature=temperature, max_new_tokens=15)
    plain = generate(model, requests, sampling, end_ids=[END], seed=7)
    wide = Transformer(replace(model.config, vocabulary_size=46)).double()
    state = model.state_dict()
    for name in ("tok_embeddings.weight", "output.weight"):
        # The most probable of all, wherever any token of the table is.
        state[name] = torch.cat([state[name], 3 * state[name][:6].abs().amax() + state[name][6:12]])
    wide.load_state_dict(state)
    drawn = generate(wide, requests, sampling, end_ids=[END], seed=7)
    assert any(token >= 40 for reply in drawn for token in reply.tokens)
    found = generate(wide, requests, sampling, end_ids=[END], never=range(40, 46), seed=7)
    assert found == plain
    for reply, expected in zip(found, plain, strict=True):
        assert reply.logp == pytest.approx(expected.logp, abs=1e-9)


def test_case_context_overflow_of_the_reply_alone() -> None:
    responder = ModelResponder(make_model(), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"64 tokens leave no room .* context of 64"):
        responder.answer([], Sampling(max_new_tokens=64), seed=0)
