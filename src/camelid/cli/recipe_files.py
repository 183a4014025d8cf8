"""Recipes that users wrote: a Python file with a function that returns a `Plan`."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from camelid.errors import CamelidError, ConfigError, MissingInputError
from camelid.plan import Plan, Recipe

ENDING = ".py"


def is_file(word: str) -> bool:
    """Tell whether a word names a recipe's file, `FILE.py` or `FILE.py:FUNCTION`."""
    return word.rpartition(":")[0].endswith(ENDING) or word.endswith(ENDING)


def load_recipe(word: str) -> tuple[str, Recipe]:
    """Run a file and return the recipe in it.

    Args:
        word: `FILE.py`, or `FILE.py:FUNCTION` where it holds several.

    Returns:
        What a `recipe.json` calls it (path and function), and the function.

    Raises:
        MissingInputError: There is no such file.
        ConfigError: It cannot be run (the line is named), or does not hold one such function.
    """
    name, _, function = (word, "", "") if word.endswith(ENDING) else word.rpartition(":")
    path = Path(name).resolve()
    if not path.is_file():
        raise MissingInputError(
            f"{name}: no such recipe file. Name another, or put it back: a run needs the file that "
            "it was made by."
        )
    module = _run(path)
    found = {
        name: member
        for name, member in vars(module).items()
        if inspect.isfunction(member)
        and member.__module__ == module.__name__
        and not name.startswith("_")
        and _returns_plan(member)
    }
    if not found or (function and function not in found):
        wanted = f"function '{function}'" if function else "function"
        raise ConfigError(
            f"{path}: holds no {wanted} that is declared to return a Plan (`-> Plan`); write one."
        )
    if len(found) > 1 and not function:
        names = ", ".join(found)
        raise ConfigError(f"{path}: holds several recipes ({names}). Name one: {name}:FUNCTION.")
    chosen = function or next(iter(found))
    return f"{path}:{chosen}", _watched(found[chosen], path)


def _returns_plan(function: object) -> bool:
    try:
        return typing.get_type_hints(function).get("return") is Plan
    except NameError:
        return False


def _run(path: Path) -> ModuleType:
    # The same stage kinds for whoever asks for the file again.
    name = f"camelid_recipe_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: cannot be read as Python. Name another file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _explained(path):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong in a user's file into an error that names its line."""
    try:
        yield
    except CamelidError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [1])[-1]
        raise ConfigError(f"{path}, line {line}: {type(error).__name__}: {error}") from error


def _watched(recipe: Recipe, path: Path) -> Recipe:
    @functools.wraps(recipe)
    def watched(**options: Any) -> Plan:
        with _explained(path):
            return recipe(**options)

    return watched
