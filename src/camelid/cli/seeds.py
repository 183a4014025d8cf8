"""One recipe with several seeds: a run directory a seed in one folder, and a report over them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from camelid.cli import plans
from camelid.errors import ConfigError, MissingInputError
from camelid.plan import Plan
from camelid.run.directory import RunDirectory
from camelid.run.finished import FinishedRun
from camelid.run.item import Measure
from camelid.run.runner import REPORT

PREFIX = "seed"


def run_seeds(plan: Plan, root: Path, number: int, *, redo: str | None, until: str | None) -> None:
    """Run a plan once a seed, one after the other, and report over them.

    What is finished is kept, so that the same command with more seeds adds them.

    Raises:
        ConfigError: The folder is a run of its own.
    """
    if (root / "run.json").exists():
        raise ConfigError(
            f"{root} is a run with one seed; choose another folder for several with --out."
        )
    first = plan.settings.seed
    for seed in range(first, first + number):
        plan.settings = dataclasses.replace(plan.settings, seed=seed)
        print(f"\nSeed {seed} ({seed - first + 1} of {number})")
        plans.run_plan(plan, root / f"{PREFIX}{seed}", redo=redo, until=until)
    if until is None:
        report_seeds(root)


def folders(root: Path) -> dict[int, Path]:
    """Return the runs in a folder by their seeds; empty where it is a run itself, or none."""
    found = {path.parent for path in root.glob(f"{PREFIX}*/run.json")}
    known = {RunDirectory(path).read_manifest().seed: path for path in found}
    return dict(sorted(known.items()))


def report_seeds(root: Path) -> None:
    """Write and print the report over the seeds that have finished theirs.

    Raises:
        MissingInputError: No run has a report yet.
    """
    from camelid.report.page import headlines
    from camelid.report.seeds import PAGE, write_seeds
    from camelid.stages.reporting import REPORTING

    runs: dict[int, tuple[Measure, ...]] = {}
    links: dict[int, str] = {}
    name = ""
    for seed, folder in folders(root).items():
        plan = plans.plan_of(folder)
        for stage in FinishedRun(folder, plan.stages).of(REPORTING).stages:
            runs[seed] = stage.outputs.summary.read()
            links[seed] = f"../{folder.name}/{REPORT}/{stage.outputs.page.name}"
            name = plan.name
    if not runs:
        raise MissingInputError(f"{root}: no run of a seed has finished its report yet.")
    found = write_seeds(name, runs, links, root / REPORT)
    print(f"\nMeans over the seeds {', '.join(map(str, runs))}:")
    plans.print_rows(headlines([entry.measure for entry in found]))
    print(f"\nReport: {root / REPORT / PAGE}")
