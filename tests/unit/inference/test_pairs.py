"""Pairs for annotators: what is compared, what is left out and counted."""

from __future__ import annotations

from types import SimpleNamespace

from camelid.data.records import Message, Prompt
from camelid.inference.pairs import Variant, sample_pairs


def make_prompt(identity):
    return Prompt(
        id=identity,
        messages=(Message(role="user", content=identity),),
        category="c",
        is_safety=False,
        source="s",
        split="rm_train",
    )


def test_each_reply_is_drawn_by_its_variant_at_the_temperature_that_is_recorded():
    asked = {}

    def answering(name):
        def answer(prompts, sampling, *, seed, temperatures):
            asked[name] = dict(zip((p.id for p in prompts), temperatures, strict=True))
            assert sampling.max_new_tokens == 8
            return [SimpleNamespace(text=f"{name} {p.id}", stop_reason="stop") for p in prompts]

        return SimpleNamespace(answer=answer)

    prompts = [make_prompt(str(number)) for number in range(30)]
    found, _ = sample_pairs(
        (Variant("older", answering("old")), Variant("newer", answering("new"))),
        prompts,
        kind="safety",
        round_number=2,
        temperatures=(0.5, 0.75, 1.0),
        max_new_tokens=8,
        seed=3,
        parents=[f"parent of {prompt.id}" for prompt in prompts],
    )
    assert asked["old"] != asked["new"]
    for prompt, pair in zip(prompts, found, strict=True):
        assert pair.prompt == prompt
        assert (pair.reply_a, pair.reply_b) == (f"old {prompt.id}", f"new {prompt.id}")
        assert (pair.model_a, pair.model_b) == ("older", "newer")
        assert pair.temperature_a == asked["old"][prompt.id]
        assert pair.temperature_b == asked["new"][prompt.id]
        assert pair.parent == f"parent of {prompt.id}"
        assert (pair.kind, pair.round) == ("safety", 2)


def test_equal_and_cut_replies_give_no_pair():
    said = {
        ("old", "a"): ("One.", "stop"),
        ("new", "a"): ("Two.", "stop"),
        ("old", "b"): ("Same.", "stop"),
        ("new", "b"): ("Same.", "stop"),
        ("old", "c"): ("Whole.", "stop"),
        ("new", "c"): ("Not the", "length"),
        ("old", "d"): ("Cut", "length"),
        ("new", "d"): ("Cut", "length"),
    }

    asked = []

    def answering(name):
        def answer(prompts, sampling, *, seed, temperatures):
            asked.append((seed, temperatures))
            answers = [said[name, prompt.id] for prompt in prompts]
            return [SimpleNamespace(text=text, stop_reason=reason) for text, reason in answers]

        return SimpleNamespace(answer=answer)

    found, counts = sample_pairs(
        (Variant("older", answering("old")), Variant("newer", answering("new"))),
        [make_prompt(identity) for identity in "abcd"],
        kind="helpfulness",
        round_number=2,
        temperatures=(0.5, 1.0),
        max_new_tokens=8,
        seed=3,
    )
    assert [(p.prompt.id, p.reply_a, p.reply_b, p.model_b) for p in found] == [
        ("a", "One.", "Two.", "newer")
    ]
    assert counts == {"equal_replies": 1, "unfinished_replies": 2}
    (seed_a, drawn_a), (seed_b, drawn_b) = asked
    assert seed_a != seed_b
    assert len(drawn_a) == len(drawn_b) == 4
    assert (found[0].temperature_a, found[0].temperature_b) == (drawn_a[0], drawn_b[0])
    assert {*drawn_a, *drawn_b} == {0.5, 1.0}
