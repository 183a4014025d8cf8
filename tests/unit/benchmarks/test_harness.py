"""Our model under lm-evaluation-harness: answers, logs, scores. Needs the extra `eval`."""

from __future__ import annotations

import json
import math

import pytest
import torch

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness: pip install 'camelid[eval]'")

from lm_eval.api.instance import Instance

from camelid.benchmarks import data as benchmark_data
from camelid.benchmarks import evaluating as benchmarking
from camelid.benchmarks.harness import CamelidLM, Log
from camelid.benchmarks.scoring import shown
from camelid.errors import ConfigError, DataError, MissingInputError
from camelid.inference.models import NamedModel
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer

CONTEXT = 160
pytestmark = pytest.mark.filterwarnings("default")


class Letters:
    """One id a character, 256 begins a text, 257 ends it."""

    vocabulary_size, bos_id, eos_id, pad_id = 258, 256, 257, 257
    end_ids, unused_ids = (257,), ()

    def encode(self, text):
        return list(text.encode("latin-1"))

    def decode(self, ids):
        return bytes(i for i in ids if i < 256).decode("latin-1")


def tiny():
    config = ModelConfig(
        dim=32,
        layers=2,
        heads=4,
        kv_heads=2,
        ffn_dim=48,
        vocabulary_size=258,
        context=CONTEXT,
    )
    model = Transformer(config)
    model.initialise(3)
    return model.eval()


def language_model(tmp_path, **settings):
    logs = {}

    def log(task):
        return logs.setdefault(task, Log(tmp_path / f"{task}.jsonl", {"model": "m", "digest": "d"}))

    return CamelidLM(lambda: (tiny(), Letters()), log, **settings), logs


def instance(kind, *arguments, doc=0, idx=0, task="t"):
    return Instance(kind, {}, arguments, idx, metadata=(task, doc, 1))


def log_probabilities(tokens):
    model = tiny()
    with torch.no_grad():
        return torch.log_softmax(model.logits(model(torch.tensor([tokens])))[0].double(), -1)


def plain(context, continuation):
    """Sum over the continuation of the last 161 tokens: one item, one forward pass."""
    spaces = context[len(context.rstrip()) :]
    # A space that ends the context belongs to the word behind it.
    before, own = [256, *context.rstrip().encode()], list((spaces + continuation).encode())
    kept = before[-(CONTEXT + 1 - len(own)) :]
    rows = log_probabilities((kept + own)[:-1])[len(kept) - 1 :]
    return math.fsum(rows[i, token].item() for i, token in enumerate(own))


def test_choices_equal_plain_loops(tmp_path):
    model, logs = language_model(tmp_path, chunk=5)
    contexts = ["Is it?", "Is it not so? ", "x" * 300, "", "Is it?"]
    requests = [
        instance("loglikelihood", context, choice, doc=doc, idx=idx)
        for doc, context in enumerate(contexts)
        for idx, choice in enumerate((" yes", " no, never", " y"))
    ]
    found = model.loglikelihood(requests)
    for request, (log_probability, greedy) in zip(requests, found, strict=True):
        context, choice = request.args
        assert log_probability == pytest.approx(plain(context, choice), abs=1e-4)
        assert not greedy
    assert logs["t"].truncated == 3
    with pytest.raises(DataError, match="200 tokens; needed 1 to 160"):
        model.loglikelihood([instance("loglikelihood", "a", "b" * 200)])


def test_whole_texts_equal_plain_windows(tmp_path):
    model, _ = language_model(tmp_path)
    text = "".join(chr(97 + i * 7 % 26) for i in range(400))
    tokens, total = list(text.encode()), 0.0
    for start in range(0, 400, CONTEXT):
        own = tokens[start : start + CONTEXT]
        # The last window is as long as the others: it looks further back.
        first = max(0, start + len(own) - CONTEXT)
        window = ([256] if first == 0 else [tokens[first - 1]]) + tokens[first : start + len(own)]
        rows = log_probabilities(window[:-1])[-len(own) :]
        total += math.fsum(rows[i, token].item() for i, token in enumerate(own))
    [found] = model.loglikelihood_rolling([instance("loglikelihood_rolling", text)])
    assert found == pytest.approx(total, abs=1e-3)


def greedy(context, count):
    model, tokens = tiny(), [256, *context.encode()]
    with torch.no_grad():
        for _ in range(count):
            row = model.logits(model(torch.tensor([tokens])))[0, -1]
            tokens.append(int(row.argmax()))
    return tokens[len(context) + 1 :]


