"""Rejection-sampling fine-tuning (Section 3.2.3).

The latest model answers each prompt K times; the reward models pick the best answer; the bests of
this and all earlier rounds, with demonstrations, fine-tune the base model for a constant number of
steps. The sampling temperature is tuned anew each round on some of the prompts.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camelid.data.held_out import load_held_out, mentions
from camelid.data.records import Dialogue, Message, Prompt, Sample, read_records, write_records
from camelid.errors import DataError
from camelid.formats.folder import load_reward_model, load_transformer
from camelid.inference.replies import Reply, fitting_prompts, sample_replies
from camelid.inference.rewards import RewardPair, Rewards
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.run.files import hash_path
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.stages import sft
from camelid.tokenization.chat import ChatFormat, load_chat_format


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one round of rejection sampling."""

    prompts: int
    """Prompts answered a round (not specified in the paper)."""
    samples: int
    """Answers K a prompt (the paper plots 10 to 100)."""
    temperatures: tuple[float, ...] = (0.8, 1.0, 1.2)
    """Candidates; the paper's best lie in [1.2, 1.3] for its models."""
    tuning_prompts: int = 24
    """Prompts on which the temperature is tuned."""
    max_new_tokens: int = 64
    """Longest answer in tokens."""
    demonstrations: int | None = None
    """Demonstrations mixed in, drawn anew each round; null for all (not specified in the paper)."""
    fine_tuning: sft.Config
    """Fine-tuning from the base model, with a constant number of steps."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    base: str
    policy: str
    reward_models: str
    """Folder of the round's `helpfulness_rm`, `safety_rm` and `result.json`."""
    prompts: str
    demonstrations: str
    earlier_bests: str | None
    """`bests.jsonl` of the round before, which holds those of all earlier rounds."""
    held_out: str | None
    """Held-out terms; an answer that names one is not trained on."""
    round: int


def load_rewards(context: StageContext, folder: str) -> RewardPair:
    """Load the two reward models of a round and the threshold tuned for them."""
    path = context.input(folder)
    gate = json.loads((path / "result.json").read_text(encoding="utf-8"))["gate"]
    device = default_device()
    return RewardPair(
        load_reward_model(path / "helpfulness_rm", device),
        load_reward_model(path / "safety_rm", device),
        gate["threshold"],
    )


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Samples and scores answers of one policy."""

    model: Transformer
    chat: ChatFormat
    rewards: RewardPair
    context: StageContext
    max_new_tokens: int
    precision: Precision

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
            precision=self.precision,
        )
        return replies, self.rewards.rate(replies, precision=self.precision)


def tune_temperature(
    sampler: _Sampler, prompts: Sequence[Prompt], config: Config
) -> tuple[float, list[dict[str, Any]]]:
    """Return the temperature with the highest mean best reward, and all rewards (Figure 8).

    Only a finished answer can win. All temperatures are compared on all prompts: a prompt without a
    finished answer counts with the worst reward of all.
    """
    rows: list[dict[str, Any]] = []
    best: dict[float, dict[str, float]] = {}
    for temperature in config.temperatures:
        replies, rewards = sampler(prompts, temperature, config.samples, "tuning")
        found = best.setdefault(temperature, {})
        for reply, reward in zip(replies, rewards.combined, strict=True):
            identity = reply.prompt.id
            if reply.stop_reason == "stop":
                found[identity] = max(found.get(identity, reward), reward)
            rows.append(
                {
                    "temperature": temperature,
                    "prompt_id": identity,
                    "sample": reply.sample,
                    "stop_reason": reply.stop_reason,
                    "reward": reward,
                }
            )
    worst = min(row["reward"] for row in rows)
    means = {
        temperature: statistics.fmean(found.get(prompt.id, worst) for prompt in prompts)
        for temperature, found in best.items()
    }
    for temperature, mean in means.items():
        sampler.context.progress.note(f"temperature {temperature}: best {mean:.3f}")
    return max(means, key=lambda temperature: means[temperature]), rows


def _sample(sampler: _Sampler, prompts: Sequence[Prompt], config: Config, policy: str) -> None:
    """Tune the temperature, sample and score; what is written outlives an interruption."""
    context = sampler.context
    context.progress.note(f"sampling {len(prompts)} prompts x {config.samples}")
    temperature, tuning = tune_temperature(sampler, prompts[: config.tuning_prompts], config)
    write_records(context.work / "temperature_tuning.jsonl", tuning)
    replies, rated = sampler(prompts, temperature, config.samples, "samples")
    identity = f"{policy}@{hash_path(context.input(policy))[:12]}"
    partial = context.work / "samples.tmp"
    write_records(
        partial,
        (
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
        ),
    )
    partial.rename(context.work / "samples.jsonl")


def run(
    config: Config, context: StageContext, inputs: Inputs, precision: Precision
) -> dict[str, Any]:
    """Sample, pick, pool with earlier rounds, fine-tune from the base model."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    prompts = read_records(context.input(inputs.prompts), Prompt)
    pool = [p for p in prompts if p.split == "rejection_sampling"]
    policy = load_transformer(context.input(inputs.policy), default_device())
    pool, too_long = fitting_prompts(chat, pool, policy.config.context - config.max_new_tokens)
    pool.sort(key=lambda p: derive_seed(context.run_seed, "rejection_sampling", inputs.round, p.id))
    chosen = pool[: config.prompts]
    if not chosen:
        raise DataError(f"{context.name}: no prompt in the split 'rejection_sampling' fits.")
    sampled = context.work / "samples.jsonl"
    if not sampled.is_file():
        rewards = load_rewards(context, inputs.reward_models)
        sampler = _Sampler(policy, chat, rewards, context, config.max_new_tokens, precision)
        _sample(sampler, chosen, config, inputs.policy)
    for name in ("temperature_tuning.jsonl", sampled.name):
        shutil.copy(context.work / name, context.out / name)
    samples = read_records(sampled, Sample)
    forbidden = load_held_out(context, inputs.held_out)
    bests, counts = pick_bests(chosen, samples, forbidden, inputs.round)
    if inputs.earlier_bests:
        bests = read_records(context.input(inputs.earlier_bests), Dialogue) + bests
    write_records(context.out / "bests.jsonl", bests)
    demonstrations = read_records(context.input(inputs.demonstrations), Dialogue)
    if config.demonstrations is not None:
        rng = np.random.default_rng(derive_seed(context.seed, "demonstrations"))
        order = rng.permutation(len(demonstrations))[: config.demonstrations]
        demonstrations = [demonstrations[index] for index in sorted(order.tolist())]
    model = load_transformer(context.input(inputs.base), default_device())
    tuned = sft.fine_tune(
        model, chat, demonstrations + bests, config.fine_tuning, context, precision=precision
    )
    return {
        **tuned,
        **counts,
        "temperature": samples[0].temperature,
        "prompts": len(chosen),
        "prompts_too_long": too_long,
        "samples": config.samples,
        "bests_in_pool": len(bests),
        "demonstrations": len(demonstrations),
        **finished_rewards(samples),
    }


def finished_rewards(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the means over prompts of the best and the median reward of finished answers."""
    by_prompt: dict[str, list[float]] = {}
    for sample in samples:
        if sample.stop_reason == "stop":
            by_prompt.setdefault(sample.prompt_id, []).append(sample.reward)
    rewards = list(by_prompt.values())
    return {
        "prompts_with_finished_answer": len(rewards),
        "mean_best_reward": statistics.fmean(map(max, rewards)) if rewards else None,
        "mean_median_reward": statistics.fmean(map(statistics.median, rewards))
        if rewards
        else None,
    }


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
