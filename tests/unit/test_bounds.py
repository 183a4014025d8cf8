"""Impossible settings are refused when the command is read, before anything is made or deleted."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from camelid.cli import main
from camelid.errors import ConfigError
from camelid.options import with_options
from camelid.recipes import RECIPES
from camelid.settings import flatten
from camelid.studies.known import STUDIES

REFUSED = [
    # The commands of the case.
    ("--reward-modeling.epochs 0", "--reward-modeling.epochs is 0, but must be from 1 to"),
    ("--reward-modeling.batch-pairs -1", "--reward-modeling.batch-pairs is -1, but must be"),
    ("--ppo.minibatch-rows -1", "--ppo.minibatch-rows is -1, but must be"),
    ("--sft.optimizer.clip -1", "--sft.optimizer.clip is -1.0, but must be above 0 and at most"),
    ("--sft.optimizer.clip 0", "--sft.optimizer.clip is 0.0, but must be above 0"),
    ("--sft.optimizer.final-fraction -3", "final-fraction is -3.0, but must be from 0 to 1."),
    ("--rejection-sampling.prompts -1", "--rejection-sampling.prompts is -1, but must be"),
    ("--reward-modeling.gate-precision nan", "gate-precision is 'nan', but must be a number"),
    ("--rejection-sampling.samples 0", "samples is 0, but must be from 1 to 10,000."),
    ("--sft.batch-rows 0", "--sft.batch-rows is 0, but must be from 1 to 1,000,000."),
    ("--sft.micro-rows 0", "--sft.micro-rows is 0"),
    ("--ppo.validate-every 0", "--ppo.validate-every is 0"),
    ("--pretraining.tokens 0", "--pretraining.tokens is 0"),
    ("--threads 0", "--threads is 0, but must be from 1 to 1,024."),
    ("--threads 100000", "--threads is 100000, but must be from 1 to 1,024."),
    ("--evaluating.sampling.max-new-tokens 512", "at most 256 fit the model"),
    ("--watts nan", "--watts is 'nan', but must be a number"),
    ("--watts -4", "--watts is -4.0, but must be above 0"),
    # Their siblings.
    ("--watts 0", "--watts is 0.0, but must be above 0"),
    ("--seed -1", "--seed is -1, but must be from 0 to"),
    ("--rounds 0", "--rounds is 0, but must be from 1 to 100."),
    ("--rounds 1000000", "--rounds is 1000000, but must be from 1 to 100."),
    ("--seeds 0", "--seeds is 0, but must be from 1 to 1,000."),
    ("--ppo.iterations -1", "--ppo.iterations is -1"),
    ("--ppo.batch_rows 0", "--ppo.batch-rows is 0"),
    ("--ppo.critic_warmup 4", "critic-warmup is 4 of 4 iterations"),
    ("--sft.optimizer.learning_rate NaN", "learning-rate is nan, but must be a finite number"),
    ("--sft.optimizer.learning_rate 1e999", "learning-rate is inf, but must be a finite number"),
    ("--sft.epochs 1000000000000", "--sft.epochs is 1000000000000, but must be from 1 to"),
    ("--rejection_sampling.temperatures []", "has 0 items, but must have from 1 to 100."),
    ("--rejection_sampling.temperatures 1 -2", "temperatures[1] is -2.0, but must be from 0"),
    (
        "--rejection_sampling.tuning_prompts 21",
        "tuning_prompts is 21, but `prompts` are only 20 prompts",
    ),
    (
        "--rejection_sampling.prompts 81",
        "is 81, but there are 80 (--world-data.rejection-s",
    ),
    ("--evaluating.helpful 99999", "is 99,999, but there are 24 (--world-data.test-helpful)"),
    ("--evaluating.helpful -5", "--evaluating.helpful is -5, but must be from 0"),
    ("--evaluating.dialogue 1", "--evaluating.dialogue is 1, but there are 0"),
    ("--ghost_attention.dialogues 25", "is 25, but there are 24 (--world-data.ghost-train)"),
    ("--red_teaming.prompts 49", "is 49, but there are 48 (--world-data.red-teaming)"),
    ("--v1.red_teaming.prompts 49", "--v1.red-teaming.prompts is 49, but there are 48"),
    ("--ppo.validation_prompts 81", "is 81, but there are 80 (--world-data.validation)"),
    ("--world_data.held_out 1.5", "--world-data.held-out is 1.5, but must be from 0 to 0.75"),
    ("--world_data.demonstrations 0", "--world-data.demonstrations is 0, but must be from 1"),
    ("--pretraining.row_tokens 1024", "row_tokens is 1024, but the model's context"),
    ("--pretraining.model.context 128", "row_tokens is 256, but the model's context"),
    ("--sft.row_tokens 600", "is 600 tokens, but at most 512 fit the model"),
    ("--reward_modeling.longest 600", "is 600 tokens, but at most 512 fit the model"),
    ("--pretraining.model.layers 100000", "layers is 100000, but must be from 1 to 4,096."),
    ("--tokenizer_training.vocabulary_size 2000", "vocabulary-size is 1,024, the tokenizer's is"),
    ("--sft.batch_rows 4 --sft.batch-rows 5", "--sft.batch-rows is given twice"),
    ("--seed 1 --seed 2", "--seed is given twice"),
    ("--seed=1 --seed 2", "--seed is given twice"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_case_unchecked_settings(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "smoke", *words.split()]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert (said.count("\n"), said[:9]) == (1, "camelid: ")
    assert not list(tmp_path.iterdir())


def test_case_redo_with_a_bad_setting_deletes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = Path("runs/smoke/sft/result.json")
    kept.parent.mkdir(parents=True)
    kept.write_text("{}", encoding="utf-8")
    for words, _ in REFUSED:
        assert main(["run", "smoke", "--redo", "sft", *words.split()]) == 2
    assert [path for path in Path().rglob("*") if path.is_file()] == [kept]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--pretraining.row_tokens 0", "is 0, but must be from 1"),
        ("--throughput.contexts []", "has 0 items, but must have from 1"),
        ("--throughput.memory_gib 0", "is 0.0, but must be above 0"),
        ("--study_data.questions -1", "is -1, but must be from 1"),
        ("--tokenizer_training.vocabulary_size 4096", "is 2,048, the tokenizer's is 4,096; set"),
    ],
)
def test_case_unchecked_settings_of_a_study(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "attention", *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_case_more_prompts_than_the_public_files_are_asked_for(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, there in (
        ("--evaluating.dialogue 253", "252 (--public-data.test.helpfulness)"),
        ("--evaluating.helpful 1", "0 (--public-data.test)"),
    ):
        assert main(["run", "smollm2", *words.split()]) == 2
        assert f"but there are {there}" in capsys.readouterr().err


def test_settings_are_shown_with_text_range_and_the_papers_value(capsys):
    assert main(["show", "pocket"]) == 0
    shown = capsys.readouterr().out
    assert "\nppo: Proximal policy optimisation (Section 3.2.3).\n--ppo.optimizer.learn" in shown
    lines = shown.splitlines()
    found = next(index for index, line in enumerate(lines) if line.startswith("--ppo.clip "))
    assert lines[found].split() == ["--ppo.clip", "0.2", "paper", "0.2", "(Section", "3.2.3)"]
    text = "    Clip of the probability ratio (Section 3.2.3). [above 0 and at most 1]"
    assert lines[found + 1] == text
    assert "[from 1 to 100 items, each from 0 to 100]" in " ".join(shown.split())
    assert "[auto | float32 | bfloat16]" in shown


def test_only_what_differs_from_the_paper_is_shown(capsys):
    assert main(["show", "pocket", "--changed"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "--"]
    assert "--ppo.batch-rows" in names
    # 0.2, one of two rates, "5 steps", "small 1, 2/3 ...": as in the paper.
    for name in ("ppo.clip", "ppo.kl-coefficient", "reward-modeling.margin"):
        assert f"--{name}" not in names
    assert "--reward-modeling.optimizer.warmup-minimum" not in names


def settings_of_all() -> dict[str, tuple[Any, str]]:
    """Every setting of the stages of all recipes and studies, by kind of stage and field."""
    return {
        f"{stage.kind.name}.{field}": (stage.config, field)
        for make in {**RECIPES, **STUDIES}.values()
        for stage in make().stages
        for field in flatten(stage.config)
        if fields(stage.config)
    }


def test_whatever_is_typed_for_a_setting_is_taken_or_refused():
    words = ["", "x", "é", "[]", "{}", "[[1]]", "null", "true", "-1", "0", "1.5", "1e400", "NaN"]
    words += ["9" * 400, "[" * 2000, '{"a": 1}', "-0", "0x10", "1e-320"]
    refused = 0
    for config, field in settings_of_all().values():
        for word in words:
            try:
                with_options(config, {field: ("--x", [word])})
            except ConfigError:
                refused += 1
    assert refused > 1000
