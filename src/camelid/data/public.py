"""Public data divided among their uses, so that no conversation serves two of them.

Source: choice; the uses are those of arXiv 2307.09288, Section 3.2.
"""

from __future__ import annotations

import hashlib
import typing
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from camelid.data.prompts import assign_split, check_disjoint, conversation
from camelid.data.records import Dialogue, Kind, Message, Preference, Prompt, Split
from camelid.data.sources import (
    ADVBENCH,
    HH_RLHF,
    HH_SUBSETS,
    Excluded,
    Goal,
    read_advbench,
    read_comparisons,
    read_dolly,
)
from camelid.errors import DataError
from camelid.settings import Count, Number, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Counts:
    """Wanted sizes of one use."""

    helpfulness: Count
    """Helpfulness rows of HH-RLHF (helpful-*)."""
    safety: Count
    """Safety rows of HH-RLHF (harmless-base)."""
    attacks: Count = 0
    """Goals of AdvBench; prompts only."""


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class PublicDataConfig:
    """Sizes of the public data. All are Source: choice, for about an hour on two cores."""

    directory: str | None = None
    """Folder with the public files (`--data DIR`)."""
    demonstrations: Number = 1000
    """Most dialogues of Dolly (27,540 demonstrations in the paper)."""
    train: Counts = Counts(helpfulness=1000, safety=600)
    """Comparisons for the two reward models (2.9M in the paper)."""
    guard: Counts = Counts(helpfulness=400, safety=100)
    """Comparisons for the guard reward model, which no training ever uses."""
    test_pairs: Counts = Counts(helpfulness=440, safety=460)
    """Comparisons held out to test the reward models."""
    imitation: Counts = Counts(helpfulness=0, safety=0)
    """Comparisons for an imitation of people, which no other stage reads."""
    rm_train: Counts = Counts(helpfulness=0, safety=0)
    """Prompts whose replies an annotator compares."""
    rejection_sampling: Counts = Counts(helpfulness=88, safety=16, attacks=24)
    """Prompts for rejection sampling."""
    ppo: Counts = Counts(helpfulness=272, safety=40, attacks=72)
    """Prompts for PPO."""
    red_teaming: Counts = Counts(helpfulness=0, safety=0, attacks=40)
    """Prompts for red teaming, on which nothing is trained."""
    validation: Counts = Counts(helpfulness=40, safety=8, attacks=16)
    """Prompts that watch PPO."""
    test: Counts = Counts(helpfulness=220, safety=32, attacks=200)
    """Prompts for the evaluation."""
    longest_characters: Number = 900
    """Longest comparison (prompt and longer reply), about 256 tokens; longer are left out."""
    longest_prompt: Number = 500
    """Longest prompt in characters, about 150 tokens; conversations with longer are left out."""
    longest_demonstration: Number = 1800
    """Longest demonstration in characters; longer are left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Rows of one use."""

    found: int
    wanted: int


PairUse = Literal["train", "guard", "test_pairs", "imitation"]
PromptUse = Literal["rm_train", "rejection_sampling", "ppo", "red_teaming", "validation", "test"]
Use = PairUse | PromptUse
PROMPT_USES: tuple[PromptUse, ...] = typing.get_args(PromptUse)
PAIR_USES: tuple[PairUse, ...] = typing.get_args(PairUse)
T = TypeVar("T", Preference, Prompt, Dialogue, Goal)
KINDS: tuple[Kind, ...] = typing.get_args(Kind)


_SALT = "public_data"
"""Part of the hash that orders rows; another one would choose other rows."""


def _take(items: Iterable[T], count: int) -> list[T]:
    """Return the first `count` in the order of their hashed ids."""

    def order(item: T) -> bytes:
        return hashlib.sha256(f"{_SALT}/{item.id}".encode()).digest()

    return sorted(items, key=order)[:count]


def _length(messages: Sequence[Message], *replies: str) -> int:
    return sum(len(m.content) for m in messages) + max(map(len, replies), default=0)


def _prompt(row: Preference, split: Split) -> Prompt:
    return Prompt(
        id=row.id,
        messages=row.prompt,
        category=row.category,
        is_safety=row.kind == "safety",
        source=HH_RLHF,
        split=split,
    )


def _attack(goal: Goal, split: Split) -> Prompt:
    return Prompt(
        id=goal.id,
        messages=(Message(role="user", content=goal.text),),
        category="advbench",
        is_safety=True,
        source=ADVBENCH,
        split=split,
        attack_vector="none",
        attack_strength="plain",
        risk_category="advbench",
    )


