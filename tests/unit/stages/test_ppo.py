"""PPO's wires: which model stands where, what is kept, when it stops, what every iteration says.

A whole PPO on a policy of twelve tokens, sampled by the real engine.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from camelid.data.annotation import Judgement
from camelid.data.records import Dialogue, Message, Prompt
from camelid.errors import ConfigError
from camelid.evaluation.gate import Gate, RewardModels
from camelid.formats.folder import load_transformer, save_model
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.losses import log_probabilities
from camelid.methods.rollout import RolloutSettings
from camelid.model.config import ModelConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.place import Json, ModelFolder, RewardModelFolder, Rows, TokenizerFolder
from camelid.settings import from_json, to_json
from camelid.stages.ppo import LARGEST_SAMPLER_GAP, PPO, Config, Inputs, Iteration, stage
from camelid.train import fitting as fitting_module
from camelid.train.config import OptimizerConfig

SHAPE = ModelConfig(
    dim=16, layers=1, heads=2, kv_heads=1, ffn_dim=24, vocabulary_size=12, context=24
)
CONFIG = Config(
    optimizer=OptimizerConfig(learning_rate=2e-2, schedule="constant", warmup_minimum=1),
    iterations=4,
    batch_rows=8,
    minibatch_rows=4,
    micro_rows=2,
    critic_warmup=1,
    missing_end_penalty=0.5,
    sampling=Sampling(temperature=0.7, max_new_tokens=6),
    validation_prompts=3,
    validate_every=1,
)


GENTLE = replace(CONFIG.optimizer, learning_rate=1e-3)
"""A rate that does not break the policy."""


def validated(iteration, reward, guard=7.0, kl=0.0):
    return Iteration(
        iteration=iteration,
        validation_reward=reward,
        validation_guard_reward=guard,
        validation_kl=kl,
    )


class Digits:
    """A chat format in which a digit is a token."""

    end_id, end_ids = 1, (1,)
    tokenizer = SimpleNamespace(decode=lambda ids: " ".join(map(str, ids)), unused_ids=())

    def render_prompt(self, messages):
        return [2 + int(digit) for message in messages for digit in message.content]


def dialogue(number):
    return Dialogue(
        id=f"ghost/{number}",
        messages=(
            Message(role="user", content=f"{number}9"),
            Message(role="assistant", content="0", train=True),
        ),
        category="ghost_attention",
        is_safety=False,
        source="test",
    )


def make_prompt(identity, content, split):
    return Prompt(
        id=identity,
        messages=(Message(role="user", content=content),),
        category="any",
        is_safety=identity.endswith("5"),
        source="test",
        split=split,
    )


def make_reward_model(seed):
    model = RewardModel(SHAPE)
    model.trunk.initialise(seed)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(seed))
    return model


def equal(one, other):
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


class Scene:
    """What PPO reads, in a workshop."""

    def __init__(self, workshop):
        self.workshop, root = workshop, workshop.root
        self.start = Transformer(SHAPE)
        self.start.initialise(1)
        save_model(self.start, root / "sft/model")
        names = ("helpfulness_rm", "safety_rm", "guard_rm")
        self.scorers = {name: make_reward_model(2 + at) for at, name in enumerate(names)}
        for name, model in self.scorers.items():
            save_model(model, root / "rm" / name)
        gate = Json("rm", "gate.json", root / "rm", kind=Gate)
        gate.write(Gate(threshold=0.4, precision=None, recall=None, labelled_replies=0, reason=None,
                        precision_at_paper_threshold=None,
                        recall_at_paper_threshold=None))  # fmt: skip
        prompts = Rows("data", "prompts.jsonl", root / "data", kind=Prompt)
        prompts.path.parent.mkdir(parents=True)
        prompts.write(
            make_prompt(f"{split}/{number}", f"{number}{at}", split)
            for at, split in enumerate(("ppo", "validation", "rm_train", "test"))
            for number in range(10)
        )
        ghost = Rows("ghost", "dialogues.jsonl", root / "ghost", kind=Dialogue)
        ghost.path.parent.mkdir(parents=True)
        ghost.write(map(dialogue, range(4)))
        self.inputs = Inputs(
            tokenizer=TokenizerFolder("tokenizer", "tokenizer"),
            policy=ModelFolder("sft", "model"),
            rewards=RewardModels(
                helpfulness=RewardModelFolder("rm", "helpfulness_rm"),
                safety=RewardModelFolder("rm", "safety_rm"),
                gate=gate,
            ),
            guard=RewardModelFolder("rm", "guard_rm"),
            prompts=prompts,
            ghost=ghost,
        )

    def session(self, **changes):
        inputs = self.inputs.at(self.workshop.root)
        return stage._Session(replace(CONFIG, **changes), inputs, self.workshop.context("ppo"))

    def run(self, **changes):
        return self.workshop.run(PPO, replace(CONFIG, **changes), self.inputs, "ppo")

    def fresh(self):
        """Run from the start next time."""
        work = self.workshop.context("ppo").work
        work.rename(work.with_name(f"old {len(list(work.parent.iterdir()))}"))


@pytest.fixture
def scene(workshop, monkeypatch):
    def load(model, tokenizer, runtime):
        return ModelResponder(load_transformer(model, runtime), Digits())

    monkeypatch.setattr(ModelResponder, "load", load)
    return Scene(workshop)


@pytest.fixture
def rollouts(monkeypatch):
    """What every iteration's rollout is made of and gives."""
    found = []
    make = stage.make_rollout

    def watched(models, replies, settings):
        rollout = make(models, replies, settings)
        critic = {k: v.clone() for k, v in models.actor_critic.critic.state_dict().items()}
        policy = {k: v.clone() for k, v in models.actor_critic.policy.state_dict().items()}
        found.append(
            SimpleNamespace(
                models=models, replies=replies, rollout=rollout, critic=critic, policy=policy
            )
        )
        return rollout

    monkeypatch.setattr(stage, "make_rollout", watched)
    return found


