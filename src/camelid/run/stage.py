"""What a stage is given to work with.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from camelid.errors import MissingInputError


class Progress(Protocol):
    """Where a stage says how far it is."""

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Report work done out of a total, in any unit, and live metrics."""

    def note(self, text: str) -> None:
        """Say one line that the user should see."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageContext:
    """What a stage gets beside its settings."""

    name: str
    """Stage and folder name, such as `v1/reward_modeling`."""
    root: Path
    """Run directory; read from it through `input`."""
    out: Path
    """Temporary folder for results; renamed to `root / name` when the stage returns."""
    work: Path
    """Folder for checkpoints: survives an interruption, removed when the stage ends."""
    seed: int
    """`derive_seed(run_seed, name)`."""
    run_seed: int
    """The seed of the run."""
    progress: Progress
    """Where to report."""

    def input(self, name: str) -> Path:
        """Return the path of a file or folder that an earlier stage wrote.

        Args:
            name: Path inside the run directory, such as `data/prompts.jsonl`, or an absolute path.

        Raises:
            MissingInputError: It does not exist; the stage that makes it is named.
        """
        path = self.root / name
        if not path.exists():
            raise missing_input(self.name, name, self.root)
        return path


@dataclass(frozen=True, slots=True)
class StageInputs:
    """What a stage reads: every string is a path relative to the run, None where there is none."""

    def paths(self) -> tuple[str, ...]:
        """All paths, in the order of the fields."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        listed = [
            path for value in values for path in (value if isinstance(value, tuple) else (value,))
        ]
        return tuple(path for path in listed if isinstance(path, str))


def missing_input(stage: str, name: str, root: Path) -> MissingInputError:
    """Return the error that names the stage which makes a missing input."""
    if Path(name).is_absolute():
        return MissingInputError(f"Stage {stage} needs {name}, which does not exist.")
    parts = Path(name).parts
    round_ = parts[0][:1] == "v" and parts[0][1:].isdigit()
    # In a study each variant has a pretraining of its own.
    nested = len(parts) > 2 and (round_ or parts[1] == "pretraining")
    maker = "/".join(parts[: 2 if nested else 1])
    return MissingInputError(
        f"Stage {stage} needs {root / name}, which does not exist; stage {maker} makes it. "
        f"Run that stage (again): --redo {maker}"
    )
