"""Safety context distillation, gated by the safety reward model (Section 4.2.4).

A safety preprompt before an adversarial prompt makes the model answer more safely; fine-tuning on
that answer with the bare prompt teaches it to do so unasked. Preprompts are made from templates
filled with adjectives, or name the prompt's risk category and an answer template. A distilled
answer is kept only where the safety reward model scores it above the original answer. Only
adversarial prompts take part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from camelid.data.held_out import load_held_out, mentions
from camelid.data.records import Dialogue, Message, Prompt, read_records, write_records
from camelid.formats.folder import load_transformer, save_model
from camelid.inference.replies import Reply, fitting_prompts, sample_replies
from camelid.inference.rewards import RewardPair
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.stages import sft
from camelid.stages.rejection_sampling import load_rewards
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the distillation."""

    prompts: int
    """Adversarial prompts (not specified in the paper)."""
    sampling: Sampling
    """Temperature and length of the answers."""
    helpful_share: float = 1.0
    """Helpful bests mixed in per kept answer, against false refusals (Source: choice)."""
    fine_tuning: sft.Config
    """Fine-tuning from the latest model."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    model: str
    reward_models: str
    prompts: str
    bests: str
    held_out: str | None


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


def _sigmoid(raw: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, raw)))


def distil(
    model: Transformer,
    chat: ChatFormat,
    rewards: RewardPair,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    forbidden: Sequence[str],
    precision: Precision,
) -> list[dict[str, Any]]:
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
        replies = sample_replies(
            model, chat, asked, sampling, seed=derive_seed(seed, name), precision=precision
        )
        # All answers are scored after the bare prompt, which is what the model will be trained on.
        answers[name] = [
            replace(reply, prompt=prompt, prompt_tokens=ids)
            for reply, prompt, ids in zip(replies, prompts, bare, strict=True)
        ]
        scores[name] = rewards.rate(answers[name], precision=precision).safety
    rows = []
    for index, prompt in enumerate(prompts):
        usable = [
            name
            for name in ("generic", "template")
            if answers[name][index].stop_reason == "stop"
            and answers[name][index].text
            and not mentions(answers[name][index].text, forbidden)
        ]
        best = max(usable, key=lambda name: scores[name][index]) if usable else None
        kept = best is not None and scores[best][index] > scores["original"][index]
        row: dict[str, Any] = {
            "prompt_id": prompt.id,
            "prompts_cut": sum(replies[index].prompt_cut > 0 for replies in answers.values()),
            "risk_category": prompt.risk_category,
            "prompt": prompt.messages[-1].content,
            "kept": kept,
            "best": best,
            "answer": answers[best][index].text if best is not None and kept else None,
        }
        for name in variants:
            row[name] = answers[name][index].text
            row[f"{name}_score"] = _sigmoid(scores[name][index])
        rows.append(row)
    return rows


def run(
    config: Config, context: StageContext, inputs: Inputs, precision: Precision
) -> dict[str, Any]:
    """Distil and fine-tune the latest model; writes `pairs.jsonl`, `dialogues.jsonl`, `model/`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    model = load_transformer(context.input(inputs.model), default_device())
    prompts = [
        p
        for p in read_records(context.input(inputs.prompts), Prompt)
        if p.attack_vector is not None and p.split == "rejection_sampling"
    ]
    prompts, too_long = fitting_prompts(
        chat, prompts, model.config.context - config.sampling.max_new_tokens - 64
    )
    prompts.sort(key=lambda p: derive_seed(context.run_seed, "distillation", p.id))
    chosen = prompts[: config.prompts]
    rows = distil(
        model,
        chat,
        load_rewards(context, inputs.reward_models),
        chosen,
        config.sampling,
        seed=context.seed,
        forbidden=load_held_out(context, inputs.held_out),
        precision=precision,
    )
    write_records(context.out / "pairs.jsonl", rows)
    dialogues = [
        Dialogue(
            id=f"distilled/{prompt.id}",
            messages=(
                *prompt.messages,
                Message(role="assistant", content=row["answer"], train=True),
            ),
            category=prompt.category,
            is_safety=True,
            source="context distillation",
        )
        for prompt, row in zip(chosen, rows, strict=True)
        if row["kept"]
    ]
    kept = len(dialogues)
    bests = read_records(context.input(inputs.bests), Dialogue)
    helpful = [d for d in bests if not d.is_safety]
    helpful.sort(key=lambda d: derive_seed(context.seed, d.id))
    dialogues += helpful[: round(config.helpful_share * kept)]
    write_records(context.out / "dialogues.jsonl", dialogues)
    result: dict[str, Any] = {
        "prompts_too_long": too_long,
        "prompts_cut": sum(row["prompts_cut"] for row in rows),
        "pairs": len(rows),
        "kept": kept,
        "kept_share": kept / len(rows) if rows else None,
        "helpful_mixed_in": len(dialogues) - kept,
    }
    if dialogues:
        result |= sft.fine_tune(
            model, chat, dialogues, config.fine_tuning, context, precision=precision
        )
    else:
        (context.out / "metrics.jsonl").write_text("", encoding="utf-8")
        context.progress.note("no distilled answer scored above its original; nothing is trained")
        save_model(model, context.out / "model")
    return result
