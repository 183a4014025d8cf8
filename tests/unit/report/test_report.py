"""Page, cards, tables and index of a run of the smoke recipe."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from camelid.assessment.evaluating import EVALUATING
from camelid.errors import CamelidError, CheckpointError, MissingInputError
from camelid.recipes import RECIPES
from camelid.report import index
from camelid.report.cards import model_card, safety_report
from camelid.report.page import headlines, make_report, render
from camelid.run.finished import FinishedRun
from camelid.run.item import Drawing, Table
from camelid.stages.reporting import REPORTING
from camelid.studies.known import STUDIES

LAST = ("ghost_attention", "ppo", "evaluating")


class _Page(HTMLParser):
    """Collects what a browser would fetch, run or jump to, and the text of tables."""

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.links, self.loads = set(), [], [], []
        self.open, self.names = [], set()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.names |= set(re.findall(r"url\(#([^)]+)\)", " ".join(map(str, found.values()))))
        self.names |= {v[1:] for k, v in found.items() if k.endswith("href") and tag != "a"}
        if tag not in VOID:
            self.open.append(tag)
        self.links += [found["href"]] if tag == "a" else []
        self.loads += [found[k] for k in ("src", "srcset", "data") if k in found]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


VOID = {"meta", "br", "input", "link", "img"}


def report_of(root):
    names = {"model_card": "model_card.md", "safety_report": "safety_report.md"}
    names["search"] = "replies.html"
    return make_report(FinishedRun(root, RECIPES["smoke"]().stages), **names)


def forget(root, *names):
    """Take stages out of the record of a run, as if it had been stopped before them."""
    manifest = json.loads((root / "run.json").read_text())
    manifest["stages"] = {n: s for n, s in manifest["stages"].items() if n not in names}
    (root / "run.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def report(varied):
    return report_of(varied)


@pytest.fixture(scope="module")
def page(varied):
    return (varied / "reporting/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["index.html", "replies.html"])
@pytest.mark.parametrize("which", ["smoke_run", "varied"])
def test_the_page_is_self_contained_and_its_links_resolve(which, name, request):
    folder = request.getfixturevalue(which) / "report"
    page = (folder / name).read_text(encoding="utf-8")
    found = _Page()
    found.feed(page)
    assert found.open == []
    assert found.names <= set(found.ids)
    assert not found.tags & {"link", "iframe", "img", "object", "base"}
    assert found.loads == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert sorted(found.ids) == sorted(set(found.ids))
    for link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids
        elif not link.startswith("https://arxiv.org/"):
            assert (folder / link).is_file()


def test_texts_of_models_are_escaped(page, varied):
    assert page.count("<script") == 1
    replies = (varied / "reporting/replies.html").read_text(encoding="utf-8")
    assert replies.count("<script") == replies.count("</script>") == 2
    assert "&lt;script&gt;alert(" in page
    assert "Who built &lt;b&gt;the mill&lt;/b&gt; &amp; who &#34;owns&#34; it?" in page
    assert "Be &lt;brief&gt;." in page
    for name in ("model_card.md", "safety_report.md"):
        assert "<script" not in (varied / "reporting" / name).read_text(encoding="utf-8")


def test_a_whole_run_misses_nothing(page, varied):
    assert "Missing:" not in page
    assert "The annotators are simulated" in page
    for name in ("model_card.md", "safety_report.md"):
        assert "issing" not in (varied / "reporting" / name).read_text(encoding="utf-8")


def test_every_item_is_drawn_with_its_caption(report, page):
    declared = [
        item
        for kind in {stage.kind.name: stage.kind for stage in report.run.stages}.values()
        if not kind.shows
        for item in kind.reporter().items
        # All instructions of this world are checked alike, and its judge makes no errors.
        if item.anchor not in ("recall-by-check", "corrected", "corrected-rates")
    ]
    drawn = [entry.item for entry in report.drawn]
    assert [item for item in drawn if item in declared] == declared
    assert len(drawn) == len(declared) + 3
    for entry in report.drawn:
        assert entry.missing is None, (entry.item.anchor, entry.missing)
        assert entry.caption, entry.item.anchor
        assert entry.content, entry.item.anchor
        assert f'id="{entry.item.anchor}"' in page
    titles = re.findall(r"<h3>(.*?) *(?:<span|</h3>)", page)
    assert len(titles) == len(report.drawn)


def test_an_item_without_content_says_why(smoke_run):
    """The models of the smoke run comply with nothing and refuse nothing."""
    report = report_of(smoke_run)
    reasons = {entry.item.anchor: entry.missing for entry in report.drawn if entry.missing}
    assert set(reasons) <= {"resisted", "false-refusals"}
    page = (smoke_run / "reporting/index.html").read_text(encoding="utf-8")
    for reason in reasons.values():
        assert f"Missing: {reason}." in page
    for entry in report.drawn:
        assert (entry.content is None) == (entry.missing is not None)


def test_the_index_covers_the_85_artefacts(report, page):
    found = report.index()
    names = [artefact.name for artefact in found]
    assert names == [f"Figure {i}" for i in range(1, 34)] + [f"Table {i}" for i in range(1, 53)]
    here = {a.name for a in found if a.status == "here"}
    figures = (4, 5, 6, 7, 8, 9, 11, 14, 16, 20, 25, 33)
    tables = (1, 2, 5, 6, 7, 8, 12, 13, 26, 30, 31, 32, 33, 34, 35, 41, 42, 43, 52)
    assert here == {f"Figure {i}" for i in figures} | {f"Table {i}" for i in tables}
    assert all(a.anchor for a in found if a.status == "here")
    assert all(a.note for a in found if a.status != "here")
    people = {a.name for a in found if a.status == "needs people" and a.anchor}
    assert people == {f"Figure {i}" for i in (1, 3, 12, 17, 19)}
    assert next(a for a in index.index({}, {}) if a.name == "Table 4").status.startswith("cannot")
    for artefact in found:
        assert f'<td class="short">{artefact.name}</td>' in page


def test_every_table_is_written_as_csv(report, varied):
    written = {path.stem: path for path in (varied / "reporting/tables").iterdir()}
    tables = {e.item.anchor: e.table for e in report.drawn if isinstance(e.content, Table)}
    assert len(tables) == sum(isinstance(e.content, Table) for e in report.drawn)
    assert set(written) == set(tables)
    for anchor, table in tables.items():
        with written[anchor].open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert tuple(rows[0]) == table.columns
        assert len(rows) == 1 + len(table.rows)
        for row, cells in zip(rows[1:], table.rows, strict=True):
            assert row == ["" if cell is None else str(cell) for cell in cells]


def test_plots_are_svg_and_stand_in_the_page(report, page):
    drawings = [e.content.svg for e in report.drawn if isinstance(e.content, Drawing)]
    assert len(drawings) >= 10
    # And the figure of the first screen.
    assert page.count("<svg") == len(drawings) + 1
    for svg in drawings:
        assert svg.startswith("<svg")
        assert svg.rstrip().endswith("</svg>")


def test_the_model_card_has_the_fields_of_table_52(varied, report):
    card = (varied / "reporting/model_card.md").read_text(encoding="utf-8")
    assert card == model_card(report)
    # Its commands hold the folder of the run, and no word to replace.
    assert f"\ncamelid chat {varied}\n" in card
    assert f"\ncamelid convert {varied}/ppo/model {varied}-hf --to hf\n" in card
    assert f'AutoTokenizer.from_pretrained("{varied}-hf")' in card
    assert not re.search(r"\b(RUN|OUT)\b", card.partition("## Model Details")[0])
    fields = ["Model Developers", "Input", "Output", "Model Architecture", "Model Dates", "Status"]
    fields += ["License", "Where to send comments", "Intended Use Cases", "Out-of-Scope Uses"]
    fields += ["Training Factors", "Carbon Footprint"]
    parts = ["Use", "Model Details", "Intended Use", "Hardware and Software", "Training Data"]
    parts += ["Evaluation Results", "Ethical Considerations and Limitations"]
    assert all(f"\n### {field}\n" in card for field in fields)
    assert re.findall(r"\n## (.*)\n", card) == parts
    for entry in report.drawn:
        if entry.item.card is not None:
            assert f"\n### {entry.item.title}\n\n{entry.caption}" in card


def test_the_safety_report_names_its_judges(varied, report):
    text = (varied / "reporting/safety_report.md").read_text(encoding="utf-8")
    assert text == safety_report(report)
    results = text.partition("## Results")[2].partition("\n## ")[0]
    shown = [measure for measure in report.measures if measure.safety is not None]
    assert len(shown) >= 6
    for measure in shown:
        assert measure.judge
        row = f"| {measure.safety} | {measure.shown} | {measure.n} | {measure.judge} |"
        assert row in results
    for entry in report.drawn:
        assert (f"\n## {entry.item.title}\n" in text) == entry.item.safety
    assert all(f"- {limit}" in text for limit in report.limits)


def test_the_same_run_gives_the_same_bytes(varied, report):
    folder = varied / "reporting"
    files = ("replies.html", "summary.json", "model_card.md", "safety_report.md")
    assert render(report, files).encode() == (folder / "index.html").read_bytes()


def test_the_terminal_shows_what_each_stage_changed(report):
    rows = dict(headlines(report.measures))
    shown = report.shown
    expected = " → ".join(shown[f"{m}.exact_helpfulness"] for m in ("base", "sft", "final"))
    assert rows["exactly right: base, SFT, final"] == expected
    assert len([row for row in rows if row.startswith("PPO's gain")]) == 1


def test_the_summary_is_read_back(report, varied):
    stage = next(s for s in report.run.stages if s.kind.name == REPORTING.name)
    found = stage.outputs(varied / stage.name).summary.read()
    assert found == tuple(report.measures)
    assert not [text for text in report.notices if "not finished" in text]


def test_a_stage_that_did_not_run_is_missing_with_its_reason(smoke_copy, remake_report):
    forget(smoke_copy, *LAST)
    remake_report(smoke_copy)
    page = (smoke_copy / "reporting/index.html").read_text(encoding="utf-8")
    assert "This run is not finished: it lacks " in page
    for name in LAST:
        assert f"Missing: stage {name} has not finished in this run." in page
    found = json.loads((smoke_copy / "reporting/summary.json").read_text())
    assert not any(m["key"].startswith(("ghost_attention", "ppo", "final")) for m in found)
    entries = {artefact.name: artefact for artefact in report_of(smoke_copy).index()}
    assert entries["Table 30"].status == "not in this run"
    assert entries["Table 30"].note.startswith("stage ghost_attention has not finished in this run")


@pytest.mark.parametrize("count", [0, 1, 4, 8])
def test_an_unfinished_run_gives_a_report_of_what_is_missing(smoke_copy, remake_report, count):
    names = list(json.loads((smoke_copy / "run.json").read_text())["stages"])
    forget(smoke_copy, *names[count:])
    remake_report(smoke_copy)
    assert "Missing:" in (smoke_copy / "reporting/index.html").read_text(encoding="utf-8")
    found = {m["key"]: m for m in json.loads((smoke_copy / "reporting/summary.json").read_text())}
    assert ("v1.helpfulness_rm.accuracy" in found) == (count == 8)
    for entry in found.values():
        assert entry["value"] is not None or entry["reason"]
    card = (smoke_copy / "reporting/model_card.md").read_text(encoding="utf-8")
    assert ("Missing: stage pretraining has not finished in this run" in card) == (count < 4)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match="no run at"):
        make_report(FinishedRun(tmp_path / "none", RECIPES["smoke"]().stages))


def test_a_judge_without_exact_verdicts_leaves_gaps_not_zeros(smoke_copy):
    path = smoke_copy / "evaluating/replies.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    name = "refusal strings (stand-in)"
    for row in rows:
        row["set"] = "dialogue" if row["set"] == "helpful" else row["set"]
        row["judge"] = name
        row["judgement"] |= {"exact": None, "score": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = smoke_copy / "evaluating/result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"judge": name}))
    report = report_of(smoke_copy)
    found = {measure.key: measure for measure in report.measures}
    for key in ("final.exact_helpfulness", "final.win_rate_vs_sft"):
        assert found[key].value is None
        assert found[key].judge is None
        assert "final was not evaluated on the helpful set" in found[key].reason
    asked = [r for r in rows if (r["model"], r["set"]) == ("final", "dialogue")]
    assert found["final.reward_gain_over_start"].n == len(asked)
    assert found["final.violation_rate"].judge == name
    assert any(name in text for text in report.limits)


def test_a_malformed_line_is_named(smoke_copy):
    path = smoke_copy / "ppo/iterations.jsonl"
    count = len(path.read_text().splitlines())
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(CheckpointError, match=rf"ns\.jsonl, line {count + 1}.*--redo ppo"):
        report_of(smoke_copy)


@pytest.mark.parametrize(
    ("stage", "file", "text"),
    [
        ("v1/preference_collection", "preferences.jsonl", "null\n"),
        ("v1/reward_modeling", "test_scores.jsonl", '{"id": 1}\n'),
        ("evaluating", "result.json", "[1]"),
        ("evaluating", "replies.jsonl", None),
        ("pretraining", "result.json", '{"steps": 0}'),
    ],
)
def test_case_report_damaged_names_the_stage(smoke_copy, stage, file, text):
    path = smoke_copy / stage / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CamelidError, match=rf"{stage}/{file}.*--redo {stage}$"):
        report_of(smoke_copy)


def test_a_value_of_another_type_is_named(smoke_copy):
    path = smoke_copy / "v2/reward_modeling/gate.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": "high"}))
    with pytest.raises(
        CheckpointError,
        match=r"reward_modeling/gate\.json\.threshold.*--redo v2/reward_modeling",
    ):
        report_of(smoke_copy)


PLANS = {**RECIPES, **STUDIES}


@pytest.mark.parametrize("name", PLANS)
def test_anchors_of_a_plan_are_unique_and_its_artefacts_exist(name):
    from camelid.benchmarks.report import REPORT as BENCHMARKS
    from camelid.report.page import TITLES
    from camelid.report.run_items import REPORT as RUN_REPORT

    kinds = {stage.kind.name: stage.kind for stage in PLANS[name]().stages}
    reports = [*(kind.reporter() for kind in kinds.values()), RUN_REPORT, BENCHMARKS]
    items = [item for report in reports for item in report.items]
    anchors = [item.anchor for item in items] + [*TITLES, "limits", "figures", "index"]
    assert sorted(anchors) == sorted(set(anchors))
    artefacts = {artefact.name for artefact in index.index({}, {})}
    for item in items:
        assert item.section in TITLES
        assert {*item.paper, *item.stands_for} <= artefacts, item.anchor
        assert dataclasses.replace(item, title=item.title.strip()) == item


# The first screen, the replies and the card


def test_the_first_screen_says_what_the_summary_says(report, page):
    tiles = {name: lines for name, _, lines in report.tiles()}
    assert list(tiles) == ["trained", "better", "safe", "cost", "doubt"]
    for name, lines in tiles.items():
        assert f'id="tile-{name}"' in page
        assert 1 <= len(lines) <= 4
    shown = {m.key: m for m in report.measures}
    space = "\N{NO-BREAK SPACE}%"
    for key, text in (("exact_helpfulness", "better"), ("violation_rate", "safe")):
        ends = " → ".join(shown[f"{m}.{key}"].bare for m in ("sft", "final")).replace(" %", space)
        assert any(ends in line.text for line in tiles[text])


def test_case_smoke_says_first_that_it_tests_the_plumbing(smoke_run):
    page = (smoke_run / "reporting/index.html").read_text(encoding="utf-8")
    first = page.index("tests the plumbing")
    assert page.index('id="tile-trained"') < first < page.index('id="tile-better"')
    assert "its figures mean nothing" in page[first : first + 200]
    assert '<span class="verdict' not in page


def test_replies_can_be_searched_with_the_judges_reason(varied, report):
    page = (varied / "reporting/replies.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    text = (varied / "evaluating/replies.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(data["replies"]) == len(rows)
    for row, found in zip(rows, data["replies"], strict=True):
        prompt = data["prompts"][found["prompt"]]
        assert prompt["dialogue"] == [[m["role"], m["content"]] for m in row["prompt"]]
        assert (data["models"][found["model"]], prompt["set"]) == (row["model"], row["set"])
        assert found["text"] == row["reply"]
        said = [n for n in ("exact", "violating", "refusing", "evasive") if row["judgement"][n]]
        assert found["verdicts"] == (said or ["none of these"])
        assert data["reasons"][found["reason"]]
    # Models of the pipeline in order, controls and other temperatures behind them: folded.
    main = [name for name, _ in report.run.of(EVALUATING).last.inputs.models]
    assert data["models"][: data["main"]] == main
    assert {"random_pick", "judge_pick"} <= set(data["models"][data["main"] :])
    assert "of controls and at other temperatures" in page
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    assert len(script.splitlines()) <= 90


def test_an_evaluation_that_did_not_run_has_no_page_of_replies(smoke_copy, remake_report):
    forget(smoke_copy, "evaluating")
    remake_report(smoke_copy)
    assert not (smoke_copy / "reporting/replies.html").exists()
    assert "replies.html" not in (smoke_copy / "reporting/index.html").read_text(encoding="utf-8")


def test_the_model_card_has_the_hubs_front_matter(varied):
    card = (varied / "reporting/model_card.md").read_text(encoding="utf-8")
    _, head, _ = card.split("---\n", 2)
    assert head.splitlines() == [
        'license: "apache-2.0"',
        "library_name: camelid",
        "pipeline_tag: text-generation",
        "language:",
        '- "en"',
        "tags:",
        *(f'- "{tag}"' for tag in (
            "camelid", "pretraining", "sft", "rejection-sampling", "context-distillation",
            "ghost-attention", "ppo",
        )),
    ]  # fmt: skip
    assert "base_model" not in head
    assert "starts from no other weights" in card


def test_the_usage_of_the_model_card_runs(smoke_run, tmp_path, capsys):
    from camelid import cli

    card = (smoke_run / "reporting/model_card.md").read_text(encoding="utf-8")
    commands, code = re.findall(r"```(?:python)?\n(.*?)```", card, re.DOTALL)
    chat, convert = commands.splitlines()
    assert chat == f"camelid chat {smoke_run}"
    out = f"{smoke_run}-hf"
    words = convert.replace(out, str(tmp_path / "hf")).split()
    assert cli.main(words[1:]) == 0
    capsys.readouterr()
    exec(code.replace(out, str(tmp_path / "hf")), {})
    assert capsys.readouterr().out.endswith("\n")
