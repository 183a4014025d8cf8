"""What a file of people's data holds, in numbers, from one pass over it. Source: choice."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from camelid.data.own_files import OwnFile
from camelid.data.records import Message, Preference
from camelid.data.turns import Tally

Units = Callable[[Sequence[Message]], Sequence[Any]]
"""Splits messages into tokens, or into another unit of length."""


def words(messages: Sequence[Message]) -> list[str]:
    """Return the words of messages, where no tokenizer is given."""
    return [word for message in messages for word in message.content.split()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What one file holds; a number that is null was not counted."""

    path: str
    format: str
    use: str
    rows: int
    records: int
    left_out: Tally
    changed: Tally
    user_turns: dict[str, float]
    """Of a record: mean and most."""
    unit: str
    lengths: dict[str, float]
    """In this unit, of a comparison with the longer reply."""
    context: int | None
    longer_than_context: int | None
    equal_within_context: int | None
    """Of the longer comparisons those whose replies are equal as far as the context reaches."""
    equal_replies: int
    """Comparisons whose replies differ as texts and not in the unit."""
    duplicates: int
    """Records that are exactly one before, in this file or in one read before it."""
    system_messages: int
    strengths: int
    safety_labels: int


_COUNTED = ("equal_replies", "duplicates", "system_messages", "strengths", "safety_labels")


def check(file: OwnFile, units: Units, unit: str, context: int | None, seen: set[int]) -> Checked:
    """Read a file and count.

    Args:
        file: Not read yet.
        units: Measures lengths.
        unit: What in.
        context: Most units that a model reads.
        seen: Hashes of the records of earlier files; takes those of this one.

    Raises:
        DataError: As reading the file.
    """
    lengths, turns = array("q"), array("q")
    counts: Counter[str] = Counter()
    for record in file:
        replies: tuple[str, ...] = ()
        if isinstance(record, Preference):
            messages, replies = record.prompt, (record.chosen, record.rejected)
            counts["strengths"] += record.strength is not None
            counts["safety_labels"] += record.safety is not None
        else:
            messages = record.messages
        answers = [(*messages, Message(role="assistant", content=text)) for text in replies]
        sides = [units(whole) for whole in answers or [messages]]
        lengths.append(max(map(len, sides)))
        turns.append(sum(message.role == "user" for message in messages))
        counts["equal_replies"] += bool(replies) and sides[0] == sides[1]
        if context is not None and lengths[-1] > context:
            counts["longer"] += 1
            counts["equal"] += bool(replies) and sides[0][:context] == sides[1][:context]
        counts["system_messages"] += messages[0].role == "system"
        key = hash((*(message.content for message in messages), None, *replies))
        counts["duplicates"] += key in seen
        seen.add(key)
    ordered, last = sorted(lengths), len(lengths) - 1
    parts = {"median": 0.5, "95 %": 0.95, "longest": 1.0}
    mean = round(sum(lengths) / len(lengths), 1)
    return Checked(
        path=str(file.path),
        format=file.layout.name,
        use=file.use,
        rows=file.rows,
        records=file.records,
        left_out=file.left_out,
        changed=file.changed,
        user_turns={"mean": round(sum(turns) / len(turns), 2), "most": max(turns)},
        unit=unit,
        lengths={"mean": mean, **{name: ordered[int(last * p)] for name, p in parts.items()}},
        context=context,
        longer_than_context=None if context is None else counts["longer"],
        equal_within_context=None if context is None else counts["equal"],
        **{name: counts[name] for name in _COUNTED},
    )
