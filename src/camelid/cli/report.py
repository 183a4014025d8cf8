"""`camelid report`: the report of a run, made again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from camelid.cli import plans, seeds
from camelid.errors import ConfigError


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Make the report again from what the run holds, or that over the seeds of several."""
    if seeds.folders(known.run):
        seeds.report_seeds(known.run)
        return
    plan = plans.plan_of(known.run)
    shows = [stage.name for stage in plan.stages if stage.kind.shows]
    if not shows:
        raise ConfigError(f"{known.run}: recipe {plan.name} has no report.")
    with plans.explained(known.run):
        plans.run_plan(plan, known.run, only=shows[-1])