class Collection:
    """Reads all files and divides the rows among their uses."""

    def __init__(self, config: PublicDataConfig, files: dict[str, Path]) -> None:
        self.config = config
        self.excluded: list[Excluded] = []
        self.rows_used: dict[str, int] = {}
        self.sizes: dict[str, Size] = {}
        self.rows: list[Preference] = []
        for subset in HH_SUBSETS:
            self.rows += self._read(read_comparisons(files[subset], subset), subset)
        self.dolly: list[Dialogue] = self._read(read_dolly(files["dolly"]), "dolly")
        self.goals: list[Goal] = self._read(read_advbench(files["advbench"]), "advbench")
        self.uses = self._assign()

    def _read(self, rows: Any, name: str) -> list[Any]:
        self.excluded += rows.excluded
        self.rows_used[name] = len(rows.used)
        used: list[Any] = rows.used
        return used

    def wanted(self, use: Use) -> Counts:
        """Return the wanted sizes of one use."""
        counts: Counts = getattr(self.config, use)
        return counts

    def fits(self, row: Preference) -> bool:
        """Return whether a whole comparison is short enough."""
        return _length(row.prompt, row.chosen, row.rejected) <= self.config.longest_characters

    def _assign(self) -> dict[str, Use]:
        """Give each conversation one use.

        Conversations with a comparison that is short enough serve all uses, in proportion to the
        sizes wanted; the others, whose prompts may still be short enough, serve as prompts only.
        """
        kinds: dict[str, Kind] = {}
        pairs: set[str] = set()
        for row in self.rows:
            key = conversation(row.prompt[0].content)
            # A conversation in both kinds counts as safety, of which there is less.
            kinds[key] = "safety" if kinds.get(key) == "safety" else row.kind
            if self.fits(row):
                pairs.add(key)
        uses: dict[str, Use] = {}
        for key, kind in kinds.items():
            all_uses: tuple[Use, ...] = (*PAIR_USES, *PROMPT_USES)
            candidates = all_uses if key in pairs else PROMPT_USES
            shares: dict[Use, float] = {u: getattr(self.wanted(u), kind) for u in candidates}
            if any(shares.values()):
                uses[key] = assign_split(key, shares)
        return uses

    def _of(self, use: Use, kind: Kind) -> list[Preference]:
        return [
            row
            for row in self.rows
            if row.kind == kind and self.uses.get(conversation(row.prompt[0].content)) == use
        ]

    def preferences(self, use: PairUse) -> list[Preference]:
        """Return the comparisons of one use, both kinds."""
        found: list[Preference] = []
        for kind in KINDS:
            count = getattr(self.wanted(use), kind)
            rows = [row for row in self._of(use, kind) if self.fits(row)]
            chosen = _take(rows, count)
            self._note(f"{use}.{kind}", len(chosen), count)
            found += chosen
        return _take(found, len(found))

    def prompts(self) -> list[Prompt]:
        """Return the prompts of all splits, one of each conversation, and the attacks."""
        found: list[Prompt] = []
        attacks: dict[PromptUse, int] = {use: self.wanted(use).attacks for use in PROMPT_USES}
        for use in PROMPT_USES:
            for kind in KINDS:
                count = getattr(self.wanted(use), kind)
                rows = {
                    conversation(row.prompt[0].content): row
                    for row in _take(self._of(use, kind), len(self.rows))
                    if _length(row.prompt) <= self.config.longest_prompt
                }
                chosen = _take(rows.values(), count)
                self._note(f"{use}.{kind}", len(chosen), count)
                found += [_prompt(row, use) for row in chosen]
            if sum(attacks.values()):
                goals = [g for g in self.goals if assign_split(g.text, attacks) == use]
                taken = _take(goals, attacks[use])
                self._note(f"{use}.attacks", len(taken), attacks[use])
                found += [_attack(goal, use) for goal in taken]
        # Mixed, so that the first n of a split hold every kind.
        return _take(found, len(found))

    def demonstrations(self) -> list[Dialogue]:
        """Return the dialogues of Dolly."""
        longest = self.config.longest_demonstration
        fitting = [d for d in self.dolly if _length(d.messages) <= longest]
        chosen = _take(fitting, self.config.demonstrations)
        self._note("demonstrations", len(chosen), self.config.demonstrations)
        return chosen

    def _note(self, name: str, found: int, wanted: int) -> None:
        self.sizes[name] = Size(found=found, wanted=wanted)
        if wanted and not found:
            raise DataError(
                f"public data: no row is left for {name} ({wanted} wanted); raise "
                "longest_characters or ask for fewer rows."
            )

    def too_long(self) -> dict[str, int]:
        """Return how many rows of each source are too long."""
        longest = self.config.longest_demonstration
        found = Counter(row.category for row in self.rows if not self.fits(row))
        return {**found, "dolly": sum(_length(d.messages) > longest for d in self.dolly)}


def check_uses(preferences: dict[PairUse, list[Preference]], prompts: list[Prompt]) -> None:
    """Check that no conversation has two uses.

    Raises:
        DataError: One has: a mistake of this module.
    """
    check_disjoint(prompts)
    owners: dict[str, str] = {}
    texts: list[tuple[str, str]] = [
        (p.prompt[0].content, use) for use, rows in preferences.items() for p in rows
    ]
    texts += [(p.messages[0].content, f"prompts of {p.split}") for p in prompts]
    for text, use in texts:
        owner = owners.setdefault(conversation(text), use)
        if owner != use:
            raise DataError(f"public data: the conversation {text!r} serves {owner} and {use}.")
