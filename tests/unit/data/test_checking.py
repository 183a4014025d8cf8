"""What a check of people's data counts, and what the command line says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from camelid.cli import main
from camelid.data import checking
from camelid.data.checking import check, share_to_measure, words
from camelid.data.own_files import OwnFile


def written(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def dialogues(tmp_path) -> Path:
    kept = {"role": "system", "content": "Be kind"}
    short = [{"role": "user", "content": "One two"}, {"role": "assistant", "content": "three"}]
    long = [*short, {"role": "user", "content": "4 5"}, {"role": "assistant", "content": "6 7 8"}]
    rows = [{"messages": found} for found in (short, [kept, *short], long, short, short[:1])]
    return written(tmp_path / "talk.jsonl", rows)


@pytest.fixture
def comparisons(tmp_path) -> Path:
    asked = {"prompt": "one two three"}
    rows = [
        asked | {"chosen": "yes", "rejected": "no", "strength": "better"},
        asked | {"chosen": "a  b", "rejected": "a b", "safety": "both_safe"},
        asked | {"chosen": "four five six", "rejected": "four five seven"},
        asked | {"chosen": "four five six", "rejected": "seven five six"},
    ]
    return written(tmp_path / "pairs.jsonl", rows)


def test_dialogues_are_counted(dialogues):
    seen: set[int] = set()
    found = check(OwnFile(dialogues), words, "words", 5, seen)
    assert (found.rows, found.records, found.duplicates, found.system_messages) == (5, 4, 1, 1)
    assert {what: (h.count, h.first) for what, h in found.left_out.items()} == {
        "no reply": (1, "line 5")
    }
    assert found.user_turns == {"mean": 1.25, "most": 2}
    assert found.lengths == {"mean": 4.8, "median": 3, "95 %": 5, "longest": 8}
    assert found.longer_than_context == 1
    rows = check(OwnFile(dialogues), words, "words", 5, set(), row=6).packed_rows
    # Of 3, 5, 8 and 3 words: the first and the last share a row, the third fits none.
    assert (found.packed_rows, rows) == (None, 2)
    # A second reading finds all of them again.
    assert check(OwnFile(dialogues), words, "words", None, seen).duplicates == 4


def test_comparisons_equal_after_truncation_are_counted(comparisons):
    found = check(OwnFile(comparisons), words, "words", 5, set())
    assert (found.longer_than_context, found.equal_within_context) == (2, 1)
    assert (found.equal_replies, found.strengths, found.safety_labels) == (1, 1, 1)
    assert found.lengths["longest"] == 6
    unlimited = check(OwnFile(comparisons), words, "words", None, set())
    assert (unlimited.longer_than_context, unlimited.equal_within_context) == (None, None)


def test_of_a_large_file_a_random_part_is_measured_and_everything_else_counted(tmp_path):
    def row(n: int) -> dict:
        reply = "word " * (8 if n % 4 == 0 else 2)
        return {"prompt": f"Ask {n % 500}", "chosen": f"{reply} yes", "rejected": f"{reply} no"}

    path = written(tmp_path / "many.jsonl", [row(n) for n in range(1000)])
    whole = check(OwnFile(path), words, "words", 8, set())
    part = check(OwnFile(path), words, "words", 8, set(), share=0.3)
    assert whole.measured == whole.records == part.records == 1000
    assert part.duplicates == whole.duplicates == 500
    assert (part.rows, part.user_turns) == (whole.rows, whole.user_turns)
    assert 240 < part.measured < 360
    assert part.lengths["mean"] == pytest.approx(whole.lengths["mean"], rel=0.1)
    # A quarter of them is longer.
    assert whole.longer_than_context == 250
    assert 0.18 < (part.longer_than_context or 0) / part.measured < 0.32
    again = check(OwnFile(path), words, "words", 8, set(), share=0.3)
    assert again == part
    # However small the share, there is something to measure.
    assert check(OwnFile(path), words, "words", 8, set(), share=1e-9).measured == 1


def test_which_share_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "MEASURED_BYTES", 100)
    for size, name, share in ((50, "x.txt", 1), (100, "x.txt", 1), (400, "x.txt", 0.25)):
        (tmp_path / name).write_bytes(b"x" * size)
        assert share_to_measure(tmp_path / name) == share
    (tmp_path / "x.txt.gz").write_bytes(b"x" * 100)
    assert share_to_measure(tmp_path / "x.txt.gz") == 0.25


def test_what_the_command_says(dialogues, comparisons, capsys):
    paths = [str(dialogues), str(comparisons)]
    assert main(["data", "check", *paths, "--context", "5"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "talk.jsonl: OpenAI messages, read as dialogues rows read 5 dialogues used 4",
        "left out 1 x no reply (first in line 5)",
        "user turns mean 1.25, most 2",
        "words mean 4.8, median 3, 95 % 5, longest 8",
        "tokens not counted: name a model with --weights",
        "context 1 longer than 5 words: used here, left out by the stages that train on them",
        "duplicates 1 exactly as one before; used",
        "system message 25.0% have one",
        "pairs.jsonl: comparisons with a prompt, read as comparisons",
        "context 1 of them equal up to there",
        "strengths 1; null in 3, for them no margin in the loss",
        "safety labels 1; null in 3, for them no auxiliary loss",
    ):
        assert part in said


def test_json_for_machines(dialogues, capsys):
    assert main(["data", "check", str(dialogues), "--json", "--as", "prompts"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["use"], found["records"], found["unit"]) == ("prompts", 5, "words")
    cut = found["changed"]["last reply: cut, what stands before it is the prompt"]
    assert cut == {"count": 4, "first": "line 1"}
    assert found["longer_than_context"] is None
    assert found["estimate"] is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"messages": []}], "bad.jsonl: no usable row for dialogues; 1 read and excluded: 1 x no"),
        ([{"a": 1}], "bad.jsonl, line 1: unknown format, found an object with 'a'; needed one of"),
        ([{"messages": 1}], "bad.jsonl, line 1: 'messages' is 1, needed a list."),
    ],
)
def test_where_nothing_can_be_used_it_ends_with_2(tmp_path, dialogues, capsys, rows, message):
    bad = written(tmp_path / "bad.jsonl", rows)
    assert main(["data", "check", str(dialogues), str(bad)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "nan" not in (said.out + said.err).lower()
    assert "talk.jsonl: OpenAI messages" in said.out


@pytest.fixture
def quick(monkeypatch) -> None:
    """Speed measured in no time, on one thread."""
    from camelid import runtime
    from camelid.methods import estimate

    monkeypatch.setattr(estimate, "_BUDGET", 0.01)
    monkeypatch.setattr(runtime, "core_count", lambda: 1)


@pytest.mark.usefixtures("quick")
def test_an_estimate_for_the_stage_that_a_file_serves(smoke_run, dialogues, comparisons, capsys):
    paths = [str(dialogues), str(comparisons)]
    words = ["--weights", f"{smoke_run}:sft", "--context", "64"]
    assert main(["data", "check", *paths, *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "estimate fine-tuning, about " in said
    assert "of time 2 epochs, rows of 64 tokens, 8 at once (default settings): " in said
    assert "at the speed that this machine had just now" in said
    assert "estimate reward modeling, about " in said
    assert "of time 1 epoch, rows of " in said
    assert main(["data", "check", *paths[:1], *words, "--as", "prompts", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    cost = found["estimate"]
    assert cost["stage"] == "sampling of rejection sampling"
    read = round(found["mean_read"] * found["records"])
    assert cost["tokens"] == read + found["records"] * 10 * 64
    assert cost["seconds"] > 0


@pytest.mark.usefixtures("quick")
def test_the_command_marks_what_is_estimated(smoke_run, comparisons, monkeypatch, capsys):
    monkeypatch.setattr(checking, "MEASURED_BYTES", 1)
    words = ["--weights", f"{smoke_run}:sft", "--context", "2"]
    assert main(["data", "check", str(comparisons), *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "tokens of 1 comparisons drawn at random; 'about' is estimated from them" in said
    assert "context about 4 (0 to 4) longer than 2 tokens" in said


@pytest.mark.usefixtures("quick")
def test_tokens_of_given_weights(smoke_run, dialogues, tmp_path, capsys):
    model = f"{smoke_run}:sft"
    assert main(["data", "check", str(dialogues), "--weights", model, "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    from camelid.cli.plans import find_model
    from camelid.formats.convert import read_model
    from camelid.tokenization.chat import chat_format_of

    read = read_model(find_model(model).path)
    chat = chat_format_of(read.tokenizer)
    lengths = sorted(len(chat.render(record.messages).ids) for record in OwnFile(dialogues))
    assert (found["unit"], found["context"]) == ("tokens", read.checkpoint.config.context)
    assert found["lengths"]["longest"] == lengths[-1]
    assert found["longer_than_context"] == 0
    words = ["--weights", model, "--as", "prompts", "--context", str(lengths[0])]
    assert main(["data", "check", str(dialogues), *words]) == 0
    assert f"longer than {lengths[0]} tokens" in capsys.readouterr().out