# --- Who is who ---


def test_each_model_comes_from_its_place(scene):
    session = scene.session()
    models = session.models
    assert equal(session.policy.model, scene.start)
    # The sampler uses the weights that are trained, in place: they cannot be stale.
    assert models.actor_critic.policy is session.policy.model
    assert equal(models.reference, scene.start)
    assert models.reference is not session.policy.model
    assert not any(p.requires_grad for p in models.reference.parameters())
    assert equal(models.rewards.helpfulness, scene.scorers["helpfulness_rm"])
    assert equal(models.rewards.safety, scene.scorers["safety_rm"])
    assert models.rewards.threshold == 0.4
    assert equal(models.guard, scene.scorers["guard_rm"])
    # The critic starts as the helpfulness reward model, without its head.
    assert equal(models.actor_critic.critic.trunk, scene.scorers["helpfulness_rm"].trunk)
    assert models.actor_critic.critic is not models.rewards.helpfulness
    assert not models.actor_critic.critic.head.weight.any()


def test_every_coefficient_of_the_reward_is_the_setting(scene):
    session = scene.session(kl_coefficient=0.2, gamma=0.9, lam=0.8, missing_end_penalty=0.6)
    assert session.settings == RolloutSettings(
        beta=0.2, gamma=0.9, lam=0.8, missing_end_penalty=0.6, temperature=0.7
    )


def test_prompts_are_of_their_splits_and_ghosts_a_share(scene):
    session = scene.session(ghost_share=0.25)
    assert {p.split for p in session.prompts} == {"ppo"}
    assert [p.split for p in session.validation] == ["validation"] * 3
    first, second = session.prompts_of(0), session.prompts_of(1)
    for batch in (first, second):
        kinds = [p.category == "ghost_attention" for p in batch]
        assert kinds == [False] * 6 + [True] * 2
    assert len({p.id for p in first[:6] + second[:6]}) == 10
    assert len({p.id for p in first[6:] + second[6:]}) == 4
    assert not any(
        p.category == "ghost_attention" for p in scene.session(ghost_share=0).prompts_of(0)
    )


def test_every_iteration_draws_other_numbers_and_every_validation_the_same(scene):
    session = scene.session()
    asked = []
    session.sample = lambda prompts, seed: asked.append((prompts, seed)) or [None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "make_rollout", lambda models, replies, settings: None)
        for iteration in (0, 1, 0):
            session.rollout(iteration)
    seeds = [seed for _, seed in asked]
    assert seeds[0] == seeds[2] != seeds[1]
    assert [prompts for prompts, _ in asked[:2]] == [session.prompts_of(i) for i in (0, 1)]
    del session.sample
    assert session.validate(0) == session.validate(0)


def test_validation_says_the_means_of_reward_and_guard(scene):
    session = scene.session()
    replies = session.sample(session.validation, 5)
    session.sample = lambda prompts, seed: replies if prompts is session.validation else None
    rated = session.models.rewards.rate(replies, watching=session.models.guard)
    row = session.validate(4)
    assert row.iteration == 4
    assert row.validation_reward == sum(rated.combined) / 3
    assert row.validation_guard_reward == sum(rated.watched) / 3
    # The policy is its own start; nobody judges.
    assert row.validation_kl == 0
    assert row.validation_score is None


