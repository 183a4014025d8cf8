"""Safety context distillation: answers after a preprompt, gated by the safety reward model.

Source: arXiv 2307.09288, Section 4.2.4 and Table 39.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camelid.data.prompts import mentions
from camelid.data.records import Answer, DistilledPair, PrepromptKind, Prompt
from camelid.evaluation.gate import sigmoid
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.rewards import RewardPair
from camelid.inference.sampling import Sampling
from camelid.seeds import derive_seed

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


PREPROMPT_KINDS: tuple[PrepromptKind, ...] = ("generic", "template")


def distil(
    responder: ModelResponder,
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
    bare = [tuple(responder.chat.render_prompt(p.messages)) for p in prompts]
    answers: dict[str, list[Reply]] = {}
    scores: dict[str, list[float]] = {}
    for name, asked in variants.items():
        replies = responder.answer(asked, sampling, seed=derive_seed(seed, name))
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
            for name in PREPROMPT_KINDS
            if answers[name][index].stop_reason == "stop"
            and answers[name][index].text
            and not mentions(answers[name][index].text, forbidden)
        ]
        best: PrepromptKind | None = None
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
