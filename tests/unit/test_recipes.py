"""Every recipe builds, survives JSON, and its stages read only what earlier stages write."""

from __future__ import annotations

import pytest
from camelid.paper import paper_values

from camelid.plan import Recipe, stages
from camelid.recipes import RECIPES
from camelid.settings import flatten, from_json, to_json


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_round_trip_and_wiring(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert from_json(to_json(recipe), Recipe) == recipe
    done: list[str] = []
    for stage in stages(recipe):
        for path in stage.inputs:
            assert any(path == d or path.startswith(f"{d}/") for d in done), (stage.name, path)
        assert stage.name not in done
        done.append(stage.name)
    assert done[-3:] == ["ppo", "evaluating", "reporting"]


def test_every_paper_value_names_a_field() -> None:
    fields = set().union(*(flatten(make()) for make in RECIPES.values()))
    assert set(paper_values()) <= fields
