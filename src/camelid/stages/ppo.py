"""Proximal policy optimisation (Section 3.2.3).

The reward is the whitened logit of the gated reward minus beta times the divergence from the
policy's start; one gradient step per mini-batch, clip 0.2, AdamW at a constant rate. The value
function, GAE and the estimator of the divergence are not specified in the paper (Source: choice): a
critic of its own started from the helpfulness reward model with a zero head, GAE with gamma 1 and
lambda 0.95, the signed k1 estimator per token. A guard reward model trained on other comparisons
watches. The weights with the best reward on validation prompts are kept (the paper stops early on
held-out prompts).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from camelid.data.records import Dialogue, Prompt, read_records
from camelid.errors import ConfigError, DataError
from camelid.formats.folder import load_reward_model, load_transformer, save_model
from camelid.inference.replies import Reply, fitting_prompts, sample_replies
from camelid.inference.rewards import RewardPair
from camelid.inference.sampling import Sampling
from camelid.inference.scoring import score
from camelid.model.actor_critic import ActorCritic
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.stages.ghost_attention import as_ppo_prompts
from camelid.stages.rejection_sampling import load_rewards
from camelid.stages.rollout import Rollout, RolloutSettings, make_rollout, mini_batches
from camelid.tokenization.chat import ChatFormat, load_chat_format
from camelid.train.checkpoint import Checkpoints
from camelid.train.config import OptimizerConfig
from camelid.train.fitting import CHECKPOINT_SECONDS
from camelid.train.loop import train
from camelid.train.metrics import MetricsFile, metrics_row
from camelid.train.objectives import ClippedPolicyAndValue, RolloutBatch
from camelid.train.optimizer import make_optimizer, make_schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of PPO."""

    optimizer: OptimizerConfig
    """AdamW; the paper's rate is constant at 1e-6."""
    iterations: int = 200
    """Rollout batches (the paper runs 200 to 400)."""
    batch_rows: int = 512
    """Prompts per iteration (Section 3.2.3)."""
    minibatch_rows: int = 64
    """Rows per optimizer step (Section 3.2.3)."""
    micro_rows: int = 16
    """Rows in memory at once; cannot change the result."""
    clip: float = 0.2
    """Clip of the probability ratio (Section 3.2.3)."""
    value_clip: float = 0.2
    """Clip of the value (Source: choice)."""
    value_coefficient: float = 1.0
    """Factor on the value loss; the critic shares no weights (Source: choice)."""
    critic_rate_factor: float = 5.0
    """Learning rate of the critic over the policy's (Source: choice)."""
    critic_warmup: int = 2
    """First iterations in which only the critic learns (Source: choice)."""
    kl_coefficient: float = 0.01
    """Beta (Section 3.2.3: 0.01 for 7B and 13B, 0.005 for 34B and 70B)."""
    gamma: float = 1.0
    """Discount (Source: choice)."""
    lam: float = 0.95
    """Lambda of GAE (Source: choice)."""
    missing_end_penalty: float = 0.0
    """Taken off the whitened reward of a reply cut by the length limit (Source: choice)."""
    sampling: Sampling
    """Temperature and length of rollouts; top-p must be 1."""
    ghost_share: float = 0.1
    """Share of Ghost dialogues among the prompts where there are any (Source: choice)."""
    validation_prompts: int = 64
    """Held-out prompts on which weights are compared."""
    validate_every: int = 5
    """Iterations between validations."""
    largest_kl: float = 40.0
    """Stop when the mean sequence divergence exceeds this many nats."""

    def __post_init__(self) -> None:
        if self.sampling.top_p != 1 or self.sampling.temperature <= 0:
            raise ConfigError(
                "ppo.sampling: top_p must be 1 and the temperature positive, so that the sampled "
                "distribution is the one whose log-probabilities are trained."
            )


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    policy: str
    reward_models: str
    """The last round's folder, with `guard_rm`."""
    prompts: str
    ghost: str | None
    """`dialogues.jsonl` of Ghost Attention, where the recipe has it."""


@dataclass(frozen=True, slots=True)
class _Models:
    actor_critic: ActorCritic
    reference: Transformer
    rewards: RewardPair
    guard: RewardModel


