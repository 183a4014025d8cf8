"""`camelid show`: every setting beside the paper's value."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from camelid.cli import plans
from camelid.errors import ConfigError
from camelid.plan import Plan, make_plan
from camelid.recipes import RECIPES
from camelid.settings import flatten, suggestion
from camelid.studies.known import STUDIES


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Print the settings of a recipe, study or run."""
    names = {**RECIPES, **STUDIES}
    if known.what in names:
        plan = make_plan(names[known.what], {}, "")
    elif Path(known.what).exists():
        plan = plans.plan_of(Path(known.what))
    else:
        hint = suggestion(known.what, names)
        raise ConfigError(f"'{known.what}' is neither a recipe nor a run directory.{hint}")
    plans.print_rows([("setting", "used", "paper"), *settings(plan)])


def settings(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and the paper's value of every setting.

    Stages of one kind with equal settings, as those of all rounds, are shown once.
    """
    for name, value in {**plan.options, **flatten(plan.settings)}.items():
        yield name, str(value), ""
    for kind in {stage.kind.name: stage.kind for stage in plan.stages}.values():
        stages = [stage for stage in plan.stages if stage.kind.name == kind.name]
        alike = all(stage.config == stages[0].config for stage in stages)
        for stage in stages[:1] if alike else stages:
            name = kind.name if alike else stage.dotted
            for field, value in flatten(stage.config).items() if fields(stage.config) else ():
                paper = kind.paper.get(field)
                shown = f"{paper.value} ({paper.section})" if paper else ""
                yield f"{name}.{field}", str(value), shown
