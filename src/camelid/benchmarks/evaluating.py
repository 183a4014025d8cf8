"""`camelid evaluate`: benchmarks as tasks of lm-evaluation-harness, their scores in one file.

The harness renders prompts and scores answers; `CamelidLM` answers its requests.

Source: arXiv 2307.09288, Section 2.3 (the paper's evaluation library is not public).
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate as run_harness

from camelid.benchmarks import scoring
from camelid.benchmarks.data import Place, few_shot_column, read
from camelid.benchmarks.harness import CamelidLM, Log
from camelid.benchmarks.items import Item
from camelid.benchmarks.scoring import Score
from camelid.benchmarks.suites import BENCHMARKS, Benchmark, tasks_of
from camelid.data.text_files import read_text
from camelid.errors import ConfigError, DataError, MissingInputError, counted
from camelid.inference.models import NamedModel
from camelid.run.files import read_json, write_json
from camelid.runtime import open_runtime

TOP_P = 0.95
"""Where answers are sampled (Table 21)."""
_CHAIN = re.compile(
    r"\nA: Let's think step by step\.\s(?:(?!\n\nQ: ).)*?answer is:? *([^\n]*?)\.?(?=\n\nQ: |\Z)",
    re.DOTALL,
)
"""The chain of thought of an example of BIG-Bench Hard, its answer as the group."""


def make_task(name: str, shots: int, data: Path) -> tuple[ConfigurableTask, dict[str, Any]]:
    """Read a benchmark's items and make its task.

    Args:
        name: Name in `BENCHMARKS`.
        shots: Examples in the prompt, fewer where the file has fewer.
        data: Folder of the public files.

    Returns:
        The task, and what to say of it beside its score. Its items stand in an order that is drawn
        once, so that a limit takes a random part.

    Raises:
        MissingInputError: A file is missing and the hub does not answer.
        DataError: A file is malformed.
    """
    benchmark = BENCHMARKS[name]
    places = read(data, benchmark.test)
    found = list(benchmark.iterate_items(places, benchmark.test_ids))
    shown: list[Item] = []
    origin = "none"
    if benchmark.preamble is not None:
        if shots != benchmark.shots:
            raise ConfigError(
                f"{name}: its prompts hold {counted(benchmark.shots, 'example')}; drop @{shots}."
            )
        text, origin = _preamble(data, benchmark), benchmark.preamble
        found = [{**item, "query": f"{text}\n\n{item['query']}"} for item in found]
    elif shots:
        shown, origin = _examples(benchmark, data, shots)
        if not shown:
            shown, found = found[:shots], found[shots:]
            origin = f"the first {counted(shots, 'item')} of the test, which are not scored"
    if not found:
        raise DataError(f"{name}: no item is left to score.")
    random.Random(0).shuffle(found)
    test = Path(_file(places))
    notes = [f"test file {test}"] if "subset" in test.parent.name else []
    if name == "math" and any(item["answer"].startswith("The answer is $") for item in shown):
        notes.append("examples without solutions")
    choice = benchmark.answer in ("choice", "context_choice")
    config: dict[str, Any] = {
        "task": f"{name}@{shots}",
        "custom_dataset": lambda **_: {
            "test": datasets.Dataset.from_list(found),
            "examples": datasets.Dataset.from_list(shown) if shown else None,
        },
        "test_split": "test",
        "fewshot_split": "examples" if shown else None,
        "fewshot_config": {"sampler": "first_n", "doc_to_target": "answer"},
        "num_fewshot": len(shown),
        "description": benchmark.description,
        "output_type": "multiple_choice" if choice else "generate_until",
        "doc_to_text": "query" if benchmark.answer != "context_choice" else "gold",
        "doc_to_target": "gold" if benchmark.answer == "choice" else "answer",
        "metric_list": [
            {"metric": benchmark.metric, "aggregation": "mean", "higher_is_better": True}
        ],
    }
    if choice:
        config["doc_to_choice"] = "choices"
    else:
        config |= {
            "target_delimiter": "" if found[0]["query"].endswith("\n") else " ",
            "process_results": lambda item, answers: {
                benchmark.metric: benchmark.score(item, answers[0])
            },
            "repeats": benchmark.samples,
            "filter_list": [
                {
                    "name": "all",
                    "filter": [{"function": "take_first_k", "k": benchmark.samples}],
                }
            ],
            "generation_kwargs": {
                "until": list(benchmark.until),
                "max_gen_toks": benchmark.max_tokens,
                "do_sample": benchmark.temperature > 0,
                "temperature": benchmark.temperature,
                "top_p": TOP_P if benchmark.temperature else 1.0,
            },
        }
    about = {"metric": benchmark.metric, "shots": len(shown) or shots, "examples": origin}
    about |= {"test": str(test), "note": "; ".join(notes), "items": len(found)}
    return ConfigurableTask(config=config), about


def _file(places: Sequence[Place]) -> str:
    return places[0].where.rpartition(", ")[0]


def _examples(benchmark: Benchmark, data: Path, shots: int) -> tuple[list[Item], str]:
    if benchmark.examples is None:
        return [], ""
    try:
        places = read(data, benchmark.examples)
    except MissingInputError:
        return [], ""
    if benchmark.column is not None:
        places = few_shot_column(places, benchmark.column)
    # No further: one of MATH's public training rows has no answer.
    found = islice(benchmark.iterate_items(places, benchmark.example_ids), shots)
    return list(found), _file(places) if places else ""


def _preamble(data: Path, benchmark: Benchmark) -> str:
    path = data / str(benchmark.preamble)
    if not path.is_file():
        raise MissingInputError(
            f"{path}: no such file. The public gets it from {benchmark.test.public}."
        )
    # A notice for crawlers stands above a line of dashes.
    text = read_text(path).partition("-----\n")[2].strip()
    return text if benchmark.chain else _CHAIN.sub(r"\nA: \1", text)


def evaluate(
    model: NamedModel,
    suite: str,
    data: Path,
    out: Path,
    *,
    limit: int | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Score]:
    """Evaluate a model and write `scores.json` beside the logs of the tasks.

    Args:
        model: What to evaluate.
        suite: See `tasks_of`.
        data: Folder of the public files.
        out: Folder of logs and scores; those of other tasks stay.
        limit: Most items a task; None for all.
        say: Sink of one line a task.

    Returns:
        Scores by task and group. A task whose files are missing is named and left out.

    Raises:
        MissingInputError: No task has its files.
        CamelidError: A file or log is malformed, or programs cannot be contained here.
    """
    # One line a task is said here; the harness' own bars and notes would bury it.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    owner = {"model": model.name, "digest": model.digest()}
    logs: dict[str, Log] = {}

    def log(task: str) -> Log:
        if task not in logs:
            logs[task] = Log(out / "logs" / f"{task}.jsonl", owner)
        return logs[task]

    # Log-likelihoods are compared, so they are computed in fp32.
    runtime = open_runtime("float32", None)
    language_model = CamelidLM(partial(model.load, runtime), log)
    path = out / "scores.json"
    table: dict[str, Any] = {"model": owner, "tasks": {}}
    if path.is_file():
        table = read_json(path, scoring.SCORES_ADVICE)
        scoring.read_tasks(table, str(path))
        if table.get("model") != owner:
            raise ConfigError(f"{path}: scores of another model. Choose another --out.")
    missing = []
    for name, shots in tasks_of(suite):
        try:
            task, about = make_task(name, shots, data)
        except MissingInputError as error:
            missing.append(str(error))
            say(f"{name}@{shots}: left out. {error}")
            continue
        key = f"{name}@{shots}"
        result = run_harness(
            language_model,
            {key: task},
            limit=limit,
            bootstrap_iters=0,
        )
        values = [float(sample[about["metric"]]) for sample in result["samples"][key]]
        score = scoring.score(values, about["items"])
        if score.n < score.items:
            about["note"] = "; ".join(filter(None, [about["note"], "a random part of the items"]))
        cut = {"truncated": log(key).truncated, "unfinished": log(key).unfinished}
        if cut["truncated"]:
            short = f"{counted(cut['truncated'], 'prompt')} lost their start to fit the context"
            about["note"] = "; ".join(filter(None, [about["note"], short]))
        score = score._replace(note=about["note"])
        about |= score._asdict() | cut
        table["tasks"][key] = about
        write_json(path, table)
        of = f"{score.n} of {counted(score.items, 'item')}"
        line = f"{key}: {scoring.shown(score)} {about['metric']}, {of}"
        what = {"truncated": "prompt", "unfinished": "answer"}
        say(line + "".join(f", {counted(n, what[part])} cut" for part, n in cut.items() if n))
    if not table["tasks"]:
        raise MissingInputError(missing[0])
    return scoring.with_groups(scoring.read_scores(table["tasks"]))
