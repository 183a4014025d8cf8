"""PPO's tensors against a plain loop in float64, and PPO as a whole on a toy bandit."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from camelid.data.records import Message, Prompt
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.rewards import RewardPair, Rewards
from camelid.inference.sampling import Sampling
from camelid.losses import log_probabilities, logit
from camelid.methods.rollout import Models, RolloutSettings, make_rollout, mini_batches
from camelid.model.actor_critic import ActorCritic
from camelid.model.config import ModelConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.train.config import OptimizerConfig
from camelid.train.loop import train
from camelid.train.objectives import ClippedPolicyAndValue
from camelid.train.optimizer import make_optimizer, make_schedule

CONFIG = ModelConfig(
    dim=16, layers=1, heads=2, kv_heads=1, ffn_dim=24, vocabulary_size=12, context=24
)
END = 1


def make_prompt(identity, is_safety=False):
    return Prompt(
        id=identity,
        messages=(Message(role="user", content="?"),),
        category="any",
        is_safety=is_safety,
        source="test",
        split="ppo",
    )


def make_policy(seed):
    model = Transformer(CONFIG)
    model.initialise(seed)
    return model


def make_reward_model(seed):
    model = RewardModel(CONFIG)
    model.trunk.initialise(seed)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(seed))
    return model


def make_replies():
    """Rows of different prompt and reply length; ended by the end token or by the length limit."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(3, 5, "stop"), (1, 1, "stop"), (7, 4, "length"), (2, 8, "length"), (4, 2, "stop")]
    shapes += [(5, 1, "length"), (1, 6, "stop")]
    replies = []
    for row, (prompt_length, length, reason) in enumerate(shapes):
        ids = torch.randint(2, 12, (prompt_length + length,), generator=generator).tolist()
        if reason == "stop":
            ids[-1] = END
        prompt = make_prompt(str(row), is_safety=row in {1, 3})
        own, tokens = tuple(ids[:prompt_length]), tuple(ids[prompt_length:])
        replies.append(Reply(prompt, 0, own, tokens, "text", reason))
    return replies


SETTINGS = RolloutSettings(beta=0.3, gamma=0.9, lam=0.8, missing_end_penalty=0.7, temperature=0.8)
THRESHOLD = 0.4


@pytest.fixture(scope="module")
def scene():
    """Models in float64 with a rollout of them."""
    model = ActorCritic(make_policy(1), make_reward_model(2)).double()
    reference = make_policy(3).double()
    helpfulness, safety, guard = (make_reward_model(seed).double() for seed in (4, 5, 6))
    replies = make_replies()
    pair = RewardPair(helpfulness, safety, THRESHOLD)
    rollout = make_rollout(Models(model, reference, pair, guard), replies, SETTINGS)
    return SimpleNamespace(
        model=model, reference=reference, pair=pair, guard=guard, replies=replies, rollout=rollout
    )


def mean_and_deviation(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) + 1e-8)


@torch.no_grad()
def by_hand(scene):
    """Everything of a rollout, one row and one action at a time, in Python floats."""
    final = []
    for reply in scene.replies:
        tokens = torch.tensor([reply.sequence])
        last = len(reply.sequence) - 1
        helpful = float(scene.pair.helpfulness.values(tokens)[0, last])
        safe = float(scene.pair.safety.values(tokens)[0, last])
        final.append(safe if reply.prompt.is_safety or safe < logit(THRESHOLD) else helpful)
    mean, deviation = mean_and_deviation(final)
    rows = []
    for reply, raw in zip(scene.replies, final, strict=True):
        tokens = torch.tensor([reply.sequence])
        own_LV = scene.model.policy.logits(scene.model.policy(tokens))[0] / SETTINGS.temperature
        base_LV = scene.reference.logits(scene.reference(tokens))[0] / SETTINGS.temperature
        values_L = scene.model.critic.values(tokens)[0]
        row = SimpleNamespace(logp=[], values=[], rewards=[], kl=[])
        for position in range(len(reply.prompt_tokens), len(reply.sequence)):
            token, state = reply.sequence[position], position - 1
            own = float(own_LV[state].log_softmax(-1)[token])
            base = float(base_LV[state].log_softmax(-1)[token])
            row.logp.append(own)
            row.kl.append(own - base)
            row.values.append(float(values_L[state]))
            row.rewards.append(-SETTINGS.beta * (own - base))
        penalty = SETTINGS.missing_end_penalty if reply.stop_reason == "length" else 0.0
        row.rewards[-1] += (raw - mean) / deviation - penalty
        # The definition of GAE: a sum over all later temporal differences, not the recursion.
        following = [*row.values[1:], 0.0]
        differences = [
            reward + SETTINGS.gamma * after - value
            for reward, after, value in zip(row.rewards, following, row.values, strict=True)
        ]
        decay = SETTINGS.gamma * SETTINGS.lam
        row.advantages = [
            sum(decay ** (k - t) * differences[k] for k in range(t, len(differences)))
            for t in range(len(differences))
        ]
        row.returns = [a + v for a, v in zip(row.advantages, row.values, strict=True)]
        rows.append(row)
    mean, deviation = mean_and_deviation([a for row in rows for a in row.advantages])
    for row in rows:
        row.whitened = [(a - mean) / deviation for a in row.advantages]
    return final, rows


