"""From names, options and run directories to plans, and their execution."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camelid import __version__, runs
from camelid.cli import recipe_files
from camelid.errors import (
    CamelidError,
    CheckpointError,
    ConfigError,
    DataError,
    MissingInputError,
    counted,
)
from camelid.options import group_words, json_of, with_options
from camelid.plan import Plan, Recipe, described, make_plan, option_types
from camelid.recipes import RECIPES
from camelid.run.directory import MANIFEST, RECIPE, RunDirectory
from camelid.run.files import read_json
from camelid.run.fingerprint import hash_source
from camelid.run.finished import FinishedRun
from camelid.run.runner import REPORT, check_stage
from camelid.run.stage import RunSettings
from camelid.settings import flatten, suggestion
from camelid.sources.weights import packaged_weights
from camelid.studies.known import STUDIES

if TYPE_CHECKING:
    from camelid.inference.models import NamedModel


def find(name: str, known: dict[str, Recipe], kind: str) -> Recipe:
    """Return one of several recipes or studies, or the recipe of a file.

    Raises:
        ConfigError: There is none of this name; the nearest one is named.
        MissingInputError: There is no such file.
    """
    if kind == "recipe" and recipe_files.is_file(name):
        return recipe_files.load_recipe(name)[1]
    if name not in known:
        hint = suggestion(name, known) or f" There are: {', '.join(known)}."
        for other, names, command in (("recipe", RECIPES, "run"), ("study", STUDIES, "study")):
            if name in names:
                hint = f" It is a {other}: camelid {command} {name}"
        raise ConfigError(f"There is no {kind} '{name}'.{hint}")
    return known[name]


def read_plan(path: Path, advice: str, *, whole: bool = False) -> Plan:
    """Return the plan that a `recipe.json` describes.

    Args:
        path: The file.
        advice: What to do when it is damaged.
        whole: Whether it must hold everything, so that no default of ours runs unseen.

    Raises:
        ConfigError: As `described`, or something is missing in a file that must be whole.
    """
    known = {**RECIPES, **STUDIES}
    found = read_json(path, advice)
    plan = described(found, lambda name: find(name, known, "recipe"), str(path))
    used, given = flatten(plan.description()), flatten(found)
    missing = [field for field in used if field not in given] if whole else []
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ConfigError(
            f"{path}: {missing[0]} is missing{more}; the file must hold every setting. Write it "
            f"there, such as the default {used[missing[0]]!r}."
        )
    return plan


def plan_of(run: Path) -> Plan:
    """Return the plan of a run directory.

    Raises:
        MissingInputError: There is no run.
        ConfigError: Its recipe does not fit this version of the package.
    """
    name = RunDirectory(run).read_manifest().recipe
    command = f"camelid {'study' if name in STUDIES else 'run'} {name}"
    with explained(run):
        return read_plan(
            run / RECIPE,
            f"Write it anew with `{command} --out {run}` and the options of the run; finished "
            "stages are kept.",
        )


@contextlib.contextmanager
def explained(run: Path) -> Iterator[None]:
    """Say of what cannot be read of a run that another version of the package made it, if so.

    Raises:
        ConfigError: In place of an error of the files, with that reason before it and what to do.
    """
    try:
        yield
    except (ConfigError, CheckpointError, DataError, MissingInputError) as error:
        manifest = RunDirectory(run).read_manifest()
        here = hash_source()
        made = {record.fingerprint.source.partition("+")[0] for record in manifest.stages.values()}
        if not made - {here}:
            raise
        by = ", ".join(sorted(source[:12] for source in made))
        command = "study" if manifest.recipe in STUDIES else "run"
        raise ConfigError(
            f"{run} was made by another version of the package (camelid "
            f"{manifest.camelid_version}, source {by}; this is {__version__}, {here[:12]}): "
            f"{error}{_lacking(run)} Use that version for this run, or make it anew with `camelid "
            f"{command} {manifest.recipe} --out DIR`; its weights are read as they are, such as "
            f"`camelid chat {run}/STAGE/model`."
        ) from error


def _lacking(run: Path) -> str:
    """Return the settings of a recipe that a run's file does not have, as a sentence."""
    try:
        given = read_json(run / RECIPE, "")
        recipe = {**RECIPES, **STUDIES}[given["recipe"]]
        options = {k: v for k, v in given["options"].items() if k in option_types(recipe)}
        used = flatten(make_plan(recipe, options, "option ").description())
        found = flatten(given)
    except (CamelidError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    names = [name.removeprefix("settings.") for name in used if name not in found]
    more = f" and {counted(len(names) - 5, 'more setting')}" if len(names) > 5 else ""
    return f" It lacks {', '.join(names[:5])}{more}." if names else ""


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run directory."""
    return (folder / MANIFEST).is_file()


def find_model(where: str, name: str = "final") -> NamedModel:
    """Find what a user calls RUN, RUN:NAME, or by the path of its weights.

    Args:
        where: Those words.
        name: Which model of a run, where the words name none.

    Raises:
        MissingInputError: There is nothing, or the run has no such model.
        ConfigError: Weights have no models to choose from.
    """
    folder, _, chosen = where.rpartition(":") if not Path(where).exists() else (where, "", "")
    run, path = Path(folder), Path(where)
    if is_run(run):
        if chosen and name != "final":
            raise ConfigError(f"{where} names the model '{chosen}', --model '{name}'; name one.")
        name, path = pick_model(plan_of(run), run, chosen or name)
    elif not path.exists() and (file := packaged_weights(where)):
        return find_model(str(file), name)
    elif not path.exists():
        raise MissingInputError(
            f"There is no run and no model at {where}. Name a run directory (such as runs/pocket, "
            "or runs/pocket:sft for one of its models), a folder of weights, a GGUF file or an "
            "installed package that holds one."
        )
    elif name != "final":
        raise ConfigError(f"{where} is no run, so it has no model '{name}'. Leave the name out.")
    else:
        run, name = Path(), path.stem if path.is_file() else path.absolute().name
    # Only now: it loads torch.
    from camelid.inference.models import NamedModel

    return NamedModel(name=name, path=path, run=run if is_run(run) else None)


def _model_of_run(where: str) -> Path | None:
    """Return the folder of what a user calls RUN or RUN:NAME; None where that names no run."""
    folder, _, chosen = (where, "", "") if Path(where).exists() else where.rpartition(":")
    run = Path(folder)
    return pick_model(plan_of(run), run, chosen or "final")[1] if folder and is_run(run) else None


def pick_model(plan: Plan, run: Path, name: str) -> tuple[str, Path]:
    """Return name and folder of one model of a run; `final` is the latest there is, under its name.

    Raises:
        MissingInputError: The run has no such model yet; the message lists what it has. Or its
            stage has finished and its folder is gone.
    """
    finished = RunDirectory(run).read_manifest().stages
    places = {known: folder.at(run) for known, folder in plan.models.items()}
    made = {n: place for n, place in places.items() if place.exists or place.stage in finished}
    stages = {place.stage: place for place in made.values()}
    if not made:
        raise MissingInputError(f"{run}: no model yet. Make one with `camelid run`.")
    newest = list(made)[-1]
    if name == "final" and name not in made:
        print(f"{run}: no final model yet; this is {newest}, the newest.", file=sys.stderr)
        name = newest
    if name not in made and name not in stages:
        hint = suggestion(name, [*made, *stages])
        raise MissingInputError(f"{run}: no model '{name}'.{hint} There are: {', '.join(made)}.")
    place = made.get(name) or stages[name]
    if not place.exists:
        raise place.missing()
    return name, place.path


def with_choices(
    recipe: Recipe, known: argparse.Namespace, rest: Sequence[str], name: str = ""
) -> Plan:
    """Return the plan of a recipe with the options and settings of a command.

    Args:
        recipe: A recipe or study.
        known: The command's own options.
        rest: Its other words.
        name: Of a recipe's file, how it is found again.

    Raises:
        ConfigError: An option or setting is unknown (the nearest is named) or does not fit.
    """
    kinds = option_types(recipe)
    options, words = {}, []
    for option, given in group_words(rest).items():
        if option not in kinds:
            words += [f"--{option}", *given] if len(given) > 1 else [f"--{option}={given[0]}"]
        elif option == "weights" and len(given) == 1 and (found := _model_of_run(given[0])):
            options[option] = str(found.resolve())
        elif Path in typing.get_args(kinds[option]) and len(given) == 1:
            if not Path(given[0]).exists():
                raise ConfigError(f"--{option}: {given[0]} does not exist. Name another path.")
            # Absolute, as the recipe of the run may be read from another folder.
            options[option] = str(Path(given[0]).resolve())
        else:
            options[option] = json_of(given, kinds[option])
    plan = make_plan(recipe, options, "--")
    plan.recipe = name or plan.name
    return changed(plan, known, words)


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
    from camelid.allocator import keep_freed_memory

    # Only the command line may set the allocator, and before torch takes its first memory.
    keep_freed_memory()
    for what, why in plan.left_out.items():
        print(f"Left out: {what} ({why}).")
    execution = runs.execution(plan, root)
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
        if plan.remark:
            print(f"\n{plan.remark}")
        print(f"\nReport: {root / REPORT / stage.outputs.page.name}")
        if "final" in plan.models and not plan.remark:
            print(f"Next:   camelid chat {root}")


def in_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as lines with their cells in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([c.ljust(width) for c, width in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(row).rstrip() for row in cells]


def print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    print("\n".join(in_columns(rows)))
