"""Safety context distillation: answers after a preprompt, gated by the safety reward model.

Source: arXiv 2307.09288, Section 4.2.4 and Table 39.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from camelid.data.prompts import mentions
from camelid.data.records import (
    Answer,
    DistilledPair,
    Message,
    Placement,
    PrepromptKind,
    Prompt,
    Wording,
)
from camelid.errors import ConfigError, DataError, counted
from camelid.evaluation.gate import sigmoid
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.rewards import RewardPair
from camelid.inference.sampling import Sampling
from camelid.seeds import derive_seed
from camelid.settings import from_json
from camelid.tokenization.chat import ChatFormat


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprompts:
    """The preprompts of one wording."""

    adjectives: tuple[str, ...]
    """The first three are named in Section 4.2.4; the others are Source: choice."""
    generic: tuple[str, ...]
    """Templates with room for two adjectives."""
    categories: dict[str, str]
    """Answer template by risk category (Section 4.2.1)."""
    default: str
    """Answer template of prompts that name no such category."""

    def generic_of(self, prompt_id: str) -> str:
        """Return a generic preprompt filled with two adjectives, drawn by the prompt's id."""
        draw = derive_seed("preprompt", prompt_id)
        first = self.adjectives[draw % len(self.adjectives)]
        others = [word for word in self.adjectives if word != first]
        second = others[draw // 7 % len(others)]
        return self.generic[draw // 101 % len(self.generic)].format(first, second)

    def template_of(self, prompt: Prompt) -> str:
        """Return the answer template of the prompt's risk category."""
        return self.categories.get(prompt.risk_category or "", self.default)

    def longest(self, chat: ChatFormat) -> int:
        """Return about the most tokens that a preprompt adds to a prompt."""
        pair = sorted(self.adjectives, key=len)[-2:]
        filled = [template.format(*pair) for template in self.generic]
        texts = (*filled, *self.categories.values(), self.default)
        return max(len(chat.render_prompt((Message(role="user", content=t),))) for t in texts)


def read_preprompts(wording: Wording) -> Preprompts:
    """Read the preprompts of a wording.

    Raises:
        DataError: The file beside this module is damaged.
    """
    text = Path(__file__).with_name("preprompts.toml").read_text(encoding="utf-8")
    where = f"preprompts.toml, {wording}"
    return from_json(tomllib.loads(text)[wording], Preprompts, where, error=DataError)


def with_preprompt(prompt: Prompt, preprompt: str, placement: Placement = "user") -> Prompt:
    """Return the prompt led by the preprompt."""
    first, last = prompt.messages[0], prompt.messages[-1]
    if placement == "user":
        led = replace(last, content=f"{preprompt} {last.content}")
        return replace(prompt, messages=(*prompt.messages[:-1], led))
    if first.role == "system":
        both = replace(first, content=f"{preprompt}\n\n{first.content}")
        return replace(prompt, messages=(both, *prompt.messages[1:]))
    system = Message(role="system", content=preprompt)
    return replace(prompt, messages=(system, *prompt.messages))


PREPROMPT_KINDS: tuple[PrepromptKind, ...] = ("generic", "template")


def distil(
    responder: ModelResponder,
    rewards: RewardPair,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    forbidden: Sequence[str],
    preprompts: Preprompts,
    placement: Placement = "user",
) -> list[DistilledPair]:
    """Answer each prompt bare, after a generic preprompt and its category's template; gate.

    Raises:
        ConfigError: There is no safety reward model, so nothing to gate by.
    """
    if rewards.safety is None:
        raise ConfigError(
            f"context distillation of {counted(len(prompts), 'prompt')}: there is no safety reward "
            "model to decide what is kept; train one on comparisons of safety, or leave it out."
        )
    variants = {
        "original": list(prompts),
        "generic": [with_preprompt(p, preprompts.generic_of(p.id), placement) for p in prompts],
        "template": [with_preprompt(p, preprompts.template_of(p), placement) for p in prompts],
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