def test_b6_rollout_equals_a_loop_over_rows_and_actions(scene):
    final, rows = by_hand(scene)
    rollout = scene.rollout
    assert rollout.mask_BA.sum(1).tolist() == [len(reply.tokens) for reply in scene.replies]
    for index, row in enumerate(rows):
        actions = slice(0, len(row.logp))
        # Rewards of a rollout are float32, whatever the models are.
        close = {"rel": 1e-4, "abs": 1e-5}
        assert rollout.logp_BA[index, actions].tolist() == pytest.approx(row.logp, abs=1e-9)
        assert rollout.values_BA[index, actions].tolist() == pytest.approx(row.values, abs=1e-9)
        assert rollout.returns_BA[index, actions].tolist() == pytest.approx(row.returns, **close)
        whitened = rollout.advantages_BA[index, actions].tolist()
        assert whitened == pytest.approx(row.whitened, **close)
        assert not rollout.mask_BA[index, len(row.logp) :].any()
        assert not rollout.advantages_BA[index, len(row.logp) :].any()
        assert not rollout.returns_BA[index, len(row.logp) :].any()
    counted = [len(row.logp) for row in rows]
    summary = rollout.summary
    assert summary.reward == pytest.approx(sum(final) / len(final), rel=1e-5)
    assert summary.kl == pytest.approx(sum(sum(row.kl) for row in rows) / len(rows), rel=1e-5)
    k3 = sum(math.expm1(-k) + k for row in rows for k in row.kl) / len(rows)
    assert summary.kl_k3 == pytest.approx(k3, rel=1e-5)
    surprise = -sum(sum(row.logp) for row in rows) / sum(counted)
    assert summary.entropy == pytest.approx(surprise, rel=1e-5)
    assert summary.eos_share == pytest.approx(4 / 7)
    assert summary.reply_length == pytest.approx(sum(counted) / 7)
    # Both branches of the gate took part, besides the two tagged prompts.
    assert 2 / 7 < summary.gated_share < 1


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@torch.no_grad()
def test_b3_a_policy_like_its_reference_has_no_divergence(scene, temperature):
    reference = make_policy(1).double()
    models = Models(scene.model, reference, scene.pair, scene.guard)
    settings = dataclasses.replace(SETTINGS, temperature=temperature)
    rollout = make_rollout(models, scene.replies, settings)
    # Exactly, not nearly: both are the same forward pass.
    assert (rollout.summary.kl, rollout.summary.kl_k3) == (0.0, 0.0)
    objective = ClippedPolicyAndValue(
        clip=0.2, value_clip=0.2, value_coefficient=1.0, temperature=temperature
    )
    for group in mini_batches(rollout, 4, 2, seed=0):
        for batch in group:
            _, metrics = objective.loss_sum(scene.model, batch)
            expected = -float(batch.advantages_N.sum())
            assert float(metrics["policy_loss"]) == pytest.approx(expected, abs=1e-6)
            assert float(metrics["clip_fraction"]) == 0


@torch.no_grad()
def test_b5_the_distance_of_the_sampler_is_a_mean_over_actions(scene):
    models = Models(scene.model, scene.reference, scene.pair, scene.guard)
    assert scene.rollout.summary.sampler_gap is None
    trained = [
        scene.rollout.logp_BA[row, : len(reply.tokens)].tolist()
        for row, reply in enumerate(scene.replies)
    ]
    count = sum(map(len, trained))
    sampled = [
        dataclasses.replace(reply, logp=tuple(logp))
        for reply, logp in zip(scene.replies, trained, strict=True)
    ]
    assert make_rollout(models, sampled, SETTINGS).summary.sampler_gap == 0.0
    # One token of one reply is half a nat off.
    first = sampled[2].logp[0] - 0.5
    sampled[2] = dataclasses.replace(sampled[2], logp=(first, *sampled[2].logp[1:]))
    gap = make_rollout(models, sampled, SETTINGS).summary.sampler_gap
    assert gap == pytest.approx(0.5 / count)
    # It is only watched: what is trained on are the trainer's own.
    again = make_rollout(models, sampled, SETTINGS)
    assert torch.equal(again.logp_BA, scene.rollout.logp_BA)
    assert torch.equal(again.advantages_BA, scene.rollout.advantages_BA)


