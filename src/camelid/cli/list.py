"""`camelid list`: recipes, studies and their stages."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence

from camelid.recipes import RECIPES
from camelid.studies.known import STUDIES


def call(_: argparse.Namespace, __: Sequence[str]) -> None:
    """Print each with its first line and its stages."""
    for kind, known in (("", RECIPES), ("study ", STUDIES)):
        for name, make in known.items():
            print(f"{kind}{name}: {(inspect.getdoc(make) or '').splitlines()[0]}")
            print(f"    {' '.join(stage.name for stage in make().stages)}")
