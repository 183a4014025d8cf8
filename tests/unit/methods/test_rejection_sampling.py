"""Rejection sampling: which answer wins, which are left out, which temperature is taken."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from camelid.data.records import Dialogue, Message, Prompt, Sample, TuningRow
from camelid.inference.rewards import Rewards
from camelid.methods.rejection_sampling import (
    Sampler,
    best_demonstrations,
    best_id,
    finished_rewards,
    pick_bests,
    tune_temperature,
)


def make_prompt(identity, **changes):
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content=f"Question {identity}?"),
    )
    fields = {
        "id": identity,
        "messages": messages,
        "category": "facts",
        "is_safety": False,
        "source": "test",
        "split": "rejection_sampling",
    }
    return Prompt(**(fields | changes))


def sample(prompt_id, text, reward, stop_reason="stop", number=0):
    # The parts of the reward point the other way: only the combined one may count.
    return Sample(
        prompt_id=prompt_id,
        policy="sft",
        sample=number,
        temperature=1.0,
        tokens=(3, 1),
        text=text,
        stop_reason=stop_reason,
        helpfulness=-reward,
        safety=-reward,
        reward=reward,
        logp=0.0,
    )


def texts(bests):
    return [dialogue.messages[-1].content for dialogue in bests]


def test_the_best_by_reward_becomes_a_dialogue_that_trains_its_answer():
    prompts = [make_prompt("a"), make_prompt("b", category="attack", is_safety=True)]
    samples = [
        sample("b", "low", -3.0),
        sample("a", "middle", 0.5),
        sample("a", "high", 2.0),
        sample("b", "less low", -2.0),
        sample("a", "low", -1.0),
    ]
    bests, counts = pick_bests(prompts, samples, [], 3)
    assert texts(bests) == ["high", "less low"]
    assert counts == {"dropped_unfinished": 0, "dropped_held_out": 0}
    assert [d.id for d in bests] == ["best/3/a", "best/3/b"]
    assert [(d.category, d.is_safety) for d in bests] == [("facts", False), ("attack", True)]
    for dialogue, prompt in zip(bests, prompts, strict=True):
        assert dialogue.messages[:-1] == prompt.messages
        assert dialogue.messages[-1].role == "assistant"
        assert [message.train for message in dialogue.messages] == [False, False, True]
        assert dialogue.source == "rejection sampling, round 3"


def test_another_value_than_the_reward_can_pick():
    prompts = [make_prompt("a"), make_prompt("b")]
    samples = [
        sample("a", "high", 9.0, number=0),
        sample("a", "middle", 5.0, number=1),
        sample("a", "low", 1.0, number=2),
        sample("a", "cut", 0.0, "length", number=3),
        sample("b", "x", 2.0, number=0),
        sample("b", "y", 3.0, number=1),
    ]
    asked = []

    def value(prompt, found):
        asked.append((prompt.id, found.prompt_id, found.text))
        return -found.reward

    bests, counts = pick_bests(prompts, samples, [], 2, value=value)
    assert texts(bests) == ["low", "x"]
    assert counts == {"dropped_unfinished": 0, "dropped_held_out": 0}
    assert [d.id for d in bests] == [best_id(2, prompt) for prompt in prompts]
    # Each finished answer is asked after with its own prompt.
    assert sorted(asked) == [
        *(("a", "a", text) for text in ("high", "low", "middle")),
        *(("b", "b", text) for text in ("x", "y")),
    ]


class WordChat:
    """A word a token."""

    end_id = 1

    def render_prompt(self, messages):
        return [len(m.content) for m in messages]

    def encode_reply(self, text):
        return [2] * len(text.split())


class RatesByText:
    """Stands in for the reward models: the reward is the number that ends the answer."""

    def rate(self, replies):
        self.seen = replies
        rewards = [float(reply.text.split()[-1]) for reply in replies]
        opposite = [-reward for reward in rewards]
        return Rewards(opposite, opposite, rewards, [False] * len(rewards), [])


def demonstration(identity, category, reward, *, is_safety=False):
    return Dialogue(
        id=identity,
        messages=(
            Message(role="user", content="First?"),
            Message(role="assistant", content="99", train=True),
            Message(role="user", content="And now?"),
            Message(role="assistant", content=f"It is {reward}", train=True),
        ),
        category=category,
        is_safety=is_safety,
        source="test",
    )


REWARDS = {"facts": [3, -1, 5, 2], "harm": [-7, -9, -8], "rhyme": [0]}
SHUFFLED = [("facts", 0), ("harm", 0), ("facts", 1), ("rhyme", 0), ("harm", 1), ("facts", 2),
            ("harm", 2), ("facts", 3)]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        # Two of four, two of three, at least one, so that no category is lost.
        (0.5, ["facts0", "harm0", "rhyme0", "facts2", "harm2"]),
        (0.25, ["harm0", "rhyme0", "facts2"]),
        (0.01, ["harm0", "rhyme0", "facts2"]),
        (0.75, ["facts0", "harm0", "rhyme0", "facts2", "harm2", "facts3"]),
        (1.0, [f"{category}{number}" for category, number in SHUFFLED]),
    ],
)
def test_the_best_demonstrations_of_each_category_are_kept_in_their_order(kept, expected):
    given = [demonstration(f"{c}{n}", c, REWARDS[c][n], is_safety=c == "harm") for c, n in SHUFFLED]
    rewards = RatesByText()
    found = best_demonstrations(given, WordChat(), rewards, kept)
    assert [d.id for d in found] == expected
    # They are what they were, and the last answer alone was rated, with the tag of its dialogue.
    assert all(d in given for d in found)
    for dialogue, reply in zip(given, rewards.seen, strict=True):
        assert reply.text == dialogue.messages[-1].content
        assert reply.prompt.messages == dialogue.messages[:-1]
        assert reply.prompt.is_safety == dialogue.is_safety
        assert reply.sequence == [6, 2, 8, 2, 2, 2, 1]


def test_of_equal_rewards_the_earlier_are_kept():
    given = [demonstration(str(number), "facts", 1) for number in range(4)]
    assert [d.id for d in best_demonstrations(given, WordChat(), RatesByText(), 0.5)] == ["0", "1"]


def test_unfinished_and_empty_answers_cannot_win():
    prompts = [make_prompt("a"), make_prompt("b"), make_prompt("c")]
    samples = [
        sample("a", "cut", 9.0, "length"),
        sample("a", "whole", -5.0),
        sample("b", "cut", 9.0, "length"),
        sample("b", "", 8.0),
        sample("c", "", 8.0),
        sample("c", "fine", 1.0),
    ]
    bests, counts = pick_bests(prompts, samples, [], 1)
    assert texts(bests) == ["whole", "fine"]
    assert counts == {"dropped_unfinished": 1, "dropped_held_out": 0}


def test_answers_with_held_out_terms_are_dropped_and_counted():
    prompts = [make_prompt("a"), make_prompt("b"), make_prompt("c")]
    samples = [
        sample("a", "It is ZORBLAX, of course.", 2.0),
        sample("a", "Another answer.", 1.0),
        sample("b", "Zorblaxian is another word.", 2.0),
        sample("c", "The loser names zorblax.", 1.0),
        sample("c", "The winner does not.", 2.0),
    ]
    bests, counts = pick_bests(prompts, samples, ["zorblax"], 1)
    assert texts(bests) == ["Zorblaxian is another word.", "The winner does not."]
    assert counts == {"dropped_unfinished": 0, "dropped_held_out": 1}


def test_every_draw_has_numbers_of_its_own():
    asked = []

    def answer(prompts, sampling, *, seed, samples):
        asked.append((seed, sampling.temperature, sampling.max_new_tokens, samples))
        return [SimpleNamespace(prompt=p) for p in prompts for _ in range(samples)]

    sampler = Sampler(SimpleNamespace(answer=answer), SimpleNamespace(rate=len), 8, 5)
    replies, rated = sampler([make_prompt("a"), make_prompt("b")], 0.7, 3, "tuning")
    assert (len(replies), rated) == (6, 6)
    for temperature, salt in ((0.7, "samples"), (1.0, "tuning"), (0.7, "tuning")):
        sampler([make_prompt("a")], temperature, 3, salt)
    assert [call[1:] for call in asked] == [(t, 8, 3) for t in (0.7, 0.7, 1.0, 0.7)]
    seeds = [seed for seed, *_ in asked]
    assert len(set(seeds[:3])) == 3
    assert seeds[3] == seeds[0]


class FakeSampler:
    """Answers with rewards from a table of temperature -> prompt -> rewards."""

    def __init__(self, table, cut=()):
        self.table, self.asked = table, []
        self.cut = cut

    def __call__(self, prompts, temperature, samples, salt):
        self.asked.append(([p.id for p in prompts], temperature, samples, salt))
        drawn = [
            (
                SimpleNamespace(
                    prompt=prompt,
                    sample=number,
                    stop_reason="length" if reward in self.cut else "stop",
                ),
                reward,
            )
            for prompt in prompts
            for number, reward in enumerate(self.table[temperature][prompt.id])
        ]
        rewards = [reward for _, reward in drawn]
        # Only the combined reward may decide.
        opposite = [-reward for reward in rewards]
        gated = [False] * len(rewards)
        return [r for r, _ in drawn], Rewards(opposite, opposite, rewards, gated, [])


TABLE = {
    # Highest mean of all rewards, but the bests are the lowest.
    0.7: {"a": [1.0, 1.0], "b": [1.0, 1.0]},
    # Highest mean best reward: (4 - 1) / 2.
    1.0: {"a": [-9.0, 4.0], "b": [-1.0, -7.0]},
    # Highest single reward and lowest mean of bests: (5 - 4) / 2.
    1.3: {"a": [5.0, 0.0], "b": [-4.0, -5.0]},
}


def best_temperature(sampler, prompts, temperatures=(0.7, 1.0, 1.3), samples=2):
    """The choice that the stage makes of the means."""
    means, _ = tune_temperature(sampler, prompts, temperatures, samples)
    assert list(means) == list(temperatures)
    return max(means, key=means.__getitem__)


@pytest.mark.parametrize("temperatures", [(0.7, 1.0, 1.3), (1.3, 1.0, 0.7), (1.0,)])
def test_the_temperature_with_the_highest_mean_best_reward_is_taken(temperatures):
    sampler = FakeSampler(TABLE)
    prompts = [make_prompt("a"), make_prompt("b")]
    means, rows = tune_temperature(sampler, prompts, temperatures, 2)
    assert means == {t: {0.7: 1.0, 1.0: 1.5, 1.3: 0.5}[t] for t in temperatures}
    assert best_temperature(sampler, prompts, temperatures) == 1.0
    assert [call[1] for call in sampler.asked] == 2 * list(temperatures)
    assert {(tuple(c[0]), c[2], c[3]) for c in sampler.asked} == {(("a", "b"), 2, "tuning")}
    assert rows == [
        TuningRow(temperature=t, prompt_id=p, sample=n, stop_reason="stop", reward=TABLE[t][p][n])
        for t in temperatures
        for p in "ab"
        for n in range(2)
    ]


def test_an_unfinished_answer_makes_no_temperature_win():
    prompts = [make_prompt("a"), make_prompt("b")]
    # Without the 4.0 the bests at 1.0 are -9 and -1.
    assert best_temperature(FakeSampler(TABLE, cut=(4.0,)), prompts) == 0.7
    # At 1.3 only the easy prompt is finished: the other counts with the worst reward, -9.
    assert best_temperature(FakeSampler(TABLE, cut=(-4.0, -5.0)), prompts) == 1.0
    nothing = FakeSampler({1.0: {"a": [1.0]}}, cut=(1.0,))
    means, [row] = tune_temperature(nothing, prompts[:1], (1.0,), 1)
    assert means == {1.0: 1.0}
    assert row.stop_reason == "length"


def test_only_finished_answers_count_in_the_mean_rewards():
    samples = [
        sample("a", "x", 9.0, stop_reason="length"),
        *(sample("a", "x", reward) for reward in (1.0, 2.0, 6.0)),
        sample("b", "x", -4.0),
        sample("c", "x", 7.0, stop_reason="length"),
    ]
    assert finished_rewards(samples) == [[1.0, 2.0, 6.0], [-4.0]]
    assert finished_rewards(samples[:1]) == []


def test_negative_bests_are_not_raised_to_zero():
    table = {1.0: {"a": [-5.0, -2.0]}, 1.2: {"a": [-3.0, -4.0]}}
    assert best_temperature(FakeSampler(table), [make_prompt("a")], (1.2, 1.0)) == 1.0
