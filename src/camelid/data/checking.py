"""What a file of people's data holds, in numbers, from one pass over it. Source: choice."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid.data.loader import first_fit
from camelid.data.own_files import OwnFile
from camelid.data.records import Message, Preference
from camelid.data.text_files import PACKINGS
from camelid.data.turns import Tally

Units = Callable[[Sequence[Message]], Sequence[Any]]
"""Splits messages into tokens, or into another unit of length."""

MEASURED_BYTES = 2**25
"""Of a larger file, unpacked, a random part of this size is split into tokens: 32 MiB take about
ten seconds of one core, a file of 1 GB would take five minutes."""
_PACKED = 4
"""Times that a packed file is larger unpacked, about."""


def share_to_measure(path: Path) -> float:
    """Return which share of a file's records to split into tokens."""
    size = path.stat().st_size * (_PACKED if path.suffix in PACKINGS[1:] else 1)
    return min(1.0, MEASURED_BYTES / max(1, size))


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
    measured: int
    """Records whose lengths were taken: all, or those that were drawn at random (seed 0). Counts
    that depend on lengths are of these: `longer_than_context`, `equal_within_context`,
    `equal_replies`."""
    lengths: dict[str, float]
    """In this unit, of a comparison with the longer reply."""
    mean_read: float
    """Units that a training step reads of a record: of a comparison the shared beginning once."""
    packed_rows: int | None
    """Rows of `row` units that the measured dialogues fill; longer ones fill none."""
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


def check(
    file: OwnFile,
    units: Units,
    unit: str,
    context: int | None,
    seen: set[int],
    *,
    share: float = 1.0,
    row: int | None = None,
) -> Checked:
    """Read a file and count.

    Args:
        file: Not read yet.
        units: Measures lengths.
        unit: What in.
        context: Most units that a model reads.
        seen: Hashes of the records of earlier files; takes those of this one.
        share: How many of the records are measured, drawn at random; the first always is.
        row: Units of a row that is trained on; None leaves rows uncounted.

    Raises:
        DataError: As reading the file.
    """
    lengths, turns = array("q"), array("q")
    read, draw = 0, random.Random(0).random
    counts: Counter[str] = Counter()
    for record in file:
        replies: tuple[str, ...] = ()
        if isinstance(record, Preference):
            messages, replies = record.prompt, (record.chosen, record.rejected)
            counts["strengths"] += record.strength is not None
            counts["safety_labels"] += record.safety is not None
        else:
            messages = record.messages
        turns.append(sum(message.role == "user" for message in messages))
        counts["system_messages"] += messages[0].role == "system"
        key = hash((*(message.content for message in messages), None, *replies))
        counts["duplicates"] += key in seen
        seen.add(key)
        if lengths and share < 1 and draw() >= share:
            continue
        answers = [(*messages, Message(role="assistant", content=text)) for text in replies]
        sides = [units(whole) for whole in answers or [messages]]
        lengths.append(max(map(len, sides)))
        read += sum(map(len, sides))
        if replies:
            pairs = enumerate(zip(*sides, strict=False))
            read -= next((n for n, (a, b) in pairs if a != b), min(map(len, sides)))
            counts["equal_replies"] += sides[0] == sides[1]
        if context is not None and lengths[-1] > context:
            counts["longer"] += 1
            counts["equal"] += bool(replies) and sides[0][:context] == sides[1][:context]
    packed = None
    if row is not None and file.use == "dialogues":
        packed = len(first_fit([length for length in lengths if length <= row], row))
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
        measured=len(lengths),
        mean_read=read / len(lengths),
        lengths={"mean": mean, **{name: ordered[int(last * p)] for name, p in parts.items()}},
        packed_rows=packed,
        context=context,
        longer_than_context=None if context is None else counts["longer"],
        equal_within_context=None if context is None else counts["equal"],
        **{name: counts[name] for name in _COUNTED},
    )