def test_a_judge_only_watches_the_validation(scene):
    class Judge:
        name = "letters"

        def judge(self, prompt, reply):
            score = None if prompt.id.endswith("1") else 0.25
            return Judgement(score=score, violating=None, refusing=False)

    assert scene.session(judge=Judge()).validate(0).validation_score == 0.25


# --- What is trained ---


def test_settings_reach_the_objective_and_the_optimizer(scene, monkeypatch):
    given, sessions = [], []
    objective, fitting = stage.ClippedPolicyAndValue, stage.Fitting

    def watched(**named):
        given.append(named)
        return objective(**named)

    def opened(*args, **named):
        sessions.append(named | {"config": args[1]})
        return fitting(*args, **named)

    monkeypatch.setattr(stage, "ClippedPolicyAndValue", watched)
    monkeypatch.setattr(stage, "Fitting", opened)
    _, outputs = scene.run(clip=0.3, value_clip=0.4, value_coefficient=0.5, critic_rate_factor=3.0)
    assert given == [{"clip": 0.3, "value_clip": 0.4, "value_coefficient": 0.5, "temperature": 0.7}]
    [session] = sessions
    assert session["config"] == CONFIG.optimizer
    assert session["modules"]["critic"].factor == 3.0
    # Two mini-batches an iteration, checkpoints only between iterations.
    assert (session["steps"], session["every"]) == (8, 2)
    assert len(outputs.metrics.read()) == 8


def test_the_critic_learns_from_the_first_step_and_the_policy_after_the_warm_up(scene, rollouts):
    scene.run(critic_warmup=2)
    policies, critics = [r.policy for r in rollouts], [r.critic for r in rollouts]

    def same(one, other):
        return all(torch.equal(one[k], other[k]) for k in one)

    assert [same(p, policies[0]) for p in policies] == [True, True, True, False]
    assert [same(c, critics[0]) for c in critics] == [True, False, False, False]
    # The reference and the reward models stand still.
    for rollout in rollouts:
        assert equal(rollout.models.reference, scene.start)
        assert equal(rollout.models.rewards.helpfulness, scene.scorers["helpfulness_rm"])


def test_the_weights_with_the_best_validation_reward_are_kept(scene, monkeypatch):
    rewards = iter([0.0, -1.0, 2.0, 1.0, 1.5])
    seen = []

    def validate(session, iteration):
        seen.append({k: v.clone() for k, v in session.policy.model.state_dict().items()})
        return validated(iteration, next(rewards))

    monkeypatch.setattr(stage._Session, "validate", validate)
    result, outputs = scene.run()
    assert (result.best_iteration, result.best_validation_reward) == (2, 2.0)
    kept = load_transformer(outputs.model.path).state_dict()
    assert [all(torch.equal(kept[k], w[k]) for k in kept) for w in seen] == [
        *(False, False, True, False, False),
    ]
    rows = outputs.iterations.read()
    assert [row.validation_reward for row in rows] == [0.0, -1.0, 2.0, 1.0, 1.5]
    assert {row.validation_guard_reward for row in rows} == {7.0}


def test_a_policy_that_only_gets_worse_is_not_kept(scene, monkeypatch):
    rewards = iter([0.0, -1.0, -2.0, -3.0, -4.0])
    monkeypatch.setattr(
        stage._Session, "validate", lambda _, iteration: validated(iteration, next(rewards))
    )
    result, outputs = scene.run()
    assert result.best_iteration == 0
    assert equal(load_transformer(outputs.model.path), scene.start)


def kept_iteration(scene, monkeypatch, rows, **changes):
    found = iter(rows)
    monkeypatch.setattr(stage._Session, "validate", lambda _, i: validated(i, *next(found)))
    result, _ = scene.run(**changes)
    return result.best_iteration


def test_weights_whose_guard_fell_are_not_kept(scene, monkeypatch):
    rows = [(0.0, 7.0), (1.0, 7.5), (2.0, 6.9), (1.5, 7.0), (3.0, 0.0)]
    assert kept_iteration(scene, monkeypatch, rows) == 3


def test_weights_beyond_the_budget_of_divergence_are_not_kept(scene, monkeypatch):
    rows = [(0.0, 7.0, 0.0), (1.0, 7.0, 0.3), (2.0, 7.0, 0.6), (1.5, 7.0, 0.5), (3.0, 7.0, 2.0)]
    assert kept_iteration(scene, monkeypatch, rows, kept_kl=0.5) == 3


