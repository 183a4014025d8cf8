"""Tables of public benchmarks, from the scores that `camelid evaluate` left in a run.

Source: arXiv 2307.09288, Tables 3, 4 (the model's own column) and 19-25; Llama 2's figures beside
ours are quoted from it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from camelid.benchmarks.aggregates import (
    AGIEVAL_TASKS,
    MMLU_CATEGORIES,
    Score,
    shown,
    table3,
)
from camelid.benchmarks.suites import SUITES
from camelid.run.item import Cell, Table

SIZES = ("7B", "13B", "34B", "70B")
_FIGURES: dict[str, dict[str, list[float]]] = tomllib.loads(
    Path(__file__).with_name("llama2.toml").read_text(encoding="utf-8")
)
PAPER, PAPER_TABLE_3 = _FIGURES["tasks"], _FIGURES["table3"]
"""Llama 2's figures in %: by task and size, and the groups of Table 3 by size."""
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Table 4": (
        "Beside closed models in the paper; here the model's own figures",
        SUITES["table4"],
    ),
    "Table 19": ("MMLU", (*(f"mmlu:{column}@5" for column in MMLU_CATEGORIES), "mmlu@5")),
    "Table 20": ("Standard benchmarks", SUITES["table20"]),
    "Table 21": (
        "Code generation",
        ("humaneval@0", "humaneval-100@0", "mbpp@3", "mbpp-80@3"),
    ),
    "Table 22": ("Closed-book questions by shots", SUITES["table22"]),
    "Table 23": ("Reading comprehension by shots", SUITES["table23"]),
    "Table 24": (
        "AGI Eval",
        (*(f"agieval_{task}@5" for task in AGIEVAL_TASKS.values()), "agieval@5"),
    ),
    "Table 25": ("Mathematics", ("gsm8k@8", "math@4")),
}
"""Artefact to title and tasks."""


def scored(scores: Mapping[str, Score]) -> Table:
    """Every task and group with a score; what has a limit shows fewer items than there are."""
    rows: list[tuple[Cell, ...]] = [
        (name, shown(score), score.n, score.items, score.note) for name, score in scores.items()
    ]
    rows += [
        (f"Table 3: {name}", shown(found), found.n, found.items, found.note)
        for name, found in table3(scores).items()
        if found is not None
    ]
    names = ("task@shots", "% ± standard error", "items scored", "items", "† note")
    return Table(columns=names, rows=rows)
