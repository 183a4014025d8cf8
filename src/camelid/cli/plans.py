"""From names, options and run directories to plans, and their execution."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path

from camelid.errors import ConfigError, MissingInputError
from camelid.options import group_words, json_of, with_options
from camelid.plan import Plan, Recipe, described, make_plan, option_types
from camelid.recipes import RECIPES
from camelid.run.directory import RECIPE, RunDirectory
from camelid.run.files import read_json
from camelid.run.finished import FinishedRun
from camelid.run.progress import RunProgress
from camelid.run.runner import REPORT, Execution, check_stage
from camelid.run.stage import RunSettings
from camelid.settings import suggestion
from camelid.studies.known import STUDIES


def find(name: str, known: dict[str, Recipe], kind: str) -> Recipe:
    """Return one of several recipes or studies.

    Raises:
        ConfigError: There is none of this name; the nearest one is named.
    """
    if name not in known:
        hint = suggestion(name, known) or f" There are: {', '.join(known)}."
        for other, names, command in (("recipe", RECIPES, "run"), ("study", STUDIES, "study")):
            if name in names:
                hint = f" It is a {other}: camelid {command} {name}"
        raise ConfigError(f"There is no {kind} '{name}'.{hint}")
    return known[name]


def read_plan(path: Path, advice: str) -> Plan:
    """Return the plan that a `recipe.json` describes (errors as `described`)."""
    known = {**RECIPES, **STUDIES}
    return described(read_json(path, advice), lambda name: find(name, known, "recipe"), str(path))


def plan_of(run: Path) -> Plan:
    """Return the plan of a run directory.

    Raises:
        MissingInputError: There is no run.
        ConfigError: Its recipe does not fit this version of the package.
    """
    RunDirectory(run).read_manifest()
    advice = "Start the run again with `camelid run RECIPE`; finished stages are kept."
    return read_plan(run / RECIPE, advice)


def pick_model(plan: Plan, run: Path, name: str) -> Path:
    """Return the folder of one model of a run; `final` is the latest there is.

    Raises:
        MissingInputError: The run has no such model yet; the message lists what it has.
    """
    places = {known: folder.at(run) for known, folder in plan.models.items()}
    made = {known: folder.path for known, folder in places.items() if folder.exists}
    if not made:
        raise MissingInputError(f"{run}: no model yet. Run `camelid run` first.")
    if name == "final":
        return list(made.values())[-1]
    if name not in made:
        stages = {folder.stage: folder.path for folder in places.values() if folder.exists}
        if name in stages:
            return stages[name]
        hint = suggestion(name, [*made, *stages])
        raise MissingInputError(f"{run}: no model '{name}'.{hint} There are: {', '.join(made)}.")
    return made[name]


def with_choices(recipe: Recipe, known: argparse.Namespace, rest: Sequence[str]) -> Plan:
    """Return the plan of a recipe with the options and settings of a command.

    Raises:
        ConfigError: An option or setting is unknown (the nearest is named) or does not fit.
    """
    kinds = option_types(recipe)
    options, words = {}, []
    for name, given in group_words(rest).items():
        if name not in kinds:
            words += [f"--{name}", *given] if len(given) > 1 else [f"--{name}={given[0]}"]
        elif Path in typing.get_args(kinds[name]) and len(given) == 1:
            # Absolute, as the recipe of the run may be read from another folder.
            options[name] = str(Path(given[0]).resolve())
        else:
            options[name] = json_of(given, kinds[name])
    return changed(make_plan(recipe, options, "--"), known, words)


def changed(plan: Plan, known: argparse.Namespace, words: Sequence[str]) -> Plan:
    """Return a plan with the settings of a command, checked (errors as `with_choices`)."""
    choices = {
        field.name: (f"--{field.name}", [value])
        for field in dataclasses.fields(RunSettings)
        if (value := getattr(known, field.name)) is not None
    }
    plan.settings = with_options(plan.settings, choices)
    plan.override(words)
    plan.check()
    return plan


def run_plan(
    plan: Plan,
    root: Path,
    *,
    redo: str | None = None,
    until: str | None = None,
    only: str | None = None,
) -> None:
    """Execute a plan in a run directory, and print how it ended (arguments as `Execution`)."""
    for name in (redo, until):
        check_stage(name, [stage.name for stage in plan.stages])
    from rich.console import Console

    from camelid.allocator import keep_freed_memory

    # Only the command line may set the allocator, and before torch takes its first memory.
    keep_freed_memory()
    from camelid.runtime import open_runtime

    execution = Execution(
        stages=plan.stages,
        directory=RunDirectory(root),
        name=plan.name,
        recipe=plan.description(),
        settings=plan.settings,
        runtime=open_runtime(plan.settings.precision, plan.settings.threads),
        progress=RunProgress(Console()),
    )
    if only is not None:
        execution.perform_only(only)
    else:
        execution.perform_all(redo=redo, until=until)
    _print_end(plan, root)


def _print_end(plan: Plan, root: Path) -> None:
    """Print what each stage changed, where the report is and what to do next."""
    from camelid.report.page import headlines
    from camelid.stages.reporting import REPORTING

    for stage in FinishedRun(root, plan.stages).of(REPORTING).stages:
        rows = headlines(stage.outputs.summary.read())
        if rows:
            print()
            print_rows(rows)
        print(f"\nReport: {root / REPORT / stage.outputs.page.name}")
        if "final" in plan.models:
            print(f"Next:   camelid chat {root}")


def print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
