"""Samples answers, picks the best ones and fine-tunes on them."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camelid.data.held_out import mentions, terms_of
from camelid.data.records import Dialogue, Message, Prompt, Sample
from camelid.errors import DataError
from camelid.formats.folder import load_transformer
from camelid.inference.replies import Reply, fitting_prompts, sample_replies
from camelid.inference.rewards import RewardPair, Rewards
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.run.files import hash_path
from camelid.run.place import ModelFolder
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext
from camelid.stages.rejection_sampling import Config, Inputs, Outputs, Result, TuningRow
from camelid.stages.reward_modeling.stage import load_rewards
from camelid.stages.sft.stage import fine_tune
from camelid.tokenization.chat import ChatFormat, load_chat_format


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Samples and scores answers of one policy."""

    model: Transformer
    chat: ChatFormat
    rewards: RewardPair
    context: StageContext
    max_new_tokens: int

    def __call__(
        self, prompts: Sequence[Prompt], temperature: float, samples: int, salt: str
    ) -> tuple[list[Reply], Rewards]:
        sampling = Sampling(temperature=temperature, max_new_tokens=self.max_new_tokens)
        replies = sample_replies(
            self.model,
            self.chat,
            prompts,
            sampling,
            seed=derive_seed(self.context.seed, salt, temperature),
            samples=samples,
        )
        return replies, self.rewards.rate(replies)


def tune_temperature(
    sampler: _Sampler, prompts: Sequence[Prompt], config: Config
) -> tuple[float, list[TuningRow]]:
    """Return the temperature with the highest mean best reward, and all rewards (Figure 8).

    Only a finished answer can win. All temperatures are compared on all prompts: a prompt without a
    finished answer counts with the worst reward of all.
    """
    rows: list[TuningRow] = []
    best: dict[float, dict[str, float]] = {}
    for temperature in config.temperatures:
        replies, rewards = sampler(prompts, temperature, config.samples, "tuning")
        found = best.setdefault(temperature, {})
        for reply, reward in zip(replies, rewards.combined, strict=True):
            identity = reply.prompt.id
            if reply.stop_reason == "stop":
                found[identity] = max(found.get(identity, reward), reward)
            rows.append(
                TuningRow(
                    temperature=temperature,
                    prompt_id=identity,
                    sample=reply.sample,
                    stop_reason=reply.stop_reason,
                    reward=reward,
                )
            )
    worst = min(row.reward for row in rows)
    means = {
        temperature: statistics.fmean(found.get(prompt.id, worst) for prompt in prompts)
        for temperature, found in best.items()
    }
    for temperature, mean in means.items():
        sampler.context.progress.note(f"temperature {temperature}: best {mean:.3f}")
    return max(means, key=lambda temperature: means[temperature]), rows


