"""Seconds, peak memory and token rates of a finished run, as JSON lines.

Usage: python benchmarks/run_times.py runs/pocket
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path


def main(root: Path) -> None:
    """Print one line a stage, one for the whole run."""
    manifest = json.loads((root / "run.json").read_text(encoding="utf-8"))
    stages = manifest["stages"]
    for name, stage in stages.items():
        row = {"name": name, "seconds": round(stage["seconds"], 1)}
        row["peak_memory_gib"] = round(stage["peak_memory_gib"], 2)
        metrics = root / name / "metrics.jsonl"
        if metrics.is_file():
            rates = [
                json.loads(line)["tokens_per_second"]
                for line in metrics.read_text(encoding="utf-8").splitlines()
            ]
            if rates:
                row["median_tokens_per_second"] = round(statistics.median(rates))
        print(json.dumps(row))
    whole = {
        "name": "run",
        "seconds": round(sum(stage["seconds"] for stage in stages.values()), 1),
        "peak_memory_gib": round(max(stage["peak_memory_gib"] for stage in stages.values()), 2),
    }
    print(json.dumps(whole))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
