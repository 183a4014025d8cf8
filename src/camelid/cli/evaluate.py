"""`camelid evaluate`: the paper's benchmarks from public files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from camelid.benchmarks.report import FOLDER, SCORES, scored
from camelid.benchmarks.suites import tasks_of
from camelid.cli.plans import find_model
from camelid.errors import ConfigError, MissingInputError


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Score a model on public benchmarks; go on from the logs of an earlier call."""
    tasks_of(known.suite)
    data = known.data or Path("data")
    if known.data is not None and not data.is_dir():
        raise ConfigError(f"--data: {data} is no folder. Name the one with the public files.")
    model = find_model(known.model)
    # The harness' progress bars count prompts that are put together, not answers.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        from camelid.benchmarks.evaluating import evaluate
    except ImportError as error:
        raise MissingInputError(
            f"Benchmarks need lm-evaluation-harness ({error}): pip install 'lm-eval>=0.4.13', "
            "or pip install '.[eval]' in the folder of the repository."
        ) from None
    out = known.out or (model.run or Path()) / FOLDER / model.name
    scores = evaluate(model, known.suite, data, out, limit=known.limit)
    print()
    print(scored(scores).markdown())
    print(f"\nScores: {out / SCORES}")
