"""Packing, padding, reward read-out and model folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from camelid.errors import CheckpointError, ConfigError, DataError, MissingInputError
from camelid.formats.folder import load_reward_model, load_transformer, save_model
from camelid.inference.scoring import (
    action_log_probabilities,
    score,
    score_all,
    score_pairs,
)
from camelid.model.actor_critic import ActorCritic
from camelid.model.attention import CacheStep, KVCache
from camelid.model.config import ModelConfig, RopeScalingConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.train.objectives import RankedPair, make_pair_batch

CONFIG = ModelConfig(
    dim=32, layers=2, heads=4, kv_heads=2, ffn_dim=48, vocabulary_size=50, context=64
)


def make_model(seed: int = 0) -> Transformer:
    model = Transformer(CONFIG)
    model.initialise(seed)
    return model


def make_reward_model(seed: int = 0) -> RewardModel:
    model = RewardModel.from_chat_model(make_model(seed))
    generator = torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(model.head.weight, generator=generator)
    return model


def random_rows(count: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 30, (count,), generator=generator).tolist()
    return [torch.randint(1, 50, (n,), generator=generator).tolist() for n in lengths]


@torch.no_grad()
def test_b12_packed_documents_do_not_see_each_other() -> None:
    model = make_model().double()
    rows = random_rows(2, seed=5)
    packed = torch.tensor([rows[0] + rows[1]])
    positions = torch.tensor([list(range(len(rows[0]))) + list(range(len(rows[1])))])
    documents = torch.tensor([[0] * len(rows[0]) + [1] * len(rows[1])])
    whole = model(packed, positions_BL=positions, documents_BL=documents)
    alone = torch.cat([model(torch.tensor([row])) for row in rows], 1)
    assert torch.allclose(whole, alone, atol=1e-10, rtol=0)
    changed = packed.clone()
    changed[0, 1] = (changed[0, 1] + 1) % 50
    other = model(changed, positions_BL=positions, documents_BL=documents)
    start = len(rows[0])
    assert torch.equal(other[:, start:], whole[:, start:])
    assert not torch.equal(other[:, :start], whole[:, :start])


RELATIVE = replace(
    CONFIG,
    qkv_bias=True,
    rope_theta=500000.0,
    rope_scaling=RopeScalingConfig(
        factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=16
    ),
)


@torch.no_grad()
def test_b2_left_padded_right_padded_packed_and_single_rows_agree() -> None:
    model = Transformer(RELATIVE).double()
    model.initialise(0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    assert sum(p.numel() for p in model.parameters()) == RELATIVE.parameter_count
    rows = random_rows(3, seed=8)
    longest = max(map(len, rows))
    single = [model(torch.tensor([row]))[0] for row in rows]
    right = model(torch.tensor([row + [0] * (longest - len(row)) for row in rows]))
    gaps = [longest - len(row) for row in rows]
    left = model(
        torch.tensor([[0] * gap + row for gap, row in zip(gaps, rows, strict=True)]),
        positions_BL=torch.tensor([[0] * gap + list(range(longest - gap)) for gap in gaps]),
        documents_BL=torch.tensor([[1] * gap + [0] * (longest - gap) for gap in gaps]),
    )
    packed = model(
        torch.tensor([[token for row in rows for token in row]]),
        positions_BL=torch.tensor([[i for row in rows for i in range(len(row))]]),
        documents_BL=torch.tensor([[n for n, row in enumerate(rows) for _ in row]]),
    )[0]
    start = 0
    for index, (row, gap) in enumerate(zip(rows, gaps, strict=True)):
        expected = single[index]
        found = (right[index, : len(row)], left[index, gap:], packed[start : start + len(row)])
        for states in found:
            assert torch.allclose(states, expected, atol=1e-10, rtol=0)
        start += len(row)
    assert gaps.count(0) < 3


@torch.no_grad()
def test_cached_decoding_equals_the_full_forward() -> None:
    model = Transformer(RELATIVE).double()
    model.initialise(3)
    tokens = torch.randint(1, 50, (2, 60), generator=torch.Generator().manual_seed(2))
    whole = model(tokens)
    cache = KVCache(RELATIVE, 2, 60, torch.device("cpu"), torch.float64)
    slots = torch.arange(2)
    parts = [model(tokens[:, :20], step=CacheStep(cache, slots, None))]
    for position in range(20, 60):
        positions = torch.full((2, 1), position)
        step = CacheStep(cache, slots, position + 1)
        parts.append(model(tokens[:, position : position + 1], positions_BL=positions, step=step))
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-10, rtol=0)


def test_b2_score_does_not_depend_on_batch_or_padding() -> None:
    model = make_reward_model().double()
    rows = random_rows(7)
    alone = [score(model, [row])[0] for row in rows]
    for budget in (1, 64, 10_000):
        together = score(model, rows, batch_tokens=budget)
        assert together == pytest.approx(alone, abs=1e-10)
    assert max(alone) - min(alone) > 0.1
    pairs = list(zip(rows, [[*row[:3], 7, 8] for row in rows], strict=True))
    expected = [(score(model, [a])[0], score(model, [b])[0]) for a, b in pairs]
    for budget in (1, 64, 10_000):
        found = score_pairs(model, pairs, batch_tokens=budget)
        assert [*sum(found, ())] == pytest.approx([*sum(expected, ())], abs=1e-10)


@torch.no_grad()
def test_b1_reward_starts_small_by_its_seed_and_reads_the_last_real_token() -> None:
    fresh, again, other = (RewardModel.from_chat_model(make_model(), seed) for seed in (1, 1, 2))
    assert torch.equal(fresh.head.weight, again.head.weight)
    assert not torch.equal(fresh.head.weight, other.head.weight)
    assert 0 < max(map(abs, score(fresh, random_rows(3)))) < 1
    model = make_reward_model().double()
    row = random_rows(1)[0]
    values = model.values(torch.tensor([[*row, 0, 0]]))[0]
    assert score(model, [row])[0] == pytest.approx(float(values[len(row) - 1]), abs=1e-10)


@torch.no_grad()
def test_b1_the_id_of_the_padding_may_be_a_real_token() -> None:
    model = make_reward_model().double()
    # Rows are filled up with 0, the id that stands here at the end and in the middle: pad = eos.
    rows = [[3, 4, 0], [5, 0, 6, 7, 0], [8, 0, 0]]
    alone = [float(model.values(torch.tensor([row]))[0, -1]) for row in rows]
    assert score(model, rows) == pytest.approx(alone, abs=1e-10)
    assert len(set(alone)) == 3


def test_b2_in_bf16_a_batch_moves_scores_by_less_than_they_differ() -> None:
    model = make_reward_model()
    rows = random_rows(7)
    exact = score(model, rows)
    spread = max(exact) - min(exact)
    model.precision = "bfloat16"
    alone = [score(model, [row])[0] for row in rows]
    for budget in (1, 64, 10_000):
        # Eight bits of precision: a hundredth, and some for what adds up.
        assert score(model, rows, batch_tokens=budget) == pytest.approx(alone, abs=0.03 * spread)


@torch.no_grad()
def test_action_log_probabilities_match_a_plain_loop() -> None:
    policy, critic = make_model(1).double(), make_reward_model(2).double()
    rows = random_rows(5, seed=3)
    prompts = [1, 2, 1, 2, 2]
    [results] = action_log_probabilities(
        [policy], rows, prompts, temperature=0.7, critic=critic, batch_tokens=70
    )
    for row, start, result in zip(rows, prompts, results, strict=True):
        logits = policy.logits(policy(torch.tensor([row])))[0] / 0.7
        values = critic.values(torch.tensor([row]))[0]
        assert result.values is not None
        assert len(result.logp) == len(row) - start
        for action in range(len(row) - start):
            state = start + action - 1
            expected = torch.log_softmax(logits[state], -1)[row[start + action]]
            assert float(result.logp[action]) == pytest.approx(float(expected), abs=1e-10)
            assert float(result.values[action]) == pytest.approx(float(values[state]), abs=1e-10)


def test_several_models_at_once_give_the_bits_of_one_after_the_other() -> None:
    rows = random_rows(9, seed=6)
    rewards = [make_reward_model(seed) for seed in (1, 2, 3)]
    together = score_all(rewards, rows, batch_tokens=70)
    assert together == [score(model, rows, batch_tokens=70) for model in rewards]
    assert together[0] != together[1]
    policies, critic = [make_model(1), make_model(2)], rewards[2]
    prompts = [1 + index % 2 for index in range(9)]
    both = action_log_probabilities(policies, rows, prompts, critic=critic, batch_tokens=70)
    for index, policy in enumerate(policies):
        [alone] = action_log_probabilities([policy], rows, prompts, batch_tokens=70)
        for found, expected in zip(both[index], alone, strict=True):
            assert torch.equal(found.logp, expected.logp)
            # The critic belongs to the first model.
            assert (found.values is None) == (index == 1)
    assert not torch.equal(both[0][0].logp, both[1][0].logp)


@torch.no_grad()
def test_actor_critic_reads_the_states_before_the_actions() -> None:
    policy, critic = make_model(1).double(), make_reward_model(2).double()
    row = random_rows(1, seed=4)[0]
    actions = torch.zeros((1, len(row)), dtype=torch.bool)
    actions[0, 2:] = True
    logits, values = ActorCritic(policy, critic)(torch.tensor([row]), actions)
    whole = policy.logits(policy(torch.tensor([row])))[0]
    assert torch.allclose(logits, whole[1:-1], atol=1e-10, rtol=0)
    expected = critic.values(torch.tensor([row]))[0, 1:-1]
    assert torch.allclose(values, expected, atol=1e-10, rtol=0)


def test_model_folder_round_trip_and_damage(tmp_path: Path) -> None:
    model = make_model(3)
    save_model(model, tmp_path / "m")
    loaded = load_transformer(tmp_path / "m")
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(model(tokens), loaded(tokens))
    save_model(make_reward_model(), tmp_path / "r")
    assert load_reward_model(tmp_path / "r").head.weight.abs().sum() > 0
    with pytest.raises(CheckpointError, match="found a reward model, needed a transformer"):
        load_transformer(tmp_path / "r")
    with pytest.raises(MissingInputError, match="no model here"):
        load_transformer(tmp_path / "nothing")
    file = tmp_path / "m" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="checksum"):
        load_transformer(tmp_path / "m")


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of kv_heads"):
        ModelConfig(dim=32, layers=1, heads=4, kv_heads=3, ffn_dim=8, vocabulary_size=9, context=8)


@torch.no_grad()
@pytest.mark.parametrize("length", [97, 99, 100])
def test_case_context_overflow_padding_stays_inside_the_context(length: int) -> None:
    """Rounded up to a multiple of 16 the rows would be longer than the rotary table."""
    config = replace(CONFIG, context=100)
    model, scorer = Transformer(config).double(), RewardModel(config).double()
    model.initialise(0)
    torch.nn.init.normal_(scorer.head.weight, generator=torch.Generator().manual_seed(1))
    rows = [[(7 * i + j) % 50 for j in range(length)] for i in range(3)]
    expected = [float(scorer.values(torch.tensor([row]))[0, -1]) for row in rows]
    assert score(scorer, rows) == pytest.approx(expected, abs=1e-10)
    [found] = action_log_probabilities((model,), rows, [length - 4] * 3, critic=scorer)
    for row, values in zip(rows, found, strict=True):
        logp_LV = model.logits(model(torch.tensor([row])))[0].log_softmax(-1)
        plain = [float(logp_LV[i - 1, row[i]]) for i in range(length - 4, length)]
        assert values.logp.tolist() == pytest.approx(plain, abs=1e-10)
        assert values.values is not None
    batch = make_pair_batch(
        [RankedPair(rows[0], rows[1], None, None)], "none", 0, torch.device("cpu"), longest=100
    )
    assert batch.rows.tokens_BL.shape == (1, 208)
    assert batch.rows.positions_BL.max() == length - 1
    assert score_pairs(scorer, [(rows[0], rows[1])])[0] == pytest.approx(expected[:2], abs=1e-10)


def test_case_context_overflow_is_refused() -> None:
    model, scorer = make_model(), make_reward_model()
    long = [[7] * 65]
    for call in (
        lambda: score(scorer, long),
        lambda: score_pairs(scorer, [([7], long[0])]),
        lambda: action_log_probabilities((model,), long, [3]),
        lambda: make_pair_batch(
            [RankedPair(long[0], [7], None, None)], "none", 0, torch.device("cpu"), longest=64
        ),
        lambda: model(torch.tensor(long)),
    ):
        with pytest.raises(DataError, match="65 tokens for a model with a context of 64"):
            call()
    with pytest.raises(ConfigError, match=r"row_tokens is 65, .* at most 64"):
        CONFIG.require_context(65, "row_tokens")
    CONFIG.require_context(64, "row_tokens")