def _sample(
    sampler: _Sampler,
    prompts: Sequence[Prompt],
    config: Config,
    policy: ModelFolder,
    work: Outputs,
) -> None:
    """Tune the temperature, sample and score; what is written outlives an interruption."""
    sampler.context.progress.note(f"sampling {len(prompts)} prompts x {config.samples}")
    temperature, tuning = tune_temperature(sampler, prompts[: config.tuning_prompts], config)
    work.tuning.write(tuning)
    replies, rated = sampler(prompts, temperature, config.samples, "samples")
    identity = f"{policy.label}@{hash_path(policy.path)[:12]}"
    partial = dataclasses.replace(work.samples, name=f"{work.samples.name}.partial")
    partial.write(
        Sample(
            prompt_id=reply.prompt.id,
            policy=identity,
            sample=reply.sample,
            temperature=temperature,
            tokens=reply.tokens,
            text=reply.text,
            stop_reason=reply.stop_reason,
            helpfulness=rated.helpfulness[i],
            safety=rated.safety[i],
            reward=rated.combined[i],
        )
        for i, reply in enumerate(replies)
    )
    partial.path.rename(work.samples.path)


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Sample, pick, pool with earlier rounds, fine-tune from the base model."""
    chat = load_chat_format(inputs.tokenizer.path)
    prompts = inputs.prompts.read_some()
    pool = [p for p in prompts if p.split == "rejection_sampling"]
    policy = load_transformer(inputs.policy.path, context.runtime)
    pool, too_long = fitting_prompts(chat, pool, policy.config.context - config.max_new_tokens)
    pool.sort(key=lambda p: derive_seed(context.run_seed, "rejection_sampling", inputs.round, p.id))
    chosen = pool[: config.prompts]
    if not chosen:
        raise DataError(f"{context.name}: no prompt in the split 'rejection_sampling' fits.")
    work = Outputs(context.name, context.work)
    if not work.samples.exists:
        rewards = load_rewards(inputs.rewards, context.runtime)
        sampler = _Sampler(policy, chat, rewards, context, config.max_new_tokens)
        _sample(sampler, chosen, config, inputs.policy, work)
    for place, kept in ((outputs.tuning, work.tuning), (outputs.samples, work.samples)):
        shutil.copy(kept.path, place.path)
    samples = outputs.samples.read_some()
    bests, counts = pick_bests(chosen, samples, terms_of(inputs.held_out), inputs.round)
    if inputs.earlier_bests is not None:
        bests = inputs.earlier_bests.read_some() + bests
    outputs.bests.write(bests)
    demonstrations = inputs.demonstrations.read_some()
    if config.demonstrations is not None:
        rng = np.random.default_rng(derive_seed(context.seed, "demonstrations"))
        order = rng.permutation(len(demonstrations))[: config.demonstrations]
        demonstrations = [demonstrations[index] for index in sorted(order.tolist())]
    tuned = fine_tune(
        load_transformer(inputs.base.path, context.runtime),
        chat,
        demonstrations + bests,
        config.fine_tuning,
        context,
        to=outputs.model,
        metrics=outputs.metrics,
    )
    rewards_by_prompt = finished_rewards(samples)
    return Result(
        fine_tuning=tuned,
        **counts,
        temperature=samples[0].temperature,
        prompts=len(chosen),
        prompts_too_long=too_long,
        samples=config.samples,
        bests_in_pool=len(bests),
        demonstrations=len(demonstrations),
        prompts_with_finished_answer=len(rewards_by_prompt),
        mean_best_reward=_mean([max(found) for found in rewards_by_prompt]),
        mean_median_reward=_mean([statistics.median(found) for found in rewards_by_prompt]),
    )


def finished_rewards(samples: Sequence[Sample]) -> list[list[float]]:
    """Return the rewards of the finished answers of each prompt that has one."""
    by_prompt: dict[str, list[float]] = {}
    for sample in samples:
        if sample.stop_reason == "stop":
            by_prompt.setdefault(sample.prompt_id, []).append(sample.reward)
    return list(by_prompt.values())


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def pick_bests(
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    forbidden: Sequence[str],
    round_number: int,
) -> tuple[list[Dialogue], dict[str, int]]:
    """Return the best finished answer of each prompt as a dialogue, and why prompts were left out.

    An answer cut by the length limit would teach a forged ending, so it cannot win.
    """
    by_prompt: dict[str, list[Sample]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt_id, []).append(sample)
    bests = []
    counts = {"dropped_unfinished": 0, "dropped_held_out": 0}
    for prompt in prompts:
        finished = [s for s in by_prompt[prompt.id] if s.stop_reason == "stop" and s.text]
        if not finished:
            counts["dropped_unfinished"] += 1
            continue
        best = max(finished, key=lambda sample: sample.reward)
        if mentions(best.text, forbidden):
            counts["dropped_held_out"] += 1
            continue
        answer = Message(role="assistant", content=best.text, train=True)
        bests.append(
            Dialogue(
                id=f"best/{round_number}/{prompt.id}",
                messages=(*prompt.messages, answer),
                category=prompt.category,
                is_safety=prompt.is_safety,
                source=f"rejection sampling, round {round_number}",
            )
        )
    return bests, counts
