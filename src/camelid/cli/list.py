"""`camelid list`: recipes, studies and their stages, suites of benchmarks."""

from __future__ import annotations

import argparse
import inspect
import textwrap
from collections.abc import Sequence

from camelid.benchmarks.suites import SUITES
from camelid.recipes import RECIPES
from camelid.studies.known import STUDIES


def call(_: argparse.Namespace, __: Sequence[str]) -> None:
    """Print each with its first line and its stages."""
    for kind, known in (("", RECIPES), ("study ", STUDIES)):
        for name, make in known.items():
            print(f"{kind}{name}: {(inspect.getdoc(make) or '').splitlines()[0]}")
            print(f"    {' '.join(stage.name for stage in make().stages)}")
    print("suites of benchmarks, for `camelid evaluate MODEL --suite NAME`; each benchmark is one:")
    for name, members in SUITES.items():
        text = textwrap.shorten(" ".join(members), 100, placeholder=f" ... ({len(members)})")
        print(f"    {name}: {text}")
