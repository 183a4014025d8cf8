"""A recipe and the order of its stages.

Rounds go V1, V2, ...: fresh preferences from the two latest variants, reward models from the latest
chat model, rejection sampling, red teaming. After the last round: context distillation, Ghost
Attention, PPO, evaluation, report.

Source: arXiv 2307.09288, Figure 4 and Section 3.2.3 (rounds). The order of the last steps is
Source: choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from camelid.data.annotation import Judge
from camelid.errors import ConfigError
from camelid.evaluation.judge import StandInJudge
from camelid.run.runner import Stage
from camelid.run.stage import StageInputs
from camelid.runtime import Precision
from camelid.simulation.judge import ExactJudge
from camelid.simulation.world import WorldConfig
from camelid.stages import (
    context_distillation,
    data,
    evaluating,
    ghost_attention,
    ppo,
    preference_collection,
    pretraining,
    public_data,
    red_teaming,
    rejection_sampling,
    reporting,
    reward_modeling,
    sft,
    tokenizer_training,
    weights,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FromText:
    """A model from raw text: the simulated world, its tokenizer and pretraining."""

    world: WorldConfig
    """The pocket world that is learned."""
    tokenizer_training: tokenizer_training.Config
    """SentencePiece on the world's corpus."""
    pretraining: pretraining.Config
    """Next-token training from random weights."""
    preference_collection: preference_collection.Config
    """Comparisons by simulated annotators."""
    context_distillation: context_distillation.Config
    """Safety distillation after the last round."""
    ghost_attention: ghost_attention.Config
    """Instructions that hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FromWeights:
    """A model from real weights, with public demonstrations and human comparisons."""

    public_data: public_data.Config
    """Where the public files are and how much of them is used."""
    weights: weights.Config
    """The file of weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides a run."""

    name: str
    """Name of the recipe."""
    seed: int = 0
    """Seed of all training, sampling and shuffling. The pocket world and its annotators are part of
    the task, not of the run: they keep seeds of their own."""
    precision: Precision = "auto"
    """Compute type: bf16 where the hardware has it, else fp32."""
    threads: int = 2
    """Threads of the CPU kernels; part of what makes a run repeatable to the bit."""
    watts: float = 65.0
    """Power of the machine in W, for energy and CO2 (stated, not measured; Source: choice)."""
    from_text: FromText | None = None
    """Start from raw text; exactly one of the two starts is given."""
    from_weights: FromWeights | None = None
    """Start from real weights."""
    rounds: int = 1
    """Rounds of preferences, reward models and rejection sampling (the paper has five)."""
    sft: sft.Config
    """Supervised fine-tuning."""
    reward_modeling: reward_modeling.Config
    """Helpfulness, safety and guard reward models."""
    rejection_sampling: rejection_sampling.Config
    """Rejection sampling of each round."""
    red_teaming: red_teaming.Config
    """Red teaming of each round."""
    ppo: ppo.Config
    """Proximal policy optimisation at the end."""
    evaluating: evaluating.Config
    """Evaluation of all versions."""
    reporting: reporting.Config
    """The report."""

    def __post_init__(self) -> None:
        if (self.from_text is None) == (self.from_weights is None):
            raise ConfigError("recipe: give exactly one of from_text and from_weights.")
        if self.rounds < 1:
            raise ConfigError(f"recipe: rounds must be at least 1, found {self.rounds}.")


@dataclass(frozen=True, slots=True)
class _Start:
    """Where the first stages leave what all others read."""

    stages: list[Stage]
    tokenizer: str
    base: str
    held_out: str | None


def _stage(
    name: str, run: Callable[..., dict[str, Any]], config: Any, inputs: StageInputs, **bound: Any
) -> Stage:
    """Return a stage with its inputs, and what else its function is bound to."""
    return Stage(name, partial(run, inputs=inputs, **bound), config, inputs.paths())


def _from_text(recipe: Recipe, start: FromText) -> _Start:
    corpus, tokenizer = "data/corpus.txt", "tokenizer_training/tokenizer"
    learning = pretraining.Inputs(tokenizer, corpus, "data/corpus_validation.txt")
    stages = [
        Stage("data", data.run, start.world, ()),
        _stage(
            "tokenizer_training",
            tokenizer_training.run,
            start.tokenizer_training,
            tokenizer_training.Inputs(corpus),
        ),
        _stage(
            "pretraining",
            pretraining.run,
            start.pretraining,
            learning,
            precision=recipe.precision,
        ),
    ]
    return _Start(stages, tokenizer, "pretraining/model", "data/held_out.json")


def _from_weights(start: FromWeights) -> _Start:
    stages = [
        Stage("data", public_data.run, start.public_data, ()),
        Stage("weights", weights.run, start.weights, ()),
    ]
    return _Start(stages, "weights/tokenizer", "weights/model", None)


def stages(recipe: Recipe) -> list[Stage]:
    """Return the stages of a recipe in order."""
    text, precision = recipe.from_text, recipe.precision
    if text is not None:
        start = _from_text(recipe, text)
    elif recipe.from_weights is not None:
        start = _from_weights(recipe.from_weights)
    else:
        raise ConfigError("recipe: give exactly one of from_text and from_weights.")
    judge: Judge = ExactJudge() if text is not None else StandInJudge()
    listed = list(start.stages)
    tuning = sft.Inputs(start.tokenizer, start.base, "data/demonstrations.jsonl")
    listed.append(_stage("sft", sft.run, recipe.sft, tuning, precision=precision))
    older, latest = "sft/epoch1", "sft/model"
    models = [("base", start.base), ("sft", latest)]
    for number in range(1, recipe.rounds + 1):
        listed += _round(recipe, start, judge, number=number, older=older, latest=latest)
        older, latest = latest, f"v{number}/rejection_sampling/model"
        models.append((f"v{number}", latest))
    last = f"v{recipe.rounds}"
    ghost = None
    if text is not None:
        listed += _after_rounds(recipe, text, start, latest, last)
        latest, ghost = "ghost_attention/model", "ghost_attention/dialogues.jsonl"
        models += [
            ("context_distillation", "context_distillation/model"),
            ("ghost_attention", latest),
        ]
    optimising = ppo.Inputs(
        start.tokenizer, latest, f"{last}/reward_modeling", "data/prompts.jsonl", ghost
    )
    listed.append(_stage("ppo", ppo.run, recipe.ppo, optimising, precision=precision))
    reference = models[-1][0]
    models.append(("final", "ppo/model"))
    answering = evaluating.Inputs(
        start.tokenizer,
        tuple(models),
        (("final", reference),),
        f"{last}/reward_modeling",
        "data/prompts.jsonl",
    )
    listed.append(
        _stage(
            "evaluating",
            evaluating.run,
            recipe.evaluating,
            answering,
            judge=judge,
            precision=precision,
        )
    )
    everything = tuple(stage.name for stage in listed)
    listed.append(Stage("reporting", reporting.run, recipe.reporting, everything))
    return listed


def _round(
    recipe: Recipe, start: _Start, judge: Judge, *, number: int, older: str, latest: str
) -> list[Stage]:
    """Return the stages of one round."""
    folder, precision, text = f"v{number}", recipe.precision, recipe.from_text
    listed = []
    sources = ["data"]
    if text is not None:
        asking = preference_collection.Inputs(
            start.tokenizer, "data/prompts.jsonl", older, latest, start.held_out, number
        )
        listed.append(
            _stage(
                f"{folder}/preference_collection",
                preference_collection.run,
                text.preference_collection,
                asking,
                world=text.world,
                precision=precision,
            )
        )
        sources = [f"v{n}/preference_collection" for n in range(1, number + 1)]
    guard = sources if number == recipe.rounds else []
    ranking = reward_modeling.Inputs(
        start.tokenizer,
        latest,
        tuple(f"{source}/preferences.jsonl" for source in sources),
        tuple(f"{source}/test_preferences.jsonl" for source in sources),
        tuple(f"{source}/guard_preferences.jsonl" for source in guard),
    )
    sampling = rejection_sampling.Inputs(
        start.tokenizer,
        start.base,
        latest,
        f"{folder}/reward_modeling",
        "data/prompts.jsonl",
        "data/demonstrations.jsonl",
        f"v{number - 1}/rejection_sampling/bests.jsonl" if number > 1 else None,
        start.held_out,
        number,
    )
    attacking = red_teaming.Inputs(
        start.tokenizer,
        f"{folder}/rejection_sampling/model",
        "data/prompts.jsonl",
        tuple(f"v{n}/red_teaming/red_teaming.jsonl" for n in range(1, number)),
        number,
    )
    return [
        *listed,
        _stage(
            f"{folder}/reward_modeling",
            reward_modeling.run,
            recipe.reward_modeling,
            ranking,
            precision=precision,
        ),
        _stage(
            f"{folder}/rejection_sampling",
            rejection_sampling.run,
            recipe.rejection_sampling,
            sampling,
            precision=precision,
        ),
        _stage(
            f"{folder}/red_teaming",
            red_teaming.run,
            recipe.red_teaming,
            attacking,
            judge=judge,
            precision=precision,
        ),
    ]


def _after_rounds(
    recipe: Recipe, text: FromText, start: _Start, latest: str, last: str
) -> list[Stage]:
    """Return context distillation and Ghost Attention."""
    bests = f"{last}/rejection_sampling/bests.jsonl"
    distilling = context_distillation.Inputs(
        start.tokenizer,
        latest,
        f"{last}/reward_modeling",
        "data/prompts.jsonl",
        bests,
        start.held_out,
    )
    holding = ghost_attention.Inputs(
        start.tokenizer,
        "context_distillation/model",
        "data/ghost_dialogues.jsonl",
        bests,
        start.held_out,
    )
    return [
        _stage(
            "context_distillation",
            context_distillation.run,
            text.context_distillation,
            distilling,
            precision=recipe.precision,
        ),
        _stage(
            "ghost_attention",
            ghost_attention.run,
            text.ghost_attention,
            holding,
            precision=recipe.precision,
        ),
    ]
