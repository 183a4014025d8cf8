"""Golden numbers of the RLHF equations, from plain per-sequence loops in float64 elsewhere.

Each check takes the losses module, so that the mutation tests can hand it a broken one.
"""

from __future__ import annotations

import math

import pytest
import torch

from camelid import losses as package_losses

# Three replies of 8, 5 and 3 actions in rows of 8; what stands behind a reply is noise on purpose.
LENGTHS = [8.0, 5.0, 3.0]
LOGP = [
    [-1.0, -1.5, -1.3, -1.1, -1.6, -1.4, -1.2, -1.0],
    [-1.3, -1.1, -1.6, -1.4, -1.2, -1.0, -1.5, -1.3],
    [-1.6, -1.4, -1.2, -1.0, -1.5, -1.3, -1.1, -1.6],
]
REFERENCE_LOGP = [
    [-1.05, -1.35, -1.65, -1.25, -1.55, -1.15, -1.45, -1.05],
    [-1.25, -1.55, -1.15, -1.45, -1.05, -1.35, -1.65, -1.25],
    [-1.45, -1.05, -1.35, -1.65, -1.25, -1.55, -1.15, -1.45],
]
VALUES = [
    [-0.2, -0.1, 0.0, 0.1, 0.2, -0.15, -0.05, 0.05],
    [0.05, 0.15, -0.2, -0.1, 0.0, 0.1, 0.2, -0.15],
    [-0.15, -0.05, 0.05, 0.15, -0.2, -0.1, 0.0, 0.1],
]
NEW_LOGP = [
    [-1.24, -1.5, -1.06, -1.16, -1.42, -1.52, -1.08, -1.18],
    [-1.48, -1.04, -1.84, -1.4, -0.96, -1.06, -1.32, -1.42],
    [-1.72, -1.28, -1.38, -0.94, -1.74, -1.3, -0.86, -1.66],
]
NEW_VALUES = [
    [-0.6, 0.2, 0.2, 0.2, 0.2, -0.25, -0.25, -0.25],
    [-0.15, -0.15, -0.6, 0.2, 0.2, 0.2, 0.2, -0.25],
    [-0.15, -0.15, -0.15, -0.15, -0.6, 0.2, 0.2, 0.2],
]
SCORES = [1.0, -0.5, 2.0]
BETA = 0.1

# Expected values, action by action; behind the end of a reply 0 is expected.
REWARDS = [
    [-0.005, 0.015, -0.035, -0.015, 0.005, 0.025, -0.025, 0.995],
    [0.005, -0.045, 0.045, -0.005, -0.485],
    [0.015, 0.035, 1.985],
]
ADVANTAGES = [
    [
        0.866567972543,
        0.812176813203,
        0.733870329687,
        0.70407403125,
        0.651656875,
        1.0491125,
        0.97275,
        0.945,
    ],
    [-0.45297240625, -0.587339375, -0.2024625, -0.36575, -0.485],
    [1.9895875, 1.97325, 1.935],
]
RETURNS = [
    [
        0.666567972543,
        0.712176813203,
        0.733870329687,
        0.80407403125,
        0.851656875,
        0.8991125,
        0.92275,
        0.995,
    ],
    [-0.40297240625, -0.437339375, -0.4024625, -0.46575, -0.485],
    [1.8395875, 1.92325, 1.985],
]
WHITENED = [
    [
        0.238173917573,
        0.175846813187,
        0.086115017958,
        0.051971288985,
        -0.008093795283,
        0.447352614184,
        0.35984843949,
        0.328049574239,
    ],
    [-1.273894071573, -1.427865860168, -0.986833503899, -1.173945475421, -1.310594653122],
    [1.525047669937, 1.506326446116, 1.462495577797],
]
POLICY_LOSS_TOKEN_MEAN = 0.022178707904
POLICY_LOSS_SEQUENCE_MEAN = -0.126676518771
VALUE_LOSS_TOKEN_MEAN = 0.664997080173
K1 = [
    [0.049999952, -0.149999976, 0.350000024, 0.149999976, -0.050000072, -0.25, 0.25, 0.049999952],
    [
        -0.049999952,
        0.449999928,
        -0.450000048,
        0.050000072,
        -0.150000095,
        0.350000024,
        0.149999976,
        -0.049999952,
    ],
    [-0.149999976, -0.350000024, 0.149999976, 0.649999976, -0.25, 0.25, 0.049999952, -0.149999976],
]
K3 = [
    [
        0.001229405,
        0.011834264,
        0.054688096,
        0.010707974,
        0.001271129,
        0.034025431,
        0.028800786,
        0.001229405,
    ],
    [
        0.001271129,
        0.087628126,
        0.11831224,
        0.001229405,
        0.011834264,
        0.054688096,
        0.010707974,
        0.001271129,
    ],
    [
        0.011834264,
        0.069067597,
        0.010707974,
        0.172045767,
        0.034025431,
        0.028800786,
        0.001229405,
        0.011834264,
    ],
]

