"""`pocket`: the whole recipe on a simulated world, on two CPU cores in minutes.

`smoke`: the same, tiny.

Values differ from the paper's where the scale asks for it: batches of one to two thousand tokens
(at this scale the number of steps decides what is learned), higher learning rates, few rows.
`camelid show` prints both side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from camelid.assessment import evaluating, red_teaming
from camelid.inference.sampling import Sampling
from camelid.model.config import ModelConfig
from camelid.plan import Plan
from camelid.recipes import rounds as shared
from camelid.recipes.ending import add_end
from camelid.recipes.rounds import Rounds, Start, add_rounds
from camelid.run.stage import NoInputs
from camelid.simulation.annotators import SimulatedAnnotator
from camelid.simulation.config import AnnotatorConfig, WorldConfig
from camelid.simulation.judge import ExactJudge
from camelid.sources import tokenizer_training, world_data
from camelid.stages import (
    context_distillation,
    ghost_attention,
    ppo,
    preference_collection,
    pretraining,
    rejection_sampling,
    reward_modeling,
)
from camelid.train.config import FineTuningConfig, OptimizerConfig

REPLY = Sampling(temperature=0.8, max_new_tokens=48)
"""How replies are drawn for judging. The whole distribution counts, poor tail and all: what the
rounds change is the tail that fine-tuning copies from poor annotators (Section 5)."""
SHARP = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=48)
"""The reference code's temperature and top-p, for dialogues that go on for turns."""


