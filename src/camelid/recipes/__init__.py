"""Whole runs as typed functions that return a plan; `camelid run` knows them by name."""

from camelid.plan import Recipe
from camelid.recipes.own import own
from camelid.recipes.pocket import pocket, smoke
from camelid.recipes.smollm2 import smollm2

RECIPES: dict[str, Recipe] = {"smoke": smoke, "pocket": pocket, "smollm2": smollm2, "own": own}
