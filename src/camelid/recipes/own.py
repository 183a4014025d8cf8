"""`own`: the recipe on anybody's weights, text, dialogues, comparisons and prompts.

The stages for which there is an input take part; the others are named with the reason. Sizes are
for models of some hundred million parameters on two CPU cores; every one is a setting.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from camelid.annotators import ImitationModels, annotator_of
from camelid.assessment import evaluating, judge_training, red_teaming
from camelid.evaluation.judge import StandInJudge
from camelid.inference.sampling import Sampling
from camelid.methods.sizes import check_sizes
from camelid.model.config import ModelConfig
from camelid.plan import Plan
from camelid.recipes.ending import add_end
from camelid.recipes.given import Given
from camelid.recipes.rounds import Rounds, Settings, Start, add_rounds, add_sft
from camelid.run.place import ModelFolder, TokenizerFolder
from camelid.run.stage import NoInputs
from camelid.settings import Range
from camelid.sources import ghost_instructions, own_data, safety_data, tokenizer_training
from camelid.sources import weights as weights_stage
from camelid.stages import (
    context_distillation,
    ghost_attention,
    imitation,
    ppo,
    preference_collection,
    pretraining,
    rejection_sampling,
    reward_modeling,
)
from camelid.stages.reporting import add_report
from camelid.train.config import FineTuningConfig, OptimizerConfig

Length = Annotated[int, Range(32, 2**17)]
"""Tokens of a row of fine-tuning, and of a comparison."""
BATCH_TOKENS = 4_096
"""Of a step of fine-tuning; at such sizes the number of steps decides (Source: choice)."""


def own(
    *,
    weights: Path | None = None,
    text: Path | None = None,
    demonstrations: Path | None = None,
    comparisons: Path | None = None,
    safety_comparisons: Path | None = None,
    prompts: Path | None = None,
    annotator: str = "none",
    safety: Literal["none", "authored"] = "none",
    attacks: Path | None = None,
    human_scores: Path | None = None,
    ghost_dialogues: Annotated[int, Range(0, 100_000)] = 0,
    rounds: Rounds = 1,
    length: Length = 512,
) -> Plan:
    """Your weights or text, your dialogues, your comparisons: what there is an input for.

    Args:
        weights: Llama-type model to start from: folder of Hugging Face or Meta, GGUF file, or a
            model folder of a run.
        text: File or folder of text (`.txt`, `.jsonl` with a field `text`) to pretrain on, in
            place of weights.
        demonstrations: File or folder of dialogues for supervised fine-tuning.
        comparisons: File or folder of comparisons of helpfulness for the reward models.
        safety_comparisons: The same of safety; with it there is a safety reward model.
        prompts: File or folder of prompts; without it a part of the comparisons' serve.
        annotator: Who compares fresh replies each round: none, people, imitation (a reward model
            that learns from a part of the comparisons), the path of a reward model, or an
            OpenAI-like address with the model's name, http://HOST/v1#MODEL.
        safety: Whether the safety demonstrations and borderline requests that come with the package
            take part: none or authored.
        attacks: File or folder of adversarial prompts, for red teaming, training and tests.
        human_scores: Folder with people's scores of refusal and harm, from which judges learn.
        ghost_dialogues: Dialogues for Ghost Attention; 0 leaves it out.
        rounds: Rounds of reward models and rejection sampling.
        length: Most tokens of a dialogue and of a comparison with its reply; replies are at most a
            quarter as long.
    """
    given = Given(
        weights=weights,
        text=text,
        demonstrations=demonstrations,
        comparisons=comparisons,
        safety_comparisons=safety_comparisons,
        prompts=prompts,
        annotator=annotator_of(annotator),
        safety=safety == "authored",
        attacks=attacks,
        human_scores=human_scores,
        ghost_dialogues=ghost_dialogues,
    )
    plan = Plan("own")
    plan.require(given.check)
    plan.left_out = given.left_out()
    found = plan.add(own_data.OWN_DATA, _own_data(given, plan), NoInputs())
    tokenizer, base = _start(plan, given, found)
    start = _with_safety(plan, given, found, tokenizer, base)
    use = _settings(given, length)
    if given.compared:
        if given.human_scores is not None:
            judged = plan.add(
                judge_training.JUDGE_TRAINING,
                judge_training.Config(directory=_absolute(given.human_scores)),
                judge_training.Inputs(tokenizer=tokenizer, encoder=base),
            )
            start = replace(start, judges=judged.read_with(base, tokenizer))
        if given.imitated:
            start = replace(start, imitation=_imitation(plan, given, found, start, use))
        add_end(plan, start, add_rounds(plan, start, use, rounds), use)
        return plan
    if given.tuned:
        add_sft(plan, start, use.sft)
    else:
        plan.tokenizer, plan.models["base"] = tokenizer, base
    add_report(plan)
    plan.require(check_sizes)
    return plan


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _own_data(given: Given, plan: Plan) -> own_data.Config:
    return own_data.Config(
        text=_absolute(given.text),
        demonstrations=_absolute(given.demonstrations),
        comparisons=_absolute(given.comparisons),
        safety_comparisons=_absolute(given.safety_comparisons),
        prompts=_absolute(given.prompts),
        annotated=given.annotator is not None,
        imitated=given.imitated,
        left_out=tuple(f"{what}: {why}" for what, why in plan.left_out.items()),
    )


def _with_safety(
    plan: Plan,
    given: Given,
    found: own_data.Outputs,
    tokenizer: TokenizerFolder,
    base: ModelFolder,
) -> Start:
    """Return where the recipe begins, with the safety data where they take part."""
    own = given.has("demonstrations")
    start = Start(
        tokenizer=tokenizer,
        base=base,
        prompts=found.prompts,
        demonstrations=found.demonstrations if own else None,
        held_out_demonstrations=found.held_out_demonstrations if own else None,
        comparisons=found if given.has("comparisons") else None,
    )
    if not given.has("safety", "attacks"):
        return start
    mixed = plan.add(
        safety_data.SAFETY_DATA,
        safety_data.Config(authored=given.has("safety"), attacks=_absolute(given.attacks)),
        safety_data.Inputs(
            demonstrations=(found.demonstrations,) if own else (),
            prompts=(found.prompts,) if given.compared else (),
        ),
    )
    return replace(
        start,
        prompts=mixed.prompts,
        demonstrations=mixed.demonstrations if given.tuned else None,
    )


def _imitation(
    plan: Plan, given: Given, found: own_data.Outputs, start: Start, use: Settings
) -> ImitationModels:
    """Add what imitates people, from comparisons that no other stage reads."""
    learned = plan.add(
        imitation.IMITATION,
        use.reward_modeling,
        imitation.Inputs(
            tokenizer=start.tokenizer,
            chat_model=start.base,
            preferences=(found.imitation_preferences,),
            test_preferences=(found.test_preferences,),
        ),
    )
    plan.require(imitation.is_alone)
    return (
        learned.models if given.has("safety_comparisons") else replace(learned.models, safety=None)
    )


def _start(
    plan: Plan, given: Given, found: own_data.Outputs
) -> tuple[TokenizerFolder, ModelFolder]:
    """Add what makes the model to start from."""
    if given.weights is not None:
        taken = plan.add(
            weights_stage.WEIGHTS,
            weights_stage.Config(path=_absolute(given.weights)),
            NoInputs(),
        )
        return taken.tokenizer, taken.model
    tokenizer = plan.add(
        tokenizer_training.TOKENIZER_TRAINING,
        tokenizer_training.Config(vocabulary_size=_PRETRAINING.model.vocabulary_size),
        tokenizer_training.Inputs(corpus=found.corpus),
    ).tokenizer
    base = plan.add(
        pretraining.PRETRAINING,
        _PRETRAINING,
        pretraining.Inputs(tokenizer=tokenizer, corpus=found.corpus, validation=found.validation),
    )
    return tokenizer, base.model


_PRETRAINING = pretraining.Config(
    model=ModelConfig(
        dim=256,
        layers=4,
        heads=4,
        kv_heads=4,
        ffn_dim=704,
        vocabulary_size=4_096,
        context=1_024,
        tied_embeddings=True,
    ),
    optimizer=OptimizerConfig(learning_rate=2e-3),
    batch_rows=8,
    row_tokens=512,
    tokens=8_000_000,
    micro_rows=8,
)


def _tuning(
    learning_rate: float, length: int, *, epochs: int, steps: int | None = None
) -> FineTuningConfig:
    rows = max(1, BATCH_TOKENS // length)
    return FineTuningConfig(
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        batch_rows=rows,
        row_tokens=length,
        epochs=epochs,
        steps=steps,
        micro_rows=min(rows, 4),
    )


def _settings(given: Given, length: int) -> Settings:
    """Return sizes; a small model from scratch takes higher rates than given weights."""
    scratch = given.weights is None
    rate = 5e-4 if scratch else 5e-5
    new_tokens = length // 4
    reply = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=new_tokens)
    return Settings(
        sft=_tuning(rate, length, epochs=2),
        reward_modeling=reward_modeling.Config(
            optimizer=OptimizerConfig(learning_rate=2 * rate),
            batch_pairs=16,
            micro_pairs=4,
            longest=length,
            safety_model=given.has("safety_comparisons"),
        ),
        rejection_sampling=rejection_sampling.Config(
            prompts=128,
            samples=4,
            temperatures=(0.8, 1.0),
            tuning_prompts=8,
            max_new_tokens=new_tokens,
            demonstrations=300,
            fine_tuning=_tuning(rate, length, epochs=1),
        ),
        red_teaming=red_teaming.Config(prompts=100, sampling=reply, judge=StandInJudge())
        if given.has("attacks")
        else None,
        preference_collection=preference_collection.Config(
            helpfulness_pairs=100,
            safety_pairs=0,
            test_pairs=20,
            guard_pairs=20,
            max_new_tokens=new_tokens,
            annotator=given.annotator,
        )
        if given.annotator is not None
        else None,
        context_distillation=context_distillation.Config(
            prompts=120,
            sampling=replace(reply, temperature=1.0, top_p=1.0),
            wording="full",
            placement="user" if scratch else "system",
            fine_tuning=_tuning(rate, length, epochs=1),
        )
        if given.has("safety_comparisons") and given.has("safety", "attacks")
        else None,
        ghost_instructions=ghost_instructions.Config(
            train=given.ghost_dialogues or 100, kinds=ghost_instructions.kinds_here()
        )
        if given.has("ghost_dialogues")
        else None,
        ghost_attention=ghost_attention.Config(
            dialogues=given.ghost_dialogues or 100,
            test_dialogues=60,
            sampling=replace(reply, max_new_tokens=min(new_tokens, 64)),
            fine_tuning=_tuning(rate, length, epochs=2),
        )
        if given.has("ghost_dialogues")
        else None,
        ppo=ppo.Config(
            optimizer=OptimizerConfig(learning_rate=rate / 2, schedule="constant"),
            iterations=12,
            batch_rows=32,
            minibatch_rows=16,
            micro_rows=4,
            critic_warmup=1,
            lam=1.0,
            missing_end_penalty=1.0,
            kl_coefficient=0.1,
            sampling=Sampling(max_new_tokens=new_tokens),
            validation_prompts=32,
            validate_every=4,
            largest_kl=20.0,
        ),
        evaluating=evaluating.Config(
            sampling=reply,
            adversarial=200 if given.has("attacks") else 0,
            borderline=150 if given.has("safety") else 0,
            dialogue=200,
            judge=StandInJudge(),
        ),
    )
