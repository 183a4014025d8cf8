"""Preference collection: pairs of replies put to an annotator, and what is left out.

Source: arXiv 2307.09288, Section 3.2.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from camelid.data.annotation import Comparer, Continues, Pair
from camelid.data.prompts import bucket, mentions
from camelid.data.records import Kind, Preference, PreferenceStatistics, Prompt
from camelid.errors import DataError
from camelid.inference.pairs import Variant, sample_pairs
from camelid.seeds import derive_seed
from camelid.tokenization.chat import ChatFormat

T = TypeVar("T")
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
    annotator: Comparer
    world: Continues | None
    """Writes how a dialogue goes on; without it none is continued."""
    forbidden: Sequence[str]
    round_number: int
    counts: Counter[str] = field(default_factory=Counter)
    """What came of it, and what was left out by reason."""
    put: Counter[str] = field(default_factory=Counter)
    """How many pairs were asked and compared."""

    def _sample(
        self, prompts: Sequence[Prompt], parents: Sequence[str | None], kind: Kind, salt: str
    ) -> list[Pair]:
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
        return allowed

    def judge(self, pairs: Sequence[Pair]) -> list[tuple[Prompt, Preference]]:
        """Put pairs to the annotator; return the prompts and comparisons that can be used."""
        compared = zip(pairs, self.annotator.compare(pairs), strict=True)
        judged = [(pair.prompt, found) for pair, found in compared if found is not None]
        self.put["asked"] += len(pairs)
        self.put["compared"] += len(judged)
        sound = [
            (p, preference) for p, preference in judged if preference.safety != "chosen_unsafe"
        ]
        self.counts["excluded_chosen_unsafe"] += len(judged) - len(sound)
        return sound

    def _gather(
        self,
        prompts: list[Prompt],
        kind: Kind,
        wanted: int,
        take: Callable[[list[Prompt], str], list[T]],
        *,
        use: str,
        continued: int = 0,
    ) -> list[T]:
        """Take from the pool until there are enough; each round begins at another place of it."""
        pool = _pool(prompts, kind, use)
        if wanted and not pool:
            raise DataError(f"no {kind} prompt for {use}; make more prompts.")
        found: list[T] = []
        position = (self.round_number - 1) * wanted
        wanted -= continued
        # Pairs that are left out cost prompts, so ask in portions, sized by what earlier ones gave,
        # until there are enough; a pool that has been asked four times over is exhausted.
        asked = 0
        while len(found) < wanted and asked < 4 * len(pool):
            portion = wanted - len(found)
            if asked:
                portion = 16 + portion * asked // max(len(found), 1)
            portion = min(len(pool), portion)
            chosen = [pool[(position + i) % len(pool)] for i in range(portion)]
            unique = list({p.id: p for p in chosen}.values())
            found += take(unique, f"{use}/{asked}")
            position, asked = position + portion, asked + portion
        return found[:wanted]

    def sample(self, prompts: list[Prompt], kind: Kind, wanted: int, use: str) -> list[Pair]:
        """Sample `wanted` different pairs for an annotator who is asked for all at once.

        No dialogue is continued: its chosen reply is not known yet.
        """
        taken: set[str] = set()

        def take(prompts: list[Prompt], salt: str) -> list[Pair]:
            sampled = self._sample(prompts, [None] * len(prompts), kind, salt)
            fresh = list({pair.key: pair for pair in sampled if pair.key not in taken}.values())
            if len(fresh) < len(sampled):
                self.counts["sampled_before"] += len(sampled) - len(fresh)
            taken.update(pair.key for pair in fresh)
            return fresh

        return self._gather(prompts, kind, wanted, take, use=use)

    def collect(self, prompts: list[Prompt], kind: Kind, wanted: int, use: str) -> list[Preference]:
        """Collect `wanted` comparisons, a share of which continue others' dialogues."""
        writes_on = use == "train" and self.world is not None
        continued = round(wanted * self.continued_share) if writes_on else 0

        def take(prompts: list[Prompt], salt: str) -> list[tuple[Prompt, Preference]]:
            return self.judge(self._sample(prompts, [None] * len(prompts), kind, salt))

        found = self._gather(prompts, kind, wanted, take, use=use, continued=continued)
        if continued and self.world is not None:
            parents = found[: continued + continued // 2]
            follow_ups = [
                self.world.follow_up(prompt, preference.chosen, self.round_number)
                for prompt, preference in parents
            ]
            ids = [preference.id for _, preference in parents]
            pairs = self._sample(follow_ups, ids, kind, f"{use}/continued")
            found += self.judge(pairs)[:continued]
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
