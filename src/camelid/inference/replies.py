"""Replies to prompts: renders, samples and decodes, with the ids that every later pass reuses.

Token in, token out: rewards and log-probabilities read the sampled ids, never re-encoded text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camelid.data.records import Prompt, StopReason
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.tokenization.chat import ChatFormat


@dataclass(frozen=True, slots=True)
class Reply:
    """One sampled reply."""

    prompt: Prompt
    sample: int
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    """Sampled ids, the end token included when the reply ended by itself."""
    text: str
    stop_reason: StopReason
    prompt_cut: int = 0
    """Tokens that the prompt lost on its left to fit."""

    @property
    def sequence(self) -> list[int]:
        """Prompt and reply ids."""
        return [*self.prompt_tokens, *self.tokens]


def sample_replies(
    model: Transformer,
    chat: ChatFormat,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seed: int,
    samples: int = 1,
    temperatures: Sequence[float] | None = None,
) -> list[Reply]:
    """Sample replies to prompts, `samples` each, in the order of the prompts.

    `temperatures`, one a prompt, stand in for that of `sampling`.

    A prompt too long for context minus reply loses tokens on its left (policy `truncate_left`;
    `Reply.prompt_cut` says how many); stages that must not lose any select prompts with
    `fitting_prompts` before.
    """
    room = model.config.context - sampling.max_new_tokens
    whole = [chat.render_prompt(prompt.messages) for prompt in prompts]
    rendered = [tuple(ids[-room:]) for ids in whole]
    requests = [
        Request(
            f"{index}/{prompt.id}",
            ids,
            samples,
            temperature=None if temperatures is None else temperatures[index],
        )
        for index, (prompt, ids) in enumerate(zip(prompts, rendered, strict=True))
    ]
    replies = []
    for completion in generate(model, requests, sampling, end_id=chat.end_id, seed=seed):
        index = int(completion.request_id.split("/", 1)[0])
        replies.append(
            Reply(
                prompts[index],
                completion.sample,
                rendered[index],
                completion.tokens,
                chat.tokenizer.decode(completion.words).strip(),
                completion.stop_reason,
                len(whole[index]) - len(rendered[index]),
            )
        )
    return replies


def fitting_prompts(
    chat: ChatFormat, prompts: Sequence[Prompt], longest: int
) -> tuple[list[Prompt], int]:
    """Return the prompts of at most `longest` tokens and how many were dropped."""
    kept = [p for p in prompts if len(chat.render_prompt(p.messages)) <= longest]
    return kept, len(prompts) - len(kept)
