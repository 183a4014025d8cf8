"""Own comparisons, prompts and demonstrations divided among their uses by conversation.

A conversation is known by its first user message without case, marks and spacing, so near-equal
prompts never cross from training to tests, whichever file they are in. Source: choice; the uses are
those of arXiv 2307.09288, Section 3.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat

from camelid.data.prompts import Use, assign_split, bucket, conversation
from camelid.data.records import Dialogue, Kind, Message, Preference, Prompt, Split
from camelid.errors import DataError
from camelid.settings import SomeShare, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class PairShares:
    """How comparisons are divided; relative to each other."""

    train: SomeShare = 0.75
    """For the reward models."""
    guard: SomeShare = 0.15
    """For the guard reward model, which no training uses."""
    test: SomeShare = 0.1
    """Held out to test reward models."""
    imitation: SomeShare = 0.5
    """For an imitation of people, where one compares; else they go to the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class PromptShares:
    """How prompts are divided; relative to each other."""

    rm_train: SomeShare = 0.3
    """Answered for annotators to compare, where there are any; else they go to the others."""
    rejection_sampling: SomeShare = 0.35
    """For rejection sampling."""
    ppo: SomeShare = 0.2
    """For PPO."""
    validation: SomeShare = 0.05
    """Watch PPO, and are answered for the annotators' test comparisons."""
    test: SomeShare = 0.1
    """For the evaluation."""


def key_of(messages: Sequence[Message]) -> str:
    """Return the conversation that messages belong to."""
    first = next((m.content for m in messages if m.role == "user"), "")
    return conversation(first)


def divide(keys: Iterable[str], shares: Mapping[Use, float], what: str) -> dict[str, Use]:
    """Give each conversation one use, in the order of their hashes; every use gets at least one.

    Args:
        keys: Conversations.
        shares: Use to share.
        what: What they hold, for the error.

    Raises:
        DataError: There are fewer conversations than uses.
    """
    ordered = sorted({*keys}, key=lambda key: (bucket(key, 2**32), key))
    wanted = {use: share for use, share in shares.items() if share > 0}
    if len(ordered) < len(wanted):
        raise DataError(
            f"{what}: {len(ordered)} conversations (told apart by their first user message), but "
            f"each of {', '.join(wanted)} needs one of its own. Add rows."
        )
    # One each, then whoever lacks most of its share.
    sizes = dict.fromkeys(wanted, 1)
    whole, total = len(ordered), sum(wanted.values())
    for _ in range(whole - len(wanted)):
        sizes[max(wanted, key=lambda use: wanted[use] / total * whole - sizes[use])] += 1
    uses = chain.from_iterable(repeat(use, size) for use, size in sizes.items())
    return dict(zip(ordered, uses, strict=True))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Comparisons by use."""

    train: list[Preference]
    guard: list[Preference]
    test: list[Preference]
    imitation: list[Preference]


def divide_pairs(
    rows: Sequence[Preference], shares: PairShares, *, imitated: bool = False
) -> Pairs:
    """Divide comparisons; each use gets some of each kind that there is.

    Raises:
        DataError: There are too few conversations of a kind.
    """
    kinds: dict[str, Kind] = {}
    for row in rows:
        key = key_of(row.prompt)
        # A conversation in both kinds counts as safety, of which there is less.
        kinds[key] = "safety" if kinds.get(key) == "safety" else row.kind
    by_use = {
        "train": shares.train,
        "guard": shares.guard,
        "test": shares.test,
        "imitation": shares.imitation if imitated else 0.0,
    }
    use_of: dict[str, str] = {}
    for kind in sorted({*kinds.values()}):
        keys = [key for key, found in kinds.items() if found == kind]
        use_of |= divide(keys, by_use, f"comparisons of {kind}")
    found: dict[str, list[Preference]] = {use: [] for use in by_use}
    for row in rows:
        found[use_of[key_of(row.prompt)]].append(row)
    return Pairs(**found)


def divide_prompts(
    prompts: Sequence[Prompt],
    shares: PromptShares,
    *,
    annotated: bool,
    taken: Iterable[str] = (),
    shown: Iterable[str] = (),
) -> tuple[list[Prompt], dict[str, int]]:
    """Give prompts their split, one prompt a conversation.

    Args:
        prompts: In order; of a conversation the first is used.
        shares: How many for what.
        annotated: Whether replies to some are compared.
        taken: Conversations of the comparisons: their prompts are left out.
        shown: Conversations of the demonstrations: their prompts are for training only.

    Returns:
        The prompts, and those left out by reason.

    Raises:
        DataError: There are too few.
    """
    others, seen = {*taken}, {*shown}
    left_out: Counter[str] = Counter()
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        key = key_of(prompt.messages)
        if key in others:
            left_out["the conversation is among the comparisons"] += 1
        elif key in first:
            left_out["the conversation begins as one before"] += 1
        else:
            first[key] = prompt
    training: dict[Split, float] = {
        "rm_train": shares.rm_train if annotated else 0.0,
        "rejection_sampling": shares.rejection_sampling,
        "ppo": shares.ppo,
    }
    every: dict[Split, float] = {**training, "validation": shares.validation, "test": shares.test}
    fresh = [key for key in first if key not in seen]
    # Where the demonstrations' prompts train, a few others need only test.
    tests: dict[Split, float] = {"validation": shares.validation, "test": shares.test}
    few = len(fresh) < len(every) and len(fresh) < len(first)
    splits = divide(fresh, tests if few else every, "prompts")
    splits |= {key: assign_split(key, training) for key in first if key in seen}
    return [replace(prompt, split=splits[key]) for key, prompt in first.items()], dict(left_out)


def hold_out(
    dialogues: Sequence[Dialogue], share: float
) -> tuple[list[Dialogue], list[Dialogue], int]:
    """Return the demonstrations that are trained on, the others, and how many are repeats.

    Args:
        dialogues: In order.
        share: Of the conversations that is held out.

    Raises:
        DataError: There are too few conversations.
    """
    unique = list({tuple(dialogue.messages): dialogue for dialogue in dialogues}.values())
    uses = {"train": 1 - share, "held out": share}
    found = divide((key_of(d.messages) for d in unique), uses, "demonstrations")
    sides: dict[str, list[Dialogue]] = {"train": [], "held out": []}
    for dialogue in unique:
        sides[found[key_of(dialogue.messages)]].append(dialogue)
    return sides["train"], sides["held out"], len(dialogues) - len(unique)
