"""Pairs of replies from two model variants, for annotators to compare (Section 3.2.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camelid.data.annotation import Pair
from camelid.data.records import Kind, Prompt
from camelid.inference.replies import Responder
from camelid.inference.sampling import Sampling
from camelid.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Variant:
    """One model that answers."""

    name: str
    responder: Responder


def sample_pairs(
    variants: tuple[Variant, Variant],
    prompts: Sequence[Prompt],
    *,
    kind: Kind,
    round_number: int,
    temperatures: tuple[float, ...],
    max_new_tokens: int,
    seed: int,
    parents: Sequence[str | None] | None = None,
) -> tuple[list[Pair], Counter[str]]:
    """Answer each prompt with both variants at two temperatures drawn for it.

    Returns:
        The pairs of different finished replies, and how many prompts gave none: two equal replies,
        or one cut by the length limit, which a reward model would read as finished.
    """
    rng = np.random.default_rng(derive_seed(seed, "temperatures"))
    drawn = rng.choice(temperatures, size=(2, len(prompts))).tolist()
    answers = [
        variant.responder.answer(
            prompts,
            Sampling(max_new_tokens=max_new_tokens),
            seed=derive_seed(seed, side),
            temperatures=drawn[side],
        )
        for side, variant in enumerate(variants)
    ]
    pairs = []
    counts: Counter[str] = Counter()
    for index, (prompt, first, second) in enumerate(zip(prompts, *answers, strict=True)):
        if "length" in (first.stop_reason, second.stop_reason):
            counts["unfinished_replies"] += 1
            continue
        if first.text == second.text:
            counts["equal_replies"] += 1
            continue
        pairs.append(
            Pair(
                prompt=prompt,
                reply_a=first.text,
                reply_b=second.text,
                model_a=variants[0].name,
                model_b=variants[1].name,
                temperature_a=drawn[0][index],
                temperature_b=drawn[1][index],
                kind=kind,
                round=round_number,
                batch=round_number,
                parent=parents[index] if parents else None,
            )
        )
    return pairs, counts
