"""Texts and counts that several stages show alike.

Source: arXiv 2307.09288, Table 5 (demonstrations); the rest is Source: choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camelid.data.records import Dialogue, Message
from camelid.run.item import Example, Table
from camelid.settings import flatten

_LONGEST = 1200


def cut(text: str) -> str:
    """A text, shortened where it is very long."""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " […]"


def last_user(messages: Sequence[Message]) -> str:
    """Text of the last user message."""
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


def demonstrations(dialogues: Sequence[Dialogue]) -> list[Example]:
    """Table 5: one helpful and one safety demonstration."""
    found: dict[bool, Dialogue] = {}
    for dialogue in dialogues:
        found.setdefault(dialogue.is_safety, dialogue)
    return [
        Example(
            prompt=cut(last_user(dialogue.messages)),
            note=f"{'safety' if safety else 'helpfulness'}, {dialogue.category}, {dialogue.source}",
            answers=(("demonstration", cut(dialogue.messages[-1].content)),),
        )
        for safety, dialogue in sorted(found.items())
    ]


def statistics(result: Any, without: Sequence[str] = ()) -> Table:
    """A result's values as a table, without some of its fields."""
    rows = [
        (name.replace(".", ", "), str(value))
        for name, value in flatten(result).items()
        if name.partition(".")[0] not in without
    ]
    return Table(columns=("statistic", "value"), rows=list(rows))