def test_generated_answers_equal_plain_greedy_decoding_up_to_a_stop(tmp_path):
    model, logs = language_model(tmp_path)
    whole = {text: greedy(text, 20) for text in ("Say", "Say something", "No")}
    texts = {context: Letters().decode(tokens) for context, tokens in whole.items()}
    stop = texts["Say"][7:9]
    settings = {"until": [stop], "max_gen_toks": 20, "do_sample": False}
    requests = [
        instance("generate_until", context, settings, doc=i) for i, context in enumerate(whole)
    ]
    found = model.generate_until(requests)
    assert found == [text.split(stop)[0] for text in texts.values()]
    assert len(found[0]) < len(texts["Say"])
    # The stop string or the end token ended the others.
    assert logs["t"].unfinished == sum(
        stop not in texts[context] and 257 not in tokens for context, tokens in whole.items()
    )
    assert 0 < logs["t"].unfinished < 3
    assert logs["t"].truncated == 0
    model.generate_until([instance("generate_until", "z" * 400, settings, doc=9)])
    assert logs["t"].truncated == 1
    again = Log(logs["t"].path, {"model": "m", "digest": "d"})
    assert (again.truncated, again.unfinished) == (1, logs["t"].unfinished)


def test_case_several_end_ids_each_ends_an_answer(tmp_path, monkeypatch):
    whole = greedy("Say", 8)
    monkeypatch.setattr(Letters, "end_ids", (257, whole[4]))
    model, logs = language_model(tmp_path)
    settings = {"until": ["\n\n\n"], "max_gen_toks": 8, "do_sample": False}
    [found] = model.generate_until([instance("generate_until", "Say", settings)])
    # This end is a letter, so it shows.
    assert found == Letters().decode(whole[: whole.index(whole[4]) + 1])
    assert logs["t"].unfinished == 0


def test_samples_of_one_request_differ_and_stay_the_same_when_resumed(tmp_path):
    settings = {"until": ["\n\n\n"], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    requests = [instance("generate_until", "Say", settings)] * 6
    model, _ = language_model(tmp_path)
    found = model.generate_until(requests)
    assert len(set(found)) > 1
    path = tmp_path / "t.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    # Killed after three answers and in the middle of the fourth.
    path.write_bytes(b"".join(lines[:4]) + lines[4][:9])
    again, _ = language_model(tmp_path)
    assert again.generate_until(requests) == found
    assert path.read_bytes() == b"".join(lines)


def test_a_complete_log_is_read_without_the_model(tmp_path):
    requests = [instance("loglikelihood", "a", choice, idx=i) for i, choice in enumerate("bcd")]
    model, _ = language_model(tmp_path)
    found = model.loglikelihood(requests)

    def never():
        raise AssertionError

    log = Log(tmp_path / "t.jsonl", {"model": "m", "digest": "d"})
    assert CamelidLM(never, lambda _: log).loglikelihood(requests) == found
    # Another question is not answered from the log.
    other = instance("loglikelihood", "A", "b")
    with pytest.raises(AssertionError):
        CamelidLM(never, lambda _: log).loglikelihood([other])


def test_logs_of_others_and_damaged_logs_are_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    Log(path, {"model": "m", "digest": "d"})
    with pytest.raises(ConfigError, match="answers of 'm'"):
        Log(path, {"model": "m", "digest": "other"})
    path.write_text(path.read_text() + '{"key": "a"}\n')
    with pytest.raises(DataError, match="line 2: needed key, answer"):
        Log(path, {"model": "m", "digest": "d"})


def public_files(folder):
    (folder / "piqa").mkdir(parents=True)
    rows = [{"goal": f"g{i}", "sol1": "one way", "sol2": "another", "label": i % 2}
            for i in range(6)]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "piqa" / "valid.jsonl").write_text(text)
    (folder / "nq-open").mkdir()
    text = "".join(json.dumps({"question": f"q{i}", "answer": ["a"]}) + "\n" for i in range(5))
    (folder / "nq-open" / "NQ-open.dev.jsonl").write_text(text)
    return rows


def test_an_evaluation_from_files_to_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(NamedModel, "digest", lambda _: "d")
    monkeypatch.setattr(NamedModel, "load", lambda *_: (tiny(), Letters()))

    def offline(_):
        raise ConnectionError

    monkeypatch.setattr(benchmark_data, "_from_hub", offline)
    rows = public_files(tmp_path / "data")
    model = NamedModel(name="m", path=tmp_path)
    said = []
    scores = benchmarking.evaluate(
        model, "piqa,naturalquestions@2,quac", tmp_path / "data", tmp_path / "out", say=said.append
    )
    right = []
    for row in rows:
        query = f"Question: {row['goal']}\nAnswer:"
        each = [plain(query, f" {row[key]}") / len(row[key]) for key in ("sol1", "sol2")]
        right.append(float(each.index(max(each)) == row["label"]))
    assert scores["piqa@0"].value == pytest.approx(sum(right) / 6)
    assert (scores["piqa@0"].n, scores["naturalquestions@2"].n) == (6, 3)
    assert "quac@0: left out" in said[-1]
    table = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert table["tasks"]["naturalquestions@2"]["examples"].startswith("the first 2 items")
    log = tmp_path / "out" / "logs" / "piqa@0.jsonl"
    before = log.read_bytes()

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(NamedModel, "load", never)
    again = benchmarking.evaluate(
        model, "piqa", tmp_path / "data", tmp_path / "out", limit=4, say=said.append
    )
    assert log.read_bytes() == before
    assert again["piqa@0"].value == pytest.approx(sum(right[:4]) / 4)
    assert (again["piqa@0"].n, again["piqa@0"].items) == (4, 6)
    assert "naturalquestions@2" in again
    with pytest.raises(MissingInputError, match=r"quac\.ai"):
        benchmarking.evaluate(model, "quac", tmp_path, tmp_path / "other", say=said.append)
    monkeypatch.setattr(NamedModel, "digest", lambda _: "e")
    with pytest.raises(ConfigError, match="another model"):
        benchmarking.evaluate(model, "piqa", tmp_path / "data", tmp_path / "out")


