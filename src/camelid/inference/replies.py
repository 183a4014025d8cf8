"""Who answers prompts: renders, samples and decodes, with the ids that every later pass reuses.

Token in, token out: rewards and log-probabilities read the sampled ids, never re-encoded text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from camelid.data.records import Prompt, StopReason
from camelid.errors import ConfigError
from camelid.formats.folder import load_transformer
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.runtime import Runtime
from camelid.tokenization.chat import ChatFormat, load_chat_format


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
    logp: tuple[float, ...] = ()
    """The sampler's log-probability of each token; watched only, never trained on."""
    end_id: int | None = None
    """The chat format's own end token."""

    @property
    def sequence(self) -> list[int]:
        """Prompt and reply ids."""
        return [*self.prompt_tokens, *self.tokens]

    @property
    def scored(self) -> list[int]:
        """Ids as reward models read them: they have learned from one end token, whichever ended."""
        if self.stop_reason != "stop" or self.end_id is None:
            return self.sequence
        return [*self.sequence[:-1], self.end_id]


class Responder(Protocol):
    """Answers prompts."""

    def fitting(self, prompts: Sequence[Prompt], new_tokens: int) -> tuple[list[Prompt], int]:
        """Return the prompts that leave room for so many new tokens, and how many do not."""

    def answer(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        samples: int = 1,
        temperatures: Sequence[float] | None = None,
    ) -> list[Reply]:
        """Return `samples` replies to each prompt, in the order of the prompts.

        `temperatures`, one a prompt, stand in for that of `sampling`.
        """


@dataclass(frozen=True, slots=True)
class ModelResponder:
    """Weights with their chat format, as a `Responder`."""

    model: Transformer
    chat: ChatFormat

    @classmethod
    def load(cls, model: Path, tokenizer: Path, runtime: Runtime) -> Self:
        """Read both from their folders (errors as the readers).

        Raises:
            CheckpointError: They are not each other's.
        """
        found = cls(load_transformer(model, runtime), load_chat_format(tokenizer))
        ids = found.chat.tokenizer.vocabulary_size
        found.model.config.require_vocabulary(ids, str(tokenizer))
        return found

    def fitting(self, prompts: Sequence[Prompt], new_tokens: int) -> tuple[list[Prompt], int]:
        """See `Responder`."""
        longest = self.model.config.context - new_tokens
        kept = [p for p in prompts if len(self.chat.render_prompt(p.messages)) <= longest]
        return kept, len(prompts) - len(kept)

    def answer(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        samples: int = 1,
        temperatures: Sequence[float] | None = None,
    ) -> list[Reply]:
        """See `Responder`.

        A prompt too long for context minus reply loses tokens on its left (policy `truncate_left`;
        `Reply.prompt_cut` says how many); stages that must not lose any ask for the `fitting` ones.

        Raises:
            ConfigError: The reply alone fills the context.
        """
        context = self.model.config.context
        room = context - sampling.max_new_tokens
        if room < 1:
            raise ConfigError(
                f"replies of up to {sampling.max_new_tokens} tokens leave no room for a prompt in "
                f"the model's context of {context}; set max_new_tokens to less."
            )
        whole = [self.chat.render_prompt(prompt.messages) for prompt in prompts]
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
        completions = generate(
            self.model,
            requests,
            sampling,
            end_ids=self.chat.end_ids,
            never=self.chat.tokenizer.unused_ids,
            seed=seed,
        )
        for completion in completions:
            index = int(completion.request_id.split("/", 1)[0])
            replies.append(
                Reply(
                    prompts[index],
                    completion.sample,
                    rendered[index],
                    completion.tokens,
                    self.chat.tokenizer.decode(completion.words).strip(),
                    completion.stop_reason,
                    len(whole[index]) - len(rendered[index]),
                    completion.logp,
                    self.chat.end_id,
                )
            )
        return replies
