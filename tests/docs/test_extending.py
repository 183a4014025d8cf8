"""Every block of docs/extending.md runs, and what it adds shows everywhere."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from camelid.cli import main
from camelid.cli.show import settings
from camelid.recipes import RECIPES
from camelid.studies.known import STUDIES

MOST = "Words that are kept."
PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def test_what_the_page_adds_runs_and_shows(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    # A module of its own, as a user's file would be: the types of its classes are read from there.
    (tmp_path / "page_blocks.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    added = importlib.import_module("page_blocks")
    monkeypatch.setitem(RECIPES, "words", added.words)
    monkeypatch.setitem(STUDIES, "how_many_words", added.how_many_words)
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("a camel and a camelid\na llama\n", encoding="utf-8")

    assert main(["run", "words", "--most", "2", "--word_counts.most", "1"]) == 0
    run = tmp_path / "runs" / "words"
    rows = (run / "word_counts/counts.jsonl").read_text(encoding="utf-8")
    assert rows == '{"word": "a", "count": 3}\n'
    page = (run / "report/index.html").read_text(encoding="utf-8")
    assert "The most frequent words" in page
    assert re.search(r'Table 9</td>.*?<a href="#frequent-words">here</a>', page)
    shown = {setting.name: setting for setting in settings(added.words())}
    assert shown["--word-counts.most"][2:] == ("10", "", "from 1 to 1,000,000,000", MOST)

    # The stage that joined a recipe stands before its report, which shows it.
    *_, joined, report = added.plan.stages
    assert (joined.name, report.kind.shows) == ("word_counts", True)
    assert "word_counts" in {place.stage for place in report.inputs.places()}

    assert main(["study", "how_many_words"]) == 0
    study = tmp_path / "runs" / "study-how_many_words"
    counted = study / "top_2/word_counts/counts.jsonl"
    assert len(counted.read_text(encoding="utf-8").splitlines()) == 2
    capsys.readouterr()
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "words: Count the words of a text." in listed
    assert "top_2/word_counts top_5/word_counts" in listed

    counted.unlink()
    assert main(["report", str(study)]) == 2
    error = capsys.readouterr().err
    assert "stage top_2/word_counts makes it" in error
