"""What recipes share after their rounds: other methods, PPO, evaluation and the report.

Source: arXiv 2307.09288, Figure 4, Sections 3.3 and 4.2.4.
"""

from __future__ import annotations

from itertools import dropwhile, pairwise

from camelid.assessment import evaluating, red_teaming
from camelid.data.records import Dialogue
from camelid.errors import ConfigError, counted
from camelid.methods.sizes import check_sizes
from camelid.plan import Plan
from camelid.recipes.rounds import LastRound, Settings, Start
from camelid.run.place import Rows
from camelid.sources import ghost_instructions
from camelid.stages import context_distillation, ghost_attention, ppo
from camelid.stages.reporting import add_report


def add_methods(plan: Plan, start: Start, last: LastRound, use: Settings) -> Rows[Dialogue] | None:
    """Add context distillation and Ghost Attention, where the recipe has them.

    Their order is Source: choice.

    Returns:
        Dialogues of Ghost Attention, for PPO.
    """
    latest = last.model
    if use.context_distillation is not None:
        distilled = plan.add(
            context_distillation.CONTEXT_DISTILLATION,
            use.context_distillation,
            context_distillation.Inputs(
                tokenizer=start.tokenizer,
                model=latest,
                rewards=last.rewards,
                prompts=start.prompts,
                bests=last.bests,
                held_out=start.held_out,
            ),
        )
        latest = plan.models["context_distillation"] = distilled.model
    dialogues = start.ghost_dialogues
    if use.ghost_instructions is not None:
        dialogues = plan.add(
            ghost_instructions.GHOST_INSTRUCTIONS,
            use.ghost_instructions,
            ghost_instructions.Inputs(
                tokenizer=start.tokenizer, model=latest, prompts=start.prompts
            ),
        ).ghost_dialogues
    if use.ghost_attention is None or dialogues is None:
        return None
    held = plan.add(
        ghost_attention.GHOST_ATTENTION,
        use.ghost_attention,
        ghost_attention.Inputs(
            tokenizer=start.tokenizer,
            model=latest,
            ghost_dialogues=dialogues,
            bests=last.bests,
            held_out=start.held_out,
        ),
    )
    plan.models["ghost_attention"] = held.model
    return held.dialogues


def add_end(plan: Plan, start: Start, last: LastRound, use: Settings) -> None:
    """Add what follows the rounds: other methods, PPO, the evaluation of all models, the report.

    The last model is compared with the one it started from.

    Args:
        plan: Where to add.
        start: Where the recipe began.
        last: The last round, whose reward models score.
        use: Settings.
    """
    ghost = add_methods(plan, start, last, use)
    reference, policy = list(plan.models.items())[-1]
    optimised = plan.add(
        ppo.PPO,
        use.ppo,
        ppo.Inputs(
            tokenizer=start.tokenizer,
            policy=policy,
            rewards=last.rewards,
            guard=last.guard,
            prompts=start.prompts,
            ghost=ghost,
        ),
    )
    plan.models["final"] = optimised.model
    if use.red_teaming is not None:
        plan.add(
            red_teaming.RED_TEAMING,
            use.red_teaming,
            red_teaming.Inputs(
                tokenizer=start.tokenizer,
                model=optimised.model,
                prompts=start.prompts,
                earlier=last.attacks,
                before=last.model,
                round=len(last.names),
                judges=start.judges,
            ),
            within="final",
        )
    compare = evaluating.Comparison
    # Between the last round and PPO no control was trained: each stands beside the model before.
    between = list(dropwhile(lambda name: name != last.names[-1], plan.models))[:-1]
    comparisons = [
        compare(
            method=f"rejection sampling, {last.names[0]}",
            before="sft",
            after=last.names[0],
            control="random_pick",
            ceiling="judge_pick",
        ),
        *(
            compare(method=after.replace("_", " "), before=before, after=after, control=before)
            for before, after in pairwise(between)
        ),
        compare(method="PPO", before=reference, after="final", control=reference),
        compare(method="the whole pipeline", before="sft", after="final", control="sft"),
    ]
    plan.add(
        evaluating.EVALUATING,
        use.evaluating,
        evaluating.Inputs(
            tokenizer=start.tokenizer,
            models=tuple(plan.models.items()),
            references=(("final", reference),),
            rounds=last.names,
            rewards=last.rewards,
            guard=last.guard,
            prompts=start.prompts,
            controls=last.controls,
            sharpened=("sft", reference, "final"),
            comparisons=tuple(comparisons),
            judges=start.judges,
        ),
    )
    add_report(plan)
    plan.require(check_sizes)
    plan.require(_policy_is_trained)


def _policy_is_trained(plan: Plan) -> None:
    """Check that PPO's critic does not warm up to the end.

    Raises:
        ConfigError: It does.
    """
    for stage in plan.stages:
        config = stage.config
        if isinstance(config, ppo.Config) and config.critic_warmup >= config.iterations:
            raise ConfigError(
                f"--ppo.critic-warmup is {config.critic_warmup} of "
                f"{counted(config.iterations, 'iteration')}; "
                "with that the policy is never trained. Set fewer, or more --ppo.iterations."
            )
