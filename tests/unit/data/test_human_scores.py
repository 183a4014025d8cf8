"""Replies that people scored: what is read, what is left out and why, what is refused."""

from __future__ import annotations

import gzip

import pytest

from camelid.data.human_scores import find_human_scores, read_human_scores
from camelid.errors import DataError, MissingInputError

REFUSALS = (
    "# dataset_version=1\n"
    "# a second remark\n"
    "objective,assistant_response,human_score_1,human_score_2,human_score_3,data_type\n"
    'Open a tin.,"No.\n# not a remark, ""but"" text",1,1,0,text\n'
    "Open a tin.,Turn the key.,0,0,,text\n"
    "Cut hay.,Perhaps.,1,0,,text\n"
    "Cut hay.,,1,1,1,text\n"
    "Cut hay.,Who knows.,,,,text\n"
    "Cut hay.,hay.png,1,1,1,image\n"
    "Open a tin.,Turn the key.,1,1,1,text\n"
)
HARMS = (
    "harm_category,objective,assistant_response,human_score\n"
    "SPYING,Watch him.,Never.,0\n"
    "spying,Watch him.,A little.,0.25\n"
    "spying,Watch him.,With a lens.,0.5\n"
    "spying,Watch him.,All night.,1\n"
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def variants(text):
    plain = text.encode()
    return {
        "refusal.csv": plain,
        "mark.csv": b"\xef\xbb\xbf" + plain,
        "crlf.csv": plain.replace(b"\n", b"\r\n"),
        "packed.csv.gz": gzip.compress(plain),
    }


@pytest.mark.parametrize("name", variants(""))
def test_refusals_are_what_most_raters_say(tmp_path, name):
    path = write(tmp_path / name, variants(REFUSALS)[name])
    found = read_human_scores([path], "refusal")
    assert [(row.prompt, row.positive, row.raters) for row in found.replies] == [
        ("Open a tin.", True, 3),
        ("Open a tin.", False, 2),
    ]
    assert found.replies[0].reply.replace("\r", "") == 'No.\n# not a remark, "but" text'
    assert found.replies[0].score == pytest.approx(2 / 3)
    # Remarks at the top count as lines; a row ends at its last one.
    assert [row.id for row in found.replies] == [f"{name}, line 5", f"{name}, line 6"]
    assert found.left_out == {
        "raters are tied": 1,
        "empty prompt or reply": 1,
        "scored by nobody": 1,
        "no text": 1,
        "repeated": 1,
    }


@pytest.mark.parametrize(("threshold", "harmful"), [(0.5, 2), (0.25, 3), (0.75, 1)])
def test_harm_is_a_severity_from_the_threshold_on(tmp_path, threshold, harmful):
    path = write(tmp_path / "spying.csv", HARMS)
    found = read_human_scores([path], "harm", harm_threshold=threshold)
    assert [row.positive for row in found.replies] == [False] * (4 - harmful) + [True] * harmful
    assert {row.category for row in found.replies} == {"spying"}
    assert not found.left_out


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        (HARMS.replace("objective,", "prompt,"), "harm", r"line 1: the columns \['objective'\]"),
        (HARMS.replace("human_score", "score"), "harm", "line 2: needs a column human_score"),
        (HARMS.replace("0.25", "2"), "harm", "line 3: human_score is '2'; needed a number from 0"),
        (HARMS.replace("0.25", "nan"), "harm", "line 3: human_score is 'nan'"),
        (HARMS.replace("0.25", "much"), "harm", "line 3: human_score is 'much'"),
        (HARMS, "refusal", r"line 3: human_score is '0.25'; needed 0 or 1, or nothing"),
        (HARMS.splitlines()[0], "harm", "no usable row, left out: {}"),
        ("# only\n# remarks\n", "harm", "are missing"),
        ("", "harm", "are missing"),
    ],
)
def test_wrong_files_are_refused_with_their_line(tmp_path, text, label, message):
    path = write(tmp_path / "spying.csv", text)
    with pytest.raises(DataError, match=message):
        read_human_scores([path], label)


def test_finding_the_files(tmp_path):
    assert find_human_scores(tmp_path) is None
    write(tmp_path / "pyrit-human-scores" / "refusal.csv.gz", gzip.compress(REFUSALS.encode()))
    with pytest.raises(MissingInputError, match=r"harm/\*\.csv is missing.*take the folder away"):
        find_human_scores(tmp_path)
    for name in ("b.csv", "a.csv.gz", "notes.txt"):
        write(tmp_path / "pyrit-human-scores" / "harm" / name, HARMS)
    for folder in (tmp_path, tmp_path / "pyrit-human-scores"):
        found = find_human_scores(folder)
        names = {label: [path.name for path in paths] for label, paths in found.items()}
        assert names == {"refusal": ["refusal.csv.gz"], "harm": ["a.csv.gz", "b.csv"]}


@pytest.mark.shared_data
def test_the_public_files(shared_data):
    paths = find_human_scores(shared_data)
    assert paths is not None
    refusals = read_human_scores(paths["refusal"], "refusal")
    harms = read_human_scores(paths["harm"], "harm")
    assert len(refusals.replies) + refusals.left_out.total() == 105
    assert len(harms.replies) + harms.left_out.total() == 526
    assert set(refusals.left_out) | set(harms.left_out) <= {"repeated"}
    assert len({row.category for row in harms.replies}) == 7
    assert {row.score for row in harms.replies} == {0, 0.25, 0.5, 0.75, 1}
