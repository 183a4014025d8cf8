"""`camelid show`: every setting with its help text, range and the paper's value, stage by stage."""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import re
import sys
import textwrap
import typing
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from camelid.cli import plans, recipe_files
from camelid.errors import ConfigError
from camelid.options import option_name
from camelid.plan import Plan, make_plan, option_types
from camelid.recipes import RECIPES
from camelid.settings import Range, declared, suggestion, to_json
from camelid.studies.known import STUDIES


class Setting(NamedTuple):
    """One line of what is shown."""

    group: str
    name: str
    used: str
    paper: str
    range: str
    help: str

    @property
    def changed(self) -> bool:
        """Whether it differs from what the paper says."""
        if not self.paper:
            return False
        # Sizes of models in brackets, thousands with commas, several values with commas.
        said = re.sub(r"(?<=\d),(?=\d{3})", "", re.sub(r" *\([^()]*\)", "", self.paper))
        # The first word: `5 steps`, `200 to 400`, `small 1`.
        return not any(_same(self.used, value.split()[0]) for value in said.split(","))


def _same(used: str, said: str) -> bool:
    try:
        return float(used) == float(said)
    except ValueError:
        return used == said


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Print the settings of a recipe, study or run."""
    names = {**RECIPES, **STUDIES}
    if known.what in names or recipe_files.is_file(known.what):
        plan = make_plan(plans.find(known.what, names, "recipe"), {}, "")
        plan.recipe = known.what
    elif Path(known.what).exists():
        plan = plans.plan_of(Path(known.what))
    else:
        hint = suggestion(known.what, names)
        raise ConfigError(f"'{known.what}' is neither a recipe nor a run directory.{hint}")
    found = [setting for setting in settings(plan) if setting.changed or not known.changed]
    for group, members in itertools.groupby(found, lambda setting: setting.group):
        print(f"\n{group}")
        shown = list(members)
        lines = plans.in_columns([(s.name, s.used, s.paper and f"paper {s.paper}") for s in shown])
        for setting, line in zip(shown, lines, strict=True):
            print(line)
            text = " ".join(filter(None, [setting.help, setting.range and f"[{setting.range}]"]))
            if text:
                print(textwrap.fill(text, 96, initial_indent="    ", subsequent_indent="    "))


def settings(plan: Plan) -> Iterator[Setting]:
    """Yield every setting, those of the recipe and the run first.

    Stages of one kind with equal settings, as those of all rounds, are shown once.
    """
    known = {**RECIPES, **STUDIES}
    own = recipe_files.is_file(plan.recipe)
    recipe = plans.find(plan.recipe, known, "recipe") if own else known.get(plan.name)
    kinds = option_types(recipe) if recipe else {}
    for name, value in plan.options.items():
        text = _argument(inspect.getdoc(recipe) or "", name)
        limit = limit_of(kinds.get(name))
        yield Setting(f"options of {plan.name}", option_name(name), str(value), "", limit, text)
    yield from _leaves(plan.settings, "run: what decides it beside its stages", "", {})
    for kind in {stage.kind.name: stage.kind for stage in plan.stages}.values():
        stages = [stage for stage in plan.stages if stage.kind.name == kind.name]
        alike = all(stage.config == stages[0].config for stage in stages)
        title = (sys.modules[kind.outputs.__module__].__doc__ or "").strip().splitlines()[:1]
        for stage in stages[:1] if alike else stages:
            name = kind.name if alike else stage.dotted
            group = ": ".join([name, *title])
            yield from _leaves(stage.config, group, f"{name}.", kind.paper)


def _leaves(config: Any, group: str, prefix: str, paper: Any, above: str = "") -> Iterator[Setting]:
    kind: Any = type(config)
    texts = field_texts(kind)
    for field in fields(config):
        value, path = getattr(config, field.name), f"{above}{field.name}"
        if is_dataclass(value):
            yield from _leaves(value, group, prefix, paper, f"{path}.")
            continue
        said = paper.get(path)
        yield Setting(
            group,
            option_name(f"{prefix}{path}"),
            str(to_json(value)),
            f"{said.value} ({said.section})" if said else "",
            limit_of(declared(kind)[field.name]),
            texts.get(field.name, ""),
        )


def limit_of(kind: Any) -> str:
    """Return what a setting of a type may hold, as far as it has a range or choices."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(map(str, arguments))
    if typing.get_origin(kind) is typing.Annotated:
        limits = [str(limit) for limit in arguments[1:] if isinstance(limit, Range)]
        listed = typing.get_origin(arguments[0]) is tuple
        if listed:
            each = limit_of(typing.get_args(arguments[0])[0])
            return f"{limits[0]} items, each {each}"
        return limits[0]
    return next((found for part in arguments if (found := limit_of(part))), "")


@cache
def field_texts(cls: Any) -> dict[str, str]:
    """Return the help text under each field of a dataclass, on one line."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    body = getattr(node, "body", [])
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _argument(doc: str, name: str) -> str:
    """Return what a docstring says of one argument."""
    found = re.search(rf"^    {name}: (.*(?:\n        .*)*)", doc, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""
