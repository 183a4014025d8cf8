"""Answers with and without preprompts, keeps what the gate lets through and fine-tunes on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camelid.data.held_out import mentions, terms_of
from camelid.data.records import Dialogue, Message, Prompt
from camelid.evaluation.gate import sigmoid
from camelid.formats.folder import load_transformer, save_model
from camelid.inference.replies import Reply, fitting_prompts, sample_replies
from camelid.inference.rewards import RewardPair
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext
from camelid.stages.context_distillation import (
    Answer,
    Config,
    DistilledPair,
    Inputs,
    Led,
    Outputs,
    Result,
)
from camelid.stages.reward_modeling.stage import load_rewards
from camelid.stages.sft.stage import fine_tune
from camelid.tokenization.chat import ChatFormat, load_chat_format

ADJECTIVES = ("responsible", "respectful", "wise", "careful", "kind", "honest")
"""The first three are named in Section 4.2.4; the others are Source: choice."""
GENERIC_TEMPLATES = (
    "You are a {} and {} assistant.",
    "Answer as a {} and {} helper who never helps to hurt others.",
)
"""Source: choice, in the manner of Table 39."""
CATEGORY_TEMPLATES = {
    "illicit_criminal": (
        "This request asks for help with a crime. Refuse, say why, and offer a lawful way."
    ),
    "hateful_harmful": (
        "This request asks for words of hate. Refuse, say why, and offer a kind way."
    ),
    "unqualified_advice": (
        "This request asks for expert advice. Refuse, say why, and name who to ask."
    ),
}
"""Answer template by risk category; Source: choice, after the categories of Section 4.2.1."""
DEFAULT_CATEGORY_TEMPLATE = "This request may do harm. Refuse, say why, and offer a safe way."


def generic_preprompt(prompt_id: str) -> str:
    """Return a preprompt filled with two adjectives, drawn by the prompt's id."""
    draw = derive_seed("preprompt", prompt_id)
    first = ADJECTIVES[draw % len(ADJECTIVES)]
    others = [word for word in ADJECTIVES if word != first]
    second = others[draw // 7 % len(others)]
    return GENERIC_TEMPLATES[draw // 101 % len(GENERIC_TEMPLATES)].format(first, second)


def with_preprompt(prompt: Prompt, preprompt: str) -> Prompt:
    """Return the prompt with the preprompt before its last user message."""
    last = prompt.messages[-1]
    led = replace(last, content=f"{preprompt} {last.content}")
    return replace(prompt, messages=(*prompt.messages[:-1], led))


LED: tuple[Led, ...] = ("generic", "template")


def distil(
    model: Transformer,
    chat: ChatFormat,
    rewards: RewardPair,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    forbidden: Sequence[str],
) -> list[DistilledPair]:
    """Answer each prompt bare, after a generic preprompt and its category's template; gate."""
    templates = [
        CATEGORY_TEMPLATES.get(p.risk_category or "", DEFAULT_CATEGORY_TEMPLATE) for p in prompts
    ]
    variants = {
        "original": list(prompts),
        "generic": [with_preprompt(p, generic_preprompt(p.id)) for p in prompts],
        "template": [with_preprompt(p, t) for p, t in zip(prompts, templates, strict=True)],
    }
    bare = [tuple(chat.render_prompt(p.messages)) for p in prompts]
    answers: dict[str, list[Reply]] = {}
    scores: dict[str, list[float]] = {}
    for name, asked in variants.items():
        replies = sample_replies(model, chat, asked, sampling, seed=derive_seed(seed, name))
        # All answers are scored after the bare prompt, which is what the model will be trained on.
        answers[name] = [
            replace(reply, prompt=prompt, prompt_tokens=ids)
            for reply, prompt, ids in zip(replies, prompts, bare, strict=True)
        ]
        scores[name] = rewards.rate(answers[name]).safety
    pairs = []
    for index, prompt in enumerate(prompts):
        usable = [
            name
            for name in LED
            if answers[name][index].stop_reason == "stop"
            and answers[name][index].text
            and not mentions(answers[name][index].text, forbidden)
        ]
        best: Led | None = None
        if usable:
            best = max(usable, key=lambda name: scores[str(name)][index])
        original, generic, template = (
            Answer(text=answers[name][index].text, score=sigmoid(scores[name][index]))
            for name in variants
        )
        pairs.append(
            DistilledPair(
                prompt_id=prompt.id,
                risk_category=prompt.risk_category,
                prompt=prompt.messages[-1].content,
                prompts_cut=sum(replies[index].prompt_cut > 0 for replies in answers.values()),
                original=original,
                generic=generic,
                template=template,
                best=best,
                kept=best is not None and scores[str(best)][index] > scores["original"][index],
            )
        )
    return pairs


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Distil and fine-tune the latest model."""
    chat = load_chat_format(inputs.tokenizer.path)
    model = load_transformer(inputs.model.path, context.runtime)
    prompts = [
        p
        for p in inputs.prompts.read_some()
        if p.attack_vector is not None and p.split == "rejection_sampling"
    ]
    prompts, too_long = fitting_prompts(
        chat, prompts, model.config.context - config.sampling.max_new_tokens - 64
    )
    prompts.sort(key=lambda p: derive_seed(context.run_seed, "distillation", p.id))
    chosen = prompts[: config.prompts]
    pairs = distil(
        model,
        chat,
        load_rewards(inputs.rewards, context.runtime),
        chosen,
        config.sampling,
        seed=context.seed,
        forbidden=terms_of(inputs.held_out),
    )
    outputs.pairs.write(pairs)
    dialogues = [
        Dialogue(
            id=f"distilled/{prompt.id}",
            messages=(
                *prompt.messages,
                Message(role="assistant", content=pair.distilled.text, train=True),
            ),
            category=prompt.category,
            is_safety=True,
            source="context distillation",
        )
        for prompt, pair in zip(chosen, pairs, strict=True)
        if pair.kept and pair.distilled is not None
    ]
    kept = len(dialogues)
    helpful = [d for d in inputs.bests.read_some() if not d.is_safety]
    helpful.sort(key=lambda d: derive_seed(context.seed, d.id))
    dialogues += helpful[: round(config.helpful_share * kept)]
    outputs.dialogues.write(dialogues)
    tuned = None
    if dialogues:
        tuned = fine_tune(
            model,
            chat,
            dialogues,
            config.fine_tuning,
            context,
            to=outputs.model,
            metrics=outputs.metrics,
        )
    else:
        outputs.metrics.write([])
        context.progress.note("no distilled answer scored above its original; nothing is trained")
        save_model(model, outputs.model.path)
    return Result(
        prompts_too_long=too_long,
        prompts_cut=sum(pair.prompts_cut for pair in pairs),
        pairs=len(pairs),
        kept=kept,
        kept_share=kept / len(pairs) if pairs else None,
        helpful_mixed_in=len(dialogues) - kept,
        fine_tuning=tuned,
    )
