"""What a stage costs: its seconds over all interruptions, and the peak of its memory.

Source: choice (the paper describes no software).
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path

from camelid.errors import CamelidError
from camelid.run.files import atomic_write_text, read_json_as
from camelid.run.progress import RunProgress

HEARTBEAT_SECONDS = 15.0


class Clock:
    """Passes progress on and keeps the seconds of a stage across interruptions."""

    def __init__(self, path: Path, progress: RunProgress) -> None:
        self._path = path
        self._progress = progress
        self._before = 0.0
        with contextlib.suppress(CamelidError):
            self._before = max(0.0, read_json_as(path, float, ""))
        self._start = time.monotonic()
        self._saved = self._start

    def seconds(self) -> float:
        """Return the seconds so far."""
        return self._before + time.monotonic() - self._start

    def save(self) -> None:
        """Write the seconds so far."""
        atomic_write_text(self._path, f"{self.seconds():.3f}\n")

    def update(self, done: float, total: float, **metrics: float) -> None:
        """Report work done."""
        self._progress.update(done, total, **metrics)
        # Also on the way, so that a killed process loses seconds, not the whole count.
        if time.monotonic() - self._saved > HEARTBEAT_SECONDS:
            self._saved = time.monotonic()
            self.save()

    def note(self, text: str) -> None:
        """Say one line."""
        self._progress.note(text)


def reset_peak_memory() -> None:
    """Start a new peak for this stage; where the system cannot, the peak is that of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_gib() -> float:
    """Return the largest resident memory since the last reset, children included, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                own = int(line.split()[1]) * 1024
    return max(own, children) / 2**30
