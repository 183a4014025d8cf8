"""Runs from programs: a recipe's plan executed in a folder, as `camelid run` does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid.plan import Plan
from camelid.recipes.own import own
from camelid.run.directory import RunDirectory
from camelid.run.progress import RunProgress
from camelid.run.runner import REPORT, Execution, check_stage
from camelid.stages.reporting import Outputs

__all__ = ["Plan", "Run", "execution", "own", "run_plan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a run has made."""

    folder: Path
    models: dict[str, Path]
    """Name to the folder of each model, in the order of training; `load_model` reads them."""
    report: Path
    """Its page; there once the run has reached its end."""


def execution(plan: Plan, folder: Path) -> Execution:
    """Return what executes a plan in a run directory."""
    from rich.console import Console

    from camelid.runtime import open_runtime

    return Execution(
        stages=plan.stages,
        directory=RunDirectory(folder),
        name=plan.name,
        recipe=plan.description(),
        settings=plan.settings,
        runtime=open_runtime(plan.settings.precision, plan.settings.threads),
        progress=RunProgress(Console()),
    )


def run_plan(
    plan: Plan,
    folder: str | Path,
    *,
    settings: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    until: str | None = None,
) -> Run:
    """Execute a plan; in a folder where it was stopped, go on.

    Args:
        plan: Of a recipe, such as `own`, or made by hand.
        folder: Run directory.
        settings: Of its stages, as words of the command: `["--ppo.iterations", "10"]`.
        seed: Of training and sampling.
        threads: CPU threads; None for the machine's cores.
        until: Stage to stop after.

    Raises:
        ConfigError: A setting is unknown or does not fit, or the folder holds another run.
        CamelidError: A stage cannot do its work; what is finished is kept.
    """
    plan.settings = dataclasses.replace(plan.settings, seed=seed, threads=threads)
    plan.override(settings)
    plan.check()
    check_stage(until, [stage.name for stage in plan.stages])
    root = Path(folder)
    execution(plan, root).perform_all(until=until)
    places = {name: place.at(root) for name, place in plan.models.items()}
    return Run(
        folder=root,
        models={name: place.path for name, place in places.items() if place.exists},
        report=root / REPORT / Outputs("", root).page.name,
    )