def test_validations_stand_after_so_many_iterations_and_at_the_end(scene):
    _, outputs = scene.run(iterations=5, validate_every=2, optimizer=GENTLE)
    checked = [
        row.iteration for row in outputs.iterations.read() if row.validation_reward is not None
    ]
    assert checked == [0, 2, 4, 5]


# --- B3 to B5: what is sampled is what is trained ---


def test_b3_what_shapes_the_distribution_is_refused_or_unknown():
    for sampling in (Sampling(top_p=0.9), Sampling(temperature=0.0)):
        with pytest.raises(ConfigError, match=r"top_p is .*; top_p must be 1 .*--ppo\.sampling"):
            replace(CONFIG, sampling=sampling)
    # No further setting bends the samples, by whatever name.
    for name in ("top_k", "min_new_tokens", "min_length", "repetition_penalty", "bad_words"):
        data = to_json(CONFIG)
        data["sampling"][name] = 5
        with pytest.raises(ConfigError, match=rf"sampling\.{name} is unknown"):
            from_json(data, Config)


@pytest.fixture
def log_ratios(monkeypatch):
    """Log-ratios of new to old probabilities of all actions that are trained on."""
    found = []

    class Watched(stage.ClippedPolicyAndValue):
        def loss_sum(self, model, batch):
            with torch.no_grad():
                logits_NV, _ = model(batch.tokens_BL, batch.actions_BL)
                tokens_N = batch.tokens_BL[batch.actions_BL]
                # As it should be, whatever the objective does.
                new_N = log_probabilities(logits_NV, tokens_N, 0.7)
                found.append(new_N - batch.old_logp_N)
            return super().loss_sum(model, batch)

    monkeypatch.setattr(stage, "ClippedPolicyAndValue", Watched)
    return found


@pytest.mark.parametrize(("minibatch_rows", "micro_rows"), [(8, 8), (8, 3), (4, 2), (3, 1)])
def test_b4_at_a_rate_of_nothing_every_ratio_is_one(scene, log_ratios, minibatch_rows, micro_rows):
    # So small that no weight of float32 moves; zero itself is refused.
    still = replace(CONFIG.optimizer, learning_rate=1e-30)
    _, outputs = scene.run(
        optimizer=still, critic_warmup=0, minibatch_rows=minibatch_rows, micro_rows=micro_rows
    )
    assert equal(load_transformer(outputs.model.path), scene.start)
    assert torch.cat(log_ratios).abs().max() < 1e-5
    rows = outputs.iterations.read()[1:]
    assert len(rows) == 4
    for row in rows:
        assert row.clip_fraction == 0
        # Policy and reference are the same weights in the same batches.
        assert (row.rollout.kl, row.rollout.kl_k3) == (0.0, 0.0)
    # At ratio one the loss of the policy is minus the mean advantage of the mini-batch; over
    # the whole batch the advantages are whitened.
    metrics = outputs.metrics.read()
    if minibatch_rows == 8:
        assert [row.metrics["policy_loss"] for row in metrics] == pytest.approx([0.0] * 4, abs=1e-5)


def test_b4_no_module_drops_anything_out(scene):
    session = scene.session()
    everyone = [session.policy.model, *scene.scorers.values()]
    for model in everyone:
        assert not [m for m in model.modules() if "dropout" in type(m).__name__.lower()]
    tokens = torch.tensor([[3, 4, 5]])
    policy = session.policy.model
    assert torch.equal(policy.train()(tokens), policy.eval()(tokens))


def test_b5_every_iteration_says_how_far_the_sampler_is_from_the_trainer(scene, rollouts):
    _, outputs = scene.run()
    rows = outputs.iterations.read()[1:]
    for row, seen in zip(rows, rollouts, strict=True):
        gap = row.rollout.sampler_gap
        # At temperature 0.7, of a policy that moved since: the first token is drawn at ratio one.
        assert 0 <= gap < 1e-5
        first = [reply.logp[0] for reply in seen.replies]
        assert seen.rollout.logp_BA[:, 0].tolist() == pytest.approx(first, abs=1e-4)
        assert all(len(reply.logp) == len(reply.tokens) for reply in seen.replies)
    assert not scene.workshop.notes


