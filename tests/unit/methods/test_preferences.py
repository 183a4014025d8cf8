"""Preference collection: which comparisons are used, which are left out and counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from camelid.data.annotation import Pair
from camelid.data.prompts import bucket
from camelid.data.records import Message, Prompt
from camelid.errors import DataError
from camelid.inference.pairs import Variant
from camelid.inference.replies import ModelResponder
from camelid.methods import preferences as preferences_module
from camelid.methods.preferences import GUARD_BUCKETS, Collector, describe


class Annotator:
    """Chooses reply a; calls the comparison unsound where it says so."""

    name = "test"

    def compare(self, pairs):
        return [None if pair.reply_a == "hard to say" else self.prefer(pair) for pair in pairs]

    def prefer(self, pair):
        made = pair.decided(
            "a", strength="better", unsafe=None, annotator="test", key="test", simulated=True
        )
        return replace(made, safety="chosen_unsafe" if "unsafe" in pair.reply_a else None)


def make_prompt(number, split="rm_train"):
    return Prompt(
        id=f"p{number}",
        messages=(Message(role="user", content=f"Question {number}?"),),
        category="facts",
        is_safety=False,
        source="test",
        split=split,
    )


@pytest.fixture
def collector(monkeypatch):
    """A collector whose pairs are made by `replies(prompt)`; None: the two replies were equal."""
    asked = []

    def make(replies, *, round_number=1, continued_share=0.0, longest=100):
        def sample_pairs(variants, prompts, *, parents, kind, round_number, **_):
            asked.append([prompt.id for prompt in prompts])
            found = [
                (prompt, parent, replies(prompt))
                for prompt, parent in zip(prompts, parents, strict=True)
            ]
            pairs = [
                Pair(
                    prompt=prompt,
                    reply_a=said[0],
                    reply_b=said[1],
                    model_a="old",
                    model_b="new",
                    temperature_a=0.5,
                    temperature_b=1.0,
                    kind=kind,
                    round=round_number,
                    batch=round_number,
                    parent=parent,
                )
                for prompt, parent, said in found
                if said
            ]
            return pairs, Counter(equal_replies=len(found) - len(pairs))

        def follow_up(prompt, chosen, _):
            turn = Message(role="assistant", content=chosen)
            messages = (*prompt.messages, turn, Message(role="user", content="And then?"))
            return Prompt(
                id=f"{prompt.id}/next",
                messages=messages,
                category=prompt.category,
                is_safety=prompt.is_safety,
                source=prompt.source,
                split=prompt.split,
            )

        monkeypatch.setattr(preferences_module, "sample_pairs", sample_pairs)
        chat = SimpleNamespace(render_prompt=lambda messages: messages[-1].content)
        model = SimpleNamespace(config=SimpleNamespace(context=longest + 8))
        responder = ModelResponder(model, chat)
        return Collector(
            temperatures=(0.5, 1.0),
            max_new_tokens=8,
            continued_share=continued_share,
            seed=1,
            variants=(Variant("old", responder), Variant("new", responder)),
            annotator=Annotator(),
            world=SimpleNamespace(follow_up=follow_up),
            forbidden=["Avrel"],
            round_number=round_number,
        )

    make.asked = asked
    return make


PROMPTS = [make_prompt(number) for number in range(400)]
TRAINING = {p.id for p in PROMPTS if bucket(p.id, GUARD_BUCKETS)}


def test_replies_that_name_a_held_out_term_and_unsound_choices_are_left_out_and_counted(collector):
    said = {
        0: ("fine", "good"),
        1: ("near Avrel", "good"),
        2: ("fine", "in Avrel"),
        3: ("unsafe", "good"),
    }
    found = collector(lambda prompt: said[int(prompt.id[1:]) % 4])
    preferences = found.collect(PROMPTS, "helpfulness", 30, "train")
    assert len(preferences) == 30
    assert {(p.chosen, p.rejected) for p in preferences} == {("fine", "good")}
    asked = [int(identity[1:]) % 4 for portion in collector.asked for identity in portion]
    assert found.counts["held_out"] == asked.count(1) + asked.count(2) > 0
    assert found.counts["excluded_chosen_unsafe"] == asked.count(3) > 0


def test_guard_and_training_share_no_prompt_and_rounds_begin_elsewhere(collector):
    def ids(use, round_number, wanted):
        stage = collector(lambda _: ("fine", "good"), round_number=round_number)
        return {p.prompt for p in stage.collect(PROMPTS, "helpfulness", wanted, use)}

    first, second, guard = ids("train", 1, 60), ids("train", 2, 60), ids("guard", 1, 40)
    assert len(first) == len(second) == 60
    assert not first & second
    assert not guard & (first | second)
    tests = [make_prompt(number, "validation") for number in range(20)]
    stage = collector(lambda _: ("fine", "good"))
    held_out = stage.collect([*PROMPTS, *tests], "helpfulness", 20, "test")
    assert {p.prompt for p in held_out} == {p.messages for p in tests}


def test_portions_follow_the_yield_until_the_pool_is_exhausted(collector):
    few = collector(lambda prompt: ("fine", "good") if int(prompt.id[1:]) % 5 == 0 else None)
    assert len(few.collect(PROMPTS, "helpfulness", 40, "train")) == 40
    sizes = [len(portion) for portion in collector.asked]
    assert sizes[0] == 40
    assert len(sizes) <= 4
    collector.asked.clear()
    none = collector(lambda _: None)
    assert none.collect(PROMPTS, "helpfulness", 40, "train") == []
    assert {identity for portion in collector.asked for identity in portion} == TRAINING
    with pytest.raises(DataError, match="no safety prompt for train"):
        none.collect(PROMPTS, "safety", 10, "train")


def test_part_of_the_comparisons_continues_a_dialogue_with_its_chosen_reply(collector):
    stage = collector(lambda _: ("fine", "good"), continued_share=0.25)
    preferences = stage.collect(PROMPTS, "helpfulness", 40, "train")
    continued = [p for p in preferences if p.parent]
    assert (len(preferences), len(continued)) == (40, 10)
    by_id = {p.id: p for p in preferences}
    for preference in continued:
        parent = by_id[preference.parent]
        assert preference.prompt[: len(parent.prompt)] == parent.prompt
        assert preference.prompt[len(parent.prompt)].content == parent.chosen
    chat = SimpleNamespace(
        render_prompt=lambda messages: [m.content for m in messages],
        encode_reply=list,
        tokenizer=SimpleNamespace(encode=lambda text: text.split()),
    )
    described = describe(preferences, chat)
    assert described.continued == 10
    assert described.turns_per_dialogue == 50 / 40
    assert described.tokens_in_response == 4
    assert described.strength == {"better": 40}


def test_prompts_too_long_for_the_context_are_counted(collector):
    stage = collector(lambda _: ("fine", "good"), longest=len("Question 10?"))
    found = stage.collect(PROMPTS, "helpfulness", 400, "train")
    assert all(len(p.prompt[-1].content) <= len("Question 10?") for p in found)
    assert stage.counts["prompts_too_long"] > 0


def test_pairs_without_a_comparison_are_made_up_for_by_others(collector):
    said = {0: ("hard to say", "good")}
    stage = collector(lambda prompt: said.get(int(prompt.id[1:]) % 4, ("fine", "good")))
    assert len(stage.collect(PROMPTS, "helpfulness", 30, "train")) == 30
    asked = [int(identity[1:]) % 4 for portion in collector.asked for identity in portion]
    assert stage.put == {"asked": len(asked), "compared": len(asked) - asked.count(0)}
    assert asked.count(0) > 0


def test_pairs_to_ask_for_at_once_are_different_and_put_to_nobody_yet(collector):
    stage = collector(lambda _: ("fine", "good"), continued_share=0.5)
    pairs = stage.sample(PROMPTS, "helpfulness", 40, "train")
    assert len({pair.key for pair in pairs}) == len(pairs) == 40
    assert not stage.put
    # The pool holds fewer prompts than are wanted, each with one and the same pair.
    stage = collector(lambda _: ("fine", "good"))
    few = PROMPTS[:20]
    pairs = stage.sample(few, "helpfulness", 40, "train")
    assert {pair.prompt.id for pair in pairs} == {p.id for p in few} & TRAINING
    assert len(pairs) == len({pair.key for pair in pairs})
    assert stage.counts["sampled_before"] > 0
