"""The whole recipe, tiny, by the command line: raw text to report, resuming, chat, mistakes."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from camelid.cli.plans import find_model
from camelid.inference.chat import Speaker, chat_loop
from camelid.recipes import RECIPES
from camelid.run.files import hash_file
from camelid.run.progress import RunProgress
from camelid.run.stage import PlannedStage, StageContext
from camelid.runtime import open_runtime
from camelid.seeds import derive_seed
from camelid.stages.rejection_sampling import stage as rejection_sampling
from camelid.tokenization.chat import chat_format_of

PLAN = RECIPES["smoke"]()
STAGES = [stage.name for stage in PLAN.stages]


def camelid(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "camelid", *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def run_smoke(
    out: Path, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return camelid("run", "smoke", "--out", str(out), "--threads", "1", *words, env=env)


@pytest.fixture
def finished(smoke_run: Path) -> Path:
    """The run that all tests share; what they run on it must find it done."""
    return smoke_run


def test_every_stage_left_its_result(finished: Path) -> None:
    for name in STAGES:
        assert json.loads((finished / name / "result.json").read_text()), name
    manifest = json.loads((finished / "run.json").read_text())
    assert list(manifest["stages"]) == STAGES
    assert not list((finished / ".partial").glob("*/out"))


def test_summary_has_every_key_of_the_contract(finished: Path) -> None:
    entries = json.loads((finished / "report" / "summary.json").read_text())
    found = {entry["key"]: entry for entry in entries}
    strengths = ("significantly_better", "better", "slightly_better", "negligibly_better")
    wanted = {
        "pretraining.validation_perplexity",
        "base.exact_helpfulness",
        "sft.exact_helpfulness",
        "final.exact_helpfulness",
        "final.win_rate_vs_sft",
        "sft.violation_rate",
        "final.violation_rate",
        "final.violation_rate_change",
        "sft.false_refusal_rate",
        "final.false_refusal_rate",
        "sft.reply_length",
        "final.reply_length",
        "final.distinct_replies",
        "context_distillation.kept_share",
        "ppo.reward",
        "ppo.guard_reward",
        "ppo.kl",
        "run.seconds",
        "run.peak_memory_gib",
    }
    wanted |= {
        f"ghost_attention.turn{turn}.{when}" for turn in (2, 4, 6) for when in ("before", "after")
    }
    wanted |= {
        f"ghost_attention.turn{turn}.ordinary.{when}"
        for turn in (2, 4, 6)
        for when in ("before", "after")
    }
    wanted |= {f"{name}.wins_of_decided" for name in ("v1", "v2", "final")}
    who = ("random", "likeliest", "reward_models", "judge")
    wanted |= {f"exact_picks.{name}" for name in who}
    wanted |= {
        f"methods.{method}.{goal}.{column}"
        for method in ("rejection_sampling_v1", "ppo", "the_whole_pipeline")
        for goal in ("exact", "violations")
        for column in (
            *("before", "after", "control", "after_less_control", "headroom_closed"),
            "ceiling" if method == "rejection_sampling_v1" else "both_at_their_best",
        )
    }
    wanted |= {"gate.precision", "gate.recall"}
    for number in (1, 2):
        wanted |= {f"v{number}.win_rate_vs_sft", f"v{number}.violation_rate"}
        for name in ("helpfulness_rm", "safety_rm"):
            wanted |= {f"v{number}.{name}.accuracy"}
            wanted |= {f"v{number}.{name}.accuracy.{strength}" for strength in strengths}
    assert wanted <= set(found)
    for entry in entries:
        assert {"key", "value", "low", "high", "n", "unit", "judge"} <= set(entry)
        assert entry["value"] is not None or entry["reason"], entry["key"]


def test_report_stands_alone(finished: Path) -> None:
    page = (finished / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 10
    assert "src=" not in page.replace('src="data:', "")
    assert (finished / "report" / "model_card.md").read_text(encoding="utf-8").strip()
    assert (finished / "report" / "safety_report.md").read_text(encoding="utf-8").strip()


def test_a_second_run_finds_everything_done(finished: Path) -> None:
    manifest = (finished / "run.json").read_text()
    done = run_smoke(finished)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "started" not in done.stdout
    assert "smoke only tests that everything runs" in done.stdout
    assert str(finished / "report" / "index.html") in done.stdout
    assert (finished / "run.json").read_text() == manifest


@pytest.fixture
def bare(tmp_path: Path, strangers: list[str]) -> dict[str, str]:
    """An environment in which nothing but the package's dependencies can be imported."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({strangers!r}))\n", encoding="utf-8"
    )
    path = os.pathsep.join(filter(None, (str(hidden), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def test_b8_an_interrupted_run_without_any_extra_ends_in_the_same_bits(
    finished: Path, tmp_path: Path, bare: dict[str, str]
) -> None:
    # What is hidden is hidden.
    probe = [sys.executable, "-c", "import pytest"]
    assert subprocess.run(probe, env=bare, capture_output=True, check=False).returncode == 1
    other = tmp_path / "other"
    command = [sys.executable, "-m", "camelid", "run", "smoke", "--out", str(other)]
    # A shell that starts the tests in the background has Ctrl-C ignored, which would be inherited.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, "--threads", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=bare,
    )
    signal.signal(signal.SIGINT, before)
    # Stopped in the middle: as soon as the first reward models are being trained.
    while not (other / "v1" / "preference_collection").is_dir() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors.decode()[-2000:]
    again = run_smoke(other, env=bare)
    assert again.returncode == 0, again.stderr[-2000:]
    for name in ("v2/rejection_sampling", "ghost_attention", "ppo"):
        weights = Path(name) / "model" / "model.safetensors"
        assert hash_file(finished / weights) == hash_file(other / weights), name
        result = Path(name) / "result.json"
        assert (finished / result).read_text() == (other / result).read_text(), name


def planned(name: str) -> PlannedStage[Any, Any, Any, Any]:
    return next(stage for stage in PLAN.stages if stage.name == name)


def perform(finished: Path, folder: Path, out: str, name: str) -> Any:
    """Run a stage of the finished run again; what it keeps for resuming stays in `folder`."""
    for path in (folder / out, folder / "work"):
        path.mkdir(parents=True, exist_ok=True)
    stage = planned(name)
    context = StageContext(
        name=name,
        root=finished,
        work=folder / "work",
        seed=derive_seed(0, name),
        run_seed=0,
        progress=RunProgress(),
        runtime=open_runtime("auto", 1),
        stages=tuple(PLAN.stages),
    )
    outputs = stage.outputs(folder / out)
    return stage.kind.runner()(stage.config, stage.inputs.at(finished), outputs, context)


def test_a_fine_tuning_stopped_after_its_last_step_reports_the_same(
    finished: Path, tmp_path: Path
) -> None:
    first, second = (perform(finished, tmp_path, out, "sft") for out in ("first", "second"))
    assert first == second == planned("sft").result(finished)
    assert math.isfinite(first.fine_tuning.final_loss)
    for name in ("model", "epoch1"):
        weights = Path(name) / "model.safetensors"
        assert hash_file(finished / "sft" / weights) == hash_file(tmp_path / "second" / weights)


def test_rejection_sampling_stopped_in_its_fine_tuning_does_not_sample_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "v1/rejection_sampling"
    (tmp_path / "work").mkdir()
    for file in ("samples.jsonl", "temperature_tuning.jsonl"):
        shutil.copy(finished / name / file, tmp_path / "work" / file)
    monkeypatch.setattr(rejection_sampling, "_sample", None)
    assert perform(finished, tmp_path, "out", name) == planned(name).result(finished)


def test_ppo_stopped_before_its_first_checkpoint_logs_no_iteration_twice(
    finished: Path, tmp_path: Path
) -> None:
    for out in ("first", "second"):
        perform(finished, tmp_path, out, "ppo")
        rows = (tmp_path / out / "iterations.jsonl").read_text().splitlines()
        assert [json.loads(row)["iteration"] for row in rows] == [0, 1, 2, 3, 4]


def test_another_setting_is_refused_and_named(finished: Path) -> None:
    done = run_smoke(finished, "--sft.epochs", "3")
    assert done.returncode == 2
    assert "sft" in done.stderr
    assert "epochs" in done.stderr
    assert "--redo" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_held_out_term_in_any_tuning_data(finished: Path) -> None:
    terms = json.loads((finished / "world_data" / "held_out.json").read_text())["terms"]
    files = [
        finished / "world_data" / "demonstrations.jsonl",
        finished / "ghost_attention" / "dialogues.jsonl",
        finished / "context_distillation" / "dialogues.jsonl",
        *finished.glob("v*/rejection_sampling/bests.jsonl"),
        *(finished / f"{pick}_pick/pick_control/picks.jsonl" for pick in ("random", "judge")),
        *finished.glob("v*/preference_collection/*preferences.jsonl"),
    ]
    for file in files:
        text = file.read_text(encoding="utf-8").lower()
        assert not [term for term in terms if f" {term.lower()} " in text], file


def test_red_teaming_asks_what_nothing_was_trained_on(finished: Path) -> None:
    def ids(pattern: str, field: str) -> set[str]:
        lines = [line for f in finished.glob(pattern) for line in f.read_text().splitlines()]
        return {json.loads(line)[field] for line in lines}

    attacked = ids("v*/red_teaming/red_teaming.jsonl", "prompt_id")
    assert len(attacked) == 48
    assert not attacked & ids("v*/rejection_sampling/samples.jsonl", "prompt_id")
    # The last model is asked no others.
    assert ids("final/red_teaming/red_teaming.jsonl", "prompt_id") <= attacked
    prompts, demonstrations = (
        [
            json.loads(line)
            for line in (finished / f"world_data/{name}.jsonl").read_text().splitlines()
        ]
        for name in ("prompts", "demonstrations")
    )
    attacks = {row["messages"][-1]["content"] for row in prompts if row["id"] in attacked}
    others = [row for row in prompts if row["split"] not in ("red_teaming", "test")]
    for row in (*others, *demonstrations):
        assert not attacks & {m["content"] for m in row["messages"] if m["role"] == "user"}


def test_chat_answers_side_by_side(finished: Path) -> None:
    lines = iter(["Hello.", "/undo", "/new", "/what", "Who are you?", "/exit"])
    said: list[str] = []
    runtime = open_runtime("auto", 1)
    speakers = {}
    for name in ("sft", "final"):
        model, tokenizer = find_model(str(finished), name).load(runtime, None)
        speakers[name] = Speaker(model, chat_format_of(tokenizer))
    chat_loop("smoke", speakers, read=lambda _: next(lines), write=said.append)
    text = "".join(said)
    for name in speakers:
        assert len(re.findall(rf"^{name}: ", text, re.MULTILINE)) == 2
    assert "(the last turn is taken back)" in text
    assert "(a new dialogue)" in text
    assert text.count("Commands: ") == 2
    done = camelid("chat", str(finished), "--model", "ppoo")
    assert done.returncode == 2
    assert "Did you mean 'ppo'" in done.stderr
