"""`camelid compare`: two runs side by side."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from camelid.cli import plans, seeds
from camelid.errors import ConfigError, MissingInputError, counted
from camelid.run.finished import FinishedRun
from camelid.settings import flatten, to_json

SHOWN_SETTINGS = 10
"""More are counted."""


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Print both runs' figures with the intervals of their differences."""
    first, second = known.run_a, known.run_b
    for run in (first, second):
        if folders := seeds.folders(run):
            one = next(iter(folders.values()))
            raise ConfigError(f"{run} holds runs of several seeds; name one, such as {one}.")
    opened = [(run, plans.plan_of(run)) for run in (first, second)]
    if first.resolve() == second.resolve():
        raise ConfigError(f"{first} and {second} are the same run; name two.")
    from camelid.report.compare import Side, compare, rows
    from camelid.stages.reporting import REPORTING

    sides = []
    for run, plan in opened:
        with plans.explained(run):
            finished = FinishedRun(run, plan.stages)
            reports = finished.of(REPORTING).stages
            if not reports:
                raise MissingInputError(
                    f"{run} has no report to take figures from. Make it with `camelid report "
                    f"{run}`."
                )
            values = [
                value
                for kind in {stage.kind.name: stage.kind for stage in plan.stages}.values()
                if (found := finished.of(kind)).stages
                for value in kind.reporter().find_values(found)
            ]
            sides.append(
                Side(
                    run=str(run),
                    recipe=plan.name,
                    seed=finished.manifest.seed,
                    measures={m.key: m for m in reports[-1].outputs.summary.read()},
                    values={value.key: value for value in values},
                    settings=flatten(plan.description()),
                )
            )
    both = compare(*sides)
    if known.json:
        print(json.dumps(to_json(both), indent=2, ensure_ascii=False))
        return
    for letter, side in zip("AB", sides, strict=True):
        print(f"{letter}: {side.run} ({side.recipe}, seed {side.seed})")
    for name, (a, b) in list(both.settings.items())[:SHOWN_SETTINGS]:
        print(f"   {name}: {a} | {b}")
    if len(both.settings) > SHOWN_SETTINGS:
        print(f"   and {counted(len(both.settings) - SHOWN_SETTINGS, 'more setting')} (--json)")
    print()
    shown = rows(both, every=known.all)
    plans.print_rows(shown)
    hidden = len(both.figures) - (len(shown) - 1)
    for letter, side, keys in zip("AB", sides, (both.only_a, both.only_b), strict=True):
        if keys:
            print(f"\nOnly {letter} has:")
            print("\n".join(f"   {side.measures[key].name}" for key in keys))
    print(
        "\nIntervals: 95 %. They cover the choice of prompts, not that of the seed: the same "
        "recipe with two seeds differs too."
        + (f" {counted(hidden, 'more figure')}: --all." if hidden else "")
    )
