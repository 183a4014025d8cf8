"""The files of a run, read for the report; what is absent says why instead of failing.

Source: choice (the contract of the run directory is in docs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from camelid.errors import DataError
from camelid.run.rows import iterate_json_lines
from camelid.settings import flatten

Row = dict[str, Any]
D = TypeVar("D")
T = TypeVar("T")

RISK_AXES = ("risk_category", "attack_vector", "attack_strength")


class AbsentError(Exception):
    """The run does not hold what a table or plot needs; the text is the reason shown."""


def attempt(default: D, compute: Callable[..., T], *arguments: object) -> D | T:
    """Return what a function computes, or a default where the run lacks what it needs."""
    try:
        return compute(*arguments)
    except AbsentError:
        return default


class Run:
    """A run directory seen by the report.

    Args:
        root: The run directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._rows: dict[str, list[Row]] = {}

    @cached_property
    def manifest(self) -> Row:
        """`run.json`, empty where there is none."""
        return self._object("run.json") if (self.root / "run.json").is_file() else {}

    @cached_property
    def recipe(self) -> Row:
        """`recipe.json` as a dictionary, empty where there is none."""
        return self._object("recipe.json") if (self.root / "recipe.json").is_file() else {}

    @property
    def name(self) -> str:
        """Name of the recipe."""
        found = self.manifest.get("recipe") or self.recipe.get("name") or self.root.name
        return str(found.get("name", self.root.name) if isinstance(found, dict) else found)

    @property
    def stages(self) -> dict[str, Row]:
        """Finished stages of the manifest in order of execution."""
        found: dict[str, Row] = self.manifest.get("stages", {})
        return {name: entry for name, entry in found.items() if name != "reporting"}

    @cached_property
    def rounds(self) -> list[str]:
        """Names of the rounds, `v1` first."""
        found = {p.name for p in self.root.glob("v*") if re.fullmatch(r"v\d+", p.name)}
        return sorted(found, key=lambda name: int(name[1:]))

    @property
    def last_round(self) -> str:
        """The newest round.

        Raises:
            AbsentError: There is none.
        """
        if not self.rounds:
            raise AbsentError("the run holds no round of preferences (v1, v2, ...)")
        return self.rounds[-1]

    def _object(self, path: str) -> Row:
        try:
            found = json.loads((self.root / path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{self.root / path}: not valid JSON ({error}).") from None
        if not isinstance(found, dict):
            raise DataError(f"{self.root / path}: found {type(found).__name__}, needed an object.")
        return found

    def absence(self, path: str) -> str:
        """Why a file of the run is not there, as a phrase."""
        stage = str(Path(path).parent)
        if stage in self.stages:
            return f"stage {stage} of this run wrote no {Path(path).name}"
        fields = {part for field in flatten(self.recipe) for part in field.split(".")}
        if stage.rsplit("/", 1)[-1] in fields:
            return f"stage {stage} has not finished in this run"
        return f"recipe {self.name} has no stage {stage}"

    def rows(self, path: str) -> list[Row]:
        """Rows of a JSON-lines file.

        Raises:
            AbsentError: The file is not there or holds no row.
            DataError: A line is not JSON.
        """
        if path not in self._rows:
            if not (self.root / path).is_file():
                raise AbsentError(self.absence(path))
            found = [row for _, row in iterate_json_lines(self.root / path)]
            self._rows[path] = [row for row in found if isinstance(row, dict)]
        if not self._rows[path]:
            raise AbsentError(f"{path} holds no row")
        return self._rows[path]

    def result(self, stage: str) -> Row:
        """`result.json` of a stage (errors as `rows`)."""
        return self.json(f"{stage}/result.json")

    def json(self, path: str) -> Row:
        """Any JSON object of the run (errors as `rows`)."""
        if not (self.root / path).is_file():
            raise AbsentError(self.absence(path))
        return self._object(path)

    @cached_property
    def models(self) -> list[str]:
        """Evaluated models, in the order of training."""
        return list(self.result("evaluating")["models"])

    def replies(self, model: str, *sets: str) -> list[Row]:
        """Replies of one model in the first of `sets` that it answered.

        Raises:
            AbsentError: There is none.
        """
        rows = self.rows("evaluating/replies.jsonl")
        for name in sets:
            if found := [row for row in rows if row["model"] == model and row["set"] == name]:
                return found
        raise AbsentError(f"{model} was not evaluated on the {' or '.join(sets)} set")

    @cached_property
    def simulated(self) -> bool:
        """Whether the preferences come from simulated annotators."""
        return any(row.get("simulated") for row in self.preferences(default=()))

    def preferences(self, *, default: Sequence[Row] | None = None) -> Sequence[Row]:
        """Training comparisons of all rounds, or of the public data."""
        found: list[Row] = []
        for name in [f"{name}/preference_collection" for name in self.rounds] or ["data"]:
            if (self.root / name / "preferences.jsonl").is_file():
                found += self.rows(f"{name}/preferences.jsonl")
        if not found and (self.root / "data/preferences.jsonl").is_file():
            found = self.rows("data/preferences.jsonl")
        if not found and default is None:
            raise AbsentError("the run holds no preferences")
        return found or default or []

    @property
    def annotators(self) -> str:
        """Who labelled the preferences, for captions."""
        return "simulated annotators" if self.simulated else "labels of the public data"


def judge_name(rows: Iterable[Row]) -> str:
    """Names of the judges of some replies."""
    names = {_judge_of(row) for row in rows}
    return ", ".join(sorted(name for name in names if name)) or "no judge named"


def _judge_of(row: Row) -> str:
    judge = row.get("judge")
    return str(judge.get("name", "") if isinstance(judge, dict) else judge or "")


def flags(rows: Sequence[Row], field: str) -> list[float]:
    """One verdict of the judge per row as a number; rows without it are left out.

    Raises:
        AbsentError: The judge gave this verdict on no row.
    """
    found = [row["judge"].get(field) for row in rows]
    kept = [float(value) for value in found if value is not None]
    if not kept:
        raise AbsentError(f"the judge ({judge_name(rows)}) gives no verdict `{field}`")
    return kept


def paired(a: Sequence[Row], b: Sequence[Row], *path: str) -> tuple[list[float], list[float]]:
    """The same field of two models' replies on the prompts that both answered.

    Raises:
        AbsentError: There is no such prompt.
    """

    def values(rows: Sequence[Row]) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in rows:
            value: Any = row
            for name in path:
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is not None:
                found[str(row["prompt_id"])] = float(value)
        return found

    left, right = values(a), values(b)
    common = [name for name in left if name in right]
    if not common:
        raise AbsentError(f"no prompt has `{'.'.join(path)}` for both models")
    return [left[name] for name in common], [right[name] for name in common]


def last_user(messages: Sequence[Row] | str) -> str:
    """Text of the last user message (some files hold the text itself)."""
    if isinstance(messages, str):
        return messages
    return next((str(m["content"]) for m in reversed(messages) if m["role"] == "user"), "")
