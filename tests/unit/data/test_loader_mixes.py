"""Mixtures of comparisons: all own ones, the wanted share of others, the newest repeated."""

from __future__ import annotations

from collections import Counter

import pytest

from camelid.data.loader import helpfulness_mix, oversample_newest, safety_mix
from camelid.data.records import Message, Preference


def make(kind, count, round_number=1):
    return [
        Preference(
            id=f"{kind}/{round_number}/{index}",
            kind=kind,
            round=round_number,
            batch=1,
            category="any",
            prompt=(Message(role="user", content="Hello."),),
            chosen="Good.",
            rejected="Bad.",
            strength="better",
        )
        for index in range(count)
    ]


def counts(mix):
    return Counter(preference.kind for preference in mix)


def interleaved():
    return [
        p for pair in zip(make("helpfulness", 50), make("safety", 50), strict=True) for p in pair
    ]


@pytest.mark.parametrize(("others", "taken"), [(80, 30), (30, 30), (12, 12), (0, 0)])
def test_helpfulness_takes_all_own_and_as_many_others(others, taken):
    own = make("helpfulness", 30)
    mix = helpfulness_mix([*make("safety", others), *own], seed=1)
    assert counts(mix) == Counter(helpfulness=30, safety=taken)
    assert [p for p in mix if p.kind == "helpfulness"] == own
    assert len({p.id for p in mix}) == len(mix)


@pytest.mark.parametrize(
    ("own", "others", "share", "taken"),
    [(90, 200, 0.9, 10), (45, 200, 0.9, 5), (90, 4, 0.9, 4), (30, 200, 0.5, 30), (30, 9, 1.0, 0)],
)
def test_safety_is_mixed_ninety_to_ten(own, others, share, taken):
    mix = safety_mix([*make("safety", own), *make("helpfulness", others)], 1, share)
    assert counts(mix) == Counter(safety=own, helpfulness=taken)
    assert len({p.id for p in mix}) == len(mix)


@pytest.mark.parametrize(("share", "taken"), [(0.5, 40), (0.8, 10), (1.0, 0)])
def test_a_share_of_helpfulness_comparisons_is_kept(share, taken):
    mix = helpfulness_mix([*make("safety", 90), *make("helpfulness", 40)], 1, share)
    assert counts(mix) == Counter(helpfulness=40, safety=taken)


def test_ninety_to_ten_is_the_default():
    mix = safety_mix([*make("safety", 90), *make("helpfulness", 90)], 1)
    assert counts(mix) == Counter(safety=90, helpfulness=10)


@pytest.mark.parametrize("mix", [helpfulness_mix, lambda items, seed: safety_mix(items, seed, 0.7)])
def test_the_draw_depends_on_the_seed_alone(mix):
    items = [*interleaved(), *make("safety", 40, 2)]
    assert mix(items, 1) == mix(items, 1)
    assert mix(items, 1) != mix(items, 2)


def test_the_two_mixtures_draw_apart():
    # The same items with the kinds exchanged: the same places must not be drawn by the same seed.
    helpful = helpfulness_mix([*make("helpfulness", 20), *make("safety", 60)], 1)[20:]
    safe = safety_mix([*make("safety", 20), *make("helpfulness", 60)], 1, 0.5)[20:]
    assert [p.id.split("/")[-1] for p in helpful] != [p.id.split("/")[-1] for p in safe]


def test_only_the_newest_round_is_repeated():
    old, new = make("helpfulness", 3, 1), make("safety", 2, 3)
    repeated = oversample_newest([*new, *old], 3)
    assert Counter(p.id for p in repeated) == Counter(
        {**{p.id: 1 for p in old}, **{p.id: 3 for p in new}}
    )
    assert oversample_newest([*new, *old], 1) == [*new, *old]
