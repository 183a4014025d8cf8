import csv
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from camelid.errors import DataError
from camelid.report import final_table, html, paper, write_report
from camelid.report.inputs import Run


class _Page(HTMLParser):
    """Collects what a browser would fetch, run or jump to."""

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.links, self.loads = set(), [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found and tag not in SVG_PARTS else []
        self.links += [found["href"]] if tag == "a" else []
        self.loads += [found[k] for k in ("src", "srcset", "data") if k in found]


SVG_PARTS = {"g", "path", "clippath", "use", "defs", "marker", "rect", "svg"}


@pytest.fixture(scope="module")
def page(written):
    return (written / "reporting/index.html").read_text(encoding="utf-8")


def test_the_page_is_self_contained_and_its_links_resolve(page, written):
    found = _Page()
    found.feed(page)
    assert not found.tags & {"script", "link", "iframe", "img", "object"}
    assert found.loads == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert len(found.ids) == len(set(found.ids))
    for link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids
        elif not link.startswith("https://arxiv.org/"):
            assert (written / "reporting" / link).is_file()


def test_texts_of_models_are_escaped(page):
    assert "&lt;script&gt;alert(" in page
    assert "Who built &lt;b&gt;the mill&lt;/b&gt;?" in page


def test_a_whole_run_misses_nothing(page, written):
    assert "Missing:" not in page
    assert "The annotators of this run are simulated" in page
    for name in ("model_card.md", "safety_report.md"):
        assert "issing" not in (written / "reporting" / name).read_text(encoding="utf-8")


def test_every_plot_and_table_has_a_caption(written):
    for section in html.sections(Run(written), 20):
        for item in section.items:
            assert item.caption, item.anchor
            assert item.missing is None, (item.anchor, item.missing)


def test_the_index_covers_the_85_artefacts(written):
    found = html.paper_index(html.sections(Run(written), 20))
    names = [artefact.name for artefact in found]
    assert names == [f"Figure {i}" for i in range(1, 34)] + [f"Table {i}" for i in range(1, 53)]
    here = {a.name for a in found if a.status == "here"}
    figures = (4, 5, 6, 7, 8, 9, 11, 14, 16, 20, 25, 33)
    tables = (1, 2, 5, 6, 7, 8, 12, 13, 26, 30, 31, 32, 33, 34, 35, 41, 42, 43, 52)
    assert here == {f"Figure {i}" for i in figures} | {f"Table {i}" for i in tables}
    assert all(a.anchor for a in found if a.status == "here")
    assert all(a.note for a in found if a.status != "here")
    assert next(a for a in found if a.name == "Figure 17").status == "needs people"
    assert next(a for a in paper.index({}, {}) if a.name == "Table 4").status.startswith("cannot")


def test_tables_are_written_as_csv(written):
    with (written / "reporting/tables/energy.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["stage", "seconds"]
    assert float(rows[-1][1]) == sum(float(row[1]) for row in rows[1:-1])


def test_the_model_card_has_the_fields_of_table_52(written):
    card = (written / "reporting/model_card.md").read_text(encoding="utf-8")
    fields = ["Model Developers", "Variations", "Input", "Output", "Model Architecture"]
    fields += ["Model Dates", "Status", "License", "Where to send comments", "Intended Use Cases"]
    fields += ["Out-of-Scope Uses", "Training Factors", "Carbon Footprint", "Overview"]
    fields += ["Data Freshness"]
    parts = ("Evaluation Results", "Ethical Considerations and Limitations")
    assert all(f"\n### {field}\n" in card for field in fields)
    assert all(f"\n## {part}\n" in card for part in parts)


def test_the_same_run_gives_the_same_bytes(written, tmp_path):
    write_report(written, tmp_path)
    first, again = ((d / "index.html").read_bytes() for d in (written / "reporting", tmp_path))
    assert first == again


def test_an_absent_stage_is_missing_with_its_reason(run_directory):
    shutil.rmtree(run_directory / "ghost_attention")
    shutil.rmtree(run_directory / "v2/red_teaming")
    recipe = json.loads((run_directory / "recipe.json").read_text())
    del recipe["from_text"]["ghost_attention"]
    (run_directory / "recipe.json").write_text(json.dumps(recipe))
    manifest = json.loads((run_directory / "run.json").read_text())
    del manifest["stages"]["ghost_attention"]
    (run_directory / "run.json").write_text(json.dumps(manifest))
    write_report(run_directory, run_directory / "reporting")
    page = (run_directory / "reporting/index.html").read_text(encoding="utf-8")
    assert "Missing: recipe pocket has no stage ghost_attention." in page
    found = json.loads((run_directory / "reporting/summary.json").read_text())
    recall = next(m for m in found if m["key"] == "ghost_attention.turn6.after")
    assert recall["value"] is None
    assert recall["reason"] == "recipe pocket has no stage ghost_attention"
    assert not any("Ghost" in label for label, _ in final_table(run_directory))


@pytest.mark.parametrize("keep", [(), ("run.json",), ("run.json", "recipe.json", "sft")])
def test_an_unfinished_run_gives_a_report_of_what_is_missing(run_directory, keep):
    for path in list(run_directory.iterdir()):
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_report(run_directory, run_directory / "reporting")
    assert "Missing:" in (run_directory / "reporting/index.html").read_text(encoding="utf-8")
    values = json.loads((run_directory / "reporting/summary.json").read_text())
    assert all(m["value"] is not None or m["reason"] for m in values)
    assert not any(m["value"] == 0 for m in values)


def test_a_judge_without_exact_verdicts_leaves_gaps_not_zeros(run_directory):
    path = run_directory / "evaluating/replies.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["set"] = "dialogue" if row["set"] == "helpful" else row["set"]
        row["judge"] |= {"exact": None, "score": None, "name": "refusal strings (stand-in)"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(run_directory, run_directory / "reporting")
    found = {
        m["key"]: m for m in json.loads((run_directory / "reporting/summary.json").read_text())
    }
    assert found["final.exact_helpfulness"]["value"] is None
    assert found["final.win_rate_vs_sft"]["value"] is None
    assert found["final.reward_gain_over_start"]["n"] == 100
    assert found["final.violation_rate"]["judge"] == "refusal strings (stand-in)"


def test_a_malformed_line_is_named(run_directory):
    with (run_directory / "ppo/iterations.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(DataError, match=r"iterations\.jsonl, line 27"):
        write_report(run_directory, run_directory / "reporting")
