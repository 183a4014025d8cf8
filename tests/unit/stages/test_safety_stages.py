"""Context distillation and its gate, red teaming's memory, and the prompts of the evaluation."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from camelid.data.records import Message, Prompt
from camelid.errors import MissingInputError
from camelid.inference.replies import Reply
from camelid.inference.rewards import RewardPair, Rewards
from camelid.inference.sampling import Sampling
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.run.progress import RunProgress
from camelid.run.stage import StageContext
from camelid.stages import context_distillation, evaluating
from camelid.stages.context_distillation import (
    ADJECTIVES,
    CATEGORY_TEMPLATES,
    DEFAULT_CATEGORY_TEMPLATE,
    GENERIC_TEMPLATES,
    distil,
    generic_preprompt,
    with_preprompt,
)
from camelid.stages.evaluating import select_prompts, sequence_log_ratios, set_of
from camelid.stages.red_teaming import earlier_violations


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


def test_generic_preprompts_are_fixed_by_the_id_and_hold_two_different_adjectives():
    seen = set()
    for number in range(300):
        text = generic_preprompt(f"prompt/{number}")
        assert text == generic_preprompt(f"prompt/{number}")
        words = set(text.replace(".", "").split())
        adjectives = words & set(ADJECTIVES)
        assert len(adjectives) == 2, text
        assert "{" not in text
        seen.add(text)
    # 6 first adjectives, 5 second ones, 2 templates; nearly all of them occur.
    every = {t.format(a, b) for t in GENERIC_TEMPLATES for a in ADJECTIVES for b in ADJECTIVES}
    assert seen <= every
    assert len(seen) > 50


def test_the_preprompt_stands_before_the_last_user_message():
    prompt = make_prompt("a")
    led = with_preprompt(prompt, "Be kind.")
    assert led.messages[:-1] == prompt.messages[:-1]
    assert led.messages[-1].content == "Be kind. Attack a."
    assert prompt.messages[-1].content == "Attack a."
    assert (led.id, led.risk_category) == (prompt.id, prompt.risk_category)


VARIANTS = ("original", "generic", "template")


class Distillation:
    """`distil` with a table: prompt id -> variant -> (answer, safety score)."""

    def __init__(self, monkeypatch, table, forbidden=(), **changes):
        self.table = table
        self.asked, self.rated = [], []
        prompts = [make_prompt(identity, **changes) for identity in table]
        monkeypatch.setattr(context_distillation, "sample_replies", self.sample)
        monkeypatch.setattr(RewardPair, "rate", self.rate)
        self.rows = distil(
            None,
            SimpleNamespace(render_prompt=self.render),
            RewardPair("helpfulness", "safety", 0.15),
            prompts,
            Sampling(max_new_tokens=8),
            seed=5,
            forbidden=forbidden,
        )
        self.prompts = prompts

    @staticmethod
    def render(messages):
        return [ord(letter) for message in messages for letter in message.content]

    def sample(self, model, chat, prompts, sampling, *, seed):
        name = VARIANTS[len(self.asked)]
        self.asked.append((list(prompts), seed))
        replies = []
        for prompt in prompts:
            text, _, *stop = self.table[prompt.id][name]
            ids = tuple(self.render(prompt.messages))
            replies.append(Reply(prompt, 0, ids, (7, 1), text, stop[0] if stop else "stop"))
        return replies

    def rate(self, replies):
        name = VARIANTS[len(self.rated)]
        self.rated.append(list(replies))
        scores = [self.table[reply.prompt.id][name][1] for reply in replies]
        # Helpfulness and the combined reward say the opposite: only safety may count.
        opposite = [-score for score in scores]
        return Rewards(opposite, scores, opposite, [False] * len(scores))

    def outcome(self):
        return {row["prompt_id"]: (row["kept"], row["answer"]) for row in self.rows}


def test_an_answer_is_kept_only_where_its_safety_score_is_above_the_original(monkeypatch):
    table = {
        "generic wins": {"original": ("o", 0.0), "generic": ("g", 2.0), "template": ("t", 1.0)},
        "template wins": {"original": ("o", 0.0), "generic": ("g", 1.0), "template": ("t", 2.0)},
        "original wins": {"original": ("o", 3.0), "generic": ("g", 1.0), "template": ("t", 2.0)},
        "equal is not above": {
            "original": ("o", 2.0),
            "generic": ("g", 2.0),
            "template": ("t", 1.0),
        },
        "far below zero": {"original": ("o", -9.0), "generic": ("g", -8.0), "template": ("t", -10)},
    }
    found = Distillation(monkeypatch, table)
    assert found.outcome() == {
        "generic wins": (True, "g"),
        "template wins": (True, "t"),
        "original wins": (False, None),
        "equal is not above": (False, None),
        "far below zero": (True, "g"),
    }
    row = found.rows[0]
    assert (row["original"], row["generic"], row["template"]) == ("o", "g", "t")
    assert row["prompt"] == "Attack generic wins."
    assert row["risk_category"] == "illicit_criminal"
    assert row["original_score"] == 0.5
    assert row["generic_score"] == pytest.approx(0.8807970779778823)


def test_unusable_answers_are_not_kept(monkeypatch):
    original = {"original": ("o", 0.0, "length")}
    table = {
        "cut": original | {"generic": ("g", 9.0, "length"), "template": ("t", 1.0)},
        "empty": original | {"generic": ("g", 1.0), "template": ("", 9.0)},
        "held out": original | {"generic": ("Zorblax!", 9.0), "template": ("t", 1.0)},
        "second below": original | {"generic": ("Zorblax!", 9.0), "template": ("t", -1.0)},
        "none": original | {"generic": ("", 9.0), "template": ("t", 9.0, "length")},
    }
    assert Distillation(monkeypatch, table, forbidden=["zorblax"]).outcome() == {
        "cut": (True, "t"),
        "empty": (True, "g"),
        "held out": (True, "t"),
        "second below": (False, None),
        "none": (False, None),
    }


@pytest.mark.parametrize("category", [*CATEGORY_TEMPLATES, "something_else", None])
def test_each_prompt_is_asked_bare_and_with_both_preprompts(monkeypatch, category):
    answers = {name: (name, 0.0) for name in VARIANTS}
    found = Distillation(monkeypatch, {"a": answers, "b": answers}, risk_category=category)
    asked = [[p.messages[-1].content for p in prompts] for prompts, _ in found.asked]
    template = CATEGORY_TEMPLATES.get(category or "", DEFAULT_CATEGORY_TEMPLATE)
    assert asked == [
        ["Attack a.", "Attack b."],
        [f"{generic_preprompt(identity)} Attack {identity}." for identity in "ab"],
        [f"{template} Attack {identity}." for identity in "ab"],
    ]
    assert len({seed for _, seed in found.asked}) == 3
    # The preprompt is gone where the answers are scored, in the records and in the ids.
    bare = [tuple(found.render(prompt.messages)) for prompt in found.prompts]
    for replies in found.rated:
        assert [reply.prompt for reply in replies] == found.prompts
        assert [reply.prompt_tokens for reply in replies] == bare
        assert [reply.tokens for reply in replies] == [(7, 1), (7, 1)]


def test_extreme_scores_do_not_overflow(monkeypatch):
    table = {"a": {"original": ("o", -1e4), "generic": ("g", 1e4), "template": ("t", 0.0)}}
    [row] = Distillation(monkeypatch, table).rows
    assert row["kept"]
    assert row["original_score"] == pytest.approx(0.0)
    assert row["generic_score"] == 1.0


def test_earlier_violations_of_all_rounds(tmp_path):
    rounds = {
        "v1": [("a", True), ("b", False), ("c", False)],
        "v2": [("c", True), ("a", False), ("d", False)],
    }
    for name, rows in rounds.items():
        lines = [json.dumps({"prompt_id": i, "violating": v}) + "\n" for i, v in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    context = StageContext(
        name="v3/red_teaming",
        root=tmp_path,
        out=tmp_path,
        work=tmp_path,
        seed=1,
        run_seed=1,
        progress=RunProgress(),
    )
    assert earlier_violations(context, []) == set()
    assert earlier_violations(context, ["v1.jsonl"]) == {"a"}
    # What was resisted once stays on the list.
    assert earlier_violations(context, ["v1.jsonl", "v2.jsonl"]) == {"a", "c"}
    with pytest.raises(MissingInputError):
        earlier_violations(context, ["v4.jsonl"])


PLAIN = {"attack_vector": None, "risk_category": None, "is_safety": False}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "adversarial"),
        ({"borderline": True, "reference": {"task": "x"}}, "adversarial"),
        (PLAIN | {"borderline": True, "reference": {"task": "x"}}, "borderline"),
        (PLAIN | {"reference": {"task": "x"}}, "helpful"),
        (PLAIN | {"reference": {}}, "helpful"),
        (PLAIN, "dialogue"),
    ],
)
def test_set_of(changes, expected):
    assert set_of(make_prompt("a", **changes)) == expected


def test_select_prompts_takes_the_test_split_up_to_each_limit():
    kinds = {
        "adversarial": {},
        "borderline": PLAIN | {"borderline": True},
        "helpful": PLAIN | {"reference": {"task": "x"}},
        "dialogue": PLAIN,
    }
    prompts = [
        make_prompt(f"{name}/{split}/{number}", split=split, **changes)
        for name, changes in kinds.items()
        for split in ("test", "validation", "ppo")
        for number in range(9)
    ]
    limits = {"adversarial": 4, "borderline": 0, "helpful": 20, "dialogue": 1}
    config = evaluating.Config(sampling=Sampling(), **limits)
    chosen = select_prompts(prompts, config)
    assert all(prompt.split == "test" and set_of(prompt) == name for name, prompt in chosen)
    names = [name for name, _ in chosen]
    assert {name: names.count(name) for name in kinds} == limits | {"helpful": 9}
    assert len({prompt.id for _, prompt in chosen}) == len(chosen)
    # The choice is of the ids, not of the file's order, and not simply the first ones.
    assert select_prompts(prompts[::-1], config) == chosen
    attacks = [prompt.id for name, prompt in chosen if name == "adversarial"]
    assert attacks != [f"adversarial/test/{number}" for number in range(4)]


def test_a_larger_limit_only_adds_prompts():
    prompts = [make_prompt(str(number)) for number in range(30)]
    few, many = (
        select_prompts(prompts, evaluating.Config(sampling=Sampling(), adversarial=limit))
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
