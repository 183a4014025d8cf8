"""What a run shows: a line at each change, and a bar of the running stage on a terminal.

Source: choice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from camelid.errors import counted

_PLAIN_INTERVAL_SECONDS = 20.0


def duration(seconds: float) -> str:
    """Return a time span for people: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class RunProgress:
    """A line at each change; below them a bar on a terminal, elsewhere a line every 20 s.

    Args:
        console: Where to print; nowhere when None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(quiet=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),
            console=self._console,
            # Twice a second: drawing must not take a core away from training.
            refresh_per_second=2,
            speed_estimate_period=300,
            transient=True,
            disable=console is None or not console.is_terminal,
        )
        self._stage = self._bar.add_task("", total=None, metrics="")
        self._names: list[str] = []
        self._name = ""
        self._last = 0.0

    @contextlib.contextmanager
    def show(self, root: Path, names: Sequence[str]) -> Iterator[None]:
        """Open the display of a run with these stages; closed on exit."""
        self._names = list(names)
        self._say(f"run {root}: {counted(len(names), 'stage')}")
        with self._bar:
            yield

    def started(self, name: str) -> None:
        """Say that a stage begins."""
        self._name, self._last = name, time.monotonic()
        self._bar.remove_task(self._stage)
        self._stage = self._bar.add_task(self._position(name), total=None, metrics="")
        self._say(f"{self._position(name)}: started")

    def skipped(self, name: str, seconds: float) -> None:
        """Say that a stage was done before."""
        self._say(f"{self._position(name)}: done before ({duration(seconds)})")

    def finished(self, name: str, seconds: float) -> None:
        """Say how long a stage took."""
        shown = self._bar.tasks[-1].fields["metrics"]
        self._say(f"{name}: finished in {duration(seconds)}  {shown}".rstrip())

    def failed(self, name: str) -> None:
        """Say that a stage was cut off."""
        self._say(f"{name}: stopped")

    def stopped(self, name: str, more: int) -> None:
        """Say that the run ends here as it was told to, with so many stages left."""
        if more:
            self._say(f"{name}: last stage (--until); without --until the run goes on, {more} left")

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Move the bar; without one, print a line when the last one is old."""
        # A stage may count several models one after the other, each at its own speed.
        if done < self._bar.tasks[-1].completed:
            self._bar.reset(self._stage)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._bar.update(self._stage, completed=done, total=total, metrics=shown)
        if self._bar.disable and time.monotonic() - self._last >= _PLAIN_INTERVAL_SECONDS:
            self._last = time.monotonic()
            remaining = self._bar.tasks[-1].time_remaining
            left = f"  {duration(remaining)} left" if remaining else ""
            self._say(f"{self._name}: {done:g}/{total:g}  {shown}{left}".rstrip())

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(f"{self._name}: {text}")

    def _position(self, name: str) -> str:
        return f"[{self._names.index(name) + 1}/{len(self._names)}] {name}"

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
