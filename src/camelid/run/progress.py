"""What a run shows: stages with their state, live metrics and the time left, or plain lines.

Source: choice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

State = Literal["waiting", "running", "finished", "skipped", "failed"]
_MARKS: dict[State, tuple[str, str]] = {
    "waiting": (" ", "dim"),
    "running": (">", "bold cyan"),
    "finished": ("+", "green"),
    "skipped": ("=", "green"),
    "failed": ("!", "bold red"),
}
_PLAIN_INTERVAL_SECONDS = 20.0


class RunProgress:
    """What the runner tells the display, a superset of what a stage may say; this one is silent."""

    def show(
        self,
        root: Path,  # noqa: ARG002 (for those that show something)
        names: Sequence[str],  # noqa: ARG002 (the same)
    ) -> AbstractContextManager[None]:
        """Open the display of a run with these stages; closed on exit."""
        return contextlib.nullcontext()

    def started(self, name: str) -> None:
        """A stage begins."""

    def skipped(self, name: str, seconds: float) -> None:
        """A stage was done before, in this many seconds."""

    def finished(self, name: str, seconds: float) -> None:
        """A stage has ended well."""

    def failed(self, name: str) -> None:
        """A stage was cut off."""

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Report work done out of a total, in any unit, and live metrics."""

    def note(self, text: str) -> None:
        """Say one line that the user should see."""


def duration(seconds: float) -> str:
    """Return a time span for people: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Pace:
    """Time left in a stage, from the speed since this process began it."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.done = 0.0
        self.total = 0.0
        self.metrics: dict[str, float] = {}
        self._first: tuple[float, float] | None = None

    def update(self, done: float, total: float, metrics: dict[str, float]) -> None:
        # Work resumed from a checkpoint took no time now, so the speed counts from the first
        # report; a stage may also count several models one after the other.
        if self._first is None or done < self.done:
            self._first = (done, time.monotonic())
        self.done, self.total, self.metrics = done, total, metrics

    def remaining(self) -> float | None:
        if self._first is None or self.done <= self._first[0] or self.total <= self.done:
            return None
        speed = (self.done - self._first[0]) / max(1e-9, time.monotonic() - self._first[1])
        return (self.total - self.done) / speed

    def describe(self) -> str:
        parts = [f"{name} {value:.4g}" for name, value in self.metrics.items()]
        remaining = self.remaining()
        if remaining is not None:
            parts.append(f"{duration(remaining)} left")
        return "  ".join(parts)


class PlainProgress(RunProgress):
    """One line at each change and at most every 20 s: logs, pipes, notebooks.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = _Pace()
        self._name = ""
        self._position = ""
        self._names: list[str] = []
        self._last = 0.0

    @contextlib.contextmanager
    def show(self, root: Path, names: Sequence[str]) -> Iterator[None]:
        """Say where the run is."""
        self._names = list(names)
        self._say(f"run {root}: {len(names)} stages")
        yield

    def started(self, name: str) -> None:
        """Say that a stage begins."""
        self._name, self._pace, self._last = name, _Pace(), time.monotonic()
        self._say(f"[{self._names.index(name) + 1}/{len(self._names)}] {name}: started")

    def skipped(self, name: str, seconds: float) -> None:
        """Say that a stage was done before."""
        self._say(
            f"[{self._names.index(name) + 1}/{len(self._names)}] {name}: done before "
            f"({duration(seconds)})"
        )

    def finished(self, name: str, seconds: float) -> None:
        """Say how long a stage took."""
        described = self._pace.describe()
        self._say(f"{name}: finished in {duration(seconds)}  {described}".rstrip())

    def failed(self, name: str) -> None:
        """Say that a stage was cut off."""
        self._say(f"{name}: stopped")

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Print a line when the last one is old."""
        self._pace.update(done, total, metrics)
        if time.monotonic() - self._last >= _PLAIN_INTERVAL_SECONDS:
            self._last = time.monotonic()
            self._say(f"{self._name}: {done:g}/{total:g}  {self._pace.describe()}")

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(f"{self._name}: {text}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveProgress(RunProgress):
    """A table that redraws itself: one row a stage, the running one with bar and metrics.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, State] = {}
        self._seconds: dict[str, float] = {}
        self._pace = _Pace()
        self._root = Path()
        self._start = time.monotonic()
        self._live: Live | None = None

    @contextlib.contextmanager
    def show(self, root: Path, names: Sequence[str]) -> Iterator[None]:
        """Draw until the context ends."""
        self._root = root
        self._states = dict.fromkeys(names, "waiting")
        # Twice a second: drawing must not take a core away from training.
        with Live(
            console=self._console, get_renderable=self.render, refresh_per_second=2
        ) as self._live:
            yield

    def started(self, name: str) -> None:
        """Move the bar to a stage."""
        self._states[name] = "running"
        self._pace = _Pace()

    def skipped(self, name: str, seconds: float) -> None:
        """Tick off a stage that was done before."""
        self._states[name], self._seconds[name] = "skipped", seconds

    def finished(self, name: str, seconds: float) -> None:
        """Tick off a stage."""
        self._states[name], self._seconds[name] = "finished", seconds

    def failed(self, name: str) -> None:
        """Mark a stage that was cut off."""
        self._states[name] = "failed"

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Keep the figures for the next redraw."""
        self._pace.update(done, total, metrics)

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(Text(text))

    def render(self) -> Group:
        """Return the table, cut to the height of the terminal around the running stage."""
        table = Table.grid(padding=(0, 1))
        names = list(self._states)
        room = max(3, self._console.height - 5)
        running = [i for i, name in enumerate(names) if self._states[name] in ("running", "failed")]
        first = max(0, min((running or [0])[0] - room // 2, len(names) - room))
        if first:
            table.add_row("", Text(f"{first} stages before", style="dim"))
        for name in names[first : first + room]:
            state = self._states[name]
            mark, style = _MARKS[state]
            table.add_row(Text(mark, style=style), Text(name, style=style), self._cell(name, state))
        hidden = len(names) - first - room
        if hidden > 0:
            table.add_row("", Text(f"{hidden} stages after", style="dim"))
        done = sum(state in ("finished", "skipped") for state in self._states.values())
        elapsed = duration(time.monotonic() - self._start)
        head = Text(f"{self._root}  {done}/{len(names)} stages  {elapsed}", style="bold")
        return Group(head, table, Text(self._pace.describe() if running else ""))

    def _cell(self, name: str, state: State) -> ProgressBar | Text:
        if state == "running" and self._pace.total > 0:
            return ProgressBar(total=self._pace.total, completed=self._pace.done, width=30)
        if state == "running":
            return Text(duration(time.monotonic() - self._pace.start))
        if state == "skipped":
            return Text(f"done before ({duration(self._seconds[name])})", style="dim")
        if state == "finished":
            return Text(duration(self._seconds[name]), style="green")
        return Text("stopped" if state == "failed" else "", style="red")


def make_progress(console: Console) -> RunProgress:
    """Return the live display on a terminal, plain lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
