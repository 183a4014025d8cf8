"""What recipes share: rounds of preferences, reward models and rejection sampling; the evaluation.

Source: arXiv 2307.09288, Figure 4 and Section 3.2.3 (rounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, Preference, Prompt
from camelid.plan import Plan
from camelid.run.place import Json, ModelFolder, Rows, TokenizerFolder
from camelid.simulation.config import WorldConfig
from camelid.stages import (
    evaluating,
    preference_collection,
    red_teaming,
    rejection_sampling,
    reward_modeling,
    sft,
)
from camelid.stages.reporting import add_report
from camelid.train.config import FineTuningConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a recipe begins: weights, and the data that all rounds use."""

    tokenizer: TokenizerFolder
    base: ModelFolder
    demonstrations: Rows[Dialogue]
    prompts: Rows[Prompt]
    held_out: Json[HeldOut] | None = None
    world: Json[WorldConfig] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparisons:
    """Preferences that a recipe has from the start, in place of collecting them."""

    train: Rows[Preference]
    test: Rows[Preference]
    guard: Rows[Preference]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounds:
    """Settings of the stages of every round."""

    number: int
    preferences: preference_collection.Config | Comparisons
    """How fresh preferences are collected each round, or those that there are."""
    reward_modeling: reward_modeling.Config
    rejection_sampling: rejection_sampling.Config
    red_teaming: red_teaming.Config


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRound:
    """What the last round leaves."""

    model: ModelFolder
    rewards: reward_modeling.Outputs
    bests: Rows[Dialogue]


def add_sft(plan: Plan, start: Start, config: FineTuningConfig) -> sft.Outputs:
    """Add supervised fine-tuning and name the models so far."""
    tuned = plan.add(
        sft.SFT,
        config,
        sft.Inputs(tokenizer=start.tokenizer, base=start.base, demonstrations=start.demonstrations),
    )
    plan.tokenizer = start.tokenizer
    plan.models |= {"base": start.base, "sft": tuned.model}
    return tuned


def add_rounds(plan: Plan, start: Start, tuned: sft.Outputs, rounds: Rounds) -> LastRound:
    """Add the rounds V1, V2, ...: the two latest variants answer, the latest model is tuned."""
    older, latest = tuned.epoch1, tuned.model
    collected: list[Comparisons] = []
    attacks: list[Rows[red_teaming.RedTeamRow]] = []
    bests: Rows[Dialogue] | None = None
    for number in range(1, rounds.number + 1):
        name = f"v{number}"
        if isinstance(rounds.preferences, Comparisons):
            collected = [rounds.preferences]
        else:
            asked = plan.add(
                preference_collection.PREFERENCE_COLLECTION,
                rounds.preferences,
                preference_collection.Inputs(
                    tokenizer=start.tokenizer,
                    prompts=start.prompts,
                    older=older,
                    newer=latest,
                    held_out=start.held_out,
                    world=start.world,
                    round=number,
                ),
                within=name,
            )
            collected.append(
                Comparisons(
                    train=asked.preferences,
                    test=asked.test_preferences,
                    guard=asked.guard_preferences,
                )
            )
        guards = collected if number == rounds.number else []
        rewards = plan.add(
            reward_modeling.REWARD_MODELING,
            rounds.reward_modeling,
            reward_modeling.Inputs(
                tokenizer=start.tokenizer,
                chat_model=latest,
                preferences=tuple(found.train for found in collected),
                test_preferences=tuple(found.test for found in collected),
                guard_preferences=tuple(found.guard for found in guards),
            ),
            within=name,
        )
        sampled = plan.add(
            rejection_sampling.REJECTION_SAMPLING,
            rounds.rejection_sampling,
            rejection_sampling.Inputs(
                tokenizer=start.tokenizer,
                base=start.base,
                policy=latest,
                rewards=rewards.models,
                prompts=start.prompts,
                demonstrations=start.demonstrations,
                earlier_bests=bests,
                held_out=start.held_out,
                round=number,
            ),
            within=name,
        )
        attacked = plan.add(
            red_teaming.RED_TEAMING,
            rounds.red_teaming,
            red_teaming.Inputs(
                tokenizer=start.tokenizer,
                model=sampled.model,
                prompts=start.prompts,
                earlier=tuple(attacks),
                round=number,
            ),
            within=name,
        )
        attacks.append(attacked.attacks)
        older, latest, bests = latest, sampled.model, sampled.bests
        plan.models[name] = latest
    if bests is None:
        raise ValueError("at least one round")
    return LastRound(model=latest, rewards=rewards, bests=bests)


def add_end(
    plan: Plan,
    start: Start,
    last: LastRound,
    config: evaluating.Config,
    *,
    final: ModelFolder,
    rounds: Sequence[str],
) -> None:
    """Add the evaluation of all models, and the report.

    The last model is compared with the one it started from.

    Args:
        plan: Where to add.
        start: Where the recipe began.
        last: The last round, whose reward models score.
        config: Settings of the evaluation.
        final: The last model.
        rounds: Names of the models after each round.
    """
    reference = list(plan.models)[-1]
    plan.models["final"] = final
    plan.add(
        evaluating.EVALUATING,
        config,
        evaluating.Inputs(
            tokenizer=start.tokenizer,
            models=tuple(plan.models.items()),
            references=(("final", reference),),
            rounds=tuple(rounds),
            rewards=last.rewards.models,
            guard=last.rewards.guard_rm,
            prompts=start.prompts,
        ),
    )
    add_report(plan)


def round_names(number: int) -> list[str]:
    """Return `v1`, `v2`, ..."""
    return [f"v{n}" for n in range(1, number + 1)]
