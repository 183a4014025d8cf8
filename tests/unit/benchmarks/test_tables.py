"""Benchmark tables from the scores of a run."""

from __future__ import annotations

import json
import re

import pytest

from camelid.benchmarks import report as benchmarks
from camelid.benchmarks.report import PAPER, TABLES, benchmark_table, by_task, grouped, scored
from camelid.benchmarks.scoring import CATEGORIES, MMLU_CATEGORIES
from camelid.recipes import RECIPES
from camelid.report.page import make_report
from camelid.run.finished import FinishedRun
from camelid.run.item import AbsentError


def entry(value, n=100, items=100):
    return {
        "value": value,
        "standard_error": 0.02,
        "n": n,
        "items": items,
        "metric": "acc",
        "shots": 0,
        "examples": "none",
        "truncated": 3,
        "unfinished": 2,
    }


def evaluated(root, **tasks):
    folder = root / "benchmarks" / "final"
    folder.mkdir(parents=True)
    table = {"model": {"model": "final", "digest": "d"}, "tasks": tasks}
    (folder / "scores.json").write_text(json.dumps(table))
    return FinishedRun(root, RECIPES["smoke"]().stages)


def test_tables_show_scores_with_errors_beside_the_papers(tmp_path):
    run = evaluated(
        tmp_path,
        **{"gsm8k@8": entry(0.25, 20, 1319), "math@4": entry(0.05), "piqa@0": entry(0.6612)},
    )
    table = benchmark_table(run, "Table 25")
    assert table.columns == ("model", "gsm8k@8 %", "math@4 %")
    assert table.rows[0] == ("final", "25.0 ± 2.0", "5.0 ± 2.0")
    assert table.rows[1] == ("Llama 2 7B, the paper", 14.6, 2.5)
    assert benchmark_table(run, "Table 20").rows[0][1:3] == (None, "66.1 ± 2.0")
    with pytest.raises(AbsentError, match="mmlu"):
        benchmark_table(run, "Table 19")
    groups = grouped(run)
    # Mean of 25 and 5 with the errors of independent means.
    assert groups.rows[0] == ("final", None, None, None, None, "15.0 ± 1.4", None, None, None)
    assert len(groups.columns) == len(groups.rows[1]) == 1 + len(CATEGORIES)
    everything = by_task(run).rows
    assert ("final", "gsm8k@8", "acc", "25.0 ± 2.0", 20, 1319, 3, 2, "none", "") in everything


def test_all_tables_are_filled_when_everything_was_evaluated(tmp_path):
    tasks = {name: entry(0.5) for _, names in TABLES.values() for name in names if ":" not in name}
    for group in ("mmlu@5", "agieval@5", "bbh@3"):
        tasks.pop(group)
    for subjects in MMLU_CATEGORIES.values():
        tasks |= {f"mmlu_{subject}@5": entry(0.5) for subject in subjects}
    run = evaluated(tmp_path, **tasks)
    for name in TABLES:
        row = benchmark_table(run, name).rows[0]
        assert [cell for cell in row if cell is None] == ([None] if name == "Table 4" else [])
    assert set(PAPER) == {task for _, tasks in TABLES.values() for task in tasks}


def test_the_page_shows_benchmarks_and_the_index_links_them(smoke_copy, remake_report):
    evaluated(smoke_copy, **{"gsm8k@8": entry(0.25), "math@4": entry(0.05)})
    remake_report(smoke_copy)
    page = (smoke_copy / "report/index.html").read_text(encoding="utf-8")
    assert '<h2 id="benchmarks">Public benchmarks</h2>' in page
    assert "25.0 ± 2.0" in page.partition('id="benchmark-25"')[2].partition("</article>")[0]
    index = _index(page)
    assert index["Table 25"] == '<a href="#benchmark-25">here</a>'
    assert index["Table 3"] == '<a href="#grouped">here</a>'
    assert index["Table 4"] == 'cannot be regenerated (<a href="#benchmark-4">stand-in</a>)'
    assert index["Table 19"] == "not in this run"
    assert "no model of this run was evaluated on mmlu" in page
    assert (smoke_copy / "report/tables/benchmark-25.csv").is_file()


def test_a_run_without_benchmarks_has_no_part_for_them(smoke_run):
    page = (smoke_run / "report/index.html").read_text(encoding="utf-8")
    assert '<h2 id="benchmarks">' not in page
    assert _index(page)["Table 25"] == "not in this run"
    report = make_report(FinishedRun(smoke_run, RECIPES["smoke"]().stages))
    note = next(artefact.note for artefact in report.index() if artefact.name == "Table 25")
    assert note == "to get it: camelid evaluate RUN --data DIR --suite table25"


def _index(page):
    """Artefact -> its cell in the index of the paper."""
    cells = r'<td class="short">((?:Figure|Table) \d+)</td><td>.*?</td><td class="short">(.*?)</td>'
    return dict(re.findall(cells, page))


def test_a_note_marks_the_score_and_its_group(tmp_path):
    part = entry(0.25) | {"note": "a random part of the items"}
    run = evaluated(tmp_path, **{"gsm8k@8": part, "math@4": entry(0.05)})
    assert benchmark_table(run, "Table 25").rows[0][1:] == ("25.0 ± 2.0 †", "5.0 ± 2.0")
    assert grouped(run).rows[0][5] == "15.0 ± 1.4 †"
    notes = {row[1]: row[-1] for row in by_task(run).rows}
    assert notes == {"gsm8k@8": "a random part of the items", "math@4": ""}


def test_the_terminal_shows_tasks_groups_and_categories(tmp_path):
    run = evaluated(tmp_path, **{"gsm8k@8": entry(0.25), "math@4": entry(0.05)})
    rows = scored(benchmarks.evaluated(run)["final"]).rows
    assert rows[-1] == ("Table 3: Math", "15.0 ± 1.4", 200, 200, "")