class _Session:
    """One PPO run: rollouts, validation, the best weights."""

    def __init__(
        self, config: Config, context: StageContext, inputs: Inputs, precision: Precision
    ) -> None:
        device = default_device()
        self.config, self.context, self.precision = config, context, precision
        self.chat: ChatFormat = load_chat_format(context.input(inputs.tokenizer))
        policy = load_transformer(context.input(inputs.policy), device)
        rewards = load_rewards(context, inputs.reward_models)
        folder = context.input(inputs.reward_models)
        critic = load_reward_model(folder / "helpfulness_rm", device)
        torch.nn.init.zeros_(critic.head.weight)
        self.models = _Models(
            ActorCritic(policy, critic),
            load_transformer(context.input(inputs.policy), device).requires_grad_(False),
            rewards,
            load_reward_model(folder / "guard_rm", device),
        )
        prompts = read_records(context.input(inputs.prompts), Prompt)
        room = policy.config.context - config.sampling.max_new_tokens
        self.prompts, self.too_long = self._select(prompts, "ppo", room)
        self.validation = self._select(prompts, "validation", room)[0][: config.validation_prompts]
        self.ghosts: list[Prompt] = []
        self.ghosts_too_long = 0
        if inputs.ghost:
            dialogues = read_records(context.input(inputs.ghost), Dialogue)
            ghosts = as_ppo_prompts(dialogues)
            self.ghosts, self.ghosts_too_long = fitting_prompts(self.chat, ghosts, room)
        if not self.prompts or not self.validation:
            raise DataError(f"{context.name}: prompts of the splits 'ppo' and 'validation' needed.")
        self.settings = RolloutSettings(
            beta=config.kl_coefficient,
            gamma=config.gamma,
            lam=config.lam,
            missing_end_penalty=config.missing_end_penalty,
            temperature=config.sampling.temperature,
        )

    def _select(self, prompts: Sequence[Prompt], split: str, room: int) -> tuple[list[Prompt], int]:
        chosen = [p for p in prompts if p.split == split]
        kept, too_long = fitting_prompts(self.chat, chosen, room)
        return sorted(kept, key=lambda p: derive_seed(self.context.seed, p.id)), too_long

    def prompts_of(self, iteration: int) -> list[Prompt]:
        """Return the prompts of one iteration: passes over the pool, some Ghost dialogues."""
        rows = self.config.batch_rows
        ghosts = min(len(self.ghosts), round(self.config.ghost_share * rows))
        start = iteration * (rows - ghosts)
        chosen = [self.prompts[(start + i) % len(self.prompts)] for i in range(rows - ghosts)]
        chosen += [self.ghosts[(iteration * ghosts + i) % len(self.ghosts)] for i in range(ghosts)]
        return chosen

    def sample(self, prompts: Sequence[Prompt], seed: int) -> list[Reply]:
        """Answer prompts with the policy as it is now."""
        return sample_replies(
            self.models.actor_critic.policy,
            self.chat,
            prompts,
            self.config.sampling,
            seed=seed,
            precision=self.precision,
        )

    def rollout(self, iteration: int) -> Rollout:
        """Sample, score and prepare one batch."""
        models = self.models
        seed = derive_seed(self.context.seed, "rollout", iteration)
        replies = self.sample(self.prompts_of(iteration), seed)
        return make_rollout(
            models.actor_critic,
            models.reference,
            models.rewards,
            models.guard,
            replies,
            settings=self.settings,
            precision=self.precision,
        )

    def validate(self) -> tuple[float, float]:
        """Return the mean reward and guard reward on the validation prompts."""
        replies = self.sample(self.validation, derive_seed(self.context.seed, "validation"))
        rewards = self.models.rewards.rate(replies, precision=self.precision)
        guard = score(
            self.models.guard, [reply.sequence for reply in replies], precision=self.precision
        )
        return sum(rewards.combined) / len(replies), sum(guard) / len(replies)


