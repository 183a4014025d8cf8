"""Command lines and recipe files with damaged settings (see `tests/helpers/fuzzing.py`).

What is taken shows in the description of the plan: no option is passed over.
"""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from fuzzing import JUNK, Targets, damaged, try_all

from camelid.cli import plans
from camelid.cli.parser import parse
from camelid.errors import CamelidError
from camelid.plan import Plan
from camelid.recipes import RECIPES
from camelid.settings import flatten
from camelid.studies.known import STUDIES

target = Targets()
KNOWN = {**RECIPES, **STUDIES}
NEAR: list[Any] = [0, 1, 2, 7, 1000, 0.5, -1, 1.5, 10**12, True, None, [1, 2], "linear", "cosine"]
RUN = ["seed", "threads", "precision", "watts", "seeds", "jobs", "until", "redo", "rounds", "out"]


@functools.cache
def usual(recipe: str) -> dict[str, Any]:
    """Return every setting of a recipe, by its dotted name in the description."""
    return flatten(KNOWN[recipe]().description())


def plan_from(words: list[str]) -> Plan:
    """Return the plan of a command line, as `camelid run` and `study` make it."""
    known, rest = parse(words)
    name = known.recipe if known.command == "run" else known.study
    kinds = RECIPES if known.command == "run" else STUDIES
    return plans.with_choices(plans.find(str(name), kinds, known.command), known, rest)


def mutated(chance: random.Random, name: str) -> str:
    place = chance.randrange(len(name))
    kind = chance.randrange(6)
    if kind == 0:
        return name[:place] + name[place + 1 :]
    if kind == 1:
        return name[:place] + str(chance.choice([*JUNK[:20], ".", "-", "x", "="])) + name[place:]
    if kind == 2:
        return name.rpartition(".")[0] or name
    if kind == 3:
        return f"{name}.{chance.choice(['x', 'learning-rate', ''])}"
    return name.upper() if kind == 4 else name[::-1]


def spelled(chance: random.Random, value: Any) -> str:
    """Return a value as a word of a command line, which holds no NUL."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\0", "") if chance.random() < 0.9 else f"{text} {text}"


@target(9)
def overrides(chance: random.Random, folder: Path) -> None:
    """Options of the command line: taken as they are, or refused by their name."""
    recipe = chance.choice(list(KNOWN))
    fields = [name for name in usual(recipe) if name.startswith("settings.")]
    words, given = ["run" if recipe in RECIPES else "study", recipe], {}
    for _ in range(chance.choice([1, 1, 2])):
        field = chance.choice(fields)
        name = field.removeprefix("settings.").replace("/", ".").replace("_", "-")
        if chance.random() < 0.25:
            name = mutated(chance, name)
        elif chance.random() < 0.15:
            name = chance.choice(RUN)
        pool = [usual(recipe)[field], *NEAR] if chance.random() < 0.6 else JUNK
        value = spelled(chance, chance.choice(pool))
        if chance.random() < 0.5:
            words.append(f"--{name}={value}")
        else:
            words += [f"--{name}", *([value] if chance.random() < 0.95 else [])]
        given[f"--{name}"] = field
    said = None
    try:
        plan = plan_from(words)
    except CamelidError as error:
        said = str(error)
    if said is not None:
        names = [word.partition("=")[0][:20] for word in words[2:]]
        names += [name.rpartition(".")[2].replace("-", "_") for name in given]
        assert any(name in said for name in names), (words, said)
        return
    now = flatten(plan.description())
    for name, field in given.items():
        option = name.removeprefix("--").replace("-", "_")
        if field.removeprefix("settings.").replace("/", ".") != option:
            continue
        [word] = [
            w.partition("=")[2] if "=" in w else words[i + 1]
            for i, w in enumerate(words) if w == name or w.startswith(f"{name}=")
        ]  # fmt: skip
        same = json.dumps(now.get(field)) == json.dumps(usual(recipe)[field])
        try:
            meant = json.loads(word)
        except (ValueError, RecursionError):
            meant = {"True": True, "False": False, "None": None, "none": None}.get(word, word)
        assert not same or meant in (usual(recipe)[field], [usual(recipe)[field]]), (name, word)
        assert field in now or not same, name


@target(6)
def recipe_files(chance: random.Random, folder: Path) -> None:
    """Recipe files: the plan that they describe holds what stands in them and nothing else."""
    name = chance.choice(list(KNOWN))
    raw = json.dumps(KNOWN[name]().description(), indent=1).encode()
    path = folder / "recipe.json"
    path.write_bytes(damaged(chance, path.name, raw))
    whole = chance.random() < 0.7
    plan = plans.read_plan(path, "Write it anew.", whole=whole)
    now, given = flatten(plan.description()), flatten(json.loads(path.read_bytes()))
    assert not whole or now.keys() == given.keys()
    for field, value in given.items():
        # Where not all must be there, a group may be empty.
        assert value == {} or now[field] == value, (field, value, now.get(field))


@pytest.mark.parametrize("name", target)
@pytest.mark.filterwarnings("ignore")
def test_nothing_but_a_camelid_error(name, tmp_path, request):
    try_all(name, target, tmp_path, request.config.getoption("fuzz"), lambda folder: [str(folder)])
