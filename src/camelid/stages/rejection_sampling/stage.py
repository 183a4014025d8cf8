"""Samples answers, picks the best ones and fine-tunes on them."""

from __future__ import annotations

import dataclasses
import shutil
import statistics

import numpy as np

from camelid.data.records import Prompt, Sample
from camelid.errors import DataError, counted
from camelid.formats.folder import load_transformer
from camelid.inference.replies import ModelResponder
from camelid.methods.fine_tuning import fine_tune
from camelid.methods.prompts import choose_prompts, terms_of
from camelid.methods.rejection_sampling import (
    Sampler,
    best_demonstrations,
    finished_rewards,
    pick_bests,
    tune_temperature,
)
from camelid.methods.rewards import load_rewards
from camelid.run.files import hash_path
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed
from camelid.stages.rejection_sampling import Config, Inputs, Outputs, Result


def _sample(
    config: Config, inputs: Inputs, context: StageContext, sampler: Sampler, chosen: list[Prompt]
) -> None:
    """Tune the temperature, sample and score; what is written outlives an interruption."""
    context.progress.note(f"sampling {counted(len(chosen), 'prompt')} x {config.samples}")
    means, tuning = tune_temperature(
        sampler, chosen[: config.tuning_prompts], config.temperatures, config.samples
    )
    for candidate, mean in means.items():
        context.progress.note(f"temperature {candidate}: best {mean:.3f}")
    temperature = max(means, key=lambda candidate: means[candidate])
    work = Outputs(context.name, context.work)
    work.tuning.write(tuning)
    replies, rated = sampler(chosen, temperature, config.samples, "samples")
    identity = f"{inputs.policy.label}@{hash_path(inputs.policy.path)[:12]}"
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
            safety=rated.safety[i] if rated.safety else None,
            reward=rated.combined[i],
            logp=statistics.fmean(reply.logp) if reply.logp else 0.0,
        )
        for i, reply in enumerate(replies)
    )
    partial.path.rename(work.samples.path)


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Sample, pick, pool with earlier rounds, fine-tune from the base model."""
    policy = ModelResponder.load(inputs.policy.path, inputs.tokenizer.path, context.runtime)
    pool, too_long = choose_prompts(
        inputs.prompts.read_some(),
        policy,
        "rejection_sampling",
        new_tokens=config.max_new_tokens,
        seed=(context.run_seed, "rejection_sampling", inputs.round),
    )
    chosen = pool[: config.prompts]
    if not chosen:
        raise DataError(f"{context.name}: no prompt in the split 'rejection_sampling' fits.")
    work = Outputs(context.name, context.work)
    rewards = load_rewards(inputs.rewards, context.runtime)
    if not work.samples.exists:
        sampler = Sampler(policy, rewards, config.max_new_tokens, context.seed)
        _sample(config, inputs, context, sampler, chosen)
    for place, kept in ((outputs.tuning, work.tuning), (outputs.samples, work.samples)):
        shutil.copy(kept.path, place.path)
    samples = outputs.samples.read_some()
    bests, counts = pick_bests(chosen, samples, terms_of(inputs.held_out), inputs.round)
    if inputs.earlier_bests is not None:
        bests = inputs.earlier_bests.read_some() + bests
    outputs.bests.write(bests)
    demonstrations = inputs.demonstrations.read_some() if inputs.demonstrations else []
    if config.demonstrations_kept < 1 and demonstrations:
        share = config.demonstrations_kept
        demonstrations = best_demonstrations(demonstrations, policy.chat, rewards, share)
    if config.demonstrations is not None:
        rng = np.random.default_rng(derive_seed(context.seed, "demonstrations"))
        order = rng.permutation(len(demonstrations))[: config.demonstrations]
        demonstrations = [demonstrations[index] for index in sorted(order.tolist())]
    if not bests and not demonstrations:
        raise DataError(
            f"{context.name}: nothing to train on: no answer ended within {config.max_new_tokens} "
            "tokens, and there are no demonstrations to mix in. Set a larger max_new_tokens, or "
            "fine-tune the model on demonstrations first."
        )
    outputs.demonstrations.write(demonstrations)
    tuned = fine_tune(
        load_transformer(inputs.base.path, context.runtime),
        policy.chat,
        demonstrations + bests,
        config.fine_tuning,
        context,
        outputs=outputs,
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


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None