@torch.no_grad()
def test_b15_a_rollout_says_what_the_critic_explains(scene):
    _, rows = by_hand(scene)
    returns = [target for row in rows for target in row.returns]
    errors = [t - v for row in rows for t, v in zip(row.returns, row.values, strict=True)]
    explained = 1 - mean_and_deviation(errors)[1] ** 2 / mean_and_deviation(returns)[1] ** 2
    assert scene.rollout.summary.value_explained_variance == pytest.approx(explained, abs=1e-5)


@torch.no_grad()
def test_guard_only_watches(scene):
    scores = []
    for reply in scene.replies:
        values_L = scene.guard.values(torch.tensor([reply.sequence]))[0]
        scores.append(float(values_L[-1]))
    assert scene.rollout.summary.guard_reward == pytest.approx(sum(scores) / 7, rel=1e-6)
    other = Models(scene.model, scene.reference, scene.pair, make_reward_model(9).double())
    again = make_rollout(other, scene.replies, SETTINGS)
    assert torch.equal(again.advantages_BA, scene.rollout.advantages_BA)
    assert again.summary.guard_reward != scene.rollout.summary.guard_reward


@pytest.mark.parametrize(("minibatch_rows", "micro_rows"), [(7, 7), (4, 2), (3, 5), (1, 1)])
@torch.no_grad()
def test_mini_batches_keep_each_action_with_its_numbers(scene, minibatch_rows, micro_rows):
    _, rows = by_hand(scene)
    groups = list(mini_batches(scene.rollout, minibatch_rows, micro_rows, seed=5))
    sizes = [sum(batch.tokens_BL.shape[0] for batch in group) for group in groups]
    whole, rest = divmod(7, minibatch_rows)
    assert sizes == [minibatch_rows] * whole + [rest] * (rest > 0)
    found = []
    for group in groups:
        for batch in group:
            count = batch.tokens_BL.shape[0]
            assert count <= micro_rows
            start = 0
            lengths = []
            for at in range(count):
                # A row is known by its tokens; the right padding is what remains.
                [index] = [
                    i
                    for i in range(7)
                    if batch.tokens_BL[at, : len(scene.replies[i].sequence)].tolist()
                    == scene.replies[i].sequence
                    and int(batch.actions_BL[at].sum()) == len(scene.replies[i].tokens)
                    and not batch.tokens_BL[at, len(scene.replies[i].sequence) :].any()
                ]
                reply, row = scene.replies[index], rows[index]
                begin, end = len(reply.prompt_tokens), len(reply.sequence)
                places = batch.actions_BL[at].nonzero().flatten().tolist()
                assert places == list(range(begin, end))
                stop = start + len(reply.tokens)
                close = {"rel": 1e-4, "abs": 1e-5}
                assert batch.old_logp_N[start:stop].tolist() == pytest.approx(row.logp, abs=1e-9)
                assert batch.old_values_N[start:stop].tolist() == pytest.approx(row.values)
                assert batch.returns_N[start:stop].tolist() == pytest.approx(row.returns, **close)
                advantages = batch.advantages_N[start:stop].tolist()
                assert advantages == pytest.approx(row.whitened, **close)
                start = stop
                lengths.append(len(reply.sequence))
                found.append(index)
            assert start == len(batch.old_logp_N)
            assert batch.token_count == sum(lengths)
            # What the objective computes of this batch is aligned the same way: the ratio is 1.
            logits_NV, values_N = scene.model(batch.tokens_BL, batch.actions_BL)
            actions_N = batch.tokens_BL[batch.actions_BL]
            logp_N = log_probabilities(logits_NV, actions_N, SETTINGS.temperature)
            torch.testing.assert_close(logp_N, batch.old_logp_N, atol=1e-9, rtol=0)
            torch.testing.assert_close(values_N, batch.old_values_N, atol=1e-9, rtol=0)
    assert sorted(found) == list(range(7))


