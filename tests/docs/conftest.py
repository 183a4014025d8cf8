"""Commands of the documentation, taken by the real parser."""

from __future__ import annotations

import itertools

import pytest

from camelid.benchmarks.suites import tasks_of
from camelid.cli import plans, recipe_files
from camelid.cli.parser import parse
from camelid.errors import ConfigError
from camelid.recipes import RECIPES
from camelid.run.runner import check_stage
from camelid.studies.known import STUDIES

PLACEHOLDERS = {
    "RECIPE": ["smoke", "pocket"],
    "RUN": ["runs/pocket"],
    "PATH...": ["own.jsonl"],
    "RUN_A": ["runs/pocket"],
    "RUN_B": ["runs/other"],
    "MODEL": ["runs/pocket:sft"],
    "DIR": ["runs/here"],
    "STAGE": ["evaluating"],
    "N": ["3"],
    "A": ["sft"],
    "B": ["final"],
    "SRC": ["runs/pocket/ppo/model"],
    "DST": ["out"],
    "value": ["7"],
}
"""Words of the table that stand for others, and what is tried for them."""
NAMES = {"chat": ["sft"], "evaluate": ["mmlu", "piqa,gsm8k@8"]}
"""What NAME stands for, by command."""


def setting_of(words: list[str]) -> str:
    """A setting of the recipe or study that a command names, for `--any.field`."""
    plan = {**RECIPES, **STUDIES}[words[1]]()
    stage = next(stage for stage in plan.stages if stage.kind.name == "pretraining")
    assert hasattr(stage.config, "validate_every")
    return f"--{stage.kind.name}.validate_every"


def expand(usage: str) -> list[list[str]]:
    """Return every command that a line of the table stands for, with all its options."""
    choices = []
    for word in usage.replace("[", "").replace("]", "").split()[1:]:
        parts = word.split("\\|")
        command = usage.split()[1]
        choices.append(
            [
                meant
                for part in parts
                for meant in (NAMES[command] if part == "NAME" else PLACEHOLDERS.get(part, [part]))
            ]
        )
    found = [list(words) for words in itertools.product(*choices)]
    for words in found:
        unknown = [word for word in words if word.isupper()]
        assert not unknown, f"{usage}: what does {unknown} stand for?"
        if "--any.field" in words:
            words[words.index("--any.field")] = setting_of(words)
    return found


def take(words: list[str]) -> None:
    """Take a command as the command line does, up to where it would touch files.

    Raises:
        CamelidError: It would be refused.
    """
    known, rest = parse(words)
    if known.command == "run" and (known.file or recipe_files.is_file(known.recipe)):
        return
    if known.command in ("run", "study"):
        recipes = RECIPES if known.command == "run" else STUDIES
        name = known.recipe if known.command == "run" else known.study
        plan = plans.with_choices(plans.find(name, recipes, known.command), known, rest)
        for stage in (known.redo, known.until):
            if stage is not None:
                check_stage(stage, [planned.name for planned in plan.stages])
        return
    if rest:
        raise ConfigError(f"unknown words: {rest}")
    if known.command == "show" and not recipe_files.is_file(known.what):
        plans.find(known.what, {**RECIPES, **STUDIES}, "recipe")
    elif known.command == "chat":
        models = RECIPES["pocket"]().models
        assert {known.model, *(known.compare or ())} <= {"final", *models}
    elif known.command == "evaluate":
        assert tasks_of(known.suite)


@pytest.fixture
def expanded():
    """Return the function that gives every command that a line of a table stands for."""
    return expand


@pytest.fixture
def check():
    """Return the function that takes a command up to where it would touch files."""
    return take
