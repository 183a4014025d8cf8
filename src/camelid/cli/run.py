"""`camelid run`: a recipe by name, from a user's file, or as a run has written it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from camelid.cli import plans, recipe_files, seeds
from camelid.errors import ConfigError
from camelid.recipes import RECIPES


def call(known: argparse.Namespace, rest: Sequence[str]) -> None:
    """Run a recipe; go on where an earlier run stopped."""
    if (known.recipe is None) == (known.file is None):
        raise ConfigError(
            "Name one recipe: `camelid run NAME` or `camelid run --recipe FILE`. "
            "`camelid list` shows the names."
        )
    if known.file is not None:
        described = plans.read_plan(
            known.file, "Name a recipe.json, as every run holds one.", whole=True
        )
        plan = plans.changed(described, known, rest)
    else:
        own = recipe_files.is_file(known.recipe)
        name = recipe_files.load_recipe(known.recipe)[0] if own else ""
        recipe = plans.find(known.recipe, RECIPES, "recipe")
        plan = plans.with_choices(recipe, known, rest, name)
    root = known.out or Path("runs") / plan.name
    if known.seeds is not None:
        jobs = known.jobs or 1
        seeds.run_seeds(plan, root, known.seeds, jobs=jobs, redo=known.redo, until=known.until)
    elif known.jobs is not None:
        raise ConfigError("--jobs is how many of several seeds run at once; it needs --seeds N.")
    else:
        plans.run_plan(plan, root, redo=known.redo, until=known.until)
