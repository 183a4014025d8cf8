"""Metrics files: one JSON line per optimizer step with the same keys in every stage."""

from __future__ import annotations

import resource
import sys
from typing import Generic, TypeVar

from camelid.data.records import MetricsRow
from camelid.run.files import append_jsonl, cut_half_line
from camelid.run.place import Rows
from camelid.settings import to_json
from camelid.train.loop import StepResult

T = TypeVar("T")


def metrics_row(result: StepResult) -> MetricsRow:
    """Return the row of one step; `mfu` is null because no peak of this machine was measured."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return MetricsRow(
        step=result.step,
        loss=result.loss,
        grad_norm=result.grad_norm,
        lr=result.learning_rate,
        tokens=result.tokens,
        tokens_per_second=result.tokens / max(result.seconds, 1e-9),
        mfu=None,
        peak_memory_gib=peak / (2**30 if sys.platform == "darwin" else 2**20),
        metrics=result.metrics,
    )


class RowsFile(Generic[T]):
    """Appends rows; on resuming, rows after the checkpoint are cut: no step appears twice.

    Args:
        rows: The file; a last line that a killed process left half-written is cut.
        key: Field that counts up.
        last: Largest count that is kept.

    Raises:
        CheckpointError: A whole line does not fit; names it and the stage to make again.
    """

    def __init__(self, rows: Rows[T], *, key: str, last: int) -> None:
        self._path = rows.path
        kept = []
        if rows.exists:
            cut_half_line(self._path)
            kept = [row for row in rows.read() if getattr(row, key) <= last]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        rows.write(kept)

    def append(self, row: T) -> None:
        """Write one row."""
        append_jsonl(self._path, to_json(row))
