"""Stages that are interrupted end in the same bits as those that are not."""

from __future__ import annotations

import pytest

from camelid.run.place import ModelFolder, Place, RewardModelFolder, Rows
from camelid.settings import to_json
from camelid.train import fitting

TIMES = {"seconds", "tokens_per_second", "peak_memory_gib"}


@pytest.fixture(autouse=True)
def checkpoint_after_every_step(monkeypatch):
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", -1.0)


def content(place: Place):
    """What must not depend on interruptions."""
    if isinstance(place, Rows):
        return [{k: v for k, v in to_json(row).items() if k not in TIMES} for row in place.read()]
    if isinstance(place, ModelFolder | RewardModelFolder):
        return (place.path / "model.safetensors").read_bytes()
    return place.path.read_bytes()


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("pretraining", [1, 4]),
        ("sft", [3]),
        # At the end of the first epoch, and just after it.
        ("sft", [5, 2]),
        ("sft", [8]),
        ("v1/reward_modeling", [2]),
        # In the second model, then in the third.
        ("v1/reward_modeling", [7, 3]),
        ("v1/rejection_sampling", [2, 2]),
        ("random_pick/pick_control", [2]),
        ("context_distillation", [2]),
        ("ghost_attention", [3]),
        # Before the first checkpoint, and later ones.
        ("ppo", [1]),
        ("ppo", [2, 2]),
    ],
)
def test_b10_an_interrupted_stage_ends_in_the_same_bits(
    tiny_run, given_replies, workshop, name, stops
):
    for stop in stops:
        workshop.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            tiny_run.again(workshop, name)
    workshop.stop_after = None
    before = given_replies.calls
    result, outputs = tiny_run.again(workshop, name)
    assert result == tiny_run.results[name]
    for ours, theirs in zip(outputs.places(), tiny_run.outputs(name).places(), strict=True):
        if theirs.exists:
            assert content(ours) == content(theirs), theirs.label
    # What was sampled for training outlives the interruption.
    if name == "v1/rejection_sampling":
        assert given_replies.calls == before
    if name == "ghost_attention":
        answers_after_training = 3 + 6
        assert given_replies.calls == before + answers_after_training


def test_b10_a_resumed_round_of_sampling_trains_only_what_is_left(
    tiny_run, given_replies, workshop
):
    name = "v1/rejection_sampling"
    for stop, done in ((3, [1, 2, 3]), (1, [3])):
        workshop.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            tiny_run.again(workshop, name)
        assert [number for number, _ in workshop.updates] == done
    workshop.stop_after = None
    tiny_run.again(workshop, name)
    assert [number for number, _ in workshop.updates] == [3, 4]
    # The temperatures once, the samples once.
    temperatures = tiny_run.stages[name].config.temperatures
    assert given_replies.calls == len(temperatures) + 1


def test_b10_a_resumed_stage_does_only_what_is_left(tiny_run, workshop):
    workshop.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        tiny_run.again(workshop, "sft")
    assert [done for done, _ in workshop.updates] == [1, 2, 3, 4, 5, 6, 7]
    workshop.stop_after = None
    tiny_run.again(workshop, "sft")
    # The step that was stopped is done again.
    assert [done for done, _ in workshop.updates] == [7, 8, 9, 10]


def test_a_reward_model_that_is_done_is_not_trained_again(tiny_run, workshop):
    assert [
        getattr(tiny_run.results["v1/reward_modeling"], f"{name}_rm").steps
        for name in ("helpfulness", "safety", "guard")
    ] == [6, 4, 3]
    # In the second step of the safety model.
    workshop.stop_after = 8
    with pytest.raises(KeyboardInterrupt):
        tiny_run.again(workshop, "v1/reward_modeling")
    workshop.stop_after = None
    tiny_run.again(workshop, "v1/reward_modeling")
    assert workshop.updates == [(2, 4), (3, 4), (4, 4), (1, 3), (2, 3), (3, 3)]


def test_a_half_sampled_round_is_sampled_again(tiny_run, given_replies, workshop, monkeypatch):
    stage = tiny_run.stages["v1/rejection_sampling"]
    tunings = len(stage.config.temperatures)

    def stop(*_, **__):
        if given_replies.calls == tunings:
            raise KeyboardInterrupt
        return given_replies(*_, **__)

    monkeypatch.setattr("camelid.inference.replies.ModelResponder.answer", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny_run.again(workshop, stage.name)
    assert given_replies.calls == tunings
    given_replies.patch(monkeypatch)
    result, outputs = tiny_run.again(workshop, stage.name)
    assert given_replies.calls == 2 * tunings + 1
    assert result == tiny_run.results[stage.name]
    assert outputs.samples.read() == tiny_run.outputs(stage.name).samples.read()


def test_another_seed_ends_in_other_bits(tiny_run, workshop):
    workshop.run_seed = 2
    _, outputs = tiny_run.again(workshop, "sft")
    assert content(outputs.model) != content(tiny_run.outputs("sft").model)


def test_b14_micro_batches_change_only_rounding(tiny_run, workshop):
    """The one setting that may not change the result."""
    _, outputs = tiny_run.again(workshop, "pretraining", config={"micro_rows": 1})
    ours, theirs = (o.metrics.read() for o in (outputs, tiny_run.outputs("pretraining")))
    for one, other in zip(ours, theirs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.tokens == other.tokens
