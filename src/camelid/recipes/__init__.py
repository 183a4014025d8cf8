"""Whole runs as typed functions; `RECIPES` is what `camelid run` knows by name."""

from collections.abc import Callable

from camelid.plan import Recipe
from camelid.recipes.pocket import pocket, smoke
from camelid.recipes.smollm2 import smollm2

RECIPES: dict[str, Callable[[], Recipe]] = {"smoke": smoke, "pocket": pocket, "smollm2": smollm2}