def _tuning(learning_rate: float, *, epochs: int = 2, steps: int | None = None) -> FineTuningConfig:
    return FineTuningConfig(
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        batch_rows=4,
        row_tokens=256,
        epochs=epochs,
        steps=steps,
        train_embeddings=False,
        micro_rows=4,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(shared.Settings):
    """Settings of every stage of the pocket pipeline."""

    world: WorldConfig
    tokenizer_training: tokenizer_training.Config
    pretraining: pretraining.Config
    preference_collection: preference_collection.Config
    red_teaming: red_teaming.Config
    context_distillation: context_distillation.Config
    ghost_attention: ghost_attention.Config


POCKET = Settings(
    # Few demonstrations and many comparisons, as in the paper (27,540 and 1.4 million).
    world=WorldConfig(demonstrations=2_250, demonstrations_persona=0.3, ghost_train=1_300),
    tokenizer_training=tokenizer_training.Config(vocabulary_size=2048),
    pretraining=pretraining.Config(
        model=ModelConfig(
            dim=256,
            layers=3,
            heads=4,
            kv_heads=4,
            ffn_dim=704,
            vocabulary_size=2048,
            context=512,
            tied_embeddings=True,
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3),
        batch_rows=4,
        row_tokens=256,
        tokens=2_100_000,
        order="as_written",
        validate_every=500,
        micro_rows=4,
    ),
    sft=_tuning(6e-4),
    preference_collection=preference_collection.Config(
        helpfulness_pairs=2500,
        safety_pairs=600,
        test_pairs=300,
        guard_pairs=400,
        continued_share=0.15,
        temperatures=(0.5, 0.75, 1.0),
        max_new_tokens=48,
        annotator=SimulatedAnnotator(AnnotatorConfig(), ExactJudge()),
    ),
    reward_modeling=reward_modeling.Config(
        optimizer=OptimizerConfig(learning_rate=6e-4),
        batch_pairs=16,
        micro_pairs=16,
        epochs=2,
        weakest="slightly_better",
        helpful_is_safe=True,
        safety_share=0.6,
        newest_factor=1,
    ),
    rejection_sampling=rejection_sampling.Config(
        prompts=1500,
        samples=6,
        temperatures=(0.6, 0.8),
        tuning_prompts=100,
        max_new_tokens=48,
        demonstrations=1000,
        demonstrations_kept=0.5,
        fine_tuning=_tuning(6e-4, steps=480),
    ),
    red_teaming=red_teaming.Config(prompts=200, sampling=REPLY, judge=ExactJudge()),
    context_distillation=context_distillation.Config(
        prompts=150,
        sampling=replace(REPLY, temperature=1.0),
        helpful_share=2.0,
        fine_tuning=_tuning(1e-4),
    ),
    ghost_attention=ghost_attention.Config(
        dialogues=1300,
        test_dialogues=60,
        sampling=SHARP,
        bests_per_dialogue=1.0,
        fine_tuning=_tuning(3e-4, epochs=3),
    ),
    ppo=ppo.Config(
        optimizer=OptimizerConfig(learning_rate=1e-4, schedule="constant"),
        iterations=40,
        batch_rows=64,
        minibatch_rows=16,
        micro_rows=16,
        critic_rate_factor=10.0,
        critic_warmup=8,
        missing_end_penalty=1.0,
        sampling=Sampling(max_new_tokens=48),
        validation_prompts=200,
        validate_every=3,
        judge=ExactJudge(),
        kept_kl=0.5,
    ),
    evaluating=evaluating.Config(
        sampling=REPLY,
        helpful=520,
        adversarial=320,
        borderline=240,
        judge=ExactJudge(),
        other_temperatures=(0.5, 0.0),
    ),
    pick_controls=("random", "judge"),
)

_TINY = replace(_tuning(1e-3), epochs=1)
_SHORT = Sampling(temperature=0.8, max_new_tokens=16)
SMOKE = Settings(
    world=WorldConfig(
        people=12,
        towns=12,
        creatures=12,
        documents=800,
        exercises=80,
        validation_documents=40,
        demonstrations=240,
        rm_train=200,
        rejection_sampling=80,
        ppo=60,
        red_teaming=48,
        validation=80,
        test_helpful=24,
        test_adversarial=18,
        test_borderline=18,
        ghost_train=24,
        ghost_test=8,
        open_comparisons=20,
        guard_comparisons=8,
        drafted=4,
    ),
    tokenizer_training=tokenizer_training.Config(vocabulary_size=1024),
    pretraining=replace(
        POCKET.pretraining,
        model=replace(
            POCKET.pretraining.model,
            dim=64,
            layers=2,
            heads=2,
            kv_heads=1,
            ffn_dim=128,
            vocabulary_size=1024,
        ),
        tokens=50_000,
        validate_every=20,
    ),
    sft=_TINY,
    preference_collection=replace(
        POCKET.preference_collection,
        helpfulness_pairs=24,
        safety_pairs=24,
        test_pairs=10,
        guard_pairs=8,
        max_new_tokens=16,
    ),
    reward_modeling=replace(POCKET.reward_modeling, weakest=None, epochs=1),
    rejection_sampling=replace(
        POCKET.rejection_sampling,
        prompts=20,
        samples=4,
        temperatures=(0.8, 1.2),
        tuning_prompts=6,
        max_new_tokens=16,
        demonstrations=100,
        fine_tuning=replace(_TINY, steps=8),
    ),
    red_teaming=replace(POCKET.red_teaming, prompts=24, sampling=_SHORT),
    context_distillation=replace(
        POCKET.context_distillation, prompts=16, sampling=_SHORT, fine_tuning=_TINY
    ),
    ghost_attention=replace(
        POCKET.ghost_attention,
        dialogues=24,
        test_dialogues=4,
        require_expected=False,
        fine_tuning=_TINY,
    ),
    ppo=replace(
        POCKET.ppo,
        iterations=4,
        batch_rows=16,
        minibatch_rows=8,
        critic_warmup=1,
        sampling=replace(_SHORT, temperature=1.0),
        validation_prompts=8,
        validate_every=2,
    ),
    evaluating=replace(
        POCKET.evaluating,
        sampling=_SHORT,
        helpful=24,
        adversarial=18,
        borderline=18,
        other_temperatures=(0.0,),
    ),
    pick_controls=POCKET.pick_controls,
)


def pocket(*, rounds: Rounds = 2) -> Plan:
    """A 2.9M-parameter model, two rounds, the better part of an hour.

    Args:
        rounds: Rounds of preferences, reward models and rejection sampling (the paper has five).
    """
    return _plan("pocket", POCKET, rounds)


def smoke(*, rounds: Rounds = 2) -> Plan:
    """All stages of `pocket` on a tiny world, in about a minute.

    What it learns is worth nothing, that it runs is the point.

    Args:
        rounds: As in `pocket`.
    """
    plan = _plan("smoke", SMOKE, rounds)
    plan.remark = (
        "smoke only tests that everything runs: its model learned next to nothing, and its figures "
        "say nothing about the methods. `camelid run pocket` trains one to talk to."
    )
    return plan


def _plan(name: str, use: Settings, rounds: int) -> Plan:
    """Return the whole pipeline of Figure 4 on the pocket world."""
    plan = Plan(name)
    world = plan.add(world_data.WORLD_DATA, use.world, NoInputs())
    trained = plan.add(
        tokenizer_training.TOKENIZER_TRAINING,
        use.tokenizer_training,
        tokenizer_training.Inputs(corpus=world.corpus),
    )
    tokenizer = trained.tokenizer
    base = plan.add(
        pretraining.PRETRAINING,
        use.pretraining,
        pretraining.Inputs(tokenizer=tokenizer, corpus=world.corpus, validation=world.validation),
    )
    start = Start(
        tokenizer=tokenizer,
        base=base.model,
        demonstrations=world.demonstrations,
        prompts=world.prompts,
        open_comparisons=(world.open_comparisons,),
        guard_comparisons=(world.guard_comparisons,),
        drafted_pairs=world.drafted_pairs,
        held_out=world.held_out,
        world=world.world,
        ghost_dialogues=world.ghost_dialogues,
    )
    last = add_rounds(plan, start, use, rounds)
    add_end(plan, start, last, use)
    return plan