def test_b5_a_sampler_that_draws_from_another_policy_is_noticed(scene, monkeypatch):
    sample = stage._Session.sample

    def hotter(session, prompts, seed):
        """As engines do that report raw log-probabilities, without the temperature."""
        config = replace(session.config, sampling=replace(CONFIG.sampling, temperature=3.0))
        return sample(SimpleNamespace(policy=session.policy, config=config), prompts, seed)

    monkeypatch.setattr(stage._Session, "sample", hotter)
    # A policy whose logits differ enough for the temperature to show.
    with torch.no_grad():
        scene.start.output.weight.mul_(20)
    save_model(scene.start, scene.workshop.root / "sft/model")
    _, outputs = scene.run(iterations=1)
    [_, row] = outputs.iterations.read()
    assert row.rollout.sampler_gap > LARGEST_SAMPLER_GAP
    assert scene.workshop.notes == [
        f"sampler and trainer are {row.rollout.sampler_gap:.2f} nats a token apart"
    ]
    notices = " ".join(notices_of(scene, outputs))
    assert f"{row.rollout.sampler_gap:.2f} nats a token off" in notices


def notices_of(scene, outputs):
    """What the report says first of a PPO that ran in the workshop."""
    rows = outputs.iterations.read()
    seen = SimpleNamespace(
        last=SimpleNamespace(outputs=outputs, rows=lambda place: rows),
    )
    return list(PPO.reporter().find_notices(seen))


def test_b5_a_sound_run_has_no_notice(scene):
    _, outputs = scene.run(iterations=1)
    assert notices_of(scene, outputs) == []


# --- B10: resuming ---


@pytest.mark.parametrize("stops", [[1], [3], [2, 2]])
def test_b10_a_resumed_ppo_goes_on_where_it_was(scene, monkeypatch, stops):
    monkeypatch.setattr(fitting_module, "CHECKPOINT_SECONDS", -1.0)
    straight, outputs = scene.run()
    rows = [replace(row, seconds=None) for row in outputs.iterations.read()]
    weights = (outputs.model.path / "model.safetensors").read_bytes()
    scene.fresh()
    done = 0
    for stop in stops:
        scene.workshop.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            scene.run()
        # The iteration that was stopped is done again, those before it are not.
        assert [number for number, _ in scene.workshop.updates] == list(
            range(done + 1, done + stop + 1)
        )
        done += stop - 1
    scene.workshop.stop_after = None
    resumed, outputs = scene.run()
    assert scene.workshop.updates[0] == (done + 1, 4)
    assert resumed == straight
    assert [replace(row, seconds=None) for row in outputs.iterations.read()] == rows
    assert (outputs.model.path / "model.safetensors").read_bytes() == weights


# --- B15: what shows that it goes wrong ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kl": 41.0}, "divergence 41.0 nats above 40.0"),
        ({"eos_share": 0.0}, "no reply ends"),
        ({"entropy": 0.0}, "the policy has no entropy left"),
    ],
)
def test_b15_a_policy_that_breaks_is_trained_no_further(scene, monkeypatch, changes, reason):
    make, made = stage.make_rollout, []

    def breaking(models, replies, settings):
        rollout = make(models, replies, settings)
        made.append(rollout)
        broken = replace(rollout.summary, **changes) if len(made) == 2 else rollout.summary
        return replace(rollout, summary=broken)

    monkeypatch.setattr(stage, "make_rollout", breaking)
    result, outputs = scene.run()
    assert result.stopped == reason
    assert [row.iteration for row in outputs.iterations.read()] == [0, 1, 2]
    assert len(made) == 2


def test_b15_a_sound_policy_is_trained_to_the_end(scene):
    result, outputs = scene.run(optimizer=GENTLE)
    assert result.stopped == "all iterations done"
    assert [row.iteration for row in outputs.iterations.read()] == [0, 1, 2, 3, 4]


def test_b15_every_iteration_says_what_the_critic_explains(scene, rollouts):
    _, outputs = scene.run()
    rows = outputs.iterations.read()[1:]
    for row, seen in zip(rows, rollouts, strict=True):
        rollout = seen.rollout
        pairs = [
            (float(value), float(target))
            for value, target in zip(
                rollout.values_BA[rollout.mask_BA], rollout.returns_BA[rollout.mask_BA], strict=True
            )
        ]
        errors, targets = [t - v for v, t in pairs], [t for _, t in pairs]
        explained = 1 - variance(errors) / variance(targets)
        assert row.rollout.value_explained_variance == pytest.approx(explained, abs=1e-4)
    assert rows[0].rollout.value_explained_variance == pytest.approx(0.0, abs=1e-6)


def variance(values):
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
