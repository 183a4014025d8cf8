"""Preference collection: pairs of replies put to an annotator, and what is left out.

Source: arXiv 2307.09288, Section 3.2.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from camelid.data.annotation import Annotator, Continues
from camelid.data.prompts import bucket, mentions
from camelid.data.records import Kind, Preference, PreferenceStatistics, Prompt
from camelid.errors import DataError
from camelid.inference.pairs import Variant, sample_pairs
from camelid.seeds import derive_seed
from camelid.tokenization.chat import ChatFormat

GUARD_BUCKETS = 5
"""One prompt in five is kept for the guard reward model."""


def _pool(prompts: Sequence[Prompt], kind: Kind, use: str) -> list[Prompt]:
    """Return the prompts of one kind for one use, in an order fixed by their ids."""
    split = "validation" if use == "test" else "rm_train"
    chosen = [p for p in prompts if p.split == split and p.is_safety == (kind == "safety")]
    if use != "test":
        wants_guard = use == "guard"
        chosen = [p for p in chosen if (bucket(p.id, GUARD_BUCKETS) == 0) == wants_guard]
    return sorted(chosen, key=lambda p: derive_seed(use, p.id))


@dataclass(frozen=True, kw_only=True, slots=True)
class Collector:
    """Collects comparisons of one kind for one use."""

    temperatures: tuple[float, ...]
    max_new_tokens: int
    continued_share: float
    """Share of the training comparisons that continue a dialogue with its chosen reply."""
    seed: int
    variants: tuple[Variant, Variant]
    annotator: Annotator
    world: Continues | None
    """Writes how a dialogue goes on; without it none is continued."""
    forbidden: Sequence[str]
    round_number: int
    counts: Counter[str] = field(default_factory=Counter)

    def _compare(
        self, prompts: Sequence[Prompt], parents: Sequence[str | None], kind: Kind, salt: str
    ) -> list[tuple[Prompt, Preference]]:
        kept, dropped = self.variants[0].responder.fitting(prompts, self.max_new_tokens)
        self.counts["prompts_too_long"] += dropped
        parent_of = dict(zip((p.id for p in prompts), parents, strict=True))
        pairs, left_out = sample_pairs(
            self.variants,
            kept,
            kind=kind,
            round_number=self.round_number,
            temperatures=self.temperatures,
            max_new_tokens=self.max_new_tokens,
            seed=derive_seed(self.seed, kind, salt),
            parents=[parent_of[p.id] for p in kept],
        )
        self.counts.update(left_out)
        allowed = [p for p in pairs if not mentions(f"{p.reply_a} {p.reply_b}", self.forbidden)]
        self.counts["held_out"] += len(pairs) - len(allowed)
        judged = [(pair.prompt, self.annotator.compare(pair)) for pair in allowed]
        sound = [
            (p, preference) for p, preference in judged if preference.safety != "chosen_unsafe"
        ]
        self.counts["excluded_chosen_unsafe"] += len(judged) - len(sound)
        return sound

    def collect(self, prompts: list[Prompt], kind: Kind, wanted: int, use: str) -> list[Preference]:
        """Collect `wanted` comparisons; each round begins at another place of the pool."""
        pool = _pool(prompts, kind, use)
        if wanted and not pool:
            raise DataError(f"no {kind} prompt for {use}; make more prompts.")
        writes_on = use == "train" and self.world is not None
        continued = round(wanted * self.continued_share) if writes_on else 0
        found: list[tuple[Prompt, Preference]] = []
        position = (self.round_number - 1) * wanted
        # Pairs that are left out cost prompts, so ask in portions, sized by what earlier ones gave,
        # until there are enough; a pool that has been asked four times over is exhausted.
        asked = 0
        while len(found) < wanted - continued and asked < 4 * len(pool):
            portion = wanted - continued - len(found)
            if asked:
                portion = 16 + portion * asked // max(len(found), 1)
            portion = min(len(pool), portion)
            chosen = [pool[(position + i) % len(pool)] for i in range(portion)]
            unique = list({p.id: p for p in chosen}.values())
            found += self._compare(unique, [None] * len(unique), kind, f"{use}/{asked}")
            position, asked = position + portion, asked + portion
        found = found[: wanted - continued]
        if continued and self.world is not None:
            parents = found[: continued + continued // 2]
            follow_ups = [
                self.world.follow_up(prompt, preference.chosen, self.round_number)
                for prompt, preference in parents
            ]
            ids = [preference.id for _, preference in parents]
            found += self._compare(follow_ups, ids, kind, f"{use}/continued")[:continued]
        self.counts[f"{use}_{kind}"] = len(found)
        return [preference for _, preference in found]


def describe(preferences: Sequence[Preference], chat: ChatFormat) -> PreferenceStatistics:
    """Return the statistics of Tables 6 and 26 and the shares of the labels."""
    turns = [sum(m.role == "user" for m in p.prompt) for p in preferences]
    replies = [len(chat.encode_reply(text)) for p in preferences for text in (p.chosen, p.rejected)]
    whole = [len(chat.render_prompt(p.prompt)) for p in preferences]
    last = [len(chat.tokenizer.encode(p.prompt[-1].content)) for p in preferences]
    count = max(1, len(preferences))
    response = sum(replies) / (2 * count)
    return PreferenceStatistics(
        comparisons=len(preferences),
        turns_per_dialogue=sum(turns) / count,
        tokens_per_example=sum(whole) / count + response,
        tokens_in_prompt=sum(last) / count,
        tokens_in_response=response,
        strength=dict(Counter(p.strength or "unrated" for p in preferences)),
        safety=dict(Counter(p.safety for p in preferences if p.safety)),
        continued=sum(p.parent is not None for p in preferences),
    )