LLAMA2_LOGIT = [-2.944438963481, -1.815289961688, 0.847297803621, 0.0, -4.595119872712]
LLAMA2_WHITENED = [-0.565517721158, -0.051768431163, 1.159677154673, 0.774166788608, -1.31655779096]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def padded(rows):
    return double([row + [0.0] * (8 - len(row)) for row in rows])


def assert_near(actual, expected, tolerance=1e-9):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert actual.shape == expected.shape
    difference = (actual.double() - expected).abs().max().item()
    assert difference <= tolerance, f"off by {difference}"


def mask():
    return torch.arange(8) < torch.tensor(LENGTHS)[:, None]


def check_kl_estimators(losses):
    for dtype in (torch.float64, torch.float32):
        penalty = losses.kl_penalty(double(LOGP).to(dtype), double(REFERENCE_LOGP).to(dtype))
        assert penalty.k1.dtype == dtype
        for estimate, expected in ((penalty.k1, K1), (penalty.k3, K3)):
            # The expected numbers were made from log-probabilities in float32, rounded to 1.2e-7.
            assert_near(estimate, expected, 1e-6)


def check_token_rewards(losses):
    k1 = losses.kl_penalty(double(LOGP), double(REFERENCE_LOGP)).k1
    assert_near(losses.token_rewards(double(SCORES), k1, mask(), BETA), padded(REWARDS))


def check_advantages(losses):
    result = losses.generalised_advantages(padded(REWARDS), double(VALUES), mask())
    assert_near(result.advantages, padded(ADVANTAGES))
    assert_near(result.returns, padded(RETURNS))


def check_whitened_advantages(losses):
    # A value behind the end must not matter: 9 stands there.
    advantages = torch.where(mask(), padded(ADVANTAGES), 9.0)
    whitened = losses.whiten(advantages, mask())
    assert_near(whitened, padded(WHITENED))
    assert abs(whitened.sum().item()) < 1e-9


def check_policy_loss(losses):
    arguments = (double(NEW_LOGP), double(LOGP), padded(WHITENED), mask())
    result = losses.policy_loss_sum(*arguments)
    assert_near(result.loss / sum(LENGTHS), POLICY_LOSS_TOKEN_MEAN)
    rows = [losses.policy_loss_sum(*(tensor[row] for tensor in arguments)) for row in range(3)]
    means = [row.loss / length for row, length in zip(rows, LENGTHS, strict=True)]
    assert_near(sum(means) / 3, POLICY_LOSS_SEQUENCE_MEAN)
    assert int(result.clipped) == sum(int(row.clipped) for row in rows) == 2


def check_value_loss(losses):
    loss = losses.value_loss_sum(double(NEW_VALUES), double(VALUES), padded(RETURNS), mask())
    assert_near(loss / sum(LENGTHS), VALUE_LOSS_TOKEN_MEAN)


def check_ranking_loss(losses):
    chosen, rejected = double([1.2, 0.3, -0.4, 2.0]), double([0.1, 0.5, -1.0, 1.9])
    for name, expected in (
        ("none", 0.5418397012641198),
        ("small", 0.7687600251248162),
        ("large", 1.4754704976312953),
    ):
        margins = double(list(losses.MARGINS[name].values()))
        assert_near(losses.ranking_loss_sum(chosen, rejected, margins) / 4, expected)


def check_margins_at_equal_scores(losses):
    strengths = ("significantly_better", "better", "slightly_better", "negligibly_better")
    for name, expected in (
        ("none", (0.693147, 0.693147, 0.693147, 0.693147)),
        ("small", (1.313262, 1.081037, 0.873639, 0.693147)),
        ("large", (3.048587, 2.126928, 1.313262, 0.693147)),
    ):
        for strength, value in zip(strengths, expected, strict=True):
            margin = double([losses.MARGINS[name][strength]])
            loss = losses.ranking_loss_sum(double([0.7]), double([0.7]), margin)
            assert_near(loss, value, 1e-6)


def check_llama2_reward(losses):
    safety = [losses.logit(p) for p in (0.05, 0.14, 0.15, 0.5, 0.9)]
    helpfulness = [losses.logit(p) for p in (0.9, 0.2, 0.7, 0.4, 0.01)]
    is_safety = torch.tensor([False, False, False, True, False])
    for dtype in (torch.float64, torch.float32):
        scores = losses.gated_reward(
            torch.tensor(helpfulness, dtype=dtype), torch.tensor(safety, dtype=dtype), is_safety
        )
        # The expected numbers were made from probabilities in float32, which rounds a score of 4.6
        # to 2.4e-7.
        assert_near(scores, LLAMA2_LOGIT, 1e-6)
        assert_near(scores.sigmoid(), (0.05, 0.14, 0.7, 0.5, 0.01), 1e-6)
        assert_near(losses.whiten(scores), LLAMA2_WHITENED, 1e-6)
    assert math.isclose(losses.logit(0.15), -1.7346010554, abs_tol=1e-9)


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_golden(check):
    check(package_losses)
