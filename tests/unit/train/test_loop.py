"""The loop: one denominator for a step, finite checks, exact resuming, clipping of each module."""

from __future__ import annotations

import math
import shutil
import warnings
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from camelid.data.loader import batch_indices, steps_per_epoch
from camelid.errors import DataError, TrainingError
from camelid.train.checkpoint import Checkpoints
from camelid.train.config import OptimizerConfig
from camelid.train.loop import train
from camelid.train.optimizer import cosine_with_warmup, make_optimizer, make_schedule, warmup_steps


@dataclass
class Numbers:
    inputs: Tensor
    targets: Tensor

    @property
    def token_count(self) -> int:
        return len(self.inputs)


class SquaredError:
    def weight(self, batch: Numbers) -> Tensor:
        return torch.tensor(len(batch.inputs))

    def loss_sum(self, model: nn.Module, batch: Numbers) -> tuple[Tensor, dict[str, Tensor]]:
        errors = (model(batch.inputs).squeeze(-1) - batch.targets) ** 2
        return errors.sum(), {"absolute": errors.detach().sqrt().sum()}


class Constant:
    """Loss 2 on the first batch's tokens and 1 on the second's, as in complaint B11."""

    def weight(self, batch: Numbers) -> Tensor:
        return torch.tensor(len(batch.inputs))

    def loss_sum(self, model: nn.Linear, batch: Numbers) -> tuple[Tensor, dict[str, Tensor]]:
        return (batch.targets + 0.0 * model.weight.sum()).sum(), {}


def make_data(count: int = 24) -> Numbers:
    generator = torch.Generator().manual_seed(0)
    return Numbers(
        torch.randn(count, 4, generator=generator), torch.randn(count, generator=generator)
    )


def make_model() -> nn.Linear:
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, -0.2, 0.3, 0.4]]))
        model.bias.zero_()
    return model


CONFIG = OptimizerConfig(learning_rate=0.05, warmup_minimum=1)


def run_steps(splits: list[int], steps: int = 3) -> tuple[nn.Linear, list[float]]:
    """Train in float64: AdamW divides by a gradient's size, and with it small errors."""
    model, data = make_model().double(), make_data()
    data = Numbers(data.inputs.double(), data.targets.double())
    optimizer = make_optimizer({"model": (model, 1.0)}, CONFIG)

    def batches():
        while True:
            parts = zip(data.inputs.split(splits), data.targets.split(splits), strict=True)
            yield [Numbers(x, y) for x, y in parts]

    results = train(
        model,
        SquaredError(),
        batches(),
        optimizer,
        make_schedule(CONFIG, steps),
        steps=steps,
    )
    return model, [result.loss for result in results]


def test_b11_any_split_into_micro_batches_gives_the_same_step() -> None:
    whole, losses = run_steps([24])
    for splits in ([12, 12], [3, 13, 8], [1] * 24):
        model, other = run_steps(splits)
        assert other == pytest.approx(losses, rel=1e-10)
        assert torch.allclose(model.weight, whole.weight, atol=1e-10, rtol=0)


def test_b11_the_gradient_is_that_of_the_mean_over_the_step() -> None:
    """AdamW hides the size of a gradient, so it is looked at itself."""
    model, data = make_model().double(), make_data()
    inputs, targets = data.inputs.double(), data.targets.double()
    errors = inputs @ model.weight.detach()[0] + model.bias.detach() - targets
    expected = 2 * (inputs.T @ errors) / len(errors)
    parts = zip(inputs.split([3, 21]), targets.split([3, 21]), strict=True)
    [result] = train(
        model,
        SquaredError(),
        iter([[Numbers(x, y) for x, y in parts]]),
        make_optimizer({"model": (model, 1.0)}, CONFIG),
        make_schedule(CONFIG, 1),
        steps=1,
        clip=1e9,
    )
    assert model.weight.grad is not None
    assert torch.allclose(model.weight.grad[0], expected, atol=1e-10, rtol=0)
    norm = math.hypot(float(expected.norm()), 2 * float(errors.mean()))
    assert result.grad_norm == pytest.approx(norm, rel=1e-10)
    assert result.metrics["absolute"] == pytest.approx(float(errors.abs().mean()), rel=1e-10)


def test_b11_three_tokens_of_loss_two_and_thirteen_of_loss_one_average_to_1_1875() -> None:
    model = make_model()
    optimizer = make_optimizer({"model": (model, 1.0)}, CONFIG)
    batch = [
        Numbers(torch.zeros(3, 4), torch.full((3,), 2.0)),
        Numbers(torch.zeros(13, 4), torch.full((13,), 1.0)),
    ]
    [result] = train(
        model,
        Constant(),
        iter([batch]),
        optimizer,
        make_schedule(CONFIG, 1),
        steps=1,
    )
    assert result.loss == pytest.approx(1.1875)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(bad: float) -> None:
    model = make_model()
    before = model.weight.detach().clone()
    optimizer = make_optimizer({"model": (model, 1.0)}, CONFIG)
    data = make_data()
    data.targets[3] = bad
    with pytest.raises(TrainingError, match="must be finite"):
        list(
            train(
                model,
                SquaredError(),
                iter([[data]]),
                optimizer,
                make_schedule(CONFIG, 1),
                steps=1,
            )
        )
    assert torch.equal(model.weight, before)


