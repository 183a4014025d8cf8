"""On a CUDA device against the CPU: the model, the engine with its recorded steps, the loop.

`pytest -m gpu` runs these where a device is.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from camelid.data.loader import pack
from camelid.data.rendered import Rendered
from camelid.inference import decoding
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import Sampling
from camelid.losses import log_probabilities
from camelid.model.attention import SHARED
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.runtime import Runtime, compute
from camelid.train.config import OptimizerConfig
from camelid.train.loop import train
from camelid.train.objectives import NextToken, token_batches
from camelid.train.optimizer import make_optimizer, make_schedule

pytestmark = [
    pytest.mark.gpu,
    # PyTorch's compiler warns of what PyTorch itself does.
    pytest.mark.filterwarnings("ignore"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIG = ModelConfig(
    dim=64, layers=3, heads=4, kv_heads=2, ffn_dim=96, vocabulary_size=120, context=2048
)
END = 5


@pytest.fixture(autouse=True)
def _device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def make(device: torch.device, dtype: torch.dtype = torch.float32) -> Transformer:
    model = Transformer(CONFIG)
    model.initialise(0)
    return model.to(device=device, dtype=dtype)


def requests(count: int) -> list[Request]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 200, (count,), generator=generator).tolist()
    return [
        Request(
            f"r{i}",
            tuple(torch.randint(6, 120, (length,), generator=generator).tolist()),
            samples=1 + i % 3,
        )
        for i, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("length", [300, 1100, 2048])
def test_logits_of_packed_and_plain_rows(length: int) -> None:
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 120, (3, length), generator=generator)
    documents = torch.arange(length).expand(3, -1) // 70
    documents = torch.where(documents == 0, SHARED, documents)
    here, there = make(CPU), make(CUDA)
    for given in (None, documents):
        hidden = here(tokens, documents_BL=given)
        found = there(tokens.to(CUDA), documents_BL=None if given is None else given.to(CUDA))
        torch.testing.assert_close(
            there.logits(found).cpu(), here.logits(hidden), atol=2e-5, rtol=1e-4
        )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_recorded_steps_sample_what_the_cpu_samples(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In float64 rounding decides no draw. 160 tokens cross a recorded step's reach, slots are
    # refilled, and the cache shrinks at the end.
    sampling, given = Sampling(temperature=temperature, max_new_tokens=160), requests(14)
    found = {
        device.type: generate(
            make(device, torch.float64), given, sampling, end_ids=[END], seed=3, slots=8
        )
        for device in (CPU, CUDA)
    }
    assert found["cuda"] == found["cpu"]
    monkeypatch.setattr(decoding, "WARM_STEPS", 10**9)
    model = make(CUDA, torch.float64)
    assert found["cuda"] == generate(model, given, sampling, end_ids=[END], seed=3, slots=8)


def test_bf16_replies_have_the_probabilities_that_a_forward_pass_gives() -> None:
    model = Runtime(device=CUDA, precision="bfloat16").place(make(CPU))
    given = requests(6)
    sampling = Sampling(max_new_tokens=60)
    found = generate(model, given, sampling, end_ids=[END], seed=4, slots=8)
    by_id = {request.id: request for request in given}
    gaps = []
    with torch.no_grad(), compute(model):
        for completion in found:
            prompt = by_id[completion.request_id].tokens
            tokens = torch.tensor([[*prompt, *completion.tokens]], device=CUDA)
            logits = model.logits(model(tokens)[0, len(prompt) - 1 : -1])
            logp = log_probabilities(logits.float(), tokens[0, len(prompt) :], 1.0)
            gaps += (logp.cpu() - torch.tensor(completion.logp)).abs().tolist()
    # bf16 keeps eight bits; logits here are of size 3.
    assert sum(gaps) / len(gaps) < 0.02


def test_training_steps_equal_those_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(5)
    documents = [
        Rendered(ids=torch.randint(6, 120, (n,), generator=generator).tolist(), train=[True] * n)
        for n in (60, 200, 90, 256, 130, 40)
    ]
    rows = pack(documents, 256, 0)
    losses = {}
    for device in (CPU, CUDA):
        model, config = make(device), OptimizerConfig(learning_rate=1e-3)
        order = itertools.repeat(list(range(len(rows))), 6)
        results = train(
            model,
            NextToken(),
            token_batches(rows, order, 2, device),
            make_optimizer({"model": (model, 1.0)}, config),
            make_schedule(config, 6),
            steps=6,
        )
        losses[device.type] = [(result.loss, result.grad_norm) for result in results]
    for here, there in zip(losses["cpu"], losses["cuda"], strict=True):
        assert there == pytest.approx(here, rel=2e-4)
