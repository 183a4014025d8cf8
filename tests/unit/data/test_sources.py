import gzip
import json

import pytest

from camelid.data.sources import (
    HH_SUBSETS,
    find_public_files,
    parse_transcript,
    read_advbench,
    read_comparisons,
    read_dolly,
)
from camelid.errors import DataError, MissingInputError

DIALOGUE = "\n\nHuman: Hi \n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant: "


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_transcript():
    messages = parse_transcript(DIALOGUE + "Because.\n\nReally.")
    assert [m.role for m in messages] == ["user", "assistant", "user", "assistant"]
    assert [m.content for m in messages] == ["Hi", "Hello.", "Why?", "Because.\n\nReally."]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin"),
        ("Human: no breaks before", "does not begin"),
        ("preface\n\nHuman: a\n\nAssistant: b", "does not begin"),
        ("\n\nAssistant: b", "do not alternate"),
        ("\n\nHuman: a\n\nHuman: b\n\nAssistant: c", "do not alternate"),
        ("\n\nHuman: a\n\nAssistant: ", "empty turn"),
        ("\n\nHuman: a", "does not end"),
    ],
)
def test_malformed_transcripts(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_transcript(text)


def test_comparisons_are_excluded_with_line_and_reason(tmp_path):
    rows = [
        {"chosen": DIALOGUE + "Yes.", "rejected": DIALOGUE + "No."},
        {"chosen": DIALOGUE + "Yes.", "rejected": DIALOGUE + " Yes. "},
        {"chosen": DIALOGUE + "Yes.", "rejected": "\n\nHuman: Other\n\nAssistant: No."},
        {"chosen": DIALOGUE, "rejected": DIALOGUE + "No."},
    ]
    path = write_lines(tmp_path / "test.jsonl", rows)
    found = read_comparisons(path, "helpful-base")
    (used,) = found.used
    assert (used.id, used.chosen, used.rejected) == ("hh-rlhf/helpful-base/1", "Yes.", "No.")
    assert used.prompt[-1].content == "Why?"
    assert [(e.file, e.line) for e in found.excluded] == [
        ("helpful-base/test.jsonl", line) for line in (2, 3, 4)
    ]
    reasons = [e.reason for e in found.excluded]
    assert "identical" in reasons[0]
    assert "different prompts" in reasons[1]
    assert "empty turn" in reasons[2]


def test_unreadable_lines_are_errors(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text('{"chosen": 1, "rejected": "x"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"test\.jsonl, line 1: needs the text field 'chosen'"):
        read_comparisons(path, "helpful-base")
    path.write_text("\n\n{oops\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3: not valid JSON"):
        read_comparisons(path, "helpful-base")
    path.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="no usable row"):
        read_comparisons(path, "helpful-base")
    packed = tmp_path / "test.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"chosen": "a", "rejected": "b"}\n' * 99)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_comparisons(packed, "helpful-base")
    packed.write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match="cannot be read"):
        read_comparisons(packed, "helpful-base")


def test_dolly_csv_and_jsonl_give_the_same(tmp_path):
    table = tmp_path / "databricks_dolly_15k.csv"
    table.write_text(
        "instruction,context,response,category\n"
        '"Say ""hi""","Some\ncontext",Hi!,closed_qa\n'
        "Empty,,,open_qa\n"
        "Name one,, One. ,open_qa\n",
        encoding="utf-8",
    )
    found = read_dolly(table)
    first, second = found.used
    assert first.messages[0].content == 'Say "hi"\n\nSome\ncontext'
    assert first.messages[1].train
    assert not first.messages[0].train
    assert first.category == "closed_qa"
    assert [m.content for m in second.messages] == ["Name one", "One."]
    # The second row's text spans lines 2 and 3 of the file.
    assert [(e.line, e.reason) for e in found.excluded] == [(4, "empty instruction or response")]
    keys = ("instruction", "context", "response", "category")
    rows = [('Say "hi"', "Some\ncontext", "Hi!", "closed_qa"), ("Name one", "", "One.", "open_qa")]
    lines = write_lines(
        tmp_path / "databricks-dolly-15k.jsonl", [dict(zip(keys, row, strict=True)) for row in rows]
    )
    assert [d.messages for d in read_dolly(lines).used] == [d.messages for d in found.used]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target,other\na,b\n", r"line 1: the columns \['goal'\] are missing"),
        ("goal,target\na\n", "line 2: found 1 field, the header has 2"),
        ("goal,target\na,b,c\n", "line 2: found 3 fields, the header has 2"),
        ("goal,goal\na,b\n", "line 1: a column stands twice"),
        ('goal,target\n"a,b\n', "the row from line 2 on: unexpected end"),
        ("goal,target\n", "no usable row"),
    ],
)
def test_malformed_tables(tmp_path, text, message):
    path = tmp_path / "harmful_behaviors.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_advbench(path)