def test_an_empty_batch_is_an_error() -> None:
    model = make_model()
    optimizer = make_optimizer({"model": (model, 1.0)}, CONFIG)
    with pytest.raises(TrainingError, match="counts in this batch"):
        next(
            train(
                model,
                SquaredError(),
                iter([[Numbers(torch.zeros(0, 4), torch.zeros(0))]]),
                optimizer,
                make_schedule(CONFIG, 1),
                steps=1,
            )
        )


def test_each_module_is_clipped_on_its_own() -> None:
    small, large = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    optimizer = make_optimizer({"small": (small, 1.0), "large": (large, 2.0)}, CONFIG)

    class Both:
        def weight(self, batch: Numbers) -> Tensor:
            return torch.tensor(1)

        def loss_sum(self, model: nn.Module, batch: Numbers) -> tuple[Tensor, dict[str, Tensor]]:
            return 0.01 * small.weight.sum() + 100.0 * large.weight.sum(), {}

    both = nn.ModuleList([small, large])
    list(
        train(
            both,
            Both(),
            iter([[Numbers(torch.zeros(1, 2), torch.zeros(1))]]),
            optimizer,
            make_schedule(CONFIG, 1),
            steps=1,
        )
    )
    assert small.weight.grad is not None
    assert large.weight.grad is not None
    assert small.weight.grad.tolist() == [[pytest.approx(0.01), pytest.approx(0.01)]]
    assert float(large.weight.grad.norm()) == pytest.approx(1.0, rel=1e-4)
    rates = {group["owner"]: group["lr"] for group in optimizer.param_groups}
    assert rates["large"] == pytest.approx(2 * rates["small"])


def test_b10_resuming_gives_the_same_bits(tmp_path: Path) -> None:
    def session(start_folder: Path, stop: int | None) -> nn.Linear:
        model = make_model()
        optimizer = make_optimizer({"model": (model, 1.0)}, CONFIG)
        checkpoints = Checkpoints(start_folder)
        start, _ = checkpoints.restore(model, optimizer)
        data = make_data()

        def batches():
            for chosen in batch_indices(24, 5, 3, start):
                yield [Numbers(data.inputs[chosen], data.targets[chosen])]

        for result in train(
            model,
            SquaredError(),
            batches(),
            optimizer,
            make_schedule(CONFIG, 13),
            steps=13,
            start=start,
        ):
            if result.step in (4, 7):
                checkpoints.save(result.step, model, optimizer, {"note": result.step})
            if result.step == stop:
                break
        return model

    straight = session(tmp_path / "a", None)
    session(tmp_path / "b", 8)
    resumed = session(tmp_path / "b", None)
    assert torch.equal(straight.weight, resumed.weight)
    # A damaged newest checkpoint is skipped for the one before, with a warning.
    session(tmp_path / "c", 8)
    file = tmp_path / "c" / "step-00000007" / "tensors.safetensors"
    whole = file.read_bytes()
    # Cut short, and of the right length with one other bit in the last weight.
    for damaged in (whole[:-5], whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]):
        shutil.copytree(tmp_path / "c", tmp_path / "d", dirs_exist_ok=True)
        (tmp_path / "d" / file.relative_to(tmp_path / "c")).write_bytes(damaged)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            again = session(tmp_path / "d", None)
        assert ["damaged checkpoint skipped" in str(w.message) for w in caught] == [True]
        assert torch.equal(straight.weight, again.weight)


def test_schedule_of_the_paper() -> None:
    rates = [cosine_with_warmup(s, 10_000, 2000, 3e-4, 0.1) for s in (1, 2000, 10_000)]
    assert rates == pytest.approx([3e-4 / 2000, 3e-4, 3e-5])
    assert warmup_steps(OptimizerConfig(learning_rate=1.0), 1000) == 30
    assert warmup_steps(OptimizerConfig(learning_rate=1.0), 50) == 5
    constant = make_schedule(OptimizerConfig(learning_rate=1e-6, schedule="constant"), 10)
    assert constant(1) == constant(10) == 1e-6


def test_every_item_is_seen_once_an_epoch_in_another_order() -> None:
    assert steps_per_epoch(10, 4) == 3
    stream = batch_indices(10, 4, 1)
    first = [next(stream) for _ in range(3)]
    second = [next(stream) for _ in range(3)]
    assert [len(batch) for batch in first] == [4, 4, 2]
    flat = [list(chain.from_iterable(epoch)) for epoch in (first, second)]
    assert sorted(flat[0]) == sorted(flat[1]) == list(range(10))
    assert flat[0] != flat[1]
    resumed = batch_indices(10, 4, 1, start=4)
    assert next(resumed) == second[1]
    with pytest.raises(DataError, match="empty"):
        next(batch_indices(0, 4, 1))
