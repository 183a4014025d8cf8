"""Metrics files: one JSON line per optimizer step with the same keys in every stage."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from camelid.run.files import append_jsonl
from camelid.train.loop import StepResult


def peak_memory_gib() -> float:
    """Return the largest resident size of this process so far in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def metrics_row(result: StepResult) -> dict[str, Any]:
    """Return the row of one step; `mfu` is null because no peak of this machine was measured."""
    return {
        "step": result.step,
        "loss": result.loss,
        "grad_norm": result.grad_norm,
        "lr": result.learning_rate,
        "tokens": result.tokens,
        "tokens_per_second": result.tokens / max(result.seconds, 1e-9),
        "mfu": None,
        "peak_memory_gib": peak_memory_gib(),
        **result.metrics,
    }


class MetricsFile:
    """Appends rows; on resuming, rows after the checkpoint are cut: no step appears twice."""

    def __init__(self, path: Path, *, key: str, last: int) -> None:
        self._path = path
        kept = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    break  # The line that a killed process left half-written.
                if row[key] <= last:
                    kept.append(line + "\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(kept), encoding="utf-8")

    def append(self, row: dict[str, Any]) -> None:
        """Write one row."""
        append_jsonl(self._path, row)