def test_advbench_repeats_are_excluded(tmp_path):
    path = tmp_path / "harmful_behaviors.csv.gz"
    path.write_bytes(gzip.compress(b"target,goal\nSure,Do harm\nSure,Do harm\nSure,Do worse\n"))
    found = read_advbench(path)
    assert [goal.text for goal in found.used] == ["Do harm", "Do worse"]
    assert [e.line for e in found.excluded] == [3]


def test_case_bom_is_no_text(tmp_path):
    path = tmp_path / "harmful_behaviors.csv"
    path.write_bytes(b"\xef\xbb\xbfgoal,target\r\nMake a thing,Sure\r\n")
    assert [goal.text for goal in read_advbench(path).used] == ["Make a thing"]


def test_case_lone_surrogate_is_excluded_with_its_line(tmp_path):
    rows = [
        {"chosen": DIALOGUE + "Yes.", "rejected": DIALOGUE + "No."},
        {"chosen": DIALOGUE + "Yes \ud83d.", "rejected": DIALOGUE + "No."},
        {"chosen": DIALOGUE + "A whole one: \U0001f600.", "rejected": DIALOGUE + "No."},
    ]
    found = read_comparisons(write_lines(tmp_path / "test.jsonl", rows), "helpful-base")
    assert [row.id for row in found.used] == ["hh-rlhf/helpful-base/1", "hh-rlhf/helpful-base/3"]
    assert [(e.line, e.reason) for e in found.excluded] == [(2, "holds half a surrogate pair")]
    asked = {"instruction": "Say \udc00", "context": "", "response": "x", "category": "c"}
    with pytest.raises(DataError, match=r"1 x holds half a surrogate pair \(first in line 1\)"):
        read_dolly(write_lines(tmp_path / "dolly.jsonl", [asked]))


def test_case_csv_limits_are_none_for_a_long_field(tmp_path):
    path = tmp_path / "dolly.csv"
    path.write_text(f"instruction,context,response,category\nSay hi,{'x' * 140_000},Hi,open_qa\n")
    [dialogue] = read_dolly(path).used
    assert len(dialogue.messages[0].content) == len("Say hi\n\n") + 140_000


def test_case_newcomer_13_unusable_rows_say_why(tmp_path):
    rows = [{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}] * 600
    rows[3] = {"chosen": DIALOGUE + "Yes.", "rejected": DIALOGUE + "Yes."}
    path = write_lines(tmp_path / "test.jsonl", rows)
    with pytest.raises(
        DataError,
        match=r"600 read and excluded: 599 x does not begin with a Human turn \(first in line 1\), "
        r"1 x chosen and rejected are identical \(first in line 4\)\. needed: chosen and rejected",
    ):
        read_comparisons(path, "helpful-base")


@pytest.mark.parametrize("name", ["train.jsonl.gz", "test.jsonl.xz"])
def test_case_newcomer_13_training_splits_are_found_too(tmp_path, name):
    for subset in HH_SUBSETS:
        (tmp_path / subset).mkdir()
        (tmp_path / subset / name).touch()
    (tmp_path / "harmful_behaviors.csv").touch()
    (tmp_path / "databricks-dolly-15k.jsonl").touch()
    found = find_public_files(tmp_path)
    assert {found[subset] for subset in HH_SUBSETS} == {tmp_path / s / name for s in HH_SUBSETS}


def test_missing_files_are_all_named(tmp_path):
    with pytest.raises(MissingInputError) as caught:
        find_public_files(tmp_path)
    message = str(caught.value)
    for subset in HH_SUBSETS:
        assert f"hh-rlhf/{subset}/test.jsonl" in message
    for name in (
        "Anthropic/hh-rlhf",
        "databricks/databricks-dolly-15k",
        "llm-attacks/llm-attacks",
        "harmful_behaviors.csv",
    ):
        assert name in message
    (tmp_path / "advbench").mkdir()
    (tmp_path / "advbench" / "harmful_behaviors.csv.gz").write_bytes(b"")
    with pytest.raises(MissingInputError) as caught:
        find_public_files(tmp_path)
    assert "advbench" not in str(caught.value)
