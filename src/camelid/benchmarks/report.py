"""What a run shows of the public benchmarks that its models were evaluated on.

Source: arXiv 2307.09288, Tables 3, 4 (the model's own column) and 19-25; Llama 2's figures beside
ours are quoted from it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from camelid.benchmarks.scoring import (
    CATEGORIES,
    FILE,
    SCORES_ADVICE,
    Score,
    read_scores,
    read_tasks,
    shown,
    table3,
    with_groups,
)
from camelid.benchmarks.suites import SUITES
from camelid.run.files import read_json
from camelid.run.finished import FinishedRun
from camelid.run.item import AbsentError, Cell, StageReport, Table

FOLDER = "benchmarks"
"""Where a run keeps the scores of its models: a folder a model."""
SCORES = "scores.json"
REPORT: StageReport[FinishedRun] = StageReport()
SIZES = ("7B", "13B", "34B", "70B")
_FIGURES: dict[str, dict[str, list[float]]] = tomllib.loads(
    Path(__file__).with_name("llama2.toml").read_text(encoding="utf-8")
)
PAPER, PAPER_TABLE_3 = _FIGURES["tasks"], _FIGURES["table3"]
"""Llama 2's figures in %: by task and size, and the groups of Table 3 by size."""
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    name: (entry["title"], tuple(entry.get("tasks") or SUITES[name.replace(" ", "").lower()]))
    for name, entry in FILE["tables"].items()
}
"""Artefact to title and tasks."""
_CAPTION = "± standard error; † not on the whole benchmark as it is: see the last table."


def _files(run: FinishedRun) -> list[Path]:
    return sorted((run.root / FOLDER).glob(f"*/{SCORES}"))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return read_tasks(read_json(path, SCORES_ADVICE), str(path))


def evaluated(run: FinishedRun) -> dict[str, dict[str, Score]]:
    """Scores by task and group of every model of a run that was evaluated."""
    return {path.parent.name: with_groups(read_scores(_read(path))) for path in _files(run)}


def _cell(score: Score | None) -> Cell:
    return None if score is None else shown(score)


def benchmark_table(run: FinishedRun, artefact: str) -> Table:
    """One of `TABLES`: a row a model, then Llama 2's.

    Raises:
        AbsentError: No model was evaluated on any of its benchmarks.
    """
    tasks = TABLES[artefact][1]
    rows: list[tuple[Cell, ...]] = [
        (model, *(_cell(scores.get(task)) for task in tasks))
        for model, scores in evaluated(run).items()
        if any(task in scores for task in tasks)
    ]
    if not rows:
        raise AbsentError(f"no model of this run was evaluated on {', '.join(tasks)}")
    rows += [
        (f"Llama 2 {size}, the paper", *(PAPER[task][i] for task in tasks))
        for i, size in enumerate(SIZES)
    ]
    return Table(columns=("model", *(f"{task} %" for task in tasks)), rows=rows)


@REPORT.item("benchmarks", "Grouped benchmarks", _CAPTION, "Table 3")
def grouped(run: FinishedRun) -> Table:
    """Table 3: the plain mean of each category, empty until all its benchmarks have a score.

    Raises:
        AbsentError: No model has a whole category.
    """
    found = {model: table3(scores) for model, scores in evaluated(run).items()}
    rows: list[tuple[Cell, ...]] = [
        (model, *map(_cell, row.values())) for model, row in found.items() if any(row.values())
    ]
    if not rows:
        raise AbsentError("no model of this run was evaluated on all benchmarks of a category")
    rows += [(f"Llama 2 {size}, the paper", *row) for size, row in PAPER_TABLE_3.items()]
    return Table(columns=("model", *(f"{name} %" for name in CATEGORIES)), rows=rows)


for _name, (_title, _) in TABLES.items():
    REPORT.item(
        "benchmarks", _title, _CAPTION, _name, anchor=f"benchmark-{_name.rpartition(' ')[2]}"
    )(partial(benchmark_table, artefact=_name))


@REPORT.item(
    "benchmarks",
    "Every task",
    "Prompts cut: how many requests lost tokens on their left.",
    folded=True,
)
def by_task(run: FinishedRun) -> Table:
    """Every task of every model, with its metric and where its examples are from.

    Raises:
        AbsentError: No model was evaluated.
    """
    rows: list[tuple[Cell, ...]] = []
    for path in _files(run):
        tasks = _read(path)
        for name, score in read_scores(tasks).items():
            entry = tasks[name]
            known = (entry["metric"], shown(score), score.n, score.items)
            cut = (entry["truncated"], entry["unfinished"])
            rows.append((path.parent.name, name, *known, *cut, entry["examples"], score.note))
    if not rows:
        raise AbsentError("no model of this run was evaluated on public benchmarks")
    names = ("model", "task@shots", "metric", "% ± standard error", "items scored", "items")
    cut_names = ("prompts cut", "answers cut")
    return Table(columns=(*names, *cut_names, "examples from", "† note"), rows=rows)


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
