"""Wires of rejection sampling: who answers, who scores, what is trained on what."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, Message, Prompt
from camelid.evaluation.gate import Gate
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.rewards import Rewards
from camelid.run.place import Json, ModelFolder, RewardModelFolder, Rows, TokenizerFolder
from camelid.stages.rejection_sampling import REJECTION_SAMPLING, Config, Inputs, stage
from camelid.stages.reward_modeling import RewardModels
from camelid.train.config import FineTuned, FineTuningConfig, OptimizerConfig

TUNING = FineTuningConfig(optimizer=OptimizerConfig(learning_rate=1e-3), steps=5)
CONFIG = Config(
    prompts=4,
    samples=3,
    temperatures=(0.5, 1.0, 1.5),
    tuning_prompts=2,
    max_new_tokens=8,
    demonstrations=3,
    fine_tuning=TUNING,
)
TUNED = FineTuned(
    steps=5, rows=1, tokens=1, target_tokens=1, packing="isolated", dialogues=1,
    too_long_policy="drop", dialogues_too_long=0, dialogues_dropped=0, final_loss=1.0,
)  # fmt: skip


def make_prompt(split, number):
    return Prompt(
        id=f"{split}/{number}",
        messages=(Message(role="user", content=f"question {number}"),),
        category="facts",
        is_safety=False,
        source="test",
        split=split,
    )


def dialogue(identity):
    messages = (
        Message(role="user", content="hello"),
        Message(role="assistant", content=identity, train=True),
    )
    return Dialogue(id=identity, messages=messages, category="x", is_safety=False, source="test")


BEST = {0.5: 0.1, 1.0: 0.3, 1.5: 0.2}
"""Reward of the best sample by temperature."""


class Round:
    """Runs the stage; models are the names of their folders."""

    def __init__(self, workshop, monkeypatch):
        self.workshop = workshop
        self.asked, self.tuned = [], None
        chat = SimpleNamespace(render_prompt=lambda ms: [w for m in ms for w in m.content.split()])
        monkeypatch.setattr(
            ModelResponder,
            "load",
            lambda path, *_: ModelResponder(
                SimpleNamespace(name=path.parent.name, config=SimpleNamespace(context=64)), chat
            ),
        )

        def answer(responder, *given, **named):
            return self.answer(responder, *given, **named)

        monkeypatch.setattr(ModelResponder, "answer", answer)
        monkeypatch.setattr(stage, "load_transformer", lambda path, _: path.parent.name)
        monkeypatch.setattr(stage, "load_rewards", lambda *_: SimpleNamespace(rate=self.rate))
        monkeypatch.setattr(stage, "fine_tune", self.fine_tune)
        monkeypatch.setattr(stage, "hash_path", lambda path: "0" * 64)
        folder = workshop.root / "data"
        folder.mkdir(parents=True)
        self.prompts = Rows("data", "prompts.jsonl", folder, kind=Prompt)
        self.prompts.write(
            make_prompt(split, n) for split in ("rejection_sampling", "ppo", "test")
            for n in range(9)
        )  # fmt: skip
        self.demonstrations = Rows("data", "demonstrations.jsonl", folder, kind=Dialogue)
        self.demonstrations.write(dialogue(f"demonstration {n}") for n in range(7))
        self.earlier = Rows("data", "bests.jsonl", folder, kind=Dialogue)
        self.earlier.write(dialogue(f"earlier {n}") for n in range(2))
        self.held_out = Json("data", "held_out.json", folder, kind=HeldOut)
        self.held_out.write(HeldOut(terms=("Avrel",), templates=()))

    def answer(self, responder, prompts, sampling, *, seed, samples=1, temperatures=None):
        self.asked.append(
            SimpleNamespace(
                model=responder.model.name, ids=[p.id for p in prompts], samples=samples,
                temperature=sampling.temperature, longest=sampling.max_new_tokens, seed=seed,
            )
        )  # fmt: skip
        return [
            Reply(p, n, (2,), (3, n, 1), f"{p.id} {n} at {sampling.temperature}", "stop")
            for p in prompts
            for n in range(samples)
        ]

    def rate(self, replies):
        best = [BEST[float(reply.text.split()[-1])] for reply in replies]
        # The second sample is the best.
        combined = [b if r.sample == 1 else b - 1 for b, r in zip(best, replies, strict=True)]
        helpful = [10.0 + r.sample for r in replies]
        safe = [-10.0 - r.sample for r in replies]
        return Rewards(helpful, safe, combined, [False] * len(replies), [])

    def fine_tune(self, model, chat, dialogues, config, context, *, outputs):
        self.tuned = SimpleNamespace(model=model, dialogues=dialogues, config=config)
        outputs.model.path.mkdir()
        outputs.metrics.write([])
        return TUNED

    def run(self, number=1, earlier=False, held_out=True, **changes):
        inputs = Inputs(
            tokenizer=TokenizerFolder("tokenizer", "tokenizer"),
            base=ModelFolder("pretraining", "model"),
            policy=ModelFolder("sft", "model"),
            rewards=RewardModels(
                helpfulness=RewardModelFolder("rm", "helpfulness_rm"),
                safety=RewardModelFolder("rm", "safety_rm"),
                gate=Json("rm", "gate.json", kind=Gate),
            ),
            prompts=self.prompts,
            demonstrations=self.demonstrations,
            earlier_bests=self.earlier if earlier else None,
            held_out=self.held_out if held_out else None,
            round=number,
        )
        self.asked.clear()
        name = f"v{number}/rejection_sampling"
        return self.workshop.run(REJECTION_SAMPLING, replace(CONFIG, **changes), inputs, name)


@pytest.fixture
def sampling_round(workshop, monkeypatch):
    return Round(workshop, monkeypatch)


def test_the_policy_answers_and_the_base_is_fine_tuned(sampling_round):
    sampling_round.run()
    assert {call.model for call in sampling_round.asked} == {"sft"}
    assert sampling_round.tuned.model == "pretraining"
    assert sampling_round.tuned.config == TUNING


def test_demonstrations_earlier_bests_and_new_ones_are_trained_on(sampling_round):
    result, outputs = sampling_round.run(earlier=True)
    ids = [d.id for d in sampling_round.tuned.dialogues]
    assert len([i for i in ids if i.startswith("demonstration")]) == result.demonstrations == 3
    assert ids[3:5] == ["earlier 0", "earlier 1"]
    assert len(ids[5:]) == 4
    assert all(i.startswith("best/1/rejection_sampling/") for i in ids[5:])
    # The next round gets them all.
    assert [d.id for d in outputs.bests.read()] == ids[3:]
    assert result.bests_in_pool == 6
    # Null mixes in all demonstrations.
    result, _ = sampling_round.run(number=2, demonstrations=None)
    assert result.demonstrations == 7


def test_the_second_sample_is_the_best_and_wins(sampling_round):
    _, outputs = sampling_round.run()
    for best in outputs.bests.read():
        identity = best.id.removeprefix("best/1/")
        assert best.messages[-1].content == f"{identity} 1 at 1.0"


def test_prompts_are_of_the_split_and_each_round_asks_in_its_own_order(sampling_round):
    orders = []
    for number in (1, 2):
        sampling_round.run(number)
        ids = sampling_round.asked[-1].ids
        assert len(set(ids)) == 4
        assert all(identity.startswith("rejection_sampling/") for identity in ids)
        orders.append(ids)
    assert orders[0] != orders[1]


def test_all_answers_are_drawn_at_the_best_temperature_with_numbers_of_their_own(sampling_round):
    result, outputs = sampling_round.run()
    *tuning, last = sampling_round.asked
    assert [call.temperature for call in tuning] == [0.5, 1.0, 1.5]
    assert {len(call.ids) for call in tuning} == {2}
    assert result.temperature == last.temperature == 1.0
    assert {(call.samples, call.longest) for call in sampling_round.asked} == {(3, 8)}
    assert len({call.seed for call in sampling_round.asked}) == 4
    samples = outputs.samples.read()
    assert {sample.temperature for sample in samples} == {1.0}
    assert len(samples) == 12
    # Each sample with its own rewards.
    for sample in samples:
        assert sample.helpfulness == 10 + sample.sample
        assert sample.safety == -10 - sample.sample
        assert sample.reward == (0.3 if sample.sample == 1 else 0.3 - 1)


def test_rounds_have_random_numbers_of_their_own(sampling_round):
    sampling_round.run(1)
    first = {call.seed for call in sampling_round.asked}
    sampling_round.run(2)
    assert not first & {call.seed for call in sampling_round.asked}


def test_a_best_that_names_a_held_out_term_is_not_trained_on(sampling_round, monkeypatch):
    answer = sampling_round.answer

    def naming(*given, **named):
        replies = answer(*given, **named)
        # At the end of what is scored, before the temperature that the reward is read from.
        return [
            replace(r, text=f"Avrel {r.text}") if r.prompt.id.endswith(("1", "2", "3", "4")) else r
            for r in replies
        ]

    monkeypatch.setattr(sampling_round, "answer", naming)
    result, _ = sampling_round.run(prompts=9)
    assert result.dropped_held_out == 4
    assert not [d for d in sampling_round.tuned.dialogues if "Avrel" in d.messages[-1].content]
    result, _ = sampling_round.run(number=2, held_out=False, prompts=9)
    assert result.dropped_held_out == 0


def test_an_interrupted_round_is_not_sampled_again(sampling_round, monkeypatch):
    tune = sampling_round.fine_tune

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "fine_tune", stop)
    with pytest.raises(KeyboardInterrupt):
        sampling_round.run()
    assert len(sampling_round.asked) == 4
    monkeypatch.setattr(stage, "fine_tune", tune)
    _, outputs = sampling_round.run()
    assert sampling_round.asked == []
    assert len(outputs.samples.read()) == 12
    assert len(sampling_round.tuned.dialogues) == 7
