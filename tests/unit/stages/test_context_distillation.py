"""Wires of context distillation: which prompts take part, what is kept and trained on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from camelid.data.prompts import HeldOut
from camelid.data.records import Answer, Dialogue, DistilledPair, Message, Prompt
from camelid.evaluation.gate import Gate
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.methods.context_distillation import read_preprompts
from camelid.run.place import Json, ModelFolder, RewardModelFolder, Rows, TokenizerFolder
from camelid.stages.context_distillation import CONTEXT_DISTILLATION, Config, Inputs, stage
from camelid.stages.reward_modeling import RewardModels
from camelid.train.config import FineTuned, FineTuningConfig, OptimizerConfig

TUNING = FineTuningConfig(optimizer=OptimizerConfig(learning_rate=1e-3), steps=5)
CONFIG = Config(
    prompts=4, sampling=Sampling(max_new_tokens=8), helpful_share=1.5, fine_tuning=TUNING
)
TUNED = FineTuned(
    steps=5, rows=1, tokens=1, target_tokens=1, packing="isolated", dialogues=1,
    too_long_policy="drop", dialogues_too_long=0, dialogues_dropped=0, final_loss=1.0,
)  # fmt: skip


def make_prompt(number, split="rejection_sampling", vector="direct"):
    return Prompt(
        id=f"{split}/{vector}/{number}",
        messages=(Message(role="user", content=f"attack {number}"),),
        category="attack",
        is_safety=True,
        source="test",
        split=split,
        attack_vector=vector,
    )


def best(number, is_safety):
    messages = (
        Message(role="user", content="hello"),
        Message(role="assistant", content=f"{number}", train=True),
    )
    return Dialogue(
        id=f"best/{is_safety}/{number}", messages=messages, category="x", is_safety=is_safety,
        source="test",
    )  # fmt: skip


def pair(prompt, number):
    """Every second answer scores above its original."""
    return DistilledPair(
        prompt_id=prompt.id,
        risk_category=None,
        prompt=prompt.messages[-1].content,
        prompts_cut=1,
        original=Answer(text="original", score=0.5),
        generic=Answer(text=f"generic {number}", score=0.6),
        template=Answer(text=f"template {number}", score=0.4),
        best="generic",
        kept=number % 2 == 0,
    )


class Distilling:
    def __init__(self, workshop, monkeypatch):
        self.workshop = workshop
        self.given = self.tuned = None
        self.chat = chat = SimpleNamespace(
            render_prompt=lambda ms: [w for m in ms for w in m.content.split()]
        )
        monkeypatch.setattr(
            ModelResponder,
            "load",
            lambda path, *_: ModelResponder(
                SimpleNamespace(name=str(path.parent), config=SimpleNamespace(context=256)), chat
            ),
        )
        monkeypatch.setattr(stage, "load_rewards", lambda models, _: models)
        monkeypatch.setattr(stage, "distil", self.distil)
        monkeypatch.setattr(stage, "fine_tune", self.fine_tune)
        folder = workshop.root / "data"
        folder.mkdir(parents=True)
        self.prompts = Rows("data", "prompts.jsonl", folder, kind=Prompt)
        self.prompts.write(
            make_prompt(n, split, vector)
            for split in ("rejection_sampling", "ppo")
            for vector in ("direct", None)
            for n in range(8)
        )
        self.bests = Rows("data", "bests.jsonl", folder, kind=Dialogue)
        self.bests.write(best(n, is_safety) for n in range(6) for is_safety in (True, False))
        self.held_out = Json("data", "held_out.json", folder, kind=HeldOut)
        self.held_out.write(HeldOut(terms=("Avrel",), templates=()))

    def distil(self, responder, rewards, prompts, sampling, *, seed, forbidden, **how):
        self.given = SimpleNamespace(
            model=responder.model.name, rewards=rewards, prompts=prompts, sampling=sampling,
            forbidden=forbidden, how=how,
        )  # fmt: skip
        return [pair(prompt, number) for number, prompt in enumerate(prompts)]

    def fine_tune(self, model, chat, dialogues, config, context, *, outputs):
        self.tuned = SimpleNamespace(model=model.name, dialogues=dialogues, config=config)
        outputs.model.path.mkdir()
        outputs.metrics.write([])
        return TUNED

    def run(self, **changes):
        inputs = Inputs(
            tokenizer=TokenizerFolder("tokenizer", "tokenizer"),
            model=ModelFolder("v2", "model"),
            rewards=RewardModels(
                helpfulness=RewardModelFolder("rm", "helpfulness_rm"),
                safety=RewardModelFolder("rm", "safety_rm"),
                gate=Json("rm", "gate.json", kind=Gate),
            ),
            prompts=self.prompts,
            bests=self.bests,
            held_out=self.held_out,
        )
        return self.workshop.run(CONTEXT_DISTILLATION, replace(CONFIG, **changes), inputs)


@pytest.fixture
def distilling(workshop, monkeypatch):
    return Distilling(workshop, monkeypatch)


def test_attacks_of_the_training_split_are_put_to_the_latest_model(distilling):
    distilling.run()
    given = distilling.given
    assert given.model == distilling.tuned.model == str(distilling.workshop.root / "v2")
    assert len(given.prompts) == 4
    assert all(p.attack_vector and p.split == "rejection_sampling" for p in given.prompts)
    assert given.sampling == CONFIG.sampling
    assert list(given.forbidden) == ["Avrel"]
    assert given.rewards.safety.name == "safety_rm"


def test_only_kept_answers_and_helpful_bests_are_trained_on(distilling):
    result, outputs = distilling.run()
    dialogues = distilling.tuned.dialogues
    assert dialogues == outputs.dialogues.read()
    distilled, mixed = dialogues[:2], dialogues[2:]
    for dialogue, prompt, number in zip(
        distilled, distilling.given.prompts[::2], (0, 2), strict=True
    ):
        # The answer after the better preprompt follows the bare prompt and is what is learned.
        assert dialogue.messages[:-1] == prompt.messages
        assert dialogue.messages[-1].content == f"generic {number}"
        assert [m.train for m in dialogue.messages] == [False, True]
        assert dialogue.is_safety
    assert [d.id.split("/")[:2] for d in mixed] == [["best", "False"]] * 3
    assert (result.kept, result.kept_share, result.helpful_mixed_in) == (2, 0.5, 3)
    assert result.prompts_cut == 4
    assert distilling.tuned.config == TUNING


def test_the_preprompts_are_those_of_the_settings(distilling):
    distilling.run()
    assert distilling.given.how == {"preprompts": read_preprompts("short"), "placement": "user"}
    distilling.run(wording="full", placement="system")
    assert distilling.given.how == {"preprompts": read_preprompts("full"), "placement": "system"}


def test_prompts_leave_room_for_the_longest_preprompt_and_the_reply(distilling):
    # A context of 256 words, 8 of them for the reply: the longest full preprompt takes the rest.
    longest = read_preprompts("full").longest(distilling.chat)
    words = {"fits": 256 - 8 - longest, "too long": 256 - 8 - longest + 1}
    distilling.prompts.write(
        replace(make_prompt(0), id=name, messages=(Message(role="user", content="a " * count),))
        for name, count in words.items()
    )
    result, _ = distilling.run(wording="full")
    assert [prompt.id for prompt in distilling.given.prompts] == ["fits"]
    assert (result.prompts_too_long, result.pairs) == (1, 1)
    assert 40 < longest < 80


def test_the_share_of_helpful_bests_is_the_setting(distilling):
    result, _ = distilling.run(helpful_share=0.0)
    assert result.helpful_mixed_in == 0
    assert len(distilling.tuned.dialogues) == 2
