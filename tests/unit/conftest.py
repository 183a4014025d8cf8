"""What unit tests of stages share: a place to run one in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from camelid.run.place import StageOutputs
from camelid.seeds import derive_seed


@dataclass
class Workshop:
    """A run directory in which single stages run as the runner would have them.

    A stage's work folder stays when it fails, so running it again is resuming it.
    """

    root: Path
    run_seed: int = 1
    notes: list[str] = field(default_factory=list)
    updates: list[tuple[float, float]] = field(default_factory=list)
    stop_after: int | None = None
    """Updates after which the user presses Ctrl-C."""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, done: float, total: float, **_: float) -> None:
        self.updates.append((done, total))
        if self.stop_after is not None and len(self.updates) >= self.stop_after:
            raise KeyboardInterrupt

    def context(self, name: str = "stage") -> Any:
        # Here, so that tests without torch stay so.
        from camelid.run.stage import StageContext
        from camelid.runtime import Runtime

        work = self.root / ".work" / name
        work.mkdir(parents=True, exist_ok=True)
        return StageContext(
            name=name,
            root=self.root,
            work=work,
            seed=derive_seed(self.run_seed, name),
            run_seed=self.run_seed,
            progress=self,
            runtime=Runtime(),
        )

    def outputs(self, kind: type[StageOutputs], name: str = "stage") -> Any:
        """Return the places of a stage in its own folder, which is made."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return kind(name, folder)

    def run(
        self,
        kind: Any,
        config: Any,
        inputs: Any,
        name: str | None = None,
        *,
        read_from: Path | None = None,
    ) -> tuple[Any, Any]:
        """Run a stage to its end; return its result and its outputs.

        `read_from` is the run directory of its inputs where it is another one.
        """
        name = name or kind.name
        shutil.rmtree(self.root / name, ignore_errors=True)
        outputs = self.outputs(kind.outputs, name)
        bound = inputs.at(read_from or self.root)
        self.updates.clear()
        result = kind.runner()(config, bound, outputs, self.context(name))
        assert isinstance(result, kind.result)
        for place in outputs.places():
            assert place.optional or place.exists, place.label
        return result, outputs


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A workshop of one's own."""
    return Workshop(tmp_path / "run")


@pytest.fixture(scope="session")
def make_workshop() -> type[Workshop]:
    """Makes workshops, for fixtures of a wider scope."""
    return Workshop
