"""Runs PPO from the latest model."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from camelid.data.records import Prompt, RolloutSummary, Split
from camelid.errors import DataError
from camelid.formats.folder import load_reward_model, load_transformer, save_model
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.scoring import sequence_log_ratios
from camelid.methods.ghost_attention import as_ppo_prompts
from camelid.methods.prompts import Chosen, choose_prompts
from camelid.methods.rewards import load_rewards
from camelid.methods.rollout import Models, Rollout, RolloutSettings, make_rollout, mini_batches
from camelid.model.actor_critic import ActorCritic
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed
from camelid.stages.ppo import LARGEST_SAMPLER_GAP, Config, Inputs, Iteration, Outputs, Result
from camelid.train.fitting import Fitting, Module
from camelid.train.metrics import RowsFile
from camelid.train.objectives import ClippedPolicyAndValue, RolloutBatch


class _Session:
    """One PPO run: models, prompts, rollouts and validation."""

    def __init__(self, config: Config, inputs: Inputs, context: StageContext) -> None:
        self.config, self.context = config, context
        runtime = context.runtime
        self.policy = ModelResponder.load(inputs.policy.path, inputs.tokenizer.path, runtime)
        critic = load_reward_model(inputs.rewards.helpfulness.path, runtime)
        torch.nn.init.zeros_(critic.head.weight)
        self.models = Models(
            ActorCritic(self.policy.model, critic),
            load_transformer(inputs.policy.path, runtime).requires_grad_(False),
            load_rewards(inputs.rewards, runtime),
            load_reward_model(inputs.guard.path, runtime),
        )
        prompts = inputs.prompts.read_some()
        self.prompts, self.too_long = self._choose(prompts, "ppo")
        self.validation = self._choose(prompts, "validation")[0][: config.validation_prompts]
        ghosts = [] if inputs.ghost is None else as_ppo_prompts(inputs.ghost.read_some())
        new_tokens = config.sampling.max_new_tokens
        self.ghosts, self.ghosts_too_long = self.policy.fitting(ghosts, new_tokens)
        if not self.prompts or not self.validation:
            raise DataError(f"{context.name}: prompts of the splits 'ppo' and 'validation' needed.")
        self.settings = RolloutSettings(
            beta=config.kl_coefficient,
            gamma=config.gamma,
            lam=config.lam,
            missing_end_penalty=config.missing_end_penalty,
            temperature=config.sampling.temperature,
        )

    def _choose(self, prompts: Sequence[Prompt], split: Split) -> Chosen:
        new_tokens = self.config.sampling.max_new_tokens
        seed = (self.context.seed,)
        return choose_prompts(prompts, self.policy, split, new_tokens=new_tokens, seed=seed)

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
        return self.policy.answer(prompts, self.config.sampling, seed=seed)

    def rollout(self, iteration: int) -> Rollout:
        """Sample, score and prepare one batch."""
        seed = derive_seed(self.context.seed, "rollout", iteration)
        replies = self.sample(self.prompts_of(iteration), seed)
        return make_rollout(self.models, replies, self.settings)

    def validate(self, iteration: int) -> Iteration:
        """Return the mean rewards on the validation prompts and the judge's mean score."""
        replies = self.sample(self.validation, derive_seed(self.context.seed, "validation"))
        rated = self.models.rewards.rate(replies, watching=self.models.guard)
        judge, scores = self.config.judge, []
        if judge is not None:
            found = (judge.judge(reply.prompt, reply.text).score for reply in replies)
            scores = [score for score in found if score is not None]
        ratios = sequence_log_ratios(
            self.policy.model,
            self.models.reference,
            replies,
            temperature=self.config.sampling.temperature,
        )
        return Iteration(
            iteration=iteration,
            validation_reward=sum(rated.combined) / len(replies),
            validation_guard_reward=sum(rated.watched) / len(replies),
            validation_kl=sum(ratios) / len(ratios),
            validation_score=sum(scores) / len(scores) if scores else None,
        )


def is_better(row: Iteration, state: Mapping[str, Any], kept_kl: float | None) -> bool:
    """Tell whether validated weights are to be kept in place of those kept so far.

    A higher reward counts only while the guard's is at least what it was before training and the
    divergence within its budget: beyond that, what rises is the reward model's error.
    """
    reward, guard, kl = row.validation_reward, row.validation_guard_reward, row.validation_kl
    if reward is None or guard is None or kl is None:
        return False
    if kept_kl is not None and kl > kept_kl:
        return False
    return reward > float(state["best_reward"]) and guard >= float(state["least_guard"])


