"""Wires of reward modeling: which pairs train, test and guard which model, and with what loss."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from camelid.data.records import Message, Preference
from camelid.errors import CheckpointError
from camelid.evaluation.gate import Gate
from camelid.formats.folder import load_reward_model, save_model
from camelid.inference.scoring import score
from camelid.losses import MARGINS
from camelid.methods.rewards import load_rewards
from camelid.model.config import ModelConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.place import Json, ModelFolder, RewardModelFolder, Rows, TokenizerFolder
from camelid.runtime import Runtime
from camelid.stages.reward_modeling import (
    REWARD_MODELING,
    Config,
    Inputs,
    Outputs,
    RewardModels,
    Trained,
    report,
    stage,
)
from camelid.train.config import OptimizerConfig

SHAPE = ModelConfig(
    dim=16, layers=1, heads=2, kv_heads=1, ffn_dim=24, vocabulary_size=128, context=64
)
CONFIG = Config(
    optimizer=OptimizerConfig(learning_rate=1e-3),
    batch_pairs=4,
    micro_pairs=3,
    epochs=2,
    margin="large",
    safety_auxiliary=0.7,
    newest_factor=3,
    helpfulness_share=0.5,
    safety_share=0.8,
    gate_precision=0.6,
)


class Letters:
    """A chat format of one id a letter; 2 opens a message, 1 ends a reply."""

    end_id = 1
    tokenizer = SimpleNamespace(pad_id=0, vocabulary_size=128)

    def encode_reply(self, text):
        return [ord(letter) for letter in text]

    def render_prompt(self, messages):
        return [i for m in messages for i in (2, *self.encode_reply(m.content))]


def preference(use, kind, round_number, number):
    return Preference(
        id=f"{use}/{kind}/{round_number}/{number}",
        kind=kind,
        round=round_number,
        batch=round_number,
        category="any",
        prompt=(Message(role="user", content=f"{kind[0]}{number}"),),
        chosen=f"yes {use}",
        rejected=f"no {number}",
        strength="better",
        safety="chosen_safe" if kind == "safety" else None,
    )


class Learning:
    """Runs the stage with a trainer that only notes what it is given."""

    def __init__(self, workshop, monkeypatch):
        self.workshop, self.trained = workshop, {}
        self.tested = self.tuned = None
        note = self

        class Trainer:
            def __init__(self, config, chat, chat_model, context):
                self.config = config

            def train(self, mix, auxiliary, *, to, metrics):
                note.trained[to.name] = SimpleNamespace(
                    ids=[p.id for p in mix], kinds=Counter(p.kind for p in mix),
                    auxiliary=auxiliary, metrics=metrics.name,
                )  # fmt: skip
                to.path.mkdir()
                metrics.write([])
                return Trained(pairs=len(mix), kinds={}, too_long=0, too_weak=0, steps=1)

        def test(trainer, held_out, models):
            self.tested = [p.id for p in held_out], [folder.name for folder in models]
            return [], 2

        def tune(scores, precision):
            self.tuned = scores, precision
            return Gate(threshold=0.3, precision=None, recall=None, labelled_replies=0, reason=None,
                        precision_at_paper_threshold=None,
                        recall_at_paper_threshold=None)  # fmt: skip

        monkeypatch.setattr(stage, "Trainer", Trainer)
        monkeypatch.setattr(stage, "load_transformer", lambda folder, runtime: None)
        monkeypatch.setattr(stage, "load_chat_format", lambda folder: None)
        monkeypatch.setattr(stage, "_test", test)
        monkeypatch.setattr(stage, "tune_gate", tune)

    def rows(self, use, round_number, helpful, safe):
        folder = self.workshop.root / "data"
        folder.mkdir(parents=True, exist_ok=True)
        place = Rows("data", f"{use}{round_number}.jsonl", folder, kind=Preference)
        counts = {"helpfulness": helpful, "safety": safe}
        place.write(
            preference(use, kind, round_number, number)
            for kind, count in counts.items()
            for number in range(count)
        )
        return place

    def run(self, rounds=2, guard=True, **changes):
        numbers = range(1, rounds + 1)
        inputs = Inputs(
            tokenizer=TokenizerFolder("t", "tokenizer"),
            chat_model=ModelFolder("sft", "model"),
            preferences=tuple(self.rows("train", n, 10, 16) for n in numbers),
            test_preferences=tuple(self.rows("test", n, 2, 3) for n in numbers),
            guard_preferences=tuple(self.rows("guard", n, 1, 2) for n in numbers) if guard else (),
        )
        result, self.outputs = self.workshop.run(
            REWARD_MODELING, replace(CONFIG, **changes), inputs
        )
        return result


def test_case_padded_vocabulary_reward_models_compare_ids_and_rows(workshop):
    chat = SimpleNamespace(tokenizer=SimpleNamespace(vocabulary_size=127))
    model = SimpleNamespace(config=SHAPE)
    with pytest.raises(CheckpointError, match="a tokenizer of 127 ids for a model of 128 rows"):
        stage.Trainer(CONFIG, chat, model, workshop.context())


@pytest.fixture
def learning(workshop, monkeypatch):
    return Learning(workshop, monkeypatch)


def test_each_model_learns_from_its_own_mix(learning):
    learning.run()
    helpful, safe = learning.trained["helpfulness_rm"], learning.trained["safety_rm"]
    # Two rounds, the newest counted three times; then mixed half and half, and 80 to 20.
    assert helpful.kinds == {"helpfulness": 40, "safety": 40}
    assert safe.kinds == {"safety": 64, "helpfulness": 16}
    assert (helpful.metrics, safe.metrics) == (
        "metrics_helpfulness_rm.jsonl", "metrics_safety_rm.jsonl"
    )  # fmt: skip
    for model, kind in ((helpful, "helpfulness"), (safe, "safety")):
        times = Counter(i for i in model.ids if f"/{kind}/" in i)
        assert {i.split("/")[2]: count for i, count in times.items()} == {"1": 1, "2": 3}


def test_the_safety_model_alone_has_the_auxiliary_loss(learning):
    learning.run()
    weights = {name: trained.auxiliary for name, trained in learning.trained.items()}
    assert weights == {"helpfulness_rm": 0.0, "safety_rm": 0.7, "guard_rm": 0.0}


def test_the_guard_learns_from_pairs_that_the_others_never_see(learning):
    result = learning.run()
    guard = learning.trained.pop("guard_rm")
    assert sorted(guard.ids) == sorted(
        f"guard/{kind}/{number}/{at}"
        for kind, count in (("helpfulness", 1), ("safety", 2))
        for number in (1, 2)
        for at in range(count)
    )
    for trained in learning.trained.values():
        assert not set(trained.ids) & set(guard.ids)
        assert all(identity.startswith("train/") for identity in trained.ids)
    assert result.guard_rm.pairs == 6


def test_all_models_are_tested_on_held_out_pairs_and_the_gate_on_their_scores(learning):
    result = learning.run()
    ids, models = learning.tested
    assert len(ids) == 10
    assert all(identity.startswith("test/") for identity in ids)
    assert models == ["helpfulness_rm", "safety_rm", "guard_rm"]
    assert learning.tuned == ([], 0.6)
    assert learning.outputs.gate.read().threshold == 0.3
    assert result.test_too_long == 2


# --- One model ---


def chat_model():
    model = Transformer(SHAPE)
    model.initialise(1)
    return model


def trainer(workshop, **changes):
    made = object.__new__(stage.Trainer)
    made.config, made.context = replace(CONFIG, **changes), workshop.context()
    made.chat, made.chat_model = Letters(), chat_model()
    return made


def test_settings_reach_the_loss_and_the_steps(workshop, monkeypatch):
    given = []

    def fit(model, objective, batches_from, config, *, steps, context, metrics):
        start = next(batches_from(0))
        given.append(SimpleNamespace(model=model, objective=objective, batch=start, steps=steps,
                                     config=config))  # fmt: skip
        return iter(())

    monkeypatch.setattr(stage, "fit", fit)
    outputs = workshop.outputs(Outputs)
    outputs.metrics_safety.write([])
    mix = [preference("train", "safety", 1, number) for number in range(10)]
    trained = trainer(workshop).train(
        mix, 0.7, to=outputs.safety_rm, metrics=outputs.metrics_safety
    )
    [seen] = given
    assert seen.objective._auxiliary == 0.7
    # Two epochs of ten pairs by four.
    assert seen.steps == trained.steps == 6
    assert seen.config == CONFIG.optimizer
    assert [len(batch.margin_B) for batch in seen.batch] == [3, 1]
    assert {m for batch in seen.batch for m in batch.margin_B.tolist()} == {
        MARGINS["large"]["better"]
    }
    start = chat_model().state_dict()
    for name, weights in seen.model.trunk.state_dict().items():
        assert torch.equal(weights, start[name]), name


def make_reward_model(seed):
    model = RewardModel.from_chat_model(chat_model(), seed)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(seed))
    return model


def test_each_score_is_of_its_reply_by_its_model(workshop):
    names = ("helpfulness_rm", "safety_rm")
    folders = [RewardModelFolder("rm", name, workshop.root / "rm") for name in names]
    for seed, folder in enumerate(folders, 1):
        save_model(make_reward_model(seed), folder.path)
    held_out = [preference("test", "safety", 1, number) for number in range(4)]
    rows, too_long = stage._test(trainer(workshop), held_out, folders)
    assert too_long == 0
    chat = Letters()
    for row, item in zip(rows, held_out, strict=True):
        assert (row.id, row.chosen, row.rejected) == (item.id, item.chosen, item.rejected)
        assert (row.kind, row.safety, row.strength) == (item.kind, item.safety, item.strength)
        for folder in folders:
            model = load_reward_model(folder.path)
            for text, found in ((item.chosen, row.chosen_scores),
                                (item.rejected, row.rejected_scores)):  # fmt: skip
                ids = [*chat.render_prompt(item.prompt), *chat.encode_reply(text), chat.end_id]
                assert found[folder.name] == pytest.approx(score(model, [ids])[0], abs=1e-5)


def test_rewards_are_loaded_by_name_with_their_threshold(workshop):
    root = workshop.root / "rm"
    models = RewardModels(
        helpfulness=RewardModelFolder("rm", "helpfulness_rm", root),
        safety=RewardModelFolder("rm", "safety_rm", root),
        gate=Json("rm", "gate.json", root, kind=Gate),
    )
    save_model(make_reward_model(1), models.helpfulness.path)
    save_model(make_reward_model(2), models.safety.path)
    models.gate.write(Gate(threshold=0.35, precision=None, recall=None, labelled_replies=0,
                           reason=None, precision_at_paper_threshold=None,
                           recall_at_paper_threshold=None))  # fmt: skip
    pair = load_rewards(models, Runtime())
    assert torch.equal(pair.helpfulness.head.weight, make_reward_model(1).head.weight)
    assert torch.equal(pair.safety.head.weight, make_reward_model(2).head.weight)
    assert pair.threshold == 0.35


def test_the_learning_curve_is_of_comparisons_not_learned_from_yet():
    def rows(name, accuracies):
        metrics = [SimpleNamespace(metrics={"accuracy": value}) for value in accuracies]
        return SimpleNamespace(name=f"metrics_{name}_rm.jsonl", metrics=metrics)

    trained = SimpleNamespace(pairs=104)
    stage = SimpleNamespace(
        config=SimpleNamespace(batch_pairs=4),
        # 26 batches a pass; the second pass knows every comparison.
        outputs=SimpleNamespace(
            metrics_helpfulness=rows("helpfulness", [*[0.25] * 2, *[0.5] * 24, *[1.0] * 26]),
            metrics_safety=rows("safety", [0.5, 0.75, 1.0]),
            metrics_guard=rows("guard", []),
        ),
        result=SimpleNamespace(
            helpfulness_rm=trained, safety_rm=SimpleNamespace(pairs=8), guard_rm=None
        ),
        rows=lambda place: place.metrics,
    )
    helpfulness, safety = report.learning(stage)
    name, pairs, right = helpfulness
    assert name == "helpfulness"
    # Twelve parts of two or three batches: the first three are batches 1 to 3.
    assert len(pairs) == len(right) == 12
    assert right[0] == pytest.approx(100 * (0.25 + 0.25 + 0.5) / 3)
    assert set(right[1:]) == {50.0}
    assert (pairs[0], pairs[-1]) == (6.0, 100.0)
    assert safety == ("safety", [2.0, 6.0], [50.0, 75.0])
