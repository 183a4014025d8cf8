"""Exact numbers of the paper and of the released code that follow from a formula of the package."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from camelid import losses
from camelid.model.config import ModelConfig, ffn_width
from camelid.recipes import llama2
from camelid.report.energy import Power
from camelid.train.config import OptimizerConfig
from camelid.train.optimizer import cosine_with_warmup, warmup_steps

# (dim, layers, heads, key-value heads, multiplier, multiple of) -> width, parameters (Section 2.2).
SHAPES = {
    "llama2_7b": ((4096, 32, 32, 32, None, 256), 11_008, 6_738_415_616),
    "llama2_13b": ((5120, 40, 40, 40, None, 256), 13_824, 13_015_864_320),
    "llama2_34b": ((8192, 48, 64, 8, 1.0, 256), 22_016, 33_743_970_304),
    "llama2_70b": ((8192, 80, 64, 8, 1.3, 4096), 28_672, 68_976_648_192),
}


@pytest.mark.parametrize("name", SHAPES)
def test_feed_forward_width_and_parameter_count(name):
    (dim, layers, heads, kv_heads, multiplier, multiple_of), width, parameters = SHAPES[name]
    assert ffn_width(dim, multiplier=multiplier, multiple_of=multiple_of) == width
    config = ModelConfig(
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        ffn_dim=width,
        vocabulary_size=32_000,
        context=4096,
    )
    assert config.parameter_count == parameters


def test_feed_forward_width_of_llama_30b():
    assert ffn_width(6656) == 17_920


@pytest.mark.parametrize("name", SHAPES)
def test_recipe_has_the_parameters_of_the_release(name):
    config = getattr(llama2, name)()
    assert config.parameter_count == SHAPES[name][2]
    assert config.ffn_dim == SHAPES[name][1]
    assert config.context == 4096


def test_carbon_of_table_2():
    rows = [(184_320, 400), (368_640, 400), (1_038_336, 350), (1_720_320, 400)]
    tonnes = [Power(watts=watts).carbon_kg(3600 * hours) / 1000 for hours, watts in rows]
    assert tonnes == pytest.approx([31.2238, 62.4476, 153.9074, 291.4222], abs=5e-5)
    # The table prints its rows cut to two places and the total of the exact ones.
    assert [math.floor(100 * row) / 100 for row in tonnes] == [31.22, 62.44, 153.90, 291.42]
    assert sum(tonnes) == pytest.approx(539.0010, abs=5e-5)


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(0.0, 0.313262), (1 / 3, 0.414370), (1.0, 0.693147), (3.0, 2.126928)],
)
def test_ranking_loss_at_a_difference_of_one(margin, expected):
    scores = (torch.tensor([1.5]), torch.tensor([0.5]), torch.tensor([margin]))
    assert losses.ranking_loss_sum(*scores).item() == pytest.approx(expected, abs=1e-6)


def test_margins_of_table_27():
    strengths = ("significantly_better", "better", "slightly_better", "negligibly_better")
    assert [losses.MARGINS["small"][name] for name in strengths] == [1, 2 / 3, 1 / 3, 0]
    assert [losses.MARGINS["large"][name] for name in strengths] == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("safety", "is_safety", "expected"),
    [
        (0.10, False, -2.197225),
        (0.20, False, 2.197225),
        (0.15, False, 2.197225),
        (0.20, True, -1.386294),
        (0.10, True, -2.197225),
    ],
)
def test_switch_between_the_rewards(safety, is_safety, expected):
    raw = losses.gated_reward(
        torch.tensor([losses.logit(0.90)]),
        torch.tensor([losses.logit(safety)]),
        torch.tensor([is_safety]),
    )
    assert raw.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("peak", [3.0e-4, 1.5e-4])
def test_schedule_of_pretraining(peak):
    # 2T tokens in batches of 4M.
    rates = {
        step: cosine_with_warmup(step, 500_000, 2000, peak, 0.1)
        for step in (1, 1000, 1999, 2000, 2001, 251_000, 499_999, 500_000)
    }
    assert rates[1] == pytest.approx(peak / 2000)
    assert rates[1000] == pytest.approx(peak / 2)
    assert rates[2000] == peak
    assert rates[251_000] == pytest.approx(0.55 * peak)
    assert rates[500_000] == pytest.approx(0.1 * peak)
    later = [rates[step] for step in (2000, 2001, 251_000, 499_999, 500_000)]
    assert all(before > after for before, after in itertools.pairwise(later))


def test_warmup_of_reward_models():
    config = OptimizerConfig(learning_rate=1e-5)
    # 3 % of the steps and at least 5; the paper does not say how it rounds.
    assert [warmup_steps(config, steps) for steps in (20, 100, 166, 167, 1000)] == [5, 5, 5, 6, 30]