def _reason_to_stop(summary: RolloutSummary, config: Config) -> str | None:
    """Return why a policy must not be trained on, if it must not."""
    if summary.kl > config.largest_kl:
        return f"divergence {summary.kl:.1f} nats above {config.largest_kl}"
    if summary.eos_share == 0:
        return "no reply ends"
    return "the policy has no entropy left" if summary.entropy < 1e-3 else None


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Optimise the policy; keep the weights with the best validation reward."""
    session = _Session(config, inputs, context)
    model = session.models.actor_critic
    per_iteration = -(-config.batch_rows // config.minibatch_rows)
    fitting = Fitting(
        model,
        config.optimizer,
        steps=config.iterations * per_iteration,
        context=context,
        metrics=outputs.metrics,
        modules={
            "policy": Module(module=model.policy),
            "critic": Module(module=model.critic, factor=config.critic_rate_factor),
        },
        every=per_iteration,
    )
    first = fitting.start // per_iteration
    kept = dataclasses.replace(outputs.iterations, folder=context.work)
    # Before the first checkpoint the row of iteration 0 is written anew as well.
    log = RowsFile(kept, key="iteration", last=first or -1)
    best = dataclasses.replace(outputs.model, folder=context.work)
    state = fitting.state
    if not first:
        row = session.validate(0)
        save_model(model.policy, best.path)
        state |= {"best_reward": row.validation_reward, "best_iteration": 0}
        state |= {"least_guard": row.validation_guard_reward}
        log.append(row)
    rollouts: list[Rollout] = []

    def batches() -> Iterator[list[RolloutBatch]]:
        for iteration in range(first, config.iterations):
            # While the critic warms up the policy stands still.
            fitting.set_factor("policy", 1.0 if iteration >= config.critic_warmup else 0.0)
            rollouts.append(session.rollout(iteration))
            seed = derive_seed(context.seed, "mini-batches", iteration)
            yield from mini_batches(
                rollouts[-1], config.minibatch_rows, config.micro_rows, seed=seed
            )

    stopped = None
    began = time.monotonic()
    clipped: list[float] = []
    objective = ClippedPolicyAndValue(
        clip=config.clip,
        value_clip=config.value_clip,
        value_coefficient=config.value_coefficient,
        temperature=config.sampling.temperature,
    )
    for result in fitting.run(objective, batches()):
        clipped.append(result.metrics["clip_fraction"])
        if result.step % per_iteration:
            continue
        iteration, summary = result.step // per_iteration, rollouts.pop().summary
        row = Iteration(iteration=iteration)
        if iteration % config.validate_every == 0 or iteration == config.iterations:
            row = session.validate(iteration)
            if is_better(row, state, config.kept_kl):
                state |= {"best_reward": row.validation_reward, "best_iteration": iteration}
                save_model(model.policy, best.path)
        row = dataclasses.replace(
            row,
            rollout=summary,
            clip_fraction=sum(clipped) / len(clipped),
            seconds=time.monotonic() - began,
        )
        clipped.clear()
        log.append(row)
        if (gap := summary.sampler_gap or 0.0) > LARGEST_SAMPLER_GAP:
            context.progress.note(f"sampler and trainer are {gap:.2f} nats a token apart")
        context.progress.update(
            iteration,
            config.iterations,
            reward=summary.reward,
            kl=summary.kl,
            guard=summary.guard_reward,
        )
        began = time.monotonic()
        stopped = _reason_to_stop(summary, config)
        if stopped:
            break
    fitting.keep_metrics()
    shutil.copy(kept.path, outputs.iterations.path)
    shutil.copytree(best.path, outputs.model.path)
    return Result(
        stopped=stopped or "all iterations done",
        best_iteration=int(state["best_iteration"]),
        best_validation_reward=float(state["best_reward"]),
        validation_prompts=len(session.validation),
        prompts=len(session.prompts),
        prompts_too_long=session.too_long,
        ghost_prompts=len(session.ghosts),
        ghost_prompts_too_long=session.ghosts_too_long,
    )
