"""Each equation against a reference written here in plain float64 numpy or python loops.

Each check takes the losses module, so that the mutation tests can hand it a broken one.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid import losses as package_losses
from camelid.errors import ConfigError

HOLES = torch.tensor(
    [
        [True, True, False, False, True, True, False],
        [False, True, True, True, True, True, True],
        [True, False, True, False, False, False, False],
    ]
)


def random(*shape, seed=0, scale=1.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * scale)


def near(actual, expected, tolerance=1e-9):
    actual = np.asarray(actual.detach(), dtype=np.float64)
    expected = np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def with_nan(values, mask):
    return torch.where(mask, values, torch.nan)


def log_softmax_row(row):
    top = max(row)
    total = math.log(sum(math.exp(x - top) for x in row)) + top
    return [x - total for x in row]


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def check_cross_entropy(losses):
    logits, targets = random(5, 7, scale=3.0), torch.tensor([0, 6, 3, 3, 1])
    rows = [log_softmax_row(row) for row in logits.tolist()]
    picked = [row[target] for row, target in zip(rows, targets.tolist(), strict=True)]
    near(losses.cross_entropy_sum(logits, targets), -sum(picked))
    near(losses.log_probabilities(logits, targets), picked)
    near(losses.entropy(logits), [-sum(math.exp(x) * x for x in row) for row in rows])


def check_cross_entropy_adds_up_over_splits(losses):
    logits, targets = random(6, 7), torch.arange(6)
    parts = losses.cross_entropy_sum(logits[:2], targets[:2]) + losses.cross_entropy_sum(
        logits[2:], targets[2:]
    )
    near(losses.cross_entropy_sum(logits, targets), parts)
    assert losses.cross_entropy_sum(logits[:0], targets[:0]).item() == 0.0


def check_temperature(losses):
    logits, tokens = random(4, 5, scale=2.0), torch.tensor([4, 0, 2, 2])
    rows = [log_softmax_row([x / 0.7 for x in row]) for row in logits.tolist()]
    picked = [row[token] for row, token in zip(rows, tokens.tolist(), strict=True)]
    near(losses.log_probabilities(logits, tokens, 0.7), picked)
    near(losses.entropy(logits, 0.7), [-sum(math.exp(x) * x for x in row) for row in rows])


def check_low_precision_is_raised(losses):
    logits, tokens = random(4, 300).to(torch.bfloat16), torch.tensor([4, 0, 2, 2])
    reference = losses.log_probabilities(logits.double(), tokens)
    assert losses.log_probabilities(logits, tokens).dtype == torch.float32
    for found, expected in (
        (losses.log_probabilities(logits, tokens), reference),
        (losses.cross_entropy_sum(logits, tokens), -reference.sum()),
        (losses.entropy(logits), losses.entropy(logits.double())),
    ):
        # A sum of 300 terms in float32, in any order: 300 * 2^-24 of it. bfloat16 rounds to 2^-9.
        near(found / expected, torch.ones_like(expected), 300 * 2**-24)
    chosen, rejected = torch.tensor([300.0, 3.0]), torch.tensor([299.0, 3.0])
    loss = losses.ranking_loss_sum(chosen.bfloat16(), rejected.bfloat16(), torch.zeros(2))
    assert loss.dtype == torch.float32


def check_entropy_of_impossible_tokens(losses):
    near(losses.entropy(torch.tensor([[0.0, -torch.inf, 0.0]])), [math.log(2)], 1e-6)


def check_ranking_loss(losses):
    chosen, rejected, margin = random(6, seed=1), random(6, seed=2), random(6, seed=3).abs()
    expected = sum(
        softplus(-(c - r - m))
        for c, r, m in zip(chosen.tolist(), rejected.tolist(), margin.tolist(), strict=True)
    )
    near(losses.ranking_loss_sum(chosen, rejected, margin), expected)
    # Far apart scores stay finite, and equal scores without margin cost ln 2 each.
    far = losses.ranking_loss_sum(torch.tensor([-500.0]), torch.tensor([500.0]), torch.zeros(1))
    assert far.item() == pytest.approx(1000.0)
    near(losses.ranking_loss_sum(chosen, chosen, torch.zeros(6)), 6 * math.log(2))


def check_margins(losses):
    third = 1 / 3
    assert {name: list(margins.values()) for name, margins in losses.MARGINS.items()} == {
        "none": [0.0] * 4,
        "small": [1.0, pytest.approx(2 * third), pytest.approx(third), 0.0],
        "large": [3.0, 2.0, 1.0, 0.0],
    }


def check_safety_auxiliary(losses):
    chosen, rejected = random(5, seed=4), random(5, seed=5)
    chosen_safe = torch.tensor([True, True, False, True, False])
    rejected_safe = torch.tensor([False, True, False, True, True])
    labelled = torch.tensor([True, True, True, False, True])
    expected = 0.0
    for row in range(5):
        if labelled[row]:
            for score, safe in (
                (chosen[row].item(), chosen_safe[row]),
                (rejected[row].item(), rejected_safe[row]),
            ):
                expected += 0.5 * softplus(-score if safe else score)
    arguments = (chosen, rejected, chosen_safe, rejected_safe)
    near(losses.safety_auxiliary_sum(*arguments, labelled), expected)
    assert losses.safety_auxiliary_sum(*arguments, torch.zeros(5, dtype=torch.bool)).item() == 0.0


def check_logit(losses):
    for probability in (0.05, 0.15, 0.5, 0.999):
        assert 1 / (1 + math.exp(-losses.logit(probability))) == pytest.approx(probability)
    for probability in (0.0, 1.0, -0.1, 1.5):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            losses.logit(probability)


def check_gate(losses):
    boundary = math.log(0.15 / 0.85)
    safety = torch.tensor([boundary - 1e-3, boundary + 1e-3, boundary, 4.0, -4.0, 4.0])
    helpfulness = torch.tensor([1.0, 2.0, 3.0, 5.0, 6.0, -7.0])
    tagged = torch.tensor([False, False, False, True, True, False])
    expected = [boundary - 1e-3, 2.0, 3.0, 4.0, -4.0, -7.0]
    near(losses.gated_reward(helpfulness, safety, tagged), expected, 1e-6)
    untagged = torch.zeros(6, dtype=torch.bool)
    near(
        losses.gated_reward(helpfulness, safety, untagged, threshold=0.5),
        [safety[0], safety[1], safety[2], 5.0, -4.0, -7.0],
        1e-6,
    )


def check_gate_boundary_is_strict_in_every_precision(losses):
    for dtype in (torch.float32, torch.float64):
        score = torch.tensor([losses.logit(0.15)], dtype=dtype)
        below = torch.nextafter(score, torch.tensor([-torch.inf], dtype=dtype))
        for safety, expected in ((score, 9.0), (below, below.item())):
            gated = losses.gated_reward(
                torch.tensor([9.0], dtype=dtype), safety, torch.tensor([0]) > 0
            )
            assert gated.item() == expected


def check_gate_keeps_large_scores(losses):
    scores = torch.tensor([6.5, 17.0, 40.0, 100.0])
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        raw = scores.to(dtype)
        gated = losses.gated_reward(-raw, raw, torch.ones(4, dtype=torch.bool))
        assert gated.dtype == torch.float32
        near(gated, scores)
        near(losses.gated_reward(raw, raw, torch.zeros(4, dtype=torch.bool)), scores)


def check_whiten(losses):
    values = random(3, 7, seed=6, scale=4.0) + 2
    counted = values[HOLES].numpy()
    scaled = np.zeros((3, 7))
    scaled[HOLES.numpy()] = counted / np.sqrt(counted.var(ddof=1) + 1e-8)
    mean = np.where(HOLES, counted.mean(), 0.0)
    factor = 1 / np.sqrt(counted.var(ddof=1) + 1e-8)
    near(losses.whiten(with_nan(values, HOLES), HOLES), scaled - mean * factor)
    flat = values.flatten().numpy()
    near(losses.whiten(values.flatten()), (flat - flat.mean()) / np.sqrt(flat.var(ddof=1) + 1e-8))
    # Small enough for the 1e-8 under the root to show.
    tiny = torch.tensor([0.0, 1e-4, 2e-4], dtype=torch.float64)
    near(losses.whiten(tiny), [-1 / math.sqrt(2), 0.0, 1 / math.sqrt(2)], 1e-9)


def check_whiten_without_variance(losses):
    for values in ([0.1], [0.1, 0.1, 0.1], [7.7] * 13):
        tensor = torch.tensor(values)
        assert losses.whiten(tensor).tolist() == [0.0] * len(values)
    nothing = torch.zeros(3, dtype=torch.bool)
    assert losses.whiten(torch.tensor([1.0, torch.nan, 2.0]), nothing).tolist() == [0.0] * 3
    one = torch.tensor([False, True, False])
    assert losses.whiten(torch.tensor([1.0, 5.0, 2.0]), one).tolist() == [0.0] * 3


def check_kl(losses):
    logp, reference = random(9, seed=7), random(9, seed=8)
    difference = logp.numpy() - reference.numpy()
    penalty = losses.kl_penalty(logp, reference)
    near(penalty.k1, difference)
    near(penalty.k3, np.exp(-difference) - 1 + difference)
    # The estimators are right: exact expectations over a small vocabulary give the divergence.
    p, q = torch.softmax(random(4, seed=9), 0), torch.softmax(random(4, seed=10), 0)
    exact = (p * (p / q).log()).sum().item()
    every = losses.kl_penalty(p.log(), q.log())
    near((p * every.k1).sum(), exact)
    near((p * every.k3).sum(), exact)
    assert losses.kl_penalty(logp, logp).k1.abs().max().item() == 0.0


def check_token_rewards(losses):
    scores, k1 = random(3, seed=11), random(3, 7, seed=12)
    expected = np.zeros((3, 7))
    for row in range(3):
        actions = [t for t in range(7) if HOLES[row, t]]
        for t in actions:
            expected[row, t] = -0.3 * k1[row, t].item()
        expected[row, actions[-1]] += scores[row].item()
    near(losses.token_rewards(scores, with_nan(k1, HOLES), HOLES, 0.3), expected)
    empty = torch.tensor([[False] * 7])
    near(losses.token_rewards(torch.tensor([torch.nan]), k1[:1], empty, 0.3), np.zeros((1, 7)))


def plain_advantages(rewards, values, gamma, lam):
    """The definition: sum over later actions of (gamma lam)^l times the temporal difference."""
    following = [*values[1:], 0.0]
    differences = [r + gamma * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    return [
        sum((gamma * lam) ** (later - t) * differences[later] for later in range(t, len(rewards)))
        for t in range(len(rewards))
    ]


def check_advantages_with_holes(losses):
    rewards, values = random(3, 7, seed=13), random(3, 7, seed=14)
    for gamma, lam in ((1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (1.0, 0.0)):
        result = losses.generalised_advantages(
            with_nan(rewards, HOLES), with_nan(values, HOLES), HOLES, gamma, lam
        )
        expected, returns = np.zeros((3, 7)), np.zeros((3, 7))
        for row in range(3):
            actions = HOLES[row].nonzero().flatten()
            plain = plain_advantages(
                rewards[row, actions].tolist(), values[row, actions].tolist(), gamma, lam
            )
            expected[row, actions] = plain
            returns[row, actions] = np.array(plain) + values[row, actions].numpy()
        near(result.advantages, expected)
        near(result.returns, returns)


def check_advantage_defaults(losses):
    rewards, values, mask = random(1, 4, seed=15), random(1, 4, seed=16), torch.ones(1, 4) > 0
    expected = plain_advantages(rewards[0].tolist(), values[0].tolist(), 1.0, 0.95)
    near(losses.generalised_advantages(rewards, values, mask).advantages, [expected])


def check_policy_loss(losses):
    new, old = random(3, 7, seed=17, scale=0.3), random(3, 7, seed=18, scale=0.3)
    advantages = random(3, 7, seed=19)
    for clip in (0.2, 0.1):
        expected, clipped = 0.0, 0
        for row, column in HOLES.nonzero().tolist():
            ratio = math.exp((new - old)[row, column].item())
            gain = advantages[row, column].item()
            near_ratio = min(max(ratio, 1 - clip), 1 + clip)
            expected += max(-gain * ratio, -gain * near_ratio)
            clipped += (ratio > 1 + clip and gain > 0) or (ratio < 1 - clip and gain < 0)
        masked = [with_nan(tensor, HOLES) for tensor in (new, old, advantages)]
        result = losses.policy_loss_sum(*masked, HOLES, clip)
        near(result.loss, expected)
        assert int(result.clipped) == clipped > 0
    near(
        losses.policy_loss_sum(new, old, advantages, HOLES).loss,
        losses.policy_loss_sum(new, old, advantages, HOLES, 0.2).loss,
    )


def check_policy_gradient(losses):
    """Clipped gains carry no gradient, clipped losses do, masked places never."""
    new = torch.tensor([0.5, 0.5, -0.5, -0.5, 0.0, torch.nan], requires_grad=True)
    gains = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0, torch.nan])
    mask = torch.tensor([True] * 5 + [False])
    losses.policy_loss_sum(new, torch.zeros(6), gains, mask).loss.backward()
    near(new.grad, [0.0, math.exp(0.5), -math.exp(-0.5), 0.0, -2.0, 0.0], 1e-6)


def check_policy_overflow(losses):
    new, old = torch.tensor([300.0, -300.0]), torch.zeros(2)
    result = losses.policy_loss_sum(new, old, torch.tensor([-1.0, -1.0]), torch.ones(2) > 0)
    assert result.loss.item() == pytest.approx(math.exp(20.0) + 0.8, rel=1e-6)


def check_value_loss(losses):
    new, old, returns = (random(3, 7, seed=seed) for seed in (20, 21, 22))
    for clip in (0.2, 0.5):
        expected = 0.0
        for row, column in HOLES.nonzero().tolist():
            v, v_old, target = (x[row, column].item() for x in (new, old, returns))
            near_value = min(max(v, v_old - clip), v_old + clip)
            expected += 0.5 * max((v - target) ** 2, (near_value - target) ** 2)
        masked = [with_nan(tensor, HOLES) for tensor in (new, old, returns)]
        near(losses.value_loss_sum(*masked, HOLES, clip), expected)
    near(
        losses.value_loss_sum(new, old, returns, HOLES),
        losses.value_loss_sum(new, old, returns, HOLES, 0.2),
    )


def check_explained_variance(losses):
    values, returns = random(3, 7, seed=23), random(3, 7, seed=24)
    v, target = values[HOLES].numpy(), returns[HOLES].numpy()
    explained = losses.explained_variance(with_nan(values, HOLES), with_nan(returns, HOLES), HOLES)
    near(explained, 1 - (target - v).var() / target.var())
    assert losses.explained_variance(returns, returns, HOLES).item() == 1.0
    constant = torch.full((3, 7), 2.0)
    near(losses.explained_variance(constant, returns, HOLES), 0.0)
    assert losses.explained_variance(values, constant, HOLES).isnan()
    assert losses.explained_variance(values, returns, torch.zeros(3, 7) > 0).isnan()


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_losses(check):
    check(package_losses)


FINITE = st.floats(-50, 50, allow_nan=False, width=32)


@settings(max_examples=50, deadline=None)
@given(st.lists(FINITE, min_size=2, max_size=20), st.floats(0.1, 10), FINITE)
def test_whitening_ignores_scale_and_shift(values, scale, shift):
    tensor = torch.tensor(values, dtype=torch.float64)
    if min(1, scale) * tensor.std().item() < 0.1:
        return
    moved = package_losses.whiten(scale * tensor + shift)
    # The 1e-8 under the root is at most 5e-7 of the deviation, and no value is beyond 4.3 of those.
    near(moved, package_losses.whiten(tensor), 5e-6)
    assert moved.mean().abs().item() < 1e-9
    assert moved.std().item() == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(FINITE, FINITE, st.booleans()), min_size=1, max_size=12),
    st.floats(0.5, 1),
    st.floats(0, 1),
)
def test_holes_change_nothing(steps, gamma, lam):
    """A row with holes has the advantages of the same row without them."""
    table = torch.tensor([[reward, value] for reward, value, _ in steps], dtype=torch.float64)
    mask = torch.tensor([[acts for _, _, acts in steps]])
    rewards, values = table[None, :, 0], table[None, :, 1]
    holed = package_losses.generalised_advantages(rewards, values, mask, gamma, lam)
    kept = mask[0].nonzero().flatten()
    if len(kept):
        closed = package_losses.generalised_advantages(
            rewards[:, kept], values[:, kept], mask[:, kept], gamma, lam
        )
        assert torch.equal(holed.advantages[:, kept], closed.advantages)
    assert not holed.advantages[~mask].any()
    assert not holed.returns[~mask].any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE, st.booleans()), min_size=1, max_size=12))
def test_lambda_one_gives_the_monte_carlo_return(steps):
    table = torch.tensor([[reward, value] for reward, value, _ in steps], dtype=torch.float64)
    mask = torch.ones(1, len(steps), dtype=torch.bool)
    result = package_losses.generalised_advantages(
        table[None, :, 0], table[None, :, 1], mask, lam=1
    )
    near(result.returns[0], table[:, 0].flip(0).cumsum(0).flip(0))
