"""What recipes share: SFT, rounds of preferences, reward models and samples; PPO, evaluation.

Source: arXiv 2307.09288, Figure 4 and Section 3.2.3 (rounds).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Protocol

from camelid.annotators import ImitationModels
from camelid.assessment import evaluating, pick_control, red_teaming
from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, GhostDialogue, Preference, Prompt
from camelid.errors import ConfigError
from camelid.evaluation.gate import RewardModels
from camelid.evaluation.trained_judges import Judges
from camelid.plan import Plan
from camelid.run.place import Json, ModelFolder, RewardModelFolder, Rows, TokenizerFolder
from camelid.settings import Range
from camelid.simulation.config import WorldConfig
from camelid.sources import ghost_instructions
from camelid.stages import (
    context_distillation,
    ghost_attention,
    ppo,
    preference_collection,
    rejection_sampling,
    reward_modeling,
    sft,
)
from camelid.train.config import FineTuningConfig

Rounds = Annotated[int, Range(1, 100)]


class Comparisons(Protocol):
    """Preferences to learn from: freshly collected, or those that a recipe has from the start."""

    preferences: Rows[Preference]
    test_preferences: Rows[Preference]
    guard_preferences: Rows[Preference]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a recipe begins: weights, and the data that all rounds use."""

    tokenizer: TokenizerFolder
    base: ModelFolder
    prompts: Rows[Prompt]
    demonstrations: Rows[Dialogue] | None = None
    """None: the given weights are taken for fine-tuned ones, and called `sft`."""
    sft_demonstrations: Rows[Dialogue] | None = None
    """What `sft` learns from, where that is not all of them."""
    held_out_demonstrations: Rows[Dialogue] | None = None
    """Not trained on."""
    comparisons: Comparisons | None = None
    """Comparisons that are there before any is collected, divided among their uses."""
    open_comparisons: tuple[Rows[Preference], ...] = ()
    """The same, only to train on."""
    guard_comparisons: tuple[Rows[Preference], ...] = ()
    """The same for the guard model."""
    drafted_pairs: Rows[Preference] | None = None
    held_out: Json[HeldOut] | None = None
    world: Json[WorldConfig] | None = None
    judges: Judges | None = None
    """Judges of real text, trained on people's labels."""
    ghost_dialogues: Rows[GhostDialogue] | None = None
    imitation: ImitationModels | None = None
    """Who compares where the annotator is an imitation of people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of the stages that all recipes have."""

    sft: FineTuningConfig
    preference_collection: preference_collection.Config | None = None
    """How fresh preferences are collected each round; None where nobody compares."""
    first_collected: int = 1
    """The first round of which that is so."""
    reward_modeling: reward_modeling.Config
    rejection_sampling: rejection_sampling.Config
    red_teaming: red_teaming.Config | None
    """None where there is no attack prompt."""
    ppo: ppo.Config
    evaluating: evaluating.Config
    context_distillation: context_distillation.Config | None = None
    """None where there is no safety model that could gate it, or no attack prompt."""
    ghost_instructions: ghost_instructions.Config | None = None
    """How instructions are made where there are no Ghost dialogues."""
    ghost_attention: ghost_attention.Config | None = None
    pick_controls: tuple[pick_control.Picker, ...] = ()
    """Who picks in the reward models' place in the first round, to compare with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRound:
    """What the rounds leave."""

    names: tuple[str, ...]
    """Of all rounds: `v1`, `v2`, ..."""
    model: ModelFolder
    rewards: RewardModels
    guard: RewardModelFolder
    bests: Rows[Dialogue]
    attacks: tuple[Rows[red_teaming.RedTeamRow], ...]
    controls: tuple[tuple[str, ModelFolder], ...]
    """The first round with another pick."""


def add_rounds(plan: Plan, start: Start, use: Settings, number: int) -> LastRound:
    """Add supervised fine-tuning, then so many rounds V1, V2, ...

    In each the two latest variants answer and the latest model is tuned.
    """
    if number < 1:
        raise ConfigError(f"--rounds {number}: at least 1 round needed.")
    older, latest = add_sft(plan, start, use.sft)
    collected = [] if start.comparisons is None else [start.comparisons]
    attacks: list[Rows[red_teaming.RedTeamRow]] = []
    bests: Rows[Dialogue] | None = None
    names = tuple(f"v{n}" for n in range(1, number + 1))
    for now, name in enumerate(names, 1):
        if use.preference_collection is not None and now >= use.first_collected:
            fresh = plan.add(
                preference_collection.PREFERENCE_COLLECTION,
                use.preference_collection,
                preference_collection.Inputs(
                    tokenizer=start.tokenizer,
                    prompts=start.prompts,
                    older=older,
                    newer=latest,
                    held_out=start.held_out,
                    world=start.world,
                    imitation=start.imitation,
                    round=now,
                ),
                within=name,
            )
            collected.append(fresh)
        guards = [*start.guard_comparisons, *(found.guard_preferences for found in collected)]
        rewards = plan.add(
            reward_modeling.REWARD_MODELING,
            use.reward_modeling,
            reward_modeling.Inputs(
                tokenizer=start.tokenizer,
                chat_model=latest,
                preferences=(
                    *start.open_comparisons,
                    *(found.preferences for found in collected),
                ),
                test_preferences=tuple(found.test_preferences for found in collected),
                guard_preferences=tuple(guards) if now == number else (),
                drafted_pairs=start.drafted_pairs,
            ),
            within=name,
        )
        models = rewards.models
        if not use.reward_modeling.safety_model:
            models = RewardModels(helpfulness=rewards.helpfulness_rm)
        sampled = plan.add(
            rejection_sampling.REJECTION_SAMPLING,
            use.rejection_sampling,
            rejection_sampling.Inputs(
                tokenizer=start.tokenizer,
                base=start.base,
                policy=latest,
                rewards=models,
                prompts=start.prompts,
                demonstrations=start.demonstrations,
                earlier_bests=bests,
                held_out=start.held_out,
                round=now,
            ),
            within=name,
        )
        if use.red_teaming is not None:
            attacked = plan.add(
                red_teaming.RED_TEAMING,
                use.red_teaming,
                red_teaming.Inputs(
                    tokenizer=start.tokenizer,
                    model=sampled.model,
                    prompts=start.prompts,
                    earlier=tuple(attacks),
                    before=latest if attacks else None,
                    round=now,
                    judges=start.judges,
                ),
                within=name,
            )
            attacks.append(attacked.attacks)
        older, latest, bests = latest, sampled.model, sampled.bests
        plan.models[name] = latest
        if now == 1:
            controls = tuple(_pick_controls(plan, start, use, sampled))
    return LastRound(
        names=names,
        model=latest,
        rewards=models,
        guard=rewards.guard_rm,
        bests=sampled.bests,
        attacks=tuple(attacks),
        controls=controls,
    )


def add_sft(plan: Plan, start: Start, config: FineTuningConfig) -> tuple[ModelFolder, ModelFolder]:
    """Add supervised fine-tuning where there are demonstrations.

    Returns:
        The two variants that answer first: after one epoch, and after all; without demonstrations
        both are the given weights.
    """
    plan.tokenizer = start.tokenizer
    if start.demonstrations is None:
        plan.models["sft"] = start.base
        return start.base, start.base
    tuned = plan.add(
        sft.SFT,
        config,
        sft.Inputs(
            tokenizer=start.tokenizer,
            base=start.base,
            demonstrations=start.sft_demonstrations or start.demonstrations,
            held_out_demonstrations=start.held_out_demonstrations,
        ),
    )
    plan.models |= {"base": start.base, "sft": tuned.model}
    return tuned.epoch1, tuned.model


def _pick_controls(
    plan: Plan, start: Start, use: Settings, sampled: rejection_sampling.Outputs
) -> Iterator[tuple[str, ModelFolder]]:
    """Add the controls of the first round; yield name and model of each."""
    for pick in use.pick_controls:
        name = f"{pick}_pick"
        control = plan.add(
            pick_control.PICK_CONTROL,
            pick_control.Config(
                pick=pick,
                judge=use.evaluating.judge,
                fine_tuning=use.rejection_sampling.fine_tuning,
            ),
            pick_control.Inputs(
                tokenizer=start.tokenizer,
                base=start.base,
                samples=sampled.samples,
                bests=sampled.bests,
                demonstrations=sampled.demonstrations,
                prompts=start.prompts,
                held_out=start.held_out,
                round=1,
            ),
            within=name,
        )
        yield name, control.model
