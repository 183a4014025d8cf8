"""People's files: every layout in its public shape, every policy, every error."""

from __future__ import annotations

import codecs
import gzip
import json

import pytest

from camelid.data.own_files import OwnFile, find_files, read_own
from camelid.data.prompts import is_held_out
from camelid.data.records import Dialogue, Message, Preference, Prompt, write_records
from camelid.data.text_files import iterate_json_list
from camelid.errors import DataError, MissingInputError
from camelid.settings import to_json


def said(*contents, system=None):
    """Messages that alternate, those of the assistant with loss."""
    start = () if system is None else (Message(role="system", content=system),)
    roles = ("user", "assistant")
    return start + tuple(
        Message(role=roles[n % 2], content=text, train=n % 2 == 1)
        for n, text in enumerate(contents)
    )


def openai(*contents):
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]


HI = said("Hi", "Hello.")
TALK = said("Hi", "Hello.", "Why?", "Because.")
TRANSCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant: Because."
OASST = {"lang": "en", "deleted": False, "synthetic": False}


def node(text, role, *replies, **more):
    return {
        "message_id": text,
        "text": text,
        "role": role,
        "replies": list(replies),
        **OASST,
    } | more


TREE = node(
    "Hi",
    "prompter",
    node("Worse.", "assistant", rank=1),
    node(
        "Hello.",
        "assistant",
        node("Why?", "prompter", node("Because.", "assistant", rank=0)),
        node("How?", "prompter", node("So.", "assistant", rank=None)),
        node("Nobody answers", "prompter"),
        rank=0,
    ),
    node("Best, but gone", "assistant", rank=-1, deleted=True),
    rank=None,
)


def flat(tree, parent=None):
    row = {**tree, "parent_id": parent}
    yield {key: value for key, value in row.items() if key != "replies"}
    for reply in tree["replies"]:
        yield from flat(reply, tree["message_id"])


def without_loss(messages):
    return tuple(Message(role=m.role, content=m.content) for m in messages)


