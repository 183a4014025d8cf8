"""Which prompts a stage uses: of one split, short enough, in an order that a seed fixes.

Source: choice; the splits keep what is trained on apart from what is tested on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from camelid.data.prompts import HeldOut
from camelid.data.records import Prompt, Split
from camelid.errors import DataError, counted
from camelid.inference.replies import Responder
from camelid.run.place import Json
from camelid.seeds import derive_seed


class Chosen(NamedTuple):
    """Prompts in order, and how many were too long."""

    prompts: list[Prompt]
    too_long: int


def choose_prompts(
    prompts: Sequence[Prompt],
    responder: Responder,
    split: Split,
    *,
    new_tokens: int,
    seed: Sequence[object],
    keep: Callable[[Prompt], bool] = lambda _: True,
) -> Chosen:
    """Return the prompts of a split that leave room for `new_tokens` tokens.

    Args:
        prompts: All prompts.
        responder: Who will answer them.
        split: Whose.
        new_tokens: Room that must be left in the context.
        seed: With the prompt's id, what decides its place.
        keep: Which of the split.

    Raises:
        DataError: None of them does.
    """
    of_split = [prompt for prompt in prompts if prompt.split == split and keep(prompt)]
    kept, too_long = responder.fitting(of_split, new_tokens)
    if of_split and not kept:
        raise DataError(
            f"split {split}: none of {counted(too_long, 'prompt')} leaves room for "
            f"{counted(new_tokens, 'new token')} in "
            "the model's context. Set a smaller max_new_tokens."
        )
    return Chosen(sorted(kept, key=lambda prompt: derive_seed(*seed, prompt.id)), too_long)


def is_attack(prompt: Prompt) -> bool:
    """Tell whether a prompt is adversarial."""
    return prompt.attack_vector is not None


def terms_of(held_out: Json[HeldOut] | None) -> Sequence[str]:
    """Return the terms that no training text may name; none where the run holds out none."""
    return () if held_out is None else held_out.read().terms
