"""One recipe with several seeds: a run directory a seed in one folder, and a report over them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from camelid.cli import plans
from camelid.errors import ConfigError, MissingInputError, TrainingError
from camelid.plan import Plan
from camelid.run.directory import RunDirectory
from camelid.run.files import write_json
from camelid.run.finished import FinishedRun
from camelid.run.item import Measure
from camelid.run.runner import REPORT

PREFIX = "seed"


def run_seeds(
    plan: Plan, root: Path, number: int, *, jobs: int, redo: str | None, until: str | None
) -> None:
    """Run a plan once a seed, `jobs` of them at once, and report over them.

    What is finished is kept, so that the same command with more seeds adds them.

    Raises:
        ConfigError: The folder is a run of its own.
        TrainingError: Seeds that run at once have failed; the others have gone on to their end.
    """
    if (root / "run.json").exists():
        raise ConfigError(
            f"{root} is a run with one seed; choose another folder for several with --out."
        )
    seeds = range(plan.settings.seed, plan.settings.seed + number)
    if jobs > 1:
        from camelid.runtime import core_count

        threads = plan.settings.threads or max(1, core_count() // jobs)
        plan.settings = dataclasses.replace(plan.settings, threads=threads)
        words = [f"--{key}={stage}" for key, stage in (("redo", redo), ("until", until)) if stage]
        with tempfile.TemporaryDirectory() as recipes:
            commands = _commands(plan, root, Path(recipes), seeds, words)
            failed = run_at_once(dict(zip(seeds, commands, strict=True)), jobs)
        if failed:
            raise TrainingError(
                f"{root}: failed with seed {', '.join(map(str, failed))}; the lines above say why. "
                "What is finished is kept, and the same command goes on from there."
            )
    else:
        for seed in seeds:
            plan.settings = dataclasses.replace(plan.settings, seed=seed)
            print(f"\nSeed {seed} ({seed - seeds[0] + 1} of {number})")
            plans.run_plan(plan, root / f"{PREFIX}{seed}", redo=redo, until=until)
    if until is None:
        report_seeds(root)


def _commands(
    plan: Plan, root: Path, recipes: Path, seeds: Sequence[int], words: Sequence[str]
) -> Iterator[list[str]]:
    """Yield the command that runs each seed; its recipe is written into `recipes`."""
    for seed in seeds:
        plan.settings = dataclasses.replace(plan.settings, seed=seed)
        recipe = recipes / f"{PREFIX}{seed}.json"
        write_json(recipe, plan.description())
        start = [sys.executable, "-m", "camelid", "run", "--recipe", str(recipe)]
        yield [*start, "--out", str(root / f"{PREFIX}{seed}"), *words]


def run_at_once(commands: Mapping[int, Sequence[str]], jobs: int) -> list[int]:
    """Run each seed's command in a process of its own, its lines marked with the seed.

    Returns:
        The seeds whose command failed; it does not keep the others from their end.
    """
    children: list[subprocess.Popen[str]] = []

    def run_one(seed: int) -> int:
        # A group of its own, so that Ctrl-C reaches it once: from here.
        with subprocess.Popen(
            commands[seed],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        ) as child:
            children.append(child)
            for line in child.stdout or ():
                print(f"seed {seed}: {line}", end="", flush=True)
        return child.returncode

    with ThreadPoolExecutor(jobs) as pool:
        try:
            codes = dict(zip(commands, pool.map(run_one, commands), strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                if child.poll() is None:
                    # Not SIGINT, which a child of a background process ignores.
                    child.terminate()
            raise
    return [seed for seed, code in codes.items() if code]


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
