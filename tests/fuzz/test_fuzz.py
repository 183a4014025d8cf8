"""Damaged records, public files, benchmarks and runs (see `tests/helpers/fuzzing.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fuzzing import Targets, damaged, damaged_bytes, lines_of, said, try_all, write_damaged

from camelid.run.item import AbsentError

target = Targets()

MESSAGE = {"role": "user", "content": "hi", "train": False}
RECORDS: dict[str, dict[str, Any]] = {
    "Dialogue": {
        "id": "a", "messages": [MESSAGE], "category": "c", "is_safety": False, "source": "s",
    },
    "Prompt": {
        "id": "a", "messages": [MESSAGE], "category": "c", "is_safety": False, "source": "s",
        "split": "ppo",
        "reference": {"kind": "how_to", "task": "t", "means": "m", "alternatives": ["n"]},
    },
    "Preference": {
        "id": "a", "kind": "safety", "round": 1, "batch": 1, "category": "c", "prompt": [MESSAGE],
        "chosen": "x", "rejected": "y", "strength": None, "temperatures": [1, 0.5],
    },
    "Rating": {
        "item_ids": ["a"], "rater": "r", "scale": "safety5", "value": 3, "side": None,
        "simulated": True,
    },
    "Question": {
        "id": "a", "category": "c", "context": "x", "choices": [" y", " z"], "answer": 1,
    },
}  # fmt: skip


@target(10)
def records(chance: random.Random, folder: Path) -> None:
    """Files of records: what comes out can be written and read again."""
    from camelid.data import records as schemas

    name = chance.choice(list(RECORDS))
    schema, rows = getattr(schemas, name), [RECORDS[name]] * chance.choice([1, 3])
    path = write_damaged(chance, folder / "rows.jsonl", lines_of(*rows), packed=True)
    found = schemas.read_records(path, schema)
    again = folder / "again.jsonl"
    schemas.write_records(again, found)
    assert schemas.read_records(again, schema) == found


TURN = "\n\nHuman: Hi\n\nAssistant: "
PUBLIC = {
    "test.jsonl": lines_of(*({"chosen": TURN + "a", "rejected": TURN + b} for b in "bcd")),
    "dolly.jsonl": lines_of(
        {"instruction": "Say", "context": "", "response": "Hi", "category": "open_qa"}
    ),
    "dolly.csv": b'instruction,context,response,category\nSay,"a ""b""\nc",Hi,open_qa\nDo,,It,qa\n',
    "harmful_behaviors.csv": b'goal,target\n"Do, harm",Sure\nDo worse,Sure\n',
}


@target(10)
def public_files(chance: random.Random, folder: Path) -> None:
    """Demonstrations, comparisons and attacks: every row is used or excluded with its reason."""
    from camelid.data import sources

    name = chance.choice(list(PUBLIC))
    path = write_damaged(chance, folder / name, PUBLIC[name], packed=True)
    if name == "test.jsonl":
        rows = sources.read_comparisons(path, "helpful-base")
    else:
        rows = (sources.read_dolly if "dolly" in name else sources.read_advbench)(path)
    for row in rows.used:
        repr(row).encode()
    assert all(row.reason and row.line for row in rows.excluded)


OWN: dict[str, bytes] = {
    "messages.jsonl": lines_of(
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Hi"},
                      {"role": "assistant", "content": [{"type": "text", "text": "Ho"}]}]}
    ),
    "sharegpt.json": json.dumps(
        [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}] * 3
    ).encode(),
    "oasst.jsonl": lines_of(
        {"message_id": "a", "parent_id": None, "text": "Hi", "role": "prompter", "replies": [
            {"text": "Ho", "role": "assistant", "rank": 0, "deleted": False, "replies": []}]}
    ),
    "pairs.jsonl": lines_of(
        {"prompt": "Hi", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b",
         "strength": "better", "safety": "both_safe", "category": "c"}
    ),
    "scored.jsonl": lines_of(
        {"instruction": "Hi", "completions": [{"response": "a", "overall_score": 3.5},
                                              {"response": "b", "overall_score": 2}]}
    ),
    "alpaca.csv": b"instruction,input,output,is_safety\n"
    b"Add,\"1\n2\",3,true\nHi,,Ho,\n",
    "prompts.txt": b"Hi\n\nHo\n",
}  # fmt: skip


@target(6)
def own_files(chance: random.Random, folder: Path) -> None:
    """Dialogues, comparisons and prompts of any layout."""
    from camelid.data.checking import check, words
    from camelid.data.own_files import OwnFile
    from camelid.data.records import write_records

    name = chance.choice(list(OWN))
    path = write_damaged(chance, folder / name, OWN[name], packed=True)
    use = chance.choice([None, None, "dialogues", "prompts"])
    write_records(folder / "records.jsonl", OwnFile(path, use))
    check(OwnFile(path, use), words, "words", 3, set())


def squad(*texts: str) -> bytes:
    answers = [{"text": text} for text in texts]
    asked = [{"question": q, "answers": answers} for q in ("Who?", "Why?")]
    return json.dumps({"data": [{"paragraphs": [{"context": "Text.", "qas": asked}]}]}).encode()


AGIEVAL = {"passage": None, "question": "q", "options": ["(A)1", "(B)2"], "label": "B"}
ROW_OF_CHOICES = {
    "question": {
        "stem": "s",
        "choices": [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}],
    },
    "answerKey": "B",
}
BENCHMARKS: dict[str, bytes] = {
    "piqa": lines_of({"goal": "g", "sol1": "a", "sol2": "b", "label": 1}),
    "siqa": lines_of(
        {"context": "c", "question": "q", **{f"answer{i}": i for i in "ABC"}, "label": "2"}
    ),
    "hellaswag": lines_of(
        {"ctx": "c", "ctx_a": "a", "ctx_b": "b", "activity_label": "l",
         "endings": ["w", "x [d] y", "z", "v"], "label": 2}
    ),
    "winogrande": lines_of({"sentence": "A _ b", "option1": "x", "option2": "y", "answer": "1"}),
    "arc_easy": lines_of(ROW_OF_CHOICES),
    "commonsenseqa": lines_of(ROW_OF_CHOICES),
    "openbookqa": (
        b"ID\tQuestion Stem\tChoices\tComplete Question\tAnswer Key\n"
        b'1\tThe "sun" is\t(A) hot (B) cold\tx\tA\n'
    ),
    "boolq": lines_of({"passage": "p", "question": "q", "answer": True}),
    "naturalquestions": lines_of({"question": "who?", "answer": ["Ann", "Anna"]}),
    "triviaqa": json.dumps(
        {"Data": [{"Question": "q?", "Answer": {"Value": "x", "Aliases": ["x", "y"]}}]}
    ).encode(),
    "squad": squad(),
    "quac": squad("Ann", "CANNOTANSWER"),
    "gsm8k": lines_of({"question": "q", "answer": "So 1,000 + 1 #### 1,001"}),
    "math": lines_of({"problem": "p", "solution": r"It is $\boxed{\frac12}$."}),
    "humaneval": lines_of(
        {"prompt": "def f():\n", "test": "def check(f):\n    pass", "entry_point": "f",
         "canonical_solution": "    return 1\n"}
    ),
    "mbpp": lines_of(
        {"task_id": 11, "text": "t", "code": "c", "test_list": ["assert 1"], "test_setup_code": ""}
    ),
    "mmlu_anatomy": b'"What, really?",a,b,c,d,C\n"two\nlines",1,2,3,4,A\n',
    "bbh_navigate": json.dumps({"examples": [{"input": "a", "target": "Yes"}]}).encode(),
    "agieval_sat-math": lines_of(AGIEVAL),
}  # fmt: skip
REPLIES = ("", "x", "The answer is $\\boxed 42$.", "#### 1,001", "\\fbox{\\frac{1}{2}", "{" * 50)


@target(13)
def benchmark_files(chance: random.Random, folder: Path) -> None:
    """Benchmarks: each row becomes an item whose answers can be scored, or is named."""
    from camelid.benchmarks.data import few_shot_column, read
    from camelid.benchmarks.suites import BENCHMARKS as KNOWN

    name = chance.choice(list(BENCHMARKS))
    benchmark, file = KNOWN[name], KNOWN[name].files[0]
    if name.startswith("agieval") and chance.random() < 0.5:
        table = f'x,{benchmark.column}\nsample,"{AGIEVAL}"\n'.encode()
        write_damaged(chance, folder / benchmark.example_files[0], table)
        assert benchmark.examples is not None
        places = few_shot_column(read(folder, benchmark.examples), str(benchmark.column))
        list(benchmark.iterate_items(places, None))
        return
    write_damaged(chance, folder / file, BENCHMARKS[name], packed=True)
    if chance.random() < 0.1:
        (folder / file).with_name(f"{Path(file).stem}-labels.lst").write_bytes(
            damaged_bytes(chance, b"1\n")
        )
    for item in benchmark.iterate_items(read(folder, benchmark.test), benchmark.test_ids):
        json.dumps(item).encode()
        if benchmark.answer.endswith("choice"):
            assert item["choices"][item["gold"]].strip()
        elif benchmark.answer != "programs":
            benchmark.score(item, [chance.choice(REPLIES)])
            assert not (item["answers"] and benchmark.score(item, [""]))


SCORES = {
    "value": 0.5, "standard_error": 0.1, "n": 10, "items": 20, "note": "", "metric": "acc",
    "shots": 0, "examples": "none", "truncated": 0, "unfinished": 0,
}  # fmt: skip


@target(3)
def scores(chance: random.Random, folder: Path) -> None:
    """Scores of benchmarks, as the tables of a report read them."""
    from camelid.benchmarks import report
    from camelid.run.finished import FinishedRun

    names = ["piqa@0", "humaneval@0", "mbpp@3", *(f"agieval_{n}@5" for n in ("lsat-ar", "sat-en"))]
    table = {"model": {"model": "m", "digest": "d"}, "tasks": dict.fromkeys(names, SCORES)}
    raw = json.dumps(table).encode()
    write_damaged(chance, folder / "benchmarks/final/scores.json", raw)
    run = FinishedRun(folder, ())
    for tables in (report.by_task, report.grouped):
        with contextlib.suppress(AbsentError):
            assert tables(run).markdown()


@pytest.fixture(scope="module")
def finished_run(
    smoke_run: Path, copy_run: Callable[[Path, Path], Path], tmp_path_factory: Any
) -> Path:
    """A finished run whose files the targets damage and put back."""
    RUN.append(copy_run(smoke_run, tmp_path_factory.mktemp("fuzzed") / "smoke"))
    return RUN[-1]


RUN: list[Path] = []
READ = ("*.json", "*.jsonl", "**/*.jsonl", "**/result.json", "**/gate.json", "**/summary.json")
"""The files of a run that a report or a chat reads, without those of its models."""


@contextmanager
def put_back(path: Path) -> Iterator[bytes]:
    """Give a file's content and put it back afterwards, its times as well."""
    times, raw = path.stat(), path.read_bytes()
    try:
        yield raw
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(raw)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def damage_in_place(chance: random.Random, path: Path, raw: bytes) -> None:
    if chance.random() < 0.04:
        path.unlink()
        if chance.random() < 0.3:
            path.mkdir()
    else:
        path.write_bytes(damaged(chance, path.name, raw))


