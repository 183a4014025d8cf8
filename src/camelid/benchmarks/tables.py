"""Tables of public benchmarks, from the scores that `camelid evaluate` left in a run.

Source: arXiv 2307.09288, Tables 3, 4 (the model's own column) and 19-25; Llama 2's figures beside
ours are quoted from it.
"""

from __future__ import annotations

from collections.abc import Mapping

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
PAPER: dict[str, tuple[float, ...]] = {
    "mmlu:Humanities@5": (42.9, 52.8, 59.4, 65.0),
    "mmlu:STEM@5": (36.4, 44.1, 52.1, 58.0),
    "mmlu:Social Sciences@5": (51.2, 62.6, 71.8, 80.3),
    "mmlu:Other@5": (52.2, 61.1, 69.2, 74.6),
    "mmlu@5": (45.3, 54.8, 62.6, 68.9),
    "bbh@3": (32.6, 39.4, 44.1, 51.2),
    "boolq@0": (77.4, 81.7, 83.7, 85.0),
    "piqa@0": (78.8, 80.5, 81.9, 82.8),
    "siqa@0": (48.3, 50.3, 50.9, 50.7),
    "hellaswag@0": (77.2, 80.7, 83.3, 85.3),
    "winogrande@0": (69.2, 72.8, 76.7, 80.2),
    "arc_easy@0": (75.2, 77.3, 79.4, 80.2),
    "arc_challenge@0": (45.9, 49.4, 54.5, 57.4),
    "openbookqa@0": (58.6, 57.0, 58.2, 60.2),
    "commonsenseqa@7": (57.8, 67.3, 74.3, 78.5),
    "humaneval@0": (12.8, 18.3, 22.6, 29.9),
    "humaneval-100@0": (45.6, 60.2, 77.2, 89.0),
    "mbpp@3": (20.8, 30.6, 33.0, 45.0),
    "mbpp-80@3": (62.8, 69.0, 76.1, 81.4),
    "naturalquestions@0": (16.4, 16.1, 25.1, 25.3),
    "naturalquestions@1": (22.7, 28.0, 30.0, 33.0),
    "naturalquestions@5": (25.7, 31.2, 32.8, 39.5),
    "naturalquestions@64": (29.5, 34.6, 39.9, 44.3),
    "triviaqa@0": (65.8, 73.1, 81.0, 82.4),
    "triviaqa@1": (68.9, 77.2, 83.3, 85.0),
    "triviaqa@5": (72.1, 79.6, 84.5, 87.6),
    "triviaqa@64": (73.7, 79.4, 84.6, 87.5),
    "squad@0": (67.2, 72.9, 77.4, 80.7),
    "squad@1": (72.3, 72.1, 78.8, 82.6),
    "squad@4": (72.6, 70.6, 77.5, 81.9),
    "squad@5": (72.5, 71.3, 77.5, 81.9),
    "quac@0": (39.4, 42.7, 42.9, 42.4),
    "quac@1": (39.7, 44.8, 44.4, 49.3),
    "agieval_aqua-rat@5": (23.2, 21.7, 19.3, 23.2),
    "agieval_logiqa-en@5": (31.0, 38.1, 40.7, 48.8),
    "agieval_lsat-ar@5": (23.9, 23.0, 21.3, 25.7),
    "agieval_lsat-lr@5": (22.4, 41.0, 47.5, 70.2),
    "agieval_lsat-rc@5": (32.7, 54.6, 62.1, 76.6),
    "agieval_sat-en@5": (43.2, 62.1, 77.2, 86.9),
    "agieval_sat-en-without-passage@5": (37.4, 46.1, 49.0, 53.4),
    "agieval_sat-math@5": (28.2, 27.3, 32.7, 41.8),
    "agieval@5": (29.3, 39.1, 43.4, 54.2),
    "gsm8k@8": (14.6, 28.7, 42.2, 56.8),
    "math@4": (2.5, 3.9, 6.24, 13.5),
}
"""Llama 2's figures in %, by task and size."""
PAPER_TABLE_3 = {
    "7B": (16.8, 63.9, 48.9, 61.3, 14.6, 45.3, 32.6, 29.3),
    "13B": (24.5, 66.9, 55.4, 65.8, 28.7, 54.8, 39.4, 39.1),
    "34B": (27.8, 69.9, 58.7, 68.0, 24.2, 62.6, 44.1, 43.4),
    "70B": (37.5, 71.9, 63.6, 69.4, 35.2, 68.9, 51.2, 54.2),
}
"""As printed; Math of 7B and 13B is GSM8K alone there."""
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
