"""From names, options and run directories to plans, and their execution."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camelid.errors import ConfigError
from camelid.options import group_words, with_options
from camelid.plan import Plan, Recipe, described
from camelid.recipes import RECIPES
from camelid.run.directory import RECIPE, RunDirectory
from camelid.run.files import read_json
from camelid.run.finished import FinishedRun
from camelid.run.runner import check_stage, execute
from camelid.run.stage import RunSettings
from camelid.settings import read_value, suggestion
from camelid.studies.known import STUDIES


def named(name: str) -> Recipe:
    """Return a recipe or study.

    Raises:
        ConfigError: There is none of this name; the nearest one is named.
    """
    return find(name, {**RECIPES, **STUDIES}, "recipe")


def find(name: str, known: dict[str, Recipe], kind: str) -> Recipe:
    """Return one of several recipes (errors as `named`)."""
    if name not in known:
        hint = suggestion(name, known) or f" There are: {', '.join(known)}."
        raise ConfigError(f"There is no {kind} '{name}'.{hint}")
    return known[name]


def read_plan(path: Path, advice: str) -> Plan:
    """Return the plan that a `recipe.json` describes (errors as `described`)."""
    return described(read_json(path, advice), named, str(path))


def plan_of(run: Path) -> Plan:
    """Return the plan of a run directory.

    Raises:
        MissingInputError: There is no run.
        ConfigError: Its recipe does not fit this version of the package.
    """
    RunDirectory(run).read_manifest()
    advice = "Start the run again with `camelid run RECIPE`; finished stages are kept."
    return read_plan(run / RECIPE, advice)


def finished(run: Path) -> FinishedRun:
    """Return a run as it stands (errors as `plan_of`)."""
    return FinishedRun(run, plan_of(run).stages)


def with_choices(recipe: Recipe, known: argparse.Namespace, rest: Sequence[str]) -> Plan:
    """Return the plan of a recipe with the options and settings of a command.

    Raises:
        ConfigError: An option or setting is unknown (the nearest is named) or does not fit.
    """
    accepted = inspect.signature(recipe).parameters
    hints = typing.get_type_hints(recipe)
    options, words = {}, []
    for name, given in group_words(rest).items():
        if name in accepted:
            options[name] = _read_option(name, given, hints[name])
        else:
            words += [f"--{name}", *given]
    plan = recipe(**options)
    plan.options = options
    return changed(plan, known, words)


def changed(plan: Plan, known: argparse.Namespace, words: Sequence[str]) -> Plan:
    """Return a plan with the settings of a command, checked (errors as `with_choices`)."""
    choices = {
        field.name: (f"--{field.name}", [str(getattr(known, field.name))])
        for field in dataclasses.fields(RunSettings)
        if getattr(known, field.name) is not None
    }
    plan.settings = with_options(plan.settings, choices)
    plan.override(words)
    plan.check()
    return plan


def _read_option(name: str, words: list[str], hint: Any) -> Any:
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if len(words) != 1:
        raise ConfigError(f"--{name} takes one value, found {' '.join(words)}.")
    if Path in members:
        path = Path(words[0])
        if not path.exists():
            raise ConfigError(f"--{name}: {path} does not exist.")
        return str(path.resolve())
    value = int(words[0]) if words[0].lstrip("-").isdigit() else words[0]
    return read_value(value, hint, f"--{name}")


def run_plan(plan: Plan, root: Path, **choices: str | None) -> None:
    """Execute a plan in a run directory (arguments as `execute`)."""
    for name in choices.values():
        if name is not None:
            check_stage(name, [stage.name for stage in plan.stages])
    from rich.console import Console

    from camelid.allocator import keep_freed_memory
    from camelid.run.progress import make_progress

    # Only the command line may set the allocator, and before torch takes its first memory.
    keep_freed_memory()
    from camelid.runtime import open_runtime

    execute(
        plan.stages,
        RunDirectory(root),
        name=plan.name,
        recipe=plan.description(),
        settings=plan.settings,
        runtime=open_runtime(plan.settings.precision, plan.settings.threads),
        progress=make_progress(Console()),
        **choices,
    )


def print_end(plan: Plan, root: Path) -> None:
    """Print what each stage changed, where the report is and what to do next."""
    from camelid.report.page import headlines
    from camelid.stages.reporting import REPORTING

    for stage in FinishedRun(root, plan.stages).of(REPORTING).stages:
        rows = headlines(stage.outputs.summary.read())
        if rows:
            print()
            print_rows(rows)
        print(f"\nReport: {stage.outputs.page.path}")
        if "final" in plan.models:
            print(f"Next:   camelid chat {root}")


def print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