OWN = Dialogue(
    id="a",
    messages=(*without_loss(HI), *said("Why?", "Because.")),
    category="c",
    is_safety=True,
    source="us",
)
THREADS = [TALK, (*without_loss(HI), *said("How?", "So."))]
DIALOGUES = {
    "openai": ([{"messages": openai("Hi", "Hello.", "Why?", "Because.")}], [TALK]),
    "openai, conversations": ([{"conversations": openai("Hi", "Hello.")}], [HI]),
    "openai, parts": (
        [{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                       {"role": "assistant", "content": "Hello."}]}],
        [HI],
    ),
    "sharegpt": (
        [{"id": "x_0", "conversations": [
            {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}],
        [HI],
    ),
    "alpaca": (
        [{"instruction": "Hi", "input": "", "output": "Hello."},
         {"instruction": "Add", "input": "1 and 2", "output": "3"}],
        [HI, said("Add\n\n1 and 2", "3")],
    ),
    "dolly": (
        [{"instruction": "Hi", "context": "So", "response": "Hello.", "category": "qa"}],
        [said("Hi\n\nSo", "Hello.")],
    ),
    "prompt and completion": (
        [{"prompt": "Hi", "completion": "Hello."},
         {"prompt": openai("Hi"), "completion": [{"role": "assistant", "content": "Hello."}]}],
        [HI, HI],
    ),
    "transcripts": ([{"transcript": TRANSCRIPT}, {"text": TRANSCRIPT}], [TALK, TALK]),
    "transcript texts": ([TRANSCRIPT], [TALK]),
    "oasst trees": (
        [{"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": TREE}], THREADS
    ),
    "oasst messages": (list(flat(TREE)), THREADS),
    "our own": ([to_json(OWN)], [OWN.messages]),
}  # fmt: skip
COMPARED = [(without_loss(said("Hi")), "Hello.", "Go away.")]
GOOD, BAD = ([{"role": "assistant", "content": text}] for text in ("Hello.", "Go away."))
OWN_PAIR = Preference(
    id="p",
    kind="safety",
    round=2,
    batch=1,
    category="c",
    prompt=said("Hi"),
    chosen="Hello.",
    rejected="Go away.",
    strength="better",
    safety="both_safe",
)
COMPARISONS = {
    "texts": ([{"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}], COMPARED),
    "TRL, explicit prompt": ([{"prompt": openai("Hi"), "chosen": GOOD, "rejected": BAD}], COMPARED),
    "TRL, implicit prompt": (
        [{"chosen": openai("Hi") + GOOD, "rejected": openai("Hi") + BAD}], COMPARED
    ),
    "a prompt that the lists repeat": (
        [{"prompt": "Hi", "chosen": openai("Hi") + GOOD, "rejected": openai("Hi") + BAD,
          "score_chosen": 8.0, "score_rejected": 2.5}],
        COMPARED,
    ),
    "a transcript as prompt": (
        [{"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello.", "rejected": " Go away."}],
        COMPARED,
    ),
    "scored": (
        [{"instruction": "Hi", "models": ["a", "b", "c", "d"], "completions": [
            {"model": "a", "response": "So so.", "overall_score": 9, "fine-grained_score": 3.5},
            {"model": "b", "response": "Hello.", "overall_score": 8, "fine-grained_score": 4.75},
            {"model": "c", "response": "Hey.", "overall_score": 8, "fine-grained_score": 4.75},
            {"model": "d", "response": "Go away.", "overall_score": 1, "fine-grained_score": 1}]}],
        [(without_loss(said("Hi")), "Hello.", "So so."), *COMPARED],
    ),
    "hh": (
        [{"chosen": TRANSCRIPT, "rejected": TRANSCRIPT.replace("Because", "Go")}],
        [(without_loss(TALK[:-1]), "Because.", "Go.")],
    ),
    "our own": ([to_json(OWN_PAIR)], COMPARED),
}  # fmt: skip
ASKED = [said("Hi"), said("Why?")]
OWN_PROMPT = Prompt(
    id="q", messages=said("Hi"), category="c", is_safety=False, source="us", split="ppo"
)
PROMPTS = {
    "strings": (["Hi", "Why?"], ASKED),
    "columns": ([{"prompt": "Hi"}, {"prompt": "Why?", "id": 3}], ASKED),
    "messages": (
        [{"messages": openai("Hi")}, {"messages": openai("Hi", "Hello.", "Why?")}],
        [said("Hi"), without_loss(TALK[:-1])],
    ),
    "lists of messages": ([openai("Hi"), openai("Why?")], ASKED),
    "our own": ([to_json(OWN_PROMPT)], ASKED[:1]),
}
ALL = [
    pytest.param(use, rows, expected, id=f"{use}: {name}")
    for use, table in (("dialogues", DIALOGUES), ("comparisons", COMPARISONS), ("prompts", PROMPTS))
    for name, (rows, expected) in table.items()
]
FORMS = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "mark, crlf, gzip": lambda text: gzip.compress(
        codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode()
    ),
}


def written(path, text, form="plain"):
    path = path.with_name(path.name + ".gz") if "gzip" in form else path
    path.write_bytes(FORMS[form](text))
    return path


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def held(record):
    if isinstance(record, Preference):
        return record.prompt, record.chosen, record.rejected
    return record.messages


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("use", "rows", "expected"), ALL)
def test_every_layout_in_every_form(tmp_path, use, rows, expected, form):
    pretty = json.dumps(rows, indent=1)
    files = {"x.jsonl": lines_of(rows), "x.json": pretty, "y.json": lines_of(rows)}
    if isinstance(rows[0], list):
        del files["y.json"]  # It is a list itself.
    for name, text in files.items():
        file = OwnFile(written(tmp_path / name, text, form))
        assert file.use == use, "what the first row looks like"
        assert [held(record) for record in file] == expected
        assert not file.left_out


@pytest.mark.parametrize("form", FORMS)
def test_prompts_of_texts_and_tables(tmp_path, form):
    files = {
        "x.txt": "Hi\n\n  \nWhy?\n",
        "x.csv": 'id,prompt\n1,Hi\n2,"Why?"\n"3\n4","Two\nlines"\n',
        "x.tsv": "prompt\tid\nHi\t1\nWhy?\t2\n",
    }
    for name, text in files.items():
        file = OwnFile(written(tmp_path / name, text, form))
        more = [said("Two\nlines")] if name == "x.csv" else []
        assert [held(record) for record in file] == ASKED + more
        assert file.use == "prompts"


def test_our_own_records_come_back_as_they_were(tmp_path):
    for record in (OWN, OWN_PAIR, OWN_PROMPT):
        path = tmp_path / "own.jsonl"
        write_records(path, [record])
        assert list(OwnFile(path)) == [record]


def read(tmp_path, rows, use=None, name="x.jsonl"):
    """Records, what was left out and what was changed, with their first lines."""
    file = OwnFile(written(tmp_path / name, lines_of(rows)), use)
    records = list(file)
    tallies = [
        {what: (seen.count, seen.first) for what, seen in tally.items()}
        for tally in (file.left_out, file.changed)
    ]
    return records, *tallies


def talk(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


USER, REPLY = ("user", "Hi"), ("assistant", "Hello.")
KEPT = "system", "Be kind."
CHANGED = {
    "consecutive turns of one role: merged with a blank line": (
        [("user", "Hi"), ("user", " there "), REPLY],
        said("Hi\n\nthere", "Hello."),
    ),
    "empty system message: dropped": ([("system", " "), USER, REPLY], HI),
    "last user turn without a reply: cut": ([USER, REPLY, ("user", "And?")], HI),
    "assistant turn before the first user turn: cut": (
        [KEPT, ("assistant", "I am here."), USER, REPLY],
        said("Hi", "Hello.", system="Be kind."),
    ),
}
UNUSED = {
    "empty turn": [USER, ("assistant", None)],
    "a system message after the first turn": [USER, KEPT, REPLY],
    "no reply": [USER],
    "holds half a surrogate pair": [("user", "\ud83d"), REPLY],
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_is_mended_is_counted(tmp_path, what):
    turns, expected = CHANGED[what]
    rows = [talk(USER, REPLY), talk(*turns), talk(*turns)]
    records, left_out, changed = read(tmp_path, rows)
    assert [record.messages for record in records] == [HI, expected, expected]
    assert (left_out, changed) == ({}, {what: (2, "line 2")})


@pytest.mark.parametrize("what", UNUSED)
def test_what_cannot_be_used_is_left_out_and_counted(tmp_path, what):
    rows = [talk(USER, REPLY), talk(*UNUSED[what]), talk(*UNUSED[what])]
    records, left_out, changed = read(tmp_path, rows)
    assert [record.messages for record in records] == [HI]
    assert (left_out, changed) == ({what: (2, "line 2")}, {})


def test_merged_replies_carry_loss_if_one_of_them_does(tmp_path):
    [record], _, _ = read(tmp_path, [talk(USER, REPLY, ("assistant", "More."))])
    assert record.messages == said("Hi", "Hello.\n\nMore.")


def test_case_lone_surrogate_in_a_category_is_left_out(tmp_path):
    row = talk(USER, REPLY)
    records, left_out, _ = read(tmp_path, [row, row | {"category": "\ud83d"}, row | {"\ud83d": 1}])
    assert len(records) == 2
    assert left_out == {"holds half a surrogate pair": (1, "line 2")}
    with pytest.raises(DataError, match="found an object with 'bad") as caught:
        read(tmp_path, [{"bad \ud83d": 1}])
    str(caught.value).encode()


def test_a_system_message_is_kept_wherever_it_stands(tmp_path):
    expected = said("Hi", "Hello.", system="Be kind.")
    for row in (
        talk(KEPT, USER, REPLY),
        {"system": "Be kind.", "conversations": talk(USER, REPLY)["messages"]},
        {"system": "Be kind.", "instruction": "Hi", "output": "Hello."},
    ):
        [record], _, _ = read(tmp_path, [row])
        assert record.messages == expected


@pytest.mark.parametrize("role", ["Human", "human", "prompter", "user"])
@pytest.mark.parametrize("other", ["gpt", "bot", "model", "chatbot", "Assistant"])
def test_names_of_roles(tmp_path, role, other):
    [record], _, _ = read(tmp_path, [talk((role, "Hi"), (other, "Hello."))])
    assert record.messages == HI


def test_an_unknown_role_is_named_with_file_and_line(tmp_path):
    rows = [talk(USER, REPLY), talk(USER, ("tool", "42"), REPLY)]
    with pytest.raises(DataError, match=r"x\.jsonl, line 2: the role 'tool' is unknown; needed"):
        read(tmp_path, rows)


def test_comparisons_that_teach_nothing_are_left_out(tmp_path):
    rows = [
        {"prompt": "Hi", "chosen": "A", "rejected": "B"},
        {"prompt": "Hi", "chosen": "A", "rejected": " A "},
        {"prompt": openai("Hi"), "chosen": openai("Ho", "A"), "rejected": "B"},
        {"prompt": "Hi", "chosen": "A", "rejected": ""},
        {"prompt": "Hi", "chosen": openai("Hi"), "rejected": "B"},
        {"prompt": "Hi", "chosen": "A", "rejected": "B", "safety": "chosen_unsafe"},
    ]
    records, left_out, _ = read(tmp_path, rows)
    assert len(records) == 1
    assert left_out == {
        "chosen and rejected are identical": (1, "line 2"),
        "chosen and rejected have different prompts": (1, "line 3"),
        "empty turn": (1, "line 4"),
        "chosen or rejected does not end in a reply": (1, "line 5"),
        "chosen is unsafe and rejected safe": (1, "line 6"),
    }


def test_scored_lists_without_a_worse_one_and_ties_are_counted(tmp_path):
    def row(*scores):
        return {"prompt": "Hi", "completions": [
            {"text": f"Text {n}", "score": score} for n, score in enumerate(scores)]}  # fmt: skip

    rows = [row(2, 3, 3, 1), row(1, 1), row(10**400, None)]
    records, left_out, changed = read(tmp_path, rows)
    assert [(r.chosen, r.rejected) for r in records] == [("Text 1", "Text 0"), ("Text 1", "Text 3")]
    assert len({record.id for record in records}) == 2
    assert left_out == {
        "no completion is better than another": (1, "line 2"),
        "a completion has no score": (1, "line 3"),
    }
    assert changed == {"completion that ties with the best: dropped": (1, "line 1")}


def test_replies_that_share_their_beginning_are_kept_whole(tmp_path):
    long = "The answer is, as far as I can tell, " * 20
    for row in (
        {"prompt": "Hi", "chosen": f"{long}yes.", "rejected": f"{long}no."},
        {"chosen": openai("Hi", f"{long}yes."), "rejected": openai("Hi", f"{long}no.")},
    ):
        [record], _, _ = read(tmp_path, [row])
        assert (record.chosen, record.rejected) == (f"{long}yes.", f"{long}no.")
        assert record.prompt == said("Hi")


def test_labels_are_read_where_there_are_columns(tmp_path):
    row = {"prompt": "Hi", "chosen": "A", "rejected": "B"}
    labelled = row | {"strength": "Slightly better", "safety": "both_safe", "category": "c"}
    records, _, _ = read(tmp_path, [row, labelled, row | {"kind": "safety", "strength": None}])
    assert [(r.kind, r.strength, r.safety, r.category) for r in records] == [
        ("helpfulness", None, None, ""),
        ("safety", "slightly_better", "both_safe", "c"),
        ("safety", None, None, ""),
    ]
    with pytest.raises(DataError, match="line 1: strength is 'huge', but must be one of"):
        read(tmp_path, [row | {"strength": "huge"}])


def test_oasst_counts_what_a_tree_loses(tmp_path):
    lost = {**node("Lost", "assistant"), "parent_id": "nowhere"}
    rows = [*flat(TREE), lost, next(flat(TREE))]
    records, left_out, changed = read(tmp_path, rows)
    assert [record.messages for record in records] == THREADS
    assert left_out == {
        "its parent is not in a row before it": (1, f"line {len(rows) - 1}"),
        "its message_id stands twice": (1, f"line {len(rows)}"),
    }
    assert changed == {"reply that is not ranked best: dropped": (1, "line 1")}


def test_a_use_that_the_first_row_does_not_look_like(tmp_path):
    records, _, changed = read(tmp_path, [talk(USER, REPLY)], "prompts")
    assert [record.messages for record in records] == [said("Hi")]
    assert changed == {"last reply: cut, what stands before it is the prompt": (1, "line 1")}
    with pytest.raises(DataError, match=r"found OpenAI messages, needed comparisons"):
        read(tmp_path, [talk(USER, REPLY)], "comparisons")


WRONG = {
    "unknown format": ([{"title": "x", "body": "y"}], r"line 1: unknown format, found an object"),
    "a number": ([3], r"line 1: unknown format, found the value 3; needed one of:\n  Camelid com"),
    "mixed formats": (
        [talk(USER, REPLY), {"instruction": "Hi", "output": "Hello."}],
        (r"line 2: found an object with 'instruction', 'output'; the rows before are OpenAI "
        r"messages and need .*\. The row is of instructions with replies: split mixed formats\."),
    ),
    "missing columns": (
        [{"instruction": "a", "output": "b"}, {"instruction": "a", "input": ""}],
        r"line 2: found an object with 'instruction', 'input'; the rows before .* need instruction",
    ),
    "wrong type": ([{"instruction": "a", "output": 5}], r"line 1: 'output' is 5, needed a text\."),
    "wrong content": ([talk(("user", {"a": 1}))], r"line 1: 'content' is \{'a': 1\}, needed a t"),
    "wrong messages": ([{"messages": "Hi"}], r"line 1: 'messages' is 'Hi', needed a list\."),
    "wrong message": ([{"messages": ["Hi"]}], r"line 1: a message of 'messages' is 'Hi', need"),
    "number for message": ([{"messages": [5]}], r"line 1: a message of 'messages' is 5, needed"),
    "no role": ([{"messages": [{"content": "Hi"}]}], r"line 1: a message of 'messages' has no r"),
    "wrong reply": ([{"chosen": "a", "rejected": ["b"]}], r"line 1: 'rejected' is \['b'\], need"),
    "wrong own": ([to_json(OWN) | {"is_safety": 1}], r"line 1: Dialogue\.is_safety is 1, but must"),
    "wrong tree": (
        [{"message_tree_id": "t", "prompt": node("Hi", "user", "x")}], r"a reply is 'x', need"
    ),
    "all dropped": (
        [talk(("system", "x"), ("user", "")), talk(USER, REPLY, ("assistant", ""))],
        r"no usable row for dialogues; 2 read and excluded: 2 x empty turn \(first in line 1\)",
    ),
    "all comparisons dropped": (
        [{"prompt": "Hi", "chosen": "A", "rejected": "A"}] * 3,
        r"no usable row for comparisons; 3 read and excluded: 3 x chosen and rejected are ident",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_errors_name_file_line_and_what_is_needed(tmp_path, what):
    rows, message = WRONG[what]
    with pytest.raises(DataError, match=rf"x\.jsonl(, |: ).*{message}"):
        read(tmp_path, rows)


def test_files_that_cannot_be_read(tmp_path):
    for name in ("x.jsonl", "x.json", "x.csv", "x.txt"):
        with pytest.raises(DataError, match=rf"{name}: holds no row"):
            OwnFile(written(tmp_path / name, "\n\n"))
        for form in FORMS:
            with pytest.raises(
                DataError, match=rf"{name}(\.gz)?: holds no row; needed at least one"
            ):
                OwnFile(written(tmp_path / name, "", form))
    with pytest.raises(DataError, match=r"head\.csv: holds no row; needed at least one"):
        OwnFile(written(tmp_path / "head.csv", "prompt,chosen,rejected\n"))
    packed = gzip.compress(lines_of([talk(USER, REPLY)] * 999).encode())
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(packed[:-20])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz, after line \d+: cannot be read"):
        list(OwnFile(path))
    with pytest.raises(DataError, match=r"x\.parquet: ends in '\.parquet', needed one of \.jsonl"):
        OwnFile(written(tmp_path / "x.parquet", "x"))
    with pytest.raises(DataError, match="line 3: not valid JSON"):
        list(OwnFile(written(tmp_path / "x.jsonl", lines_of([talk(USER, REPLY)] * 2) + "{oops\n")))
    with pytest.raises(MissingInputError, match="none does not exist"):
        find_files([tmp_path / "none"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n"a",\n"b" "c"]', "line 3: needed one JSON list"),
        ('["a"', "line 1: needed one JSON list"),
        ('["a"]\n"b"', "line 1: needed one JSON list"),
        ('[\n\n"a",\n{oops]', "line 4: not valid JSON"),
        ("", "line 1: needed one JSON list"),
    ],
)
def test_a_json_list_that_is_none_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"x\.json, {message}"):
        list(iterate_json_list(written(tmp_path / "x.json", text)))
    path = written(tmp_path / "x.json", '\n[ 1,\n {"a": [2]} ,"3"\n\n]\n')
    assert list(iterate_json_list(path)) == [(2, 1), (3, {"a": [2]}), (3, "3")]


def test_a_stage_takes_records_and_counts_of_files_and_folders(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    written(folder / "b.jsonl", lines_of([talk(USER, REPLY), talk(USER)]))
    written(folder / "a.csv", "instruction,output,is_safety\nHi,Hello.,true\n")
    written(folder / "LICENSE.txt", "no prompt\n")
    records, files = read_own([folder], Dialogue)
    assert [(r.id, r.source, r.is_safety) for r in records] == [
        ("a.csv/2", "a.csv", True),
        ("b.jsonl/1", "b.jsonl", False),
    ]
    assert [(file.rows, file.records, list(file.left_out)) for file in files] == [
        (1, 1, []),
        (2, 1, ["no reply"]),
    ]


def test_near_equal_prompts_never_cross_the_split():
    asked = [f"What is number {n}?" for n in range(2000)]
    plain = [is_held_out(said(text, "One."), 0.1) for text in asked]
    assert 130 < sum(plain) < 270
    for change in (str.upper, lambda text: f"  {text.replace(' ', '  ')}!!", lambda t: t[:-1]):
        other = [is_held_out(said(change(t), "Two.", "More?", system="x"), 0.1) for t in asked]
        assert other == plain
    assert not is_held_out(said("Hi"), 0)
    assert is_held_out(said("Hi"), 1)