@torch.no_grad()
def test_mini_batches_are_shuffled_by_the_seed_alone(scene):
    def drawn(seed):
        """Rows of each mini-batch, known by their lengths and first tokens."""
        groups = mini_batches(scene.rollout, 3, 2, seed=seed)
        sequences = [reply.sequence for reply in scene.replies]
        return [
            {
                next(
                    i
                    for i, ids in enumerate(sequences)
                    if row.tolist()[: len(ids)] == ids
                    and int(actions.sum()) == len(scene.replies[i].tokens)
                    and not row[len(ids) :].any()
                )
                for batch in group
                for row, actions in zip(batch.tokens_BL, batch.actions_BL, strict=True)
            }
            for group in groups
        ]

    orders = {seed: drawn(seed) for seed in range(20)}
    for rows in orders.values():
        assert [len(group) for group in rows] == [3, 3, 1]
        assert set().union(*rows) == set(range(7))
    # Every row comes into every mini-batch, and neighbours are parted.
    for row in range(7):
        first = sum(row in rows[0] for rows in orders.values())
        assert 1 <= first <= 16
    assert any({0, 1} <= rows[0] for rows in orders.values())
    assert any(0 in rows[0] and 1 in rows[1] for rows in orders.values())
    assert orders == {seed: drawn(seed) for seed in range(20)}


# --- The bandit: one prompt token, a table of rewards by the first token of the reply. ---

ROWS, ITERATIONS, BEST = 32, 25, 7
TABLE = [0.1 * ((5 * token) % 12) for token in range(12)]
TABLE[BEST] = 2.0


class TableOfRewards:
    """Stands in for the pair of reward models."""

    def rate(self, replies, *, watching=None):
        values = [TABLE[reply.tokens[0]] for reply in replies]
        watched = [0.0] * len(values)
        return Rewards(values, values, values, [False] * len(values), watched)


class OneToken:
    """Chat format whose only prompt is the token 2."""

    end_id, end_ids = END, (END,)
    tokenizer = SimpleNamespace(decode=lambda ids: " ".join(map(str, ids)), unused_ids=())

    def render_prompt(self, messages):
        return [2]


@torch.no_grad()
def probability_of_the_best(policy):
    logits_V = policy.logits(policy(torch.tensor([[2]])))[0, 0]
    return float(logits_V.softmax(-1)[BEST])


def learn(longest, sign):
    """Run PPO as the stage does; return the probability of the best token before and after."""
    policy, critic = make_policy(1), RewardModel(CONFIG)
    critic.trunk.initialise(2)
    reference = make_policy(1).requires_grad_(False)
    model = ActorCritic(policy, critic)
    config = OptimizerConfig(learning_rate=1e-2, schedule="constant", weight_decay=0.0)
    optimizer = make_optimizer({"policy": (policy, 1.0), "critic": (critic, 2.0)}, config)
    settings = RolloutSettings(
        beta=0.01, gamma=1.0, lam=0.95, missing_end_penalty=0.0, temperature=1.0
    )
    prompts = [make_prompt(str(row)) for row in range(ROWS)]
    sampling = Sampling(max_new_tokens=longest)
    rollouts = []

    def batches():
        for iteration in range(ITERATIONS):
            replies = ModelResponder(policy, OneToken()).answer(prompts, sampling, seed=iteration)
            models = Models(model, reference, TableOfRewards(), critic)
            rollout = make_rollout(models, replies, settings)
            rollouts.append(rollout)
            for group in mini_batches(rollout, ROWS // 2, ROWS // 4, seed=iteration):
                yield [
                    dataclasses.replace(batch, advantages_N=sign * batch.advantages_N)
                    for batch in group
                ]

    objective = ClippedPolicyAndValue(
        clip=0.2, value_clip=0.2, value_coefficient=1.0, temperature=1.0
    )
    steps = 2 * ITERATIONS
    before = probability_of_the_best(policy)
    schedule = make_schedule(config, steps)
    for _ in train(model, objective, batches(), optimizer, schedule, steps=steps):
        pass
    lengths = {len(reply.tokens) for rollout in rollouts for reply in rollout.replies}
    assert lengths <= {1, longest}
    return before, probability_of_the_best(policy), [r.summary.reward for r in rollouts]


@pytest.mark.parametrize("longest", [1, 2])
def test_b15_ppo_learns_the_best_arm_of_a_bandit(longest):
    before, after, rewards = learn(longest, sign=1.0)
    assert before < 0.5
    assert after > 0.9
    assert rewards[-1] > rewards[0] + 0.5


@pytest.mark.parametrize("longest", [1, 2])
def test_with_the_sign_of_the_advantages_flipped_it_unlearns(longest):
    before, after, rewards = learn(longest, sign=-1.0)
    assert after < before / 2
    assert rewards[-1] < rewards[0]
