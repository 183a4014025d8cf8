"""`Fitting`: what a stopped stage goes on from, when it is kept, and the shares of the rate."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from camelid.data.records import MetricsRow
from camelid.run.place import Rows
from camelid.run.progress import RunProgress
from camelid.run.stage import StageContext
from camelid.runtime import Runtime
from camelid.train import fitting as fitting_module
from camelid.train.config import OptimizerConfig
from camelid.train.fitting import Fitting, Module, fit
from camelid.train.optimizer import make_schedule

CONFIG = OptimizerConfig(learning_rate=0.05, warmup_minimum=1)
STEPS = 8


@dataclasses.dataclass
class Numbers:
    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def token_count(self):
        return len(self.inputs)


class SquaredError:
    def weight(self, batch):
        return torch.tensor(len(batch.inputs))

    def loss_sum(self, model, batch):
        return (model(batch.inputs).squeeze(-1) - batch.targets).square().sum(), {}


def batches_from(start):
    """One batch a step, a function of the step alone."""
    step = start
    while True:
        step += 1
        generator = torch.Generator().manual_seed(step)
        numbers = torch.randn(6, 5, generator=generator)
        yield [Numbers(numbers[:, :4], numbers[:, 4])]


class Model(nn.Sequential):
    """Two parts, as PPO has."""

    def __init__(self):
        super().__init__(nn.Linear(4, 3), nn.Linear(3, 1))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


class Shown(RunProgress):
    def __init__(self):
        self.seen = []

    def update(self, done, total, **metrics):
        self.seen.append((done, total, metrics))


@pytest.fixture
def context(tmp_path):
    (tmp_path / "sft").mkdir()
    return StageContext(
        name="sft",
        root=tmp_path,
        work=tmp_path / "work",
        seed=1,
        run_seed=1,
        progress=Shown(),
        runtime=Runtime(),
    )


@pytest.fixture
def metrics(tmp_path):
    return Rows("sft", "metrics.jsonl", tmp_path / "sft", kind=MetricsRow)


def session(context, metrics, model, *, stop=None, every=1):
    """Train as a stage does that keeps the sum of its steps beside the weights; maybe stop."""
    fitting = Fitting(
        model,
        CONFIG,
        steps=STEPS,
        context=context,
        metrics=metrics,
        modules={"lower": Module(module=model[0]), "upper": Module(module=model[1], factor=0.5)},
        every=every,
    )
    begun = fitting.start, dict(fitting.state)
    for result in fitting.run(SquaredError(), batches_from(fitting.start)):
        # After the step and before its checkpoint.
        fitting.state["sum"] = fitting.state.get("sum", 0) + result.step
        if result.step == stop:
            break
    else:
        fitting.keep_metrics()
    return begun


def without_times(rows):
    return [
        dataclasses.replace(row, tokens_per_second=0.0, peak_memory_gib=0.0) for row in rows.read()
    ]


def test_b10_a_stopped_session_goes_on_with_its_state_and_gives_the_same_bits(
    context, metrics, tmp_path, monkeypatch
):
    monkeypatch.setattr(fitting_module, "CHECKPOINT_SECONDS", -1.0)
    straight = Model()
    assert session(context, metrics, straight) == (0, {})
    expected = without_times(metrics)
    assert [row.step for row in expected] == list(range(1, STEPS + 1))
    context = dataclasses.replace(context, work=tmp_path / "again")
    metrics.path.unlink()
    # Stopped before the checkpoint of step 6: that of step 5 holds.
    session(context, metrics, Model(), stop=6)
    assert not metrics.exists
    resumed = Model()
    assert session(context, metrics, resumed) == (5, {"sum": 1 + 2 + 3 + 4 + 5})
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert without_times(metrics) == expected


@pytest.mark.parametrize(("stop", "kept"), [(3, 0), (4, 3), (6, 3), (7, 6)])
def test_checkpoints_stand_after_whole_rounds_of_steps(context, metrics, monkeypatch, stop, kept):
    monkeypatch.setattr(fitting_module, "CHECKPOINT_SECONDS", -1.0)
    session(context, metrics, Model(), stop=stop, every=3)
    assert session(context, metrics, Model(), stop=STEPS, every=3)[0] == kept


def test_the_last_step_is_kept_however_short_the_session(context, metrics):
    trained = Model()
    session(context, metrics, trained, every=5)
    again = Model()
    assert session(context, metrics, again, every=5) == (STEPS, {"sum": STEPS * (STEPS + 1) // 2})
    assert torch.equal(trained[0].weight, again[0].weight)
    assert [row.step for row in metrics.read()] == list(range(1, STEPS + 1))


def test_a_module_with_factor_zero_rests_until_it_is_changed(context, metrics):
    model = Model()
    fitting = Fitting(
        model,
        dataclasses.replace(CONFIG, schedule="constant"),
        steps=2,
        context=context,
        metrics=metrics,
        modules={"lower": Module(module=model[0], factor=0.0), "upper": Module(module=model[1])},
    )
    before = [part.weight.detach().clone() for part in model]
    results = fitting.run(SquaredError(), batches_from(0))
    assert next(results).learning_rate == CONFIG.learning_rate
    assert torch.equal(model[0].weight, before[0])
    assert not torch.equal(model[1].weight, before[1])
    fitting.set_factor("lower", 0.25)
    next(results)
    assert not torch.equal(model[0].weight, before[0])
    rates = {group["owner"]: group["lr"] for group in fitting.optimizer.param_groups}
    assert rates == {
        "lower": pytest.approx(CONFIG.learning_rate / 4),
        "upper": CONFIG.learning_rate,
    }


def test_fit_shows_every_step_and_keeps_the_metrics(context, metrics):
    results = list(
        fit(
            Model(),
            SquaredError(),
            batches_from,
            CONFIG,
            steps=STEPS,
            context=context,
            metrics=metrics,
        )
    )
    assert [result.step for result in results] == list(range(1, STEPS + 1))
    shown = [(done, total, values["loss"]) for done, total, values in context.progress.seen]
    assert shown == [(result.step, STEPS, result.loss) for result in results]
    assert [row.loss for row in metrics.read()] == [result.loss for result in results]
    # Of the settings' schedule over all steps.
    schedule = make_schedule(CONFIG, STEPS)
    assert [row.lr for row in metrics.read()] == [schedule(n) for n in range(1, STEPS + 1)]
