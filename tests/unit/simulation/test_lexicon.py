"""Data files of the pocket world are read strictly, and settings are read without them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from camelid.errors import DataError
from camelid.simulation import lexicon
from camelid.simulation.config import WorldConfig
from camelid.simulation.lexicon import (
    ATTRIBUTE,
    BENIGN_TASKS,
    CHOICES,
    FIGURES,
    HARM_TASKS,
    HOBBIES,
    NAMES,
    OPTIONS,
    QUALITIES,
    TALKS,
    TEMPLATES,
    VECTORS,
    Talk,
    read,
    texts,
)
from camelid.simulation.prompts import REWRITES

FILES = sorted(lexicon.FOLDER.glob("*.toml"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(lexicon, "FOLDER", tmp_path)
    lexicon._entries.cache_clear()
    yield tmp_path
    lexicon._entries.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('trees = ["oak", "ash", "oak"]', r"words.toml, trees\[2\]: 'oak' stands in this list"),
        ('trees = ["oak", " ash"]', r"trees\[1\]: found ' ash'"),
        ('trees = ["oak", ""]', r"trees\[1\]: found ''"),
        ('trees = ["oak", 3]', r"trees\[1\] is 3, but must be a string"),
        ('trees = "oak"', "trees is 'oak', but must be a list"),
        ('tree = ["oak"]', "trees: no such entry. Did you mean 'tree'?"),
        ("trees = [", "words.toml: not a readable TOML file"),
        ("", "trees: no such entry"),
    ],
)
def test_wrong_files_are_errors_that_name_the_place(folder, text, message):
    (folder / "words.toml").write_text(text)
    with pytest.raises(DataError, match=message):
        texts("words", "trees")


def test_a_missing_file_and_a_wrong_field_are_errors(folder):
    with pytest.raises(DataError, match=r"words\.toml: not a readable"):
        texts("words", "trees")
    (folder / "talks.toml").write_text('[talks.item]\ntold = ["I know"]\nhear = "Yes."\n')
    with pytest.raises(DataError, match=r"hear is unknown\. Did you mean 'heard'\?"):
        read("talks", "talks", dict[str, Talk])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_entry_is_used(path: Path):
    room = lexicon.FOLDER.parent
    source = "\n".join(file.read_text(encoding="utf-8") for file in room.rglob("*.py"))
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    patterns = entries.get("patterns", {})
    # A list may also be used by a pattern of its file, and every pattern by the judge.
    within = "\n".join(form for forms in patterns.values() for form in forms)
    for key in (*entries, *patterns):
        named = re.search(rf"[\"']{key}[\"']", source) or f"{{{key}}}" in within
        assert named, f"{path.name}: {key}"


def test_files_refer_to_each_other_rightly():
    keys = {*ATTRIBUTE, *REWRITES, *TALKS, *VECTORS[1:], "how_to", "multi_turn", "rhyme", "choice"}
    assert set(TEMPLATES) == keys
    assert set(OPTIONS) == set(QUALITIES) < set(CHOICES)
    most = WorldConfig(people=90, towns=80, creatures=70)
    assert [len(names) for names in NAMES.values()] == [most.people, most.towns, most.creatures]


def test_no_term_and_no_template_is_of_two_kinds():
    """What is held out of one kind would otherwise be held out of another too."""
    groups = {(task.borderline, task.group) for task in BENIGN_TASKS}
    groups |= {(task.risk, task.group) for task in HARM_TASKS}
    terms = [group for _, group in groups]
    terms += [name for names in (*NAMES.values(), *OPTIONS.values()) for name in names]
    terms += [*FIGURES, *HOBBIES]
    terms += [template for found in TEMPLATES.values() for template in found]
    assert len(set(terms)) == len(terms)


def test_the_usual_means_of_a_harmful_task_goes_first():
    for task in HARM_TASKS:
        assert task.means[0] in task.compliant
        assert not any(means in task.compliant for means in task.means[1:])


def test_settings_are_read_without_the_world():
    code = (
        "import sys, camelid.simulation.config; "
        "print([m for m in sys.modules if m == 'numpy' or 'lexicon' in m])"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(
        run, capture_output=True, text=True, check=True, cwd=lexicon.FOLDER.parents[2]
    )
    assert done.stdout.strip() == "[]"


def test_recipes_name_judge_and_annotators_without_reading_the_world():
    code = (
        "import sys, camelid.recipes, camelid.studies; "
        "from camelid.simulation.annotators import SimulatedAnnotator; "
        "from camelid.simulation.judge import ExactJudge; "
        "from camelid.simulation.config import AnnotatorConfig; "
        "SimulatedAnnotator(AnnotatorConfig(), ExactJudge()); "
        "print([m for m in sys.modules if m in ('numpy', 'torch') or 'lexicon' in m])"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(
        run, capture_output=True, text=True, check=True, cwd=lexicon.FOLDER.parents[2]
    )
    assert done.stdout.strip() == "[]"
