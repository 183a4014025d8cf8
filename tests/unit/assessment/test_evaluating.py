"""Evaluation: which prompts are asked, what is counted, what an interruption costs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from camelid.assessment.evaluating import EVALUATING, Config, Inputs, stage
from camelid.assessment.evaluating.stage import select_prompts, sequence_log_ratios, set_of
from camelid.data.annotation import Judgement, Opinion
from camelid.data.records import Message, Prompt
from camelid.data.references import Rhyme
from camelid.errors import DataError
from camelid.evaluation.gate import RewardModels
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.sampling import Sampling
from camelid.methods import judging
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.run.place import (
    Json,
    ModelFolder,
    RewardModelFolder,
    Rows,
    TokenizerFolder,
)


class Verdict:
    """Judges that a reply is as good as it is long."""

    name = "test judge"

    def judge(self, prompt, reply):
        assert reply.endswith(f" to {prompt.id}"), "a reply is judged by its own prompt"
        return Judgement(score=len(reply) / 100, violating=False, refusing=False)


def make_prompt(identity, **changes):
    fields = {
        "id": identity,
        "messages": (
            Message(role="user", content="Hello."),
            Message(role="assistant", content="Hi."),
            Message(role="user", content=f"Attack {identity}."),
        ),
        "category": "attack",
        "is_safety": True,
        "source": "test",
        "split": "test",
        "attack_vector": "direct",
        "risk_category": "illicit_criminal",
    }
    return Prompt(**(fields | changes))


TOPIC = Rhyme(topic="x")
PLAIN = {"attack_vector": None, "risk_category": None, "is_safety": False}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "adversarial"),
        ({"borderline": True, "reference": TOPIC}, "adversarial"),
        (PLAIN | {"borderline": True, "reference": TOPIC}, "borderline"),
        (PLAIN | {"reference": TOPIC}, "helpful"),
        (PLAIN, "dialogue"),
    ],
)
def test_set_of(changes, expected):
    assert set_of(make_prompt("a", **changes)) == expected


def test_select_prompts_takes_the_test_split_up_to_each_limit():
    kinds = {
        "adversarial": {},
        "borderline": PLAIN | {"borderline": True},
        "helpful": PLAIN | {"reference": TOPIC},
        "dialogue": PLAIN,
    }
    prompts = [
        make_prompt(f"{name}/{split}/{number}", split=split, **changes)
        for name, changes in kinds.items()
        for split in ("test", "validation", "ppo")
        for number in range(9)
    ]
    limits = {"adversarial": 4, "borderline": 0, "helpful": 20, "dialogue": 1}
    config = Config(sampling=Sampling(), judge=Verdict(), **limits)
    chosen = select_prompts(prompts, config)
    assert all(p.split == "test" and p.id.startswith(f"{set_of(p)}/test/") for p in chosen)
    names = [set_of(prompt) for prompt in chosen]
    assert {name: names.count(name) for name in kinds} == limits | {"helpful": 9}
    assert len({prompt.id for prompt in chosen}) == len(chosen)
    # The choice is of the ids, not of the file's order, and not simply the first ones.
    assert select_prompts(prompts[::-1], config) == chosen
    attacks = [prompt.id for prompt in chosen if set_of(prompt) == "adversarial"]
    assert attacks != [f"adversarial/test/{number}" for number in range(4)]


def test_a_larger_limit_only_adds_prompts():
    prompts = [make_prompt(str(number)) for number in range(30)]
    few, many = (
        select_prompts(prompts, Config(sampling=Sampling(), judge=Verdict(), adversarial=limit))
        for limit in (5, 20)
    )
    assert many[:5] == few


@torch.no_grad()
def test_log_ratios_are_those_of_the_tempered_distributions():
    config = ModelConfig(
        dim=16, layers=1, heads=2, kv_heads=2, ffn_dim=16, vocabulary_size=12, context=16
    )
    models = []
    for seed in (1, 2):
        models.append(Transformer(config).double())
        models[-1].initialise(seed)
    tokens = (7, 3, 5)
    reply = Reply(make_prompt("a"), 0, (4, 9), tokens, "x", "stop")
    found = {
        temperature: sequence_log_ratios(*models, [reply], temperature=temperature)
        for temperature in (1.0, 0.5)
    }
    for temperature, [ratio] in found.items():
        totals = []
        for model in models:
            logits = model.logits(model(torch.tensor([reply.sequence])))[0] / temperature
            logp = torch.log_softmax(logits, -1)
            totals.append(sum(float(logp[1 + i, token]) for i, token in enumerate(tokens)))
        assert ratio == pytest.approx(totals[0] - totals[1], rel=1e-6)
    assert found[1.0] != pytest.approx(found[0.5])


# --- The stage, with stand-ins for the models. ---

NAMES = ("base", "sft", "final")
# The base model has room for 6 words beside a reply, the others for 12.
CONTEXTS = {"base": 10, "sft": 16, "final": 16, "random_pick": 10}


def asked_prompts():
    """Three short attacks, two short helpful prompts, and one long prompt of each."""
    helpful = PLAIN | {"reference": TOPIC}
    return [
        *(make_prompt(f"attack{n}") for n in range(3)),
        *(make_prompt(f"helpful{n}", **helpful) for n in range(2)),
        *(
            make_prompt(
                f"long {n}",
                messages=(Message(role="user", content="word " * 9),),
                **changes,
            )
            for n, changes in enumerate(({}, helpful))
        ),
        make_prompt("other split", split="ppo"),
    ]


class Exam:
    """Runs the stage; counts what is loaded and who answers."""

    def __init__(self, workshop, monkeypatch):
        self.workshop = workshop
        self.loaded, self.answered, self.seeds = [], [], []
        self.temperatures, self.compared = [], []
        self.stop_at = None
        chat = SimpleNamespace(
            render_prompt=lambda messages: [w for m in messages for w in m.content.split()]
        )
        monkeypatch.setattr(
            ModelResponder,
            "load",
            lambda path, _, runtime: ModelResponder(self.load(path, runtime), chat),
        )
        monkeypatch.setattr(stage, "load_transformer", self.load)
        monkeypatch.setattr(stage, "load_reward_model", lambda path, _: self.loaded.append("guard"))
        monkeypatch.setattr(stage, "load_rewards", self.load_rewards)

        def answer(responder, *given, **named):
            return self.sample(responder, *given, **named)

        monkeypatch.setattr(ModelResponder, "answer", answer)
        monkeypatch.setattr(stage, "sequence_log_ratios", self.log_ratios)
        self.prompts = Rows("data", "prompts.jsonl", workshop.root / "data", kind=Prompt)
        self.prompts.path.parent.mkdir(parents=True)
        self.prompts.write(asked_prompts())

    def load(self, path, runtime):
        assert runtime == self.workshop.context("evaluating").runtime
        name = path.parent.name
        self.loaded.append(name)
        return SimpleNamespace(name=name, config=SimpleNamespace(context=CONTEXTS[name]))

    def load_rewards(self, models, runtime):
        self.loaded.append("rewards")
        return self

    def rate(self, replies, *, watching):
        numbers = [float(len(reply.text)) for reply in replies]
        negative = [-number for number in numbers]
        return SimpleNamespace(
            helpfulness=numbers, safety=negative, combined=numbers, watched=negative
        )

    def sample(self, responder, prompts, sampling, *, seed):
        model = responder.model
        self.answered.append(model.name)
        self.seeds.append(seed)
        self.temperatures.append(sampling.temperature)
        assert sampling.max_new_tokens == 4
        if model.name == self.stop_at:
            raise KeyboardInterrupt
        return [Reply(p, 0, (2, 3), (4, 5, 1), f"{model.name} to {p.id}", "stop") for p in prompts]

    def log_ratios(self, model, reference, replies, *, temperature):
        assert (model.name, reference.name) == ("final", "sft")
        self.compared.append(temperature)
        return [0.25] * len(replies)

    def run(self, *, controls=(), sharpened=(), temperatures=()):
        for seen in (self.loaded, self.answered, self.temperatures, self.compared):
            seen.clear()
        folder = "v1/reward_modeling"
        inputs = Inputs(
            tokenizer=TokenizerFolder("tokenizer_training", "tokenizer"),
            models=tuple((name, ModelFolder(name, "model")) for name in NAMES),
            references=(("final", "sft"),),
            rounds=(),
            rewards=RewardModels(
                helpfulness=RewardModelFolder(folder, "helpfulness_rm"),
                safety=RewardModelFolder(folder, "safety_rm"),
                gate=Json(folder, "gate.json"),
            ),
            guard=RewardModelFolder(folder, "guard_rm"),
            prompts=self.prompts,
            controls=tuple((name, ModelFolder(name, "model")) for name in controls),
            sharpened=sharpened,
        )
        config = Config(
            sampling=Sampling(temperature=0.5, max_new_tokens=4),
            helpful=9,
            adversarial=9,
            judge=Verdict(),
            other_temperatures=temperatures,
        )
        return self.workshop.run(EVALUATING, config, inputs)


@pytest.fixture
def exam(workshop, monkeypatch):
    return Exam(workshop, monkeypatch)


def test_prompts_are_counted_after_fitting_and_per_model(exam):
    result, outputs = exam.run()
    assert result.prompts == {
        "base": {"adversarial": 3, "helpful": 2},
        "sft": {"adversarial": 4, "helpful": 3},
        "final": {"adversarial": 4, "helpful": 3},
    }
    assert result.prompts_too_long == {"base": 2, "sft": 0, "final": 0}
    assert result.judge == "test judge"
    rows = outputs.replies.read()
    assert [row.model for row in rows] == ["base"] * 5 + ["sft"] * 7 + ["final"] * 7
    assert not any(row.model == "base" and row.prompt_id.startswith("long") for row in rows)
    # All models draw the same numbers for a prompt.
    assert len(exam.seeds) == 3
    assert len(set(exam.seeds)) == 1
    # All models answer the prompts that fit in the same order.
    order = [row.prompt_id for row in rows if row.model == "sft"]
    assert [row.prompt_id for row in rows if row.model == "final"] == order
    assert [i for i in order if "long" not in i] == [r.prompt_id for r in rows[:5]]


def test_every_reply_has_its_own_numbers(exam):
    _, outputs = exam.run()
    for row in outputs.replies.read():
        length = len(row.reply)
        assert row.reply == f"{row.model} to {row.prompt_id}"
        assert (row.helpfulness_rm, row.safety_rm, row.guard_rm) == (length, -length, -length)
        assert (row.reward, row.judgement.score) == (length, length / 100)
        assert row.log_ratio == (0.25 if row.model == "final" else None)
        assert row.set == ("adversarial" if row.attack_vector else "helpful")
        assert row.turns == (1 if "long" in row.prompt_id else 2)
        assert row.reply_tokens == 3


OTHERS = {
    "controls": ("random_pick",), "sharpened": ("sft", "final"), "temperatures": (0.25, 0.0)
}  # fmt: skip


def test_controls_and_other_temperatures_answer_after_the_versions(exam):
    alone, outputs = exam.run()
    before = outputs.replies.read()
    assert exam.temperatures == exam.compared * 3 == [0.5] * 3
    result, outputs = exam.run(**OTHERS)
    # The versions have answered already.
    assert exam.answered == ["random_pick", "sft", "sft", "final", "final"]
    assert exam.temperatures == [0.5, 0.25, 0.0, 0.25, 0.0]
    # Greedy replies have no temperature of their own.
    assert exam.compared == [0.25, 1.0]
    rows = outputs.replies.read()
    assert rows[: len(before)] == before
    called = {
        "base": 0.5, "sft": 0.5, "final": 0.5, "random_pick": 0.5, "sft_at_0.25": 0.25,
        "sft_greedy": 0.0, "final_at_0.25": 0.25, "final_greedy": 0.0,
    }  # fmt: skip
    assert {row.model: row.temperature for row in rows} == called
    assert list(dict.fromkeys(row.model for row in rows)) == list(called)
    assert list(result.prompts) == list(called)
    # A control has a context of its own too.
    assert result.prompts["random_pick"] == {"adversarial": 3, "helpful": 2}
    assert result.prompts_too_long["random_pick"] == 2
    assert result.prompts["final_greedy"] == alone.prompts["final"]
    for row in rows[len(before) :]:
        assert (
            row.reply
            == f"{row.model.partition('_at_')[0].removesuffix('_greedy')} to {row.prompt_id}"
        )
        assert (row.log_ratio is not None) == row.model.startswith("final")
    # All prompts in the same order.
    ids = {name: [row.prompt_id for row in rows if row.model == name] for name in called}
    assert ids["sft"] == ids["sft_at_0.25"] == ids["sft_greedy"] == ids["final_at_0.25"]


def test_an_interrupted_evaluation_loads_no_model_whose_replies_it_has(exam):
    exam.stop_at = "final"
    with pytest.raises(KeyboardInterrupt):
        exam.run()
    assert exam.answered == ["base", "sft", "final"]
    exam.stop_at = None
    result, outputs = exam.run()
    assert exam.answered == ["final"]
    # The reference of the last model is needed for its log-ratios.
    assert exam.loaded == ["rewards", "guard", "final", "sft"]
    assert [row.model for row in outputs.replies.read()] == [
        *(["base"] * 5 + ["sft"] * 7 + ["final"] * 7)
    ]
    assert result.prompts_too_long["base"] == 2
    # With all replies there, no model at all is loaded.
    before = outputs.replies.path.read_bytes()
    again, outputs = exam.run()
    assert (exam.loaded, exam.answered) == ([], [])
    assert again == result
    assert outputs.replies.path.read_bytes() == before


def test_half_written_replies_are_made_again(exam, monkeypatch):
    exam.stop_at = "sft"
    with pytest.raises(KeyboardInterrupt):
        exam.run()
    exam.stop_at = None
    folder = exam.workshop.context("evaluating").work
    assert [path.name for path in folder.iterdir()] == ["replies_0.jsonl"]
    (folder / "replies_1.jsonl.partial").write_text('{"model": "sf', encoding="utf-8")
    _, outputs = exam.run()
    assert exam.answered == ["sft", "final"]
    assert len(outputs.replies.read()) == 19


def test_without_a_prompt_of_the_test_split_the_stage_says_so(exam):
    exam.prompts.write([make_prompt("a", split="ppo")])
    with pytest.raises(DataError, match="no prompt of the split 'test'"):
        exam.run()


class TrainedBench:
    """Trained judges with a second opinion."""

    def judge(self, replies):
        return [
            judging.Verdict(
                "trained judge",
                Judgement(violating=True, refusing=False),
                Opinion(
                    prompt_id=reply.prompt.id,
                    refusal=0.1,
                    harm=0.9,
                    cut=False,
                    second_judge="strings",
                    second=Judgement(violating=False, refusing=True),
                ),
            )
            for reply in replies
        ]


def test_second_opinions_stand_in_the_order_of_the_replies(exam, monkeypatch):
    monkeypatch.setattr(stage.Bench, "load", lambda *_: TrainedBench())
    exam.stop_at = "final"
    with pytest.raises(KeyboardInterrupt):
        exam.run()
    exam.stop_at = None
    result, outputs = exam.run()
    assert result.judge == "trained judge"
    rows, opinions = outputs.replies.read(), outputs.opinions.read()
    assert [opinion.prompt_id for opinion in opinions] == [row.prompt_id for row in rows]
    assert {row.judge for row in rows} == {"trained judge"}
    assert all(row.judgement.violating for row in rows)
