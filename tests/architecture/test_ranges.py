"""Every number that a user can set has a range, and no settings can be made outside it."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any

import pytest

from camelid.errors import ConfigError
from camelid.plan import make_plan, option_types
from camelid.recipes import RECIPES
from camelid.run.stage import RunSettings
from camelid.settings import Range, declared
from camelid.studies.known import STUDIES

KNOWN = {**RECIPES, **STUDIES}
PLANS = [make() for make in KNOWN.values()]


def parts(config: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the settings and all groups of settings in them, each with its name."""
    yield name, config
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from parts(value, f"{name}.{field.name}")


GROUPS: dict[str, Any] = {"run": RunSettings()}
for plan in PLANS:
    for stage in plan.stages:
        for name, part in parts(stage.config, stage.kind.name):
            GROUPS.setdefault(name, part)
SETTINGS = [
    (f"{name}.{field.name}", group, field.name, declared(type(group))[field.name])
    for name, group in GROUPS.items()
    for field in fields(group)
]


def bare(kind: Any, limited: bool = False) -> bool:
    """Tell whether a type holds a number or a list without a range."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        limited = any(isinstance(limit, Range) for limit in arguments[1:])
        return bare(arguments[0], limited)
    if kind in (int, float):
        return not limited
    if origin is tuple:
        return not limited or any(bare(item) for item in arguments if item is not Ellipsis)
    if origin in (types.UnionType, typing.Union):
        return any(bare(member, limited) for member in arguments)
    return False


def test_the_check_sees_numbers_without_a_range():
    assert bare(int)
    assert bare(float | None)
    assert bare(tuple[float, ...])
    assert bare(Annotated[tuple[float, ...], Range(1, 2)])
    assert not bare(Annotated[tuple[Annotated[float, Range(0, 1)], ...], Range(1, 2)])
    assert not bare(str | None)


def test_every_number_has_a_range():
    assert len(SETTINGS) > 150
    assert not [name for name, _, _, kind in SETTINGS if bare(kind)]
    options = {
        f"{name} --{option}": kind
        for name, make in KNOWN.items()
        for option, kind in option_types(make).items()
    }
    assert not [name for name, kind in options.items() if bare(kind)]


def limit_of(kind: Any) -> Range | None:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return next((found for k in typing.get_args(kind) if (found := limit_of(k))), None)
    return next((m for m in getattr(kind, "__metadata__", ()) if isinstance(m, Range)), None)


@pytest.mark.parametrize(("name", "group", "field", "kind"), SETTINGS, ids=lambda x: str(x)[:40])
def test_case_unchecked_settings_cannot_be_made(name, group, field, kind):
    limit = limit_of(kind)
    if limit is None:
        return
    value = getattr(group, field)
    if isinstance(value, tuple):
        texts = "str" in str(kind) or "Literal" in str(kind)
        item = value[0] if value else ("x" if texts else 1.0)
        wrong: list[Any] = [(item,) * (int(limit.most) + 1)]
        wrong += [] if texts else [(math.nan,), (-1.0,), (10**9,)]
        wrong += [()] if limit.least else []
    else:
        wrong = [limit.least - 1, limit.most + 1, math.nan, math.inf, -math.inf]
        wrong += [limit.least] if limit.above else []
    for bad in wrong:
        with pytest.raises(ConfigError, match=rf"^{field}.* but must (be|have) "):
            replace(group, **{field: bad})


@pytest.mark.parametrize("name", KNOWN)
def test_recipes_keep_their_own_rules(name):
    make_plan(KNOWN[name], {}, "").check()
