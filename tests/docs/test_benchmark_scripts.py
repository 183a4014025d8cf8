"""The script of an accelerator's figures runs where no accelerator is, on tiny shapes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


def test_the_parts_run_and_are_recorded(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    parts = ["--tiny", "--parts", "generation,training,run", "--eager", "--out", str(record)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *parts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["tiny"]
    names = {figure["name"] for figure in found["figures"] if "failed" not in figure}
    assert {"generation.batch1", "run.smoke", "training.eager.documents.mfu"} <= names
    assert not [figure for figure in found["figures"] if "failed" in figure]
