"""Fine-tuning: how many steps, which epoch is kept, what stands still."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from camelid.data.records import Dialogue, Message
from camelid.data.rendered import Rendered
from camelid.errors import CheckpointError, ConfigError, DataError
from camelid.formats.folder import load_transformer
from camelid.methods import fine_tuning
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.stages import sft
from camelid.tokenization.chat import ChatFormat
from camelid.train import fitting
from camelid.train.config import FineTuningConfig, OptimizerConfig

SHAPE = ModelConfig(
    dim=16, layers=1, heads=2, kv_heads=1, ffn_dim=24, vocabulary_size=40, context=64
)


class Tokens:
    pad_id = 0
    eos_id = 1
    vocabulary_size = 40

    def encode(self, text):
        return [int(word) for word in text.split()]


class Words(ChatFormat):
    """A chat format of numbers: a number is its own token."""

    @property
    def end_id(self):
        return 1

    def _write(self, messages):
        written = Rendered([], [])
        for message in messages:
            ids = self.tokenizer.encode(message.content)
            trained = message.role == "assistant" and message.train
            written.add([*ids, 1] if message.role == "assistant" else [2, *ids], train=trained)
        return written


def dialogue(number):
    return Dialogue(
        id=str(number),
        messages=(
            Message(role="user", content=f"{10 + number} 3 4"),
            Message(role="assistant", content=f"{20 + number} 5", train=True),
        ),
        category="x",
        is_safety=False,
        source="x",
    )


CONFIG = FineTuningConfig(
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_minimum=1),
    batch_rows=2,
    row_tokens=8,
    epochs=3,
    micro_rows=2,
)
"""A dialogue of seven tokens fills a row: five dialogues make three steps an epoch."""


@pytest.fixture
def tune(workshop):
    def run(config, **named):
        model = Transformer(SHAPE)
        model.initialise(1)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        outputs = workshop.outputs(sft.Outputs, named.pop("name", "sft"))
        result = fine_tuning.fine_tune(
            model,
            Words(Tokens()),
            [dialogue(number) for number in range(5)],
            config,
            workshop.context(named.pop("context", "sft")),
            outputs=outputs,
            **named,
        )
        return result, outputs, before

    return run


def test_case_padded_vocabulary_fine_tuning_compares_ids_and_rows(tune, monkeypatch):
    monkeypatch.setattr(Tokens, "vocabulary_size", 39)
    with pytest.raises(CheckpointError, match="sft: a tokenizer of 39 ids for a model of 40 rows"):
        tune(CONFIG)


def test_epochs_or_a_constant_number_of_steps(tune):
    result, outputs, _ = tune(CONFIG)
    assert result.steps == len(outputs.metrics.read()) == 9
    result, outputs, _ = tune(replace(CONFIG, steps=4), context="other")
    assert result.steps == len(outputs.metrics.read()) == 4


def test_the_model_after_the_first_epoch_is_kept(tune, workshop):
    first = workshop.root / "first"
    _, outputs, _ = tune(CONFIG, first_epoch=first)
    # With the schedule of three epochs: not the model of a one-epoch run, nor the last.
    early, last = load_transformer(first), load_transformer(outputs.model.path)
    assert not torch.equal(early.output.weight, last.output.weight)
    stopped = workshop.root / "stopped"
    fit, seen = fine_tuning.fit, []

    def counting(model, *args, **named):
        for result in fit(model, *args, **named):
            if result.step == 3:
                seen.append(model.output.weight.detach().clone())
            yield result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "fit", counting)
        tune(CONFIG, first_epoch=stopped, context="again")
    assert torch.equal(load_transformer(stopped).output.weight, seen[0])
    # Fewer steps than an epoch has: the last model is the first epoch's too.
    short = workshop.root / "short"
    _, outputs, _ = tune(replace(CONFIG, steps=2), first_epoch=short, context="short")
    assert torch.equal(
        load_transformer(short).output.weight, load_transformer(outputs.model.path).output.weight
    )


@pytest.mark.parametrize("moves", [True, False])
def test_embeddings_stand_still_where_the_settings_say_so(tune, moves):
    _, outputs, before = tune(replace(CONFIG, train_embeddings=moves))
    after = load_transformer(outputs.model.path).state_dict()
    same = torch.equal(after["tok_embeddings.weight"], before["tok_embeddings.weight"])
    assert same is not moves
    assert not torch.equal(after["output.weight"], before["output.weight"])


def test_only_answers_are_targets_and_packing_is_the_setting(tune, monkeypatch):
    result, _, _ = tune(CONFIG)
    # Two words and the end of each of five answers.
    assert result.target_tokens == 15
    assert result.packing == "isolated"
    given = []
    pack = fine_tuning.pack

    def packed(*args):
        given.append(args[3])
        return pack(*args)

    monkeypatch.setattr(fine_tuning, "pack", packed)
    result, _, _ = tune(replace(CONFIG, packing="crossing"), context="crossing")
    assert given == [result.packing] == ["crossing"]


def test_the_order_is_the_seed_of_the_stage(tune, monkeypatch):
    given = []
    order = fine_tuning.batch_indices

    def ordered(items, batch, seed, start):
        given.append((items, batch, seed, start))
        return order(items, batch, seed, start)

    monkeypatch.setattr(fine_tuning, "batch_indices", ordered)
    tune(CONFIG, context="one")
    tune(CONFIG, context="two")
    (_, _, first, _), (_, _, second, _) = given
    assert first != second
    assert given[0][:2] == (5, 2)


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_b10_a_resumed_fine_tuning_sees_what_is_left_of_its_data(tune, workshop, monkeypatch, stop):
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", -1.0)
    straight, outputs, _ = tune(CONFIG)
    expected = load_transformer(outputs.model.path).state_dict()
    workshop.context().work.parent.joinpath("sft").rename(workshop.root / "done")
    workshop.updates.clear()
    workshop.stop_after = stop
    with pytest.raises(KeyboardInterrupt):
        tune(CONFIG)
    workshop.updates.clear()
    workshop.stop_after = None
    resumed, outputs, _ = tune(CONFIG)
    assert [done for done, _ in workshop.updates] == list(range(stop, 10))
    assert resumed == straight
    for name, weights in load_transformer(outputs.model.path).state_dict().items():
        assert torch.equal(weights, expected[name]), name


def test_case_context_overflow_rows_longer_than_the_context(tune):
    with pytest.raises(ConfigError, match=r"row_tokens is 65, but the model's context is 64"):
        tune(replace(CONFIG, row_tokens=65))


def test_the_loss_of_answers_is_that_of_a_plain_loop():
    model = Transformer(SHAPE)
    model.initialise(1)
    # Longer answers than others, so that a mean of means would be another number.
    short, long = dialogue(1), dialogue(2)
    long = replace(
        long, messages=(long.messages[0], replace(long.messages[1], content="7 8 9 10 11 12"))
    )
    too_long = replace(
        long, messages=(replace(long.messages[0], content="3 " * 20), *long.messages[1:])
    )
    total, count = 0.0, 0
    for ids, first in (([2, 11, 3, 4, 21, 5, 1], 4), ([2, 12, 3, 4, 7, 8, 9, 10, 11, 12, 1], 4)):
        with torch.no_grad():
            logp = model.logits(model(torch.tensor([ids]))[0]).double().log_softmax(-1)
        for place in range(first, len(ids)):
            total -= logp[place - 1, ids[place]].item()
            count += 1
    loss, tokens, left_out = fine_tuning.answer_loss(
        model, Words(Tokens()), [short, long, too_long], 16
    )
    assert (tokens, left_out) == (count, 1) == (10, 1)
    assert loss == pytest.approx(total / count, rel=1e-5)
    with pytest.raises(DataError, match="none of 1 held-out dialogue fits 16 tokens"):
        fine_tuning.answer_loss(model, Words(Tokens()), [too_long], 16)
