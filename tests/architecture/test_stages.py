"""What a stage says of itself is true, and nothing else knows its files."""

from __future__ import annotations

import ast
import re
import typing
from collections import Counter
from pathlib import Path

import pytest

from camelid.recipes import RECIPES
from camelid.run.item import StageReport
from camelid.run.stage import StageContext, StageKind
from camelid.studies.known import STUDIES

SOURCE = Path(__file__).resolve().parents[2] / "src" / "camelid"
PLANS = [make() for make in {**RECIPES, **STUDIES}.values()]
KINDS: dict[str, StageKind] = {
    stage.kind.name: stage.kind for plan in PLANS for stage in plan.stages
}


ROOMS = ("assessment", "sources", "stages", "studies")
"""Where stages live: each a module, or a package where it is large."""


def test_every_stage_is_part_of_a_recipe_or_study():
    declaring = {
        path.parent.name if path.stem == "__init__" else path.stem
        for room in ROOMS
        for path in (SOURCE / room).rglob("*.py")
        if any(
            isinstance(node, ast.Call) and ast.unparse(node.func) == "StageKind"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    }
    assert declaring == set(KINDS)


def is_own(path: Path, name: str) -> bool:
    """Tell whether a file belongs to a stage."""
    parts = path.relative_to(SOURCE).parts
    return parts[0] in ROOMS and Path(parts[1]).stem == name


@pytest.mark.parametrize("name", KINDS)
def test_a_stage_runs_what_it_declares(name):
    kind = KINDS[name]
    hints = typing.get_type_hints(kind.runner())
    declared = [kind.config, kind.inputs, kind.outputs, StageContext, kind.result]
    assert list(hints.values()) == declared


@pytest.mark.parametrize("name", KINDS)
def test_a_report_is_a_report(name):
    assert isinstance(KINDS[name].reporter(), StageReport)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_items_of_a_page_have_names_of_their_own(plan):
    kinds = {stage.kind.name: stage.kind for stage in plan.stages}.values()
    anchors = Counter(item.anchor for kind in kinds for item in kind.reporter().items)
    assert not {anchor for anchor, count in anchors.items() if count > 1}


def strings(path: Path) -> list[tuple[int, str]]:
    """Return line and text of all string literals that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in documentation
    ]


def names_file(text: str, file: str) -> bool:
    """Tell whether a text names a file, and not one whose name only ends alike."""
    return bool(re.search(rf"(?<!\w){re.escape(file)}", text))


@pytest.mark.parametrize("name", KINDS)
def test_no_path_of_a_stage_stands_outside_it(name):
    files = {
        made.name for made in KINDS[name].outputs(name).places() if Path(made.name).suffix != ""
    }
    shared = {
        made.name
        for kind in KINDS.values()
        if kind.name != name
        for made in kind.outputs("").places()
    }
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        own = is_own(path, name)
        stages = path.relative_to(SOURCE).parts[0] in ROOMS
        # Several stages may use one name, each for a file of its own.
        names = files - shared if stages else files
        found += [
            f"{path.relative_to(SOURCE)}:{line}: {text!r}"
            for line, text in strings(path)
            if not own and (any(names_file(text, file) for file in names) or f"{name}/" in text)
        ]
    assert not found