def run(
    config: Config, context: StageContext, inputs: Inputs, precision: Precision
) -> dict[str, Any]:
    """Run PPO from the latest model; writes `model/`, `metrics.jsonl`, `iterations.jsonl`."""
    session = _Session(config, context, inputs, precision)
    model = session.models.actor_critic
    optimizer = make_optimizer(
        {"policy": (model.policy, 1.0), "critic": (model.critic, config.critic_rate_factor)},
        config.optimizer,
    )
    checkpoints = Checkpoints(context.work / "checkpoints")
    start, state = checkpoints.restore(model, optimizer)
    per_iteration = -(-config.batch_rows // config.minibatch_rows)
    total = config.iterations * per_iteration
    metrics = MetricsFile(context.work / "metrics.jsonl", key="step", last=start)
    first = start // per_iteration
    # Before the first checkpoint the row of iteration 0 is written anew as well.
    log = MetricsFile(
        context.work / "iterations.jsonl", key="iteration", last=first if start else -1
    )
    best = context.work / "best"
    best_reward = float(state.get("best_reward", -math.inf))
    best_iteration = int(state.get("best_iteration", 0))
    if not start:
        reward, guard = session.validate()
        save_model(model.policy, best)
        best_reward = reward
        row = {"iteration": 0, "validation_reward": reward, "validation_guard_reward": guard}
        log.append(row)
    rollouts: list[Rollout] = []

    def batches() -> Iterator[list[RolloutBatch]]:
        for iteration in range(first, config.iterations):
            rollout = session.rollout(iteration)
            rollouts.append(rollout)
            yield from mini_batches(rollout, config.minibatch_rows, config.micro_rows)

    stopped = "all iterations done"
    saved = began = time.monotonic()
    set_policy_factor(optimizer, 1.0 if first >= config.critic_warmup else 0.0)
    clipped: list[float] = []
    results = train(
        model,
        ClippedPolicyAndValue(
            clip=config.clip,
            value_clip=config.value_clip,
            value_coefficient=config.value_coefficient,
            temperature=config.sampling.temperature,
        ),
        batches(),
        optimizer,
        make_schedule(config.optimizer, total),
        steps=total,
        start=start,
        clip=config.optimizer.clip,
        precision=precision,
    )
    for result in results:
        metrics.append(metrics_row(result))
        clipped.append(result.metrics["clip_fraction"])
        if result.step % per_iteration:
            continue
        iteration = result.step // per_iteration
        row = {
            "iteration": iteration,
            **rollouts.pop().summary,
            "clip_fraction": sum(clipped) / len(clipped),
            "seconds": time.monotonic() - began,
        }
        clipped.clear()
        set_policy_factor(optimizer, 1.0 if iteration >= config.critic_warmup else 0.0)
        if iteration % config.validate_every == 0 or iteration == config.iterations:
            reward, guard = session.validate()
            row |= {"validation_reward": reward, "validation_guard_reward": guard}
            if reward > best_reward:
                best_reward, best_iteration = reward, iteration
                save_model(model.policy, best)
        log.append(row)
        context.progress.update(
            iteration,
            config.iterations,
            reward=row["reward"],
            kl=row["kl"],
            guard=row["guard_reward"],
        )
        began = time.monotonic()
        if row["kl"] > config.largest_kl:
            stopped = f"divergence {row['kl']:.1f} nats above {config.largest_kl}"
            break
        if row["eos_share"] == 0 or row["entropy"] < 1e-3:
            stopped = "no reply ends" if row["eos_share"] == 0 else "the policy has no entropy left"
            break
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            kept = {"best_reward": best_reward, "best_iteration": best_iteration}
            checkpoints.save(result.step, model, optimizer, kept)
            saved = time.monotonic()
    for name in ("metrics.jsonl", "iterations.jsonl"):
        shutil.copy(context.work / name, context.out / name)
    shutil.copytree(best, context.out / "model")
    return {
        "stopped": stopped,
        "best_iteration": best_iteration,
        "best_validation_reward": best_reward,
        "validation_prompts": len(session.validation),
        "prompts": len(session.prompts),
        "prompts_too_long": session.too_long,
        "ghost_prompts": len(session.ghosts),
        "ghost_prompts_too_long": session.ghosts_too_long,
    }


def set_policy_factor(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Let the policy learn (1) or stand still while the critic warms up (0)."""
    for group in optimizer.param_groups:
        if group["owner"] == "policy":
            group["factor"] = factor
