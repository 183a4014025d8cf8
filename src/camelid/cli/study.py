"""`camelid study`: variants of one model, trained alike and compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from camelid.cli import plans
from camelid.studies.known import STUDIES


def call(known: argparse.Namespace, rest: Sequence[str]) -> None:
    """Run a study."""
    plan = plans.with_choices(plans.find(known.study, STUDIES, "study"), known, rest)
    root = known.out or Path("runs") / f"study-{plan.name}"
    plans.run_plan(plan, root, redo=known.redo, until=known.until)