def test_case_silent_truncation_cut_prompts_are_said_and_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(NamedModel, "digest", lambda _: "d")
    monkeypatch.setattr(NamedModel, "load", lambda *_: (tiny(), Letters()))
    folder = tmp_path / "piqa"
    folder.mkdir()
    row = {"goal": "g" * 3000, "sol1": "one way", "sol2": "another", "label": 0}
    (folder / "valid.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n")
    said = []
    model = NamedModel(name="m", path=tmp_path)
    scores = benchmarking.evaluate(model, "piqa", tmp_path, tmp_path / "out", say=said.append)
    cut = json.loads((tmp_path / "out" / "scores.json").read_text())["tasks"]["piqa@0"]["truncated"]
    assert cut > 0
    assert said[-1].endswith(f", {cut} prompts cut")
    assert f"{cut} prompts lost their start to fit the context" in scores["piqa@0"].note
    assert "†" in shown(scores["piqa@0"])


def test_prompts_hold_the_examples(tmp_path, shared_data):
    def prompt(name, shots):
        task, about = benchmarking.make_task(name, shots, shared_data)
        task.build_all_requests(limit=1)
        return task.instances, about

    requests, about = prompt("mmlu_abstract_algebra", 5)
    context, choice = requests[1].args
    assert context.startswith("The following are multiple choice questions (with answers) about ")
    assert context.count("Answer:") == 6
    assert context.endswith("\nAnswer:")
    assert choice == " B"
    assert about["items"] == 100
    [request], about = prompt("gsm8k", 8)
    assert request.args[0].count("Question:") == 9
    assert request.args[0].count("####") == 8
    [request], _ = prompt("bbh_navigate", 3)
    assert "canary" not in request.args[0]
    assert [line for line in request.args[0].split("\n") if line.startswith("A:")] == [
        "A: No", "A: No", "A: Yes", "A:",
    ]  # fmt: skip
    assert "step by step" not in request.args[0]
    [request], _ = prompt("bbh-chain_navigate", 3)
    assert request.args[0].count("A: Let's think step by step.") == 4
    [request], about = prompt("mbpp", 3)
    assert request.args[0].count("[BEGIN]") == 4
    assert request.args[0].count("[DONE]") == 3
    assert request.args[0].endswith("[BEGIN]\n")
    assert about["items"] == 500
    requests, _ = prompt("winogrande", 0)
    context, end = requests[0].args
    assert context
    assert end.startswith(" ")
    requests, about = prompt("commonsenseqa", 7)
    assert (len(requests), about["items"]) == (5, 1214)
    with pytest.raises(ConfigError, match="drop @1"):
        prompt("bbh_navigate", 1)


def test_a_row_that_is_no_item_is_named(tmp_path):
    public_files(tmp_path)
    file = tmp_path / "piqa" / "valid.jsonl"
    file.write_text('{"goal": "g", "sol1": "a", "sol2": "b", "label": 1}\n{"goal": "g"}\n')
    with pytest.raises(DataError, match=r"valid\.jsonl, line 2: .*field 'sol1' is \(absent\)"):
        benchmarking.make_task("piqa", 0, tmp_path)
    file.write_text('{"goal": "g", "sol1": "a", "sol2": "b", "label": 5}\n')
    with pytest.raises(DataError, match=r"line 1: .*number 6 of 2"):
        benchmarking.make_task("piqa", 0, tmp_path)


def test_every_chain_of_thought_gives_its_answer(shared_data):
    for name, benchmark in benchmarking.BENCHMARKS.items():
        if name.startswith("bbh_"):
            text = benchmarking._preamble(shared_data, benchmark)
            answers = [line for line in text.split("\n") if line.startswith("A:")]
            assert len(answers) == 3, name
            assert all(3 < len(answer) < 60 for answer in answers), name


def test_what_is_not_the_whole_benchmark_says_so(shared_data):
    _, about = benchmarking.make_task("triviaqa", 1, shared_data)
    assert "triviaqa-subset" in about["note"]
    _, about = benchmarking.make_task("math", 4, shared_data)
    assert about["note"] == "examples without solutions"
    task, about = benchmarking.make_task("math", 0, shared_data)
    assert about["note"] == ""
    # A limit takes a random part, the same each time.
    docs = [doc["query"] for doc in task.test_docs()][:40]
    again, _ = benchmarking.make_task("math", 0, shared_data)
    assert [doc["query"] for doc in again.test_docs()][:40] == docs
    math = benchmarking.BENCHMARKS["math"]
    places = benchmarking.read(shared_data, math.test)[:1000]
    first = [item["query"] for item in benchmarking._items(math, places, None)]
    assert sum(doc in first for doc in docs) < 20
