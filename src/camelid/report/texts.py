"""Texts and tables that several stages show alike.

Source: arXiv 2307.09288, Tables 1 (the model) and 5 (demonstrations); the rest is Source: choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from camelid.data.records import Dialogue, Message
from camelid.model.config import ModelConfig
from camelid.run.item import Cell, Example, Table
from camelid.settings import flatten

_LONGEST = 1200


def cut(text: str) -> str:
    """A text, shortened where it is very long."""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " […]"


def dialogue(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """Role and text of every message."""
    return tuple((message.role, cut(message.content)) for message in messages)


def demonstrations(dialogues: Sequence[Dialogue]) -> list[Example]:
    """Table 5: one helpful and one safety demonstration."""
    found: dict[bool, Dialogue] = {}
    for row in dialogues:
        found.setdefault(row.is_safety, row)
    return [
        Example(
            dialogue=dialogue(row.messages[:-1]),
            note=", ".join(
                filter(None, ("safety" if safety else "helpfulness", row.category, row.source))
            ),
            answers=(("demonstration", cut(row.messages[-1].content)),),
        )
        for safety, row in sorted(found.items())
    ]


def table_of(records: Mapping[str, Any] | Sequence[Any], *fields: str) -> Table:
    """A row a record, a column a field.

    Args:
        records: Dataclasses of one type; where they have names, these are the first column.
        fields: Which of their fields; all of them by default.
    """
    names = list(records) if isinstance(records, Mapping) else []
    values = list(records.values()) if isinstance(records, Mapping) else list(records)
    shown = fields or tuple(field.name for field in dataclasses.fields(values[0]))
    rows = [tuple(getattr(record, field) for field in shown) for record in values]
    columns = tuple(field.replace("_", " ") for field in shown)
    if names:
        rows = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return Table(columns=("name", *columns) if names else columns, rows=rows)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def statistics(result: Any, without: Sequence[str] = ()) -> Table:
    """A result's values as a table, without some of its fields."""
    rows = [
        (name.replace(".", ", ").replace("_", " "), value if _is_number(value) else str(value))
        for name, value in flatten(result).items()
        if name.partition(".")[0] not in without
    ]
    return Table(columns=("statistic", "value"), rows=list(rows))


def model_table(
    shape: ModelConfig, *, tokens: int | None = None, learning_rate: float | None = None
) -> Table:
    """Table 1: a model's attributes beside the paper's smallest and largest.

    Args:
        shape: Of the model.
        tokens: That it was pretrained on; None where a run starts from weights.
        learning_rate: Peak of its pretraining.
    """
    heads, groups = shape.heads, shape.kv_heads
    rows: list[tuple[Cell, ...]] = [
        ("parameters", shape.parameter_count, "6.7 billion", "69 billion"),
        ("training tokens", tokens, "2.0 trillion", "2.0 trillion"),
        ("context (tokens)", shape.context, 4096, 4096),
        ("vocabulary", shape.vocabulary_size, 32000, 32000),
        ("grouped-query attention", "yes" if groups != heads else "no", "no", "yes"),
        ("width", shape.dim, 4096, 8192),
        ("blocks", shape.layers, 32, 80),
        ("query / key-value heads", f"{heads} / {groups}", "32 / 32", "64 / 8"),
        ("peak learning rate", learning_rate, "0.0003", "0.00015"),
    ]
    return Table(columns=("", "this run", "Llama 2 7B", "Llama 2 70B"), rows=rows)
