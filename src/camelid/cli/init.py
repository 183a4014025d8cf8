"""`camelid init`: a recipe to begin with, and a few rows of every format beside it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from camelid import starter
from camelid.errors import ConfigError


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Copy the starter into a new folder."""
    folder = known.folder
    if folder.exists():
        raise ConfigError(f"{folder} is there already; name a folder that is not.")
    shutil.copytree(
        Path(starter.__path__[0]),
        folder,
        ignore=shutil.ignore_patterns("__init__.py", "__pycache__"),
    )
    print(
        f"{folder / 'recipe.py'}: a recipe that runs as it is: camelid run {folder / 'recipe.py'}"
    )
    print(f"{folder / 'data'}: three rows of each format; put your files in their places")
