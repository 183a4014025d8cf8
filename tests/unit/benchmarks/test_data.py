"""Public files become items; what is missing or malformed is named."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import sys
import tarfile
from types import SimpleNamespace

import pytest

from camelid.benchmarks import data
from camelid.benchmarks import items as readers
from camelid.benchmarks.data import Hub, Source, few_shot_column, read
from camelid.benchmarks.scoring import SCORES
from camelid.benchmarks.suites import BENCHMARKS, SUITES, tasks_of
from camelid.errors import ConfigError, DataError, MissingInputError


def source(*files, hub=None):
    return Source(files=files, hub=hub, public="https://example.org/set")


def items(data, name):
    benchmark = BENCHMARKS[name]
    return [benchmark.item(place.row) for place in read(data, benchmark.test)]


@pytest.mark.parametrize(
    ("name", "count", "query", "answer"),
    [
        ("piqa", 1838, "Question: How do I ready a guinea pig cage for it's new occupants?", 0),
        ("hellaswag", 10042, "Roof shingle removal: A man is sitting on a roof. he", 3),
        ("siqa", 1954, "Q: Tracy didn't go home that evening and resisted", 2),
        ("arc_easy", 2376, "Question: Which statement best explains why photosynthesis", 0),
        ("arc_challenge", 1150, "Question: An astronomer observes that a planet rotates", 2),
        ("openbookqa", 500, "A person wants to start saving money so that they can", 1),
        ("commonsenseqa", 1221, "Question: A revolving door is convenient for two", 0),
        ("boolq", 3270, "All biomass goes through at least some of these steps", 0),
        ("mmlu_abstract_algebra", 100, "Find the degree for the given field extension", 1),
        ("agieval_sat-math", 220, "Q: If $\\frac{x-1}{3}=k$ and $k=3$", 3),
        ("agieval_lsat-ar", 230, "Of the eight students", 2),
    ],
)
def test_choices_of_the_public_files(shared_data, name, count, query, answer):
    found = items(shared_data, name)
    assert len(found) == count
    assert found[0]["query"].startswith(query)
    assert found[0]["gold"] == answer
    assert all(item["choices"][item["gold"]] == item["answer"] for item in found)
    assert all(text.strip() for item in found for text in item["choices"])


def test_blanks_of_winogrande_are_filled(shared_data):
    found = items(shared_data, "winogrande")
    assert len(found) == 1267
    assert found[0]["choices"] == [
        "Sarah was a much better surgeon than Maria so Sarah",
        "Sarah was a much better surgeon than Maria so Maria",
    ]
    assert found[0]["answer"] == "always got the easier cases."
    assert found[0]["gold"] == 1


@pytest.mark.parametrize(
    ("name", "count", "query", "answers"),
    [
        ("gsm8k", 1319, "Question: Janet’s ducks lay 16 eggs", ["18"]),
        ("math", 5000, "Problem:\nWhat is $10.0000198", ["420"]),
        ("naturalquestions", 3610, "Question: when was the last time anyone was on the moon?",
         ["14 December 1972 UTC", "December 1972"]),
        ("bbh_navigate", 250, "Q: If you follow these instructions", ["No"]),
    ],
)  # fmt: skip
def test_references_of_the_public_files(shared_data, name, count, query, answers):
    found = items(shared_data, name)
    assert len(found) == count
    assert found[0]["query"].startswith(query)
    assert found[0]["answers"] == answers


def test_examples_of_agieval_are_read_from_its_table(shared_data):
    benchmark = BENCHMARKS["agieval_sat-math"]
    places = few_shot_column(read(shared_data, benchmark.examples), benchmark.column)
    found = [benchmark.item(place.row) for place in places]
    assert len(found) == 5
    assert all(item["answer"] in "ABCD" for item in found)


def test_layouts_and_compressions_agree(tmp_path):
    rows = [{"goal": "g", "sol1": "a", "sol2": "b"}, {"goal": "h", "sol1": "c", "sol2": "d"}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "piqa-labels.lst").write_text("1\n0\n")
    (tmp_path / "piqa.jsonl.bz2").write_bytes(bz2.compress(text.encode()))
    found = read(tmp_path, source("none.jsonl", "piqa.jsonl"))
    assert [place.row for place in found] == [{**rows[0], "label": "1"}, {**rows[1], "label": "0"}]
    assert found[1].where == f"{tmp_path / 'piqa.jsonl.bz2'}, line 2"
    (tmp_path / "piqa-labels.lst").write_text("1\n")
    with pytest.raises(DataError, match=r"labels\.lst: 1 label for 2 items"):
        read(tmp_path, source("piqa.jsonl"))

    table = '"What, really?",a,b,c,d,C\r\n"two\nlines",1,2,3,4,A\r\n'
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("mmlu/test/x_test.csv")
        entry.size = len(table.encode())
        archive.addfile(entry, io.BytesIO(table.encode()))
    (tmp_path / "mmlu.tar.xz").write_bytes(lzma.compress(buffer.getvalue()))
    found = read(tmp_path, source("mmlu.tar::mmlu/test/x_test.csv"))
    assert found[0].row == {"question": "What, really?", "choices": list("abcd"), "answer": 2}
    assert found[1].row["question"] == "two\nlines"
    with pytest.raises(DataError, match=r"cannot read mmlu/none\.csv from the archive"):
        read(tmp_path, source("mmlu.tar::mmlu/none.csv"))


def test_dialogues_keep_their_earlier_turns(tmp_path):
    def turn(question, *answers):
        return {"question": question, "answers": [{"text": text} for text in answers]}

    paragraph = {"context": "Text.", "qas": [turn("Who?", "Ann", "Anna"), turn("Why?")]}
    for folder, file in (("quac", "val_v0.2.json"), ("squad", "dev-v2.0.json")):
        (tmp_path / folder).mkdir()
        text = json.dumps({"data": [{"paragraphs": [paragraph]}]})
        (tmp_path / folder / file).write_text(text)
    quac = items(tmp_path, "quac")
    assert quac[0]["answers"] == ["Ann", "Anna"]
    assert quac[1]["query"] == "Text.\n\nQuestion: Who?\nAnswer: Ann\nQuestion: Why?\nAnswer:"
    squad = items(tmp_path, "squad")
    assert squad[1] == {
        "query": "Text.\n\nQuestion: Why?\nAnswer:",
        "answer": "unanswerable",
        "answers": [],
    }


def test_a_missing_file_is_named_with_where_the_public_gets_it(tmp_path, monkeypatch):
    with pytest.raises(MissingInputError, match=r"a\.jsonl, b\.csv .*example\.org/set"):
        read(tmp_path, source("a.jsonl", "b.csv"))

    def offline(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(data, "_hub_answers", lambda: True)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=offline))
    with pytest.raises(MissingInputError, match=r"hub did not answer: no network.*example\.org"):
        read(tmp_path, source("a.jsonl", hub=Hub(path="owner/set", config=None, split="test")))


def test_case_a_hub_out_of_reach_is_asked_once(tmp_path, monkeypatch):
    asked = []

    def unreachable(address, timeout):
        asked.append(address)
        raise OSError("no network")

    data._hub_answers.cache_clear()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(data.urllib.request, "urlopen", unreachable)
    monkeypatch.setitem(sys.modules, "datasets", None)
    for name in ("a.jsonl", "b.jsonl"):
        with pytest.raises(MissingInputError, match=r"hub did not answer: no connection to http"):
            read(tmp_path, source(name, hub=Hub(path="owner/set", config=None, split="test")))
    assert len(asked) == 1
    data._hub_answers.cache_clear()


def test_the_hub_is_asked_where_no_file_lies(tmp_path, monkeypatch):
    asked = []
    row = {
        "id": "1",
        "question": "Which?",
        "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]},
        "answerKey": "C",
    }

    def load(path, config, *, split):
        asked.append((path, config, split))
        return [row]

    monkeypatch.setattr(data, "_hub_answers", lambda: True)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    [item] = items(tmp_path, "arc_challenge")
    assert asked == [("allenai/ai2_arc", "ARC-Challenge", "test")]
    assert item["query"] == "Question: Which?\nAnswer:"
    assert item["choices"] == ["x", "y", "z"]
    assert item["gold"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a":', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", "[1]\n", r"a\.jsonl, line 1: found list, needed a JSON object"),
        ("a.txt", "x\n" * 7, "7 lines; a multiple of 6"),
        ("a.csv", "q,1,2,3,4,A\nq,1,2,3,4\n", r"a\.csv, line 2: needed question, four choices"),
        ("a.json", '{"other": []}', "needed a list, or an object"),
        ("a.json", "[1]", r"a\.json, entry 1: found int, needed a JSON object"),
        ("a.jsonl.gz", "plain text", r"a\.jsonl\.gz, after line 0: cannot be read"),
        ("a.jsonl.xz", "plain text", r"a\.jsonl\.xz, after line 0: cannot be read"),
    ],
)
def test_malformed_files_name_the_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path, source(name.removesuffix(".gz").removesuffix(".xz")))


def test_suites():
    assert tasks_of("piqa") == [("piqa", 0)]
    assert tasks_of("gsm8k@2,piqa,piqa") == [("gsm8k", 2), ("piqa", 0)]
    assert len(tasks_of("mmlu")) == 57
    assert ("mmlu_virology", 5) in tasks_of("table3")
    assert tasks_of("table22")[3] == ("naturalquestions", 64)
    assert all(tasks_of(suite) for suite in SUITES)
    with pytest.raises(ConfigError, match="piqa"):
        tasks_of("piqua")
    with pytest.raises(ConfigError, match="whole number"):
        tasks_of("piqa@two")


@pytest.mark.parametrize("letter", ["", "AB", "BC", "E"])
def test_a_letter_that_is_none_is_refused(letter, tmp_path):
    (tmp_path / "x.csv").write_text(f"question,a,b,c,d,{letter}\n")
    with pytest.raises(DataError, match="a letter A to D"):
        read(tmp_path, source("x.csv"))
    row = {"question": "q", "passage": "", "options": ["(A)1", "(B)2", "(C)3"], "label": letter}
    with pytest.raises(ValueError, match="is not in list"):
        BENCHMARKS["agieval_sat-math"].item(row)


def test_hellaswag_begins_its_second_part_with_a_capital():
    row = {
        "activity_label": "Roof", "ctx_a": "A man sits.", "ctx_b": "he", "ctx": "A man sits. he",
        "endings": ["x", "y"], "label": 1,
    }  # fmt: skip
    item = BENCHMARKS["hellaswag"].item(row)
    assert (item["query"], item["gold"]) == ("Roof: A man sits. He", 1)


def test_one_answer_as_a_text_is_one_reference():
    item = BENCHMARKS["naturalquestions"].item({"question": "where?", "answer": "Paris"})
    assert item["answers"] == ["Paris"]


def test_files_in_another_layout_are_named(tmp_path):
    for content in (
        {"data": [{"paragraphs": [{"context": "c"}]}]},
        {"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q"}]}]}]},
    ):
        (tmp_path / "x.json").write_text(json.dumps(content))
        with pytest.raises(DataError, match=r"x\.json, entry 1: not in its public layout"):
            read(tmp_path, source("x.json"))
    (tmp_path / "few_shot_prompts.csv").write_text("")
    with pytest.raises(DataError, match="holds no row"):
        few_shot_column(read(tmp_path, source("few_shot_prompts.csv")), "x")
    (tmp_path / "few_shot_prompts.csv").write_text("a,x\nsample\n")
    with pytest.raises(DataError, match="1 cell, needed 2"):
        few_shot_column(read(tmp_path, source("few_shot_prompts.csv")), "x")


def items_of(tmp_path, name, content):
    """Items of a benchmark whose file holds some bytes, or one row."""
    file = tmp_path / BENCHMARKS[name].files[0].format(task=name.partition("_")[2])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    benchmark = BENCHMARKS[name]
    return list(benchmark.iterate_items(read(tmp_path, benchmark.test), benchmark.test_ids))


PIQA = {"goal": "g", "sol1": "a", "sol2": "b", "label": 1}
MARK = b"\xef\xbb\xbf"


def test_case_bom_is_no_text(tmp_path):
    [item] = items_of(tmp_path, "mmlu_anatomy", MARK + b"What is bone?,a,b,c,d,A\r\n")
    assert item["query"].startswith("What is bone?")
    [item] = items_of(tmp_path, "piqa", MARK + json.dumps(PIQA).encode())
    assert item["gold"] == 1
    examples = json.dumps({"examples": [{"input": "a", "target": "Yes"}]})
    [item] = items_of(tmp_path, "bbh_navigate", MARK + examples.encode())
    assert item["answers"] == ["Yes"]
    (tmp_path / "x.txt").write_bytes(MARK + b"A man walks\r\n2\r\none\r\ntwo\r\nthree\r\nfour\r\n")
    [place] = read(tmp_path, source("x.txt"))
    row = {"ctx": "A man walks", "label": "2", "endings": ["one", "two", "three", "four"]}
    assert place.row == row


def test_case_tsv_quotes_are_text(tmp_path):
    header = "ID\tQuestion Stem\tChoices\tComplete Question\tAnswer Key\n"
    table = (
        f'{header}1\tThe sun is\t(A) hot (B) cold (C) wet (D) dry\t"open\tA\n'
        "2\tThe ice is\t(A) hot (B) cold (C) wet (D) dry\tx\tB\n"
        '3\tThe rain is\t(A) hot (B) cold (C) wet (D) dry\tx"\tC\n'
    )
    found = items_of(tmp_path, "openbookqa", table.encode())
    assert [item["gold"] for item in found] == [0, 1, 2]
    with pytest.raises(DataError, match=r"test\.tsv, line 2: found 2 fields, the header has 5"):
        items_of(tmp_path, "openbookqa", f"{header}a\tb\n".encode())


def test_case_tsv_quotes_a_mark_left_open_in_mmlu_is_named(tmp_path):
    rows = '"What is bone?,a,b,c,d,A\nWhat is skin?,a,b,c,d,B\nWhat?,a,b,c,d",e,f,g,h,C\n'
    with pytest.raises(DataError, match=r"_test\.csv, line 3: .* quotation mark .* not closed"):
        items_of(tmp_path, "mmlu_anatomy", rows.encode())
    with pytest.raises(DataError, match="the row from line 1 on: unexpected end"):
        items_of(tmp_path, "mmlu_anatomy", b'"What is bone?,a,b,c,d,A\nWhat?,a,b,c,d,B\n')
    # A list inside a question is none.
    rows = '"Which?\ni, ii, iii, iv, v, A\nii,B",a,b,c,d,A\n'
    assert len(items_of(tmp_path, "mmlu_anatomy", rows.encode())) == 1


def test_case_csv_limits_an_empty_last_line_is_no_row(tmp_path):
    assert len(items_of(tmp_path, "mmlu_anatomy", b"What is bone?,a,b,c,d,A\n\n")) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("piqa", b"[" * 100_000, "line 1: not valid JSON"),
        ("piqa", json.dumps(PIQA).replace("1}", "9" * 5000 + "}").encode(), "not valid JSON"),
        ("piqa", PIQA | {"label": 1.7}, "'label' is 1.7, but must be a whole number"),
        ("piqa", PIQA | {"label": True}, "'label' is True"),
        ("piqa", PIQA | {"sol1": ["a"]}, r"'sol1' is \['a'\], but must be a string"),
        ("piqa", PIQA | {"goal": None}, "'goal' is None"),
        ("piqa", PIQA | {"sol2": " "}, "a choice is empty"),
        ("piqa", {"goal": "g"}, r"'sol1' is \(absent\)"),
        ("bbh_navigate", {"examples": [{"input": "a", "target": True}]}, "'target' is True"),
        ("triviaqa", {"Data": [{"question": "q", "golden_answers": [5]}]}, r"Or:\[0\] is 5"),
        ("triviaqa", {"Data": [{"Question": "q", "Answer": {"Value": "x"}}]}, "'aliases'"),
        ("quac", {"data": [{"paragraphs": [{"context": 1, "qas": []}]}, 3]}, "entry 2: found int"),
        ("squad", {"data": [{"paragraphs": 3}]}, "entry 1: not in its public layout"),
        ("mbpp", {"task_id": "11"}, "'task_id' is '11', but must be a whole number"),
        ("boolq", {"passage": "p", "question": "q", "answer": "yes"}, "'answer' is 'yes'"),
        ("arc_easy", {"question": {"stem": "s", "choices": ["a"]}, "answerKey": "A"}, "'choices'"),
    ],
)
def test_case_benchmark_wrong_types(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        items_of(tmp_path, name, content)


def test_case_lone_surrogate_in_a_benchmark_is_named(tmp_path):
    with pytest.raises(DataError, match=r"valid\.jsonl, line 1: .*'goal' .*half a surrogate pair"):
        items_of(tmp_path, "piqa", PIQA | {"goal": "g \ud83d"})


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("gsm8k", {"question": "What?", "answer": "no digits here"}, "holds no number"),
        ("math", {"problem": "p", "answer": ""}, "the reference is empty"),
        ("math", {"problem": "p", "solution": "So $\\boxed{}$."}, "the reference is empty"),
        ("math", {"problem": "p", "answer": "$ $"}, "the reference is empty"),
        ("bbh_navigate", {"examples": [{"input": "a", "target": ""}]}, "a reference is empty"),
        ("bbh_navigate", {"examples": [{"input": "a", "target": " ."}]}, "a reference is empty"),
        ("naturalquestions", {"question": "q", "answer": ["x", ""]}, "a reference is empty"),
        ("naturalquestions", {"question": "q", "answer": []}, "there is no reference"),
    ],
)
def test_case_gold_without_number_or_text_is_an_error(tmp_path, name, row, message):
    with pytest.raises(DataError, match=rf"1: not an item of this benchmark \(.*{message}"):
        items_of(tmp_path, name, row)


def test_sat_without_passages_shows_none(shared_data):
    benchmark = BENCHMARKS["agieval_sat-en-without-passage"]
    places = few_shot_column(read(shared_data, benchmark.examples), benchmark.column)
    assert any(place.row["passage"] for place in places)
    assert all(benchmark.item(place.row)["query"].startswith("Q: ") for place in places)


def test_every_benchmark_names_a_reader_and_a_way_to_answer():
    answers = {"choice", "context_choice", "programs", *SCORES}
    for name, benchmark in BENCHMARKS.items():
        assert callable(getattr(readers, benchmark.reader)), name
        assert benchmark.answer in answers, name
        assert (benchmark.samples > 1) <= (benchmark.answer == "programs"), name
