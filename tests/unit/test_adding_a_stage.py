"""What a new stage costs: what it declares is all that page, index, `show` and `list` need.

The toy below is written as a stage's two files are: the first declares settings, files, result and
kind, the second what the report shows. A study is one function more.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from camelid import allocator, cli
from camelid.cli import plans
from camelid.cli.show import settings
from camelid.errors import CheckpointError, ConfigError, MissingInputError
from camelid.plan import Plan
from camelid.recipes import RECIPES
from camelid.recipes.pocket import SMOKE
from camelid.report.page import make_report
from camelid.run.directory import RunDirectory
from camelid.run.finished import FinishedRun, Found
from camelid.run.item import Cell, Measure, StageReport, Table
from camelid.run.place import Rows, StageInputs, StageOutputs, place
from camelid.run.runner import Execution
from camelid.run.stage import NoInputs, StageContext, StageKind
from camelid.runtime import Runtime, open_runtime
from camelid.settings import PaperValue
from camelid.sources import world_data
from camelid.stages.reporting import add_report
from camelid.studies.known import STUDIES

# stages/toy/__init__.py


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the toy."""

    longest: int = 3
    """Words shown, most (Source: choice)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    demonstrations: Rows[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One word with its count."""

    word: str
    count: int


class Outputs(StageOutputs):
    """What the stage writes."""

    words: Rows[Word] = place("words.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was counted."""

    words: int


def run(config: Config, inputs: Inputs, outputs: Outputs, _: StageContext) -> Result:
    """Count the words of all messages."""
    counts: dict[str, int] = {}
    for dialogue in inputs.demonstrations.read_some():
        for message in dialogue.messages:
            for word in message.content.split():
                counts[word] = counts.get(word, 0) + 1
    most = sorted(counts, key=lambda word: (-counts[word], word))[: config.longest]
    outputs.words.write(Word(word=word, count=counts[word]) for word in most)
    return Result(words=len(counts))


# What the report shows of it

Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item("attention", "Frequent words", "Counted by the toy.", "Figure 10")
def frequent_words(seen: Seen) -> Table:
    """Figure 10, in spirit."""
    rows: list[tuple[Cell, ...]] = [
        (row.word, row.count) for row in seen.last.rows(seen.last.outputs.words)
    ]
    return Table(columns=("word", "count"), rows=rows)


@REPORT.measures
def _measures(seen: Seen) -> list[Measure]:
    return [Measure(key="toy.words", value=float(seen.last.result.words), unit="words", judge=None)]


@REPORT.limits
def _limits(_: Seen) -> list[str]:
    return ["A toy counted these words."]


TOY = StageKind(
    name="toy",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run=run,
    report=REPORT,
    paper={"longest": PaperValue("4,096", "Table 1")},
)


# A recipe and a study with it


def toys() -> Plan:
    """Words of the pocket world, counted."""
    plan = Plan("toys")
    world = plan.add(world_data.WORLD_DATA, SMOKE.world, NoInputs())
    plan.add(TOY, Config(), Inputs(demonstrations=world.demonstrations))
    add_report(plan)
    return plan


def lengths() -> Plan:
    """Few words and many."""
    plan = Plan("lengths")
    world = plan.add(world_data.WORLD_DATA, SMOKE.world, NoInputs())
    for name, longest in (("few", 1), ("many", 5)):
        inputs = Inputs(demonstrations=world.demonstrations)
        plan.add(TOY, Config(longest=longest), inputs, within=name)
    add_report(plan)
    return plan


def run_plan(plan: Plan, root: Path) -> Path:
    Execution(
        stages=plan.stages,
        directory=RunDirectory(root),
        name=plan.name,
        recipe=plan.description(),
        settings=plan.settings,
        runtime=Runtime(),
    ).perform_all()
    return root


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(RECIPES, "toys", toys)
    monkeypatch.setitem(STUDIES, "lengths", lengths)
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_plan(toys(), tmp_path_factory.mktemp("toys") / "toys")


def words_of(root: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in (root / "world_data/demonstrations.jsonl").read_text("utf-8").splitlines():
        for message in json.loads(line)["messages"]:
            for word in message["content"].split():
                counts[word] = counts.get(word, 0) + 1
    return counts


def test_the_page_shows_its_table(finished):
    page = (finished / "report/index.html").read_text(encoding="utf-8")
    article = page.partition('<article class="item" id="frequent-words">')[2]
    article = article.partition("</article>")[0]
    assert "Frequent words" in article
    assert "paper: Figure 10" in article
    assert "Counted by the toy." in article
    counts = words_of(finished)
    shown = re.findall(r'<td class="short">(.*?)</td>', article)
    assert shown[1::2] == [f"{n:,}" for n in sorted(counts.values(), reverse=True)[:3]]
    assert '<h2 id="attention">' in page
    assert "<li>A toy counted these words.</li>" in page
    assert f'<td class="short">toy.words</td><td>{len(counts):,}</td>' in page
    assert "Missing:" not in page


def test_its_table_is_a_csv_and_its_figure_in_the_summary(finished):
    with (finished / "report/tables/frequent-words.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    counts = words_of(finished)
    assert rows[0] == ["word", "count"]
    assert [counts[word] for word, _ in rows[1:]] == [int(count) for _, count in rows[1:]]
    summary = json.loads((finished / "report/summary.json").read_text())
    assert {m["key"]: m["value"] for m in summary}["toy.words"] == len(counts)


def test_the_index_of_the_paper_has_it(finished):
    report = make_report(FinishedRun(finished, plans.plan_of(finished).stages))
    entry = next(artefact for artefact in report.index() if artefact.name == "Figure 10")
    assert (entry.status, entry.anchor) == ("here", "#frequent-words")
    page = (finished / "report/index.html").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if 'class="short">Figure 10<' in line)
    assert '<a href="#frequent-words">here</a>' in line


def test_the_pipeline_shows_what_it_reads(finished):
    from camelid.report.pipeline_graph import dependencies

    assert dependencies(FinishedRun(finished, plans.plan_of(finished).stages))["toy"] == {
        "world_data"
    }


def shown(plan: Plan) -> list[tuple[str, str, str]]:
    return [(setting.name, setting.used, setting.paper) for setting in settings(plan)]


def test_show_lists_its_settings_beside_the_papers(finished, capsys):
    assert ("--toy.longest", "3", "4,096 (Table 1)") in shown(toys())
    for what in ("toys", str(finished)):
        assert cli._call(["show", what]) == 0
        lines = capsys.readouterr().out.splitlines()
        line = lines.index("--toy.longest  3  paper 4,096 (Table 1)")
        assert lines[line + 1].strip() == "Words shown, most (Source: choice)."


def test_list_names_it(capsys):
    assert cli._call(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("toys: Words of the pocket world, counted.")
    assert lines[at + 1].split() == ["world_data", "toy", "reporting"]
    at = lines.index("study lengths: Few words and many.")
    assert lines[at + 1].split() == ["world_data", "few/toy", "many/toy", "reporting"]


def test_a_missing_file_names_it(finished, tmp_path, copy_run):
    root = copy_run(finished, tmp_path / "toys")
    (root / "toy/words.jsonl").unlink()
    with pytest.raises(MissingInputError, match=r"words\.jsonl does not exist; stage toy makes it"):
        make_report(FinishedRun(root, toys().stages))


def test_a_renamed_field_of_it_names_file_and_line(finished, tmp_path, copy_run):
    root = copy_run(finished, tmp_path / "toys")
    path = root / "toy/words.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first, *(line.replace("count", "number") for line in others)]))
    with pytest.raises(CheckpointError, match=r"line 2: Word\.number is unknown.*--redo toy"):
        make_report(FinishedRun(root, toys().stages))


def test_its_settings_are_options_of_the_command(finished, tmp_path, copy_run, capsys):
    root = copy_run(finished, tmp_path / "toys")
    words = ["run", "toys", "--out", str(root), "--precision", "float32", "--threads", "1"]
    assert cli._call([*words, "--toy.longest", "2", "--redo", "toy"]) == 0
    assert len((root / "toy/words.jsonl").read_text().splitlines()) == 2
    assert cli._call([*words, "--toy.longst", "2"]) == 2
    assert "there is no field 'longst'. Did you mean 'longest'?" in capsys.readouterr().err
    assert cli._call([*words, "--toy.longest", "4"]) == 2
    assert "toy.longest: 2 -> 4" in capsys.readouterr().err


def test_it_joins_a_recipe_that_is_there(smoke_run, tmp_path, copy_run):
    """The smoke recipe with the toy in front of its report, on a finished run."""
    plan = RECIPES["smoke"]()
    whole = [stage.name for stage in plan.stages]
    plan.settings = dataclasses.replace(plan.settings, threads=1)
    plan.stages = [stage for stage in plan.stages if not stage.kind.shows]
    world = next(s for s in plan.stages if s.kind.name == "world_data").outputs()
    plan.add(TOY, Config(), Inputs(demonstrations=world.demonstrations))
    add_report(plan)
    assert [stage.name for stage in plan.stages] == [*whole[:-1], "toy", whole[-1]]
    root = copy_run(smoke_run, tmp_path / "smoke")
    Execution(
        stages=plan.stages,
        directory=RunDirectory(root),
        name=plan.name,
        recipe=plan.description(),
        settings=plan.settings,
        runtime=open_runtime(plan.settings.precision, 1),
    ).perform_all(redo="toy")
    before, after = (
        (folder / "reporting/index.html").read_text(encoding="utf-8")
        for folder in (smoke_run, root)
    )
    assert 'id="frequent-words"' in after
    assert 'id="frequent-words"' not in before
    titles = [re.findall(r"<h3>(.*?) *(?:<span|</h3>)", page) for page in (before, after)]
    assert [title for title in titles[1] if title != "Frequent words"] == titles[0]
    assert ("--toy.longest", "3", "4,096 (Table 1)") in shown(plan)


def test_a_stage_needs_an_earlier_one_for_what_it_reads():
    world = world_data.Outputs("world_data")
    with pytest.raises(ConfigError, match=r"toy reads world_data/demonstrations\.jsonl, made by"):
        Plan("toys").add(TOY, Config(), Inputs(demonstrations=world.demonstrations))


def test_a_study_is_one_function(tmp_path, capsys):
    root = tmp_path / "lengths"
    words = ["study", "lengths", "--out", str(root), "--precision", "float32", "--threads", "1"]
    assert cli._call(words) == 0
    assert f"Report: {root}" in capsys.readouterr().out
    for name, longest in (("few", 1), ("many", 5)):
        assert len((root / name / "toy/words.jsonl").read_text().splitlines()) == longest
    page = (root / "report/index.html").read_text(encoding="utf-8")
    assert 'id="frequent-words"' in page
    assert ("--few.toy.longest", "1", "4,096 (Table 1)") in shown(lengths())
    assert [
        stage.part for stage in FinishedRun(root, plans.plan_of(root).stages).of(TOY).stages
    ] == ["few", "many"]
    assert cli._call(["study", "length", "--out", str(root)]) == 2
    assert "Did you mean 'lengths'?" in capsys.readouterr().err
