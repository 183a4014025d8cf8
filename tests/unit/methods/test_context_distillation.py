"""Context distillation and its gate."""

from __future__ import annotations

import typing
from dataclasses import replace
from types import SimpleNamespace

import pytest

from camelid.data.authored import RiskCategory
from camelid.data.records import Message, Prompt
from camelid.errors import ConfigError
from camelid.inference.replies import Reply
from camelid.inference.rewards import RewardPair, Rewards
from camelid.inference.sampling import Sampling
from camelid.methods.context_distillation import distil, read_preprompts, with_preprompt

SHORT, FULL = read_preprompts("short"), read_preprompts("full")


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


@pytest.mark.parametrize("preprompts", [SHORT, FULL], ids=["short", "full"])
def test_generic_preprompts_are_fixed_by_the_id_and_hold_two_different_adjectives(preprompts):
    seen = set()
    adjectives, templates = preprompts.adjectives, preprompts.generic
    for number in range(300):
        text = preprompts.generic_of(f"prompt/{number}")
        assert text == preprompts.generic_of(f"prompt/{number}")
        words = set(text.replace(".", "").replace(",", "").split())
        assert len(words & set(adjectives)) == 2, text
        assert "{" not in text
        seen.add(text)
    every = {t.format(a, b) for t in templates for a in adjectives for b in adjectives}
    assert seen <= every
    # Of the short ones nearly all occur: 6 first adjectives, 5 second ones, 2 templates.
    assert len(seen) > (50 if preprompts is SHORT else 150)


def test_the_short_preprompts_are_those_of_every_pocket_run():
    assert SHORT.generic_of("prompt/1") == "You are a honest and kind assistant."
    assert SHORT.template_of(make_prompt("a")).startswith(
        "This request asks for help with a crime."
    )


def test_both_wordings_name_every_risk_category():
    for preprompts in (SHORT, FULL):
        assert set(preprompts.categories) == set(typing.get_args(RiskCategory))
        texts = {
            preprompts.template_of(make_prompt("a", risk_category=r))
            for r in (*preprompts.categories, None)
        }
        assert len(texts) == 4


def test_the_preprompt_stands_before_the_last_user_message():
    prompt = make_prompt("a")
    led = with_preprompt(prompt, "Be kind.")
    assert led.messages[:-1] == prompt.messages[:-1]
    assert led.messages[-1].content == "Be kind. Attack a."
    assert prompt.messages[-1].content == "Attack a."
    assert (led.id, led.risk_category) == (prompt.id, prompt.risk_category)


def test_the_preprompt_is_the_system_message_or_stands_before_it():
    prompt = make_prompt("a")
    led = with_preprompt(prompt, "Be kind.", "system")
    assert led.messages == (Message(role="system", content="Be kind."), *prompt.messages)
    brief = replace(
        prompt, messages=(Message(role="system", content="Be brief."), *prompt.messages)
    )
    led = with_preprompt(brief, "Be kind.", "system")
    both = Message(role="system", content="Be kind.\n\nBe brief.")
    assert led.messages == (both, *prompt.messages)
    assert with_preprompt(brief, "Be kind.").messages[0] == brief.messages[0]


VARIANTS = ("original", "generic", "template")


class Distillation:
    """`distil` with a table: prompt id -> variant -> (answer, safety score)."""

    def __init__(self, monkeypatch, table, forbidden=(), placement="user", **changes):
        self.table = table
        self.asked, self.rated = [], []
        prompts = [make_prompt(identity, **changes) for identity in table]
        monkeypatch.setattr(RewardPair, "rate", self.rate)
        self.rows = distil(
            SimpleNamespace(chat=SimpleNamespace(render_prompt=self.render), answer=self.sample),
            RewardPair("helpfulness", "safety", 0.15),
            prompts,
            Sampling(max_new_tokens=8),
            seed=5,
            forbidden=forbidden,
            preprompts=SHORT,
            placement=placement,
        )
        self.prompts = prompts

    @staticmethod
    def render(messages):
        return [ord(letter) for message in messages for letter in message.content]

    def sample(self, prompts, sampling, *, seed):
        name = VARIANTS[len(self.asked)]
        self.asked.append((list(prompts), seed))
        replies = []
        for prompt in prompts:
            text, _, *stop = self.table[prompt.id][name]
            ids = tuple(self.render(prompt.messages))
            replies.append(Reply(prompt, 0, ids, (7, 1), text, stop[0] if stop else "stop"))
        return replies

    def rate(self, replies, *, watching=None):
        name = VARIANTS[len(self.rated)]
        self.rated.append(list(replies))
        scores = [self.table[reply.prompt.id][name][1] for reply in replies]
        # Helpfulness and the combined reward say the opposite: only safety may count.
        opposite = [-score for score in scores]
        return Rewards(opposite, scores, opposite, [False] * len(scores), [])

    def outcome(self):
        """Return whether each prompt's answer is kept, and its text where it is."""
        return {
            row.prompt_id: (row.kept, row.distilled.text if row.kept else None) for row in self.rows
        }


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
    assert (row.original.text, row.generic.text, row.template.text) == ("o", "g", "t")
    assert row.prompt == "Attack generic wins."
    assert row.risk_category == "illicit_criminal"
    assert row.original.score == 0.5
    assert row.generic.score == pytest.approx(0.8807970779778823)


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


@pytest.mark.parametrize("category", [*SHORT.categories, "something_else", None])
def test_each_prompt_is_asked_bare_and_with_both_preprompts(monkeypatch, category):
    answers = {name: (name, 0.0) for name in VARIANTS}
    found = Distillation(monkeypatch, {"a": answers, "b": answers}, risk_category=category)
    asked = [[p.messages[-1].content for p in prompts] for prompts, _ in found.asked]
    template = SHORT.categories.get(category or "", SHORT.default)
    assert asked == [
        ["Attack a.", "Attack b."],
        [f"{SHORT.generic_of(identity)} Attack {identity}." for identity in "ab"],
        [f"{template} Attack {identity}." for identity in "ab"],
    ]
    assert len({seed for _, seed in found.asked}) == 3
    # The preprompt is gone where the answers are scored, in the records and in the ids.
    bare = [tuple(found.render(prompt.messages)) for prompt in found.prompts]
    for replies in found.rated:
        assert [reply.prompt for reply in replies] == found.prompts
        assert [reply.prompt_tokens for reply in replies] == bare
        assert [reply.tokens for reply in replies] == [(7, 1), (7, 1)]


def test_preprompts_as_system_messages_are_gone_where_answers_are_scored(monkeypatch):
    answers = {name: (name, 0.0) for name in VARIANTS}
    found = Distillation(monkeypatch, {"a": answers}, placement="system")
    assert [[p.messages[0].role for p in prompts] for prompts, _ in found.asked] == [
        ["user"], ["system"], ["system"]
    ]  # fmt: skip
    assert [[r.prompt for r in replies] for replies in found.rated] == [found.prompts] * 3


def test_without_a_safety_model_nothing_is_distilled():
    with pytest.raises(ConfigError, match="there is no safety reward model to decide"):
        distil(
            SimpleNamespace(), RewardPair("helpfulness"), [make_prompt("a")],
            Sampling(max_new_tokens=8), seed=5, forbidden=(), preprompts=SHORT,
        )  # fmt: skip


def test_extreme_scores_do_not_overflow(monkeypatch):
    table = {"a": {"original": ("o", -1e4), "generic": ("g", 1e4), "template": ("t", 0.0)}}
    [row] = Distillation(monkeypatch, table).rows
    assert row.kept
    assert row.original.score == pytest.approx(0.0)
    assert row.generic.score == 1.0