def files_of_run(run: Path) -> list[Path]:
    found = {path for pattern in READ for path in run.glob(pattern) if path.is_file()}
    return sorted(path for path in found if "/model" not in str(path.relative_to(run)))


@target(10)
def run_files(chance: random.Random, folder: Path) -> None:
    """Files of a finished run: everything that a stage wrote is read with its types or named."""
    from camelid.cli import plans
    from camelid.run.finished import FinishedRun
    from camelid.run.place import Json, Rows

    path = chance.choice(files_of_run(RUN[-1]))
    with put_back(path) as raw:
        damage_in_place(chance, path, raw)
        plan = plans.plan_of(RUN[-1])
        run = FinishedRun(RUN[-1], plan.stages)
        for stage in plan.stages:
            if not path.is_relative_to(RUN[-1] / stage.name):
                continue
            [found] = [s for s in run.of(stage.kind).stages if s.name == stage.name] or [None]
            if found is not None:
                assert found.result is not None
                for place in found.outputs.places():
                    if place.path == path and isinstance(place, Rows | Json):
                        place.read()


@target(0.5)
def reports(chance: random.Random, folder: Path) -> None:
    """`camelid report` of a run with a damaged file: made of what is whole, or the stage named."""
    from camelid.cli import _call

    path = chance.choice(files_of_run(RUN[-1]))
    with put_back(path) as raw, put_back(RUN[-1] / "run.json"):
        damage_in_place(chance, path, raw)
        code = _call(["report", str(RUN[-1])])
        stage = str(path.relative_to(RUN[-1]).parent)
        assert code == 0 or stage == "." or f"--redo {stage}" in said(), said()


@target(3)
def chats(chance: random.Random, folder: Path) -> None:
    """`camelid chat` of a run whose description is damaged, without a word to answer."""
    from camelid.cli import _call

    path = RUN[-1] / chance.choice(["run.json", "recipe.json"])
    with put_back(path) as raw:
        damage_in_place(chance, path, raw)
        _call(["chat", str(RUN[-1])])


@pytest.mark.parametrize("name", target)
@pytest.mark.filterwarnings("ignore")
def test_nothing_but_a_camelid_error(name, finished_run, tmp_path, request):
    tries = request.config.getoption("fuzz")
    try_all(name, target, tmp_path, tries, lambda folder: [str(folder), str(finished_run)])
