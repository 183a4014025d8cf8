"""Lists of values, their split and their combination, against plain loops."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from camelid.data.records import Message, Prompt
from camelid.methods.instruction_checks import authored
from camelid.methods.instructions import (
    ASKED,
    FORMS,
    TOGETHER,
    ListMaker,
    Rules,
    expected_of,
    form_of,
    lines_of,
    make_dialogues,
    user_turns,
)
from camelid.seeds import derive_seed

RULES = Rules(
    kinds=("hobby", "figure", "language", "form"), two_parts=0.5, turns=5, test_turns=6, probes=0.7
)


@pytest.mark.parametrize(
    ("reply", "cut", "items"),
    [
        ("1. Reading\n2) Rock climbing\n\n- **Painting**: with oil\n* chess (the game)", False,
         ["Reading", "Rock climbing", "Painting", "chess"]),
        ("Sure! Here are some:\n• Yoga – calm\nSewing. It is fun.", False,
         ["Yoga", "Sewing"]),
        ("Here you are: reading, rock climbing and yoga.", False,
         ["reading", "rock climbing", "yoga"]),
        ("Reading\nRock clim", True, ["Reading"]),
        ("reading, rock clim", True, ["reading"]),
        ("", False, []),
        ("  \n ", True, []),
        ("bird-watching\nO'Neill", False, ["bird-watching", "O'Neill"]),
    ],
)  # fmt: skip
def test_items_of_a_list_as_a_model_writes_one(reply, cut, items):
    assert lines_of(reply, cut=cut) == items


def make(name, *replies, wanted=6, held_out=0.3, maker=None):
    maker = maker or ListMaker(wanted=wanted, held_out=held_out, seed=1)
    return maker.make(name, [(reply, False) for reply in replies])


def test_what_a_model_writes_is_filtered_and_counted_by_reason():
    values, counts = make(
        "hobby",
        "Here are hobbies:\nReading\nRock Climbing\nreading\nTree climbing\nKilling time\nA\n"
        "Many of the very best games\nOther activities\nR2 building\nChess",
        "I'm sorry, I can't help with that.",
        wanted=5,
    )
    model = {value.text: value.expected for value in values if value.origin == "model"}
    # Both kinds of climbing are one value: their replies cannot be told apart.
    assert model == {"reading": "Reading", "rock climbing": "Climbing", "chess": "Chess"}
    assert counts.dropped == {
        "implausible": 4, "repeated or not needed": 2, "harmful": 1, "refusal": 1,
    }  # fmt: skip
    assert (counts.by_model, counts.authored, counts.replies) == (3, 2, 2)
    added = [value.expected for value in values if value.origin == "authored"]
    # "chess" stands in the authored list too, and is not taken twice.
    assert sorted(added) == ["gardening", "hiking"]


def test_a_figure_has_a_name_and_a_language_can_be_checked():
    values, counts = make("figure", "Marie Curie\nthe first man\nAdolf Hitler\nJ. S. Bach\nPlato")
    assert {v.text: v.expected for v in values if v.origin == "model"} == {
        "Marie Curie": "Curie", "Plato": "Plato",
    }  # fmt: skip
    assert counts.dropped == {"implausible": 2, "harmful": 1}
    values, counts = make("language", "french\nKlingon\nMandarin\nChinese", wanted=4)
    assert {v.text: v.expected for v in values if v.origin == "model"} == {
        "French": "fr", "Mandarin": "zh",
    }  # fmt: skip
    assert counts.dropped == {"no language that is checked": 1, "repeated or not needed": 1}


def test_a_model_with_no_usable_list_leaves_the_authored_one():
    values, counts = make(
        "hobby", "I do not know!", "", "Hmm, that is a hard one for me to say.", "Here:"
    )
    assert (counts.by_model, counts.authored, counts.replies) == (0, 6, 4)
    assert {value.origin for value in values} == {"authored"}
    assert counts.dropped == {"implausible": 4}


def test_lists_share_no_value():
    maker = ListMaker(wanted=30, held_out=0.3, seed=1)
    hobbies, _ = make("hobby", "Ginger\nYoga", maker=maker)
    words, _ = make("word", "Yoga\nGinger\nMoss", maker=maker)
    both = {v.expected.casefold() for v in hobbies} & {v.expected.casefold() for v in words}
    assert not both
    assert "Moss" in {v.text for v in words}


def test_the_split_is_a_share_of_each_list_in_a_drawn_order():
    for name, wanted, share, held in (("hobby", 10, 0.3, 3), ("word", 7, 0.01, 1),
                                      ("figure", 4, 1.0, 3), ("capitals", 9, 0.5, 0)):  # fmt: skip
        values, _ = make(name, wanted=wanted, held_out=share)
        names = [value.expected for value in values]
        assert names == sorted(names, key=lambda n: derive_seed(1, name, n))
        assert [v.split for v in values] == ["test"] * held + ["train"] * (len(values) - held)


def test_authored_lists_are_sound():
    keys = Counter()
    for name in (*ASKED, "limit", "capitals"):
        items = authored("authored")[name]
        expected = [expected_of(name, item).casefold() for item in items]
        assert len(set(expected)) == len(items)
        keys.update(expected)
        if name in ASKED:
            # The filter of the model's lists takes each of them.
            _, counts = make(name, "\n".join(["Items:", *items]), wanted=100)
            assert (counts.by_model, sum(counts.dropped.values())) == (len(items), 0)
            assert "{number}" in authored("asks")[name]
    assert set(keys.values()) == {1}
    forms = {name for names in FORMS.values() for name in names}
    assert forms == set(authored("forms"))
    for name in forms:
        form = form_of(name)
        assert form.list in authored("authored")
        assert name == "capitals" or all("{value}" in text for text in form.texts)


# --- User turns ---


def prompt(text, split="rejection_sampling", **changes):
    fields = {
        "id": f"{split}/{text}", "messages": (Message(role="user", content=text),),
        "category": "x", "is_safety": False, "source": "test", "split": split,
    }  # fmt: skip
    return Prompt(**(fields | changes))


def test_user_turns_are_ordinary_short_and_on_one_side():
    several = (
        Message(role="system", content="Be kind."),
        Message(role="user", content=" First? "),
        Message(role="assistant", content="Yes."),
        Message(role="user", content="Second?"),
    )
    prompts = [
        prompt("What is  blue?"),
        prompt("what is blue", split="validation"),
        prompt("What is red?"),
        prompt("WHAT IS RED!"),
        prompt("two\nlines"),
        prompt("x" * 41),
        prompt("y" * 40),
        prompt("How to harm?", is_safety=True),
        prompt("Kill the weeds?", borderline=True),
        prompt("Attack?", attack_vector="v"),
        prompt("Elsewhere?", split="test"),
        prompt("many", messages=several),
    ]
    turns, left_out = user_turns(prompts, train="rejection_sampling", test="validation", longest=40)
    assert turns == {"train": ["What is red?", "y" * 40, "First?"], "test": ["what is blue"]}
    assert left_out == {
        "repeated, or in the test split too": 2,
        "empty, too long or of several lines": 2,
        "attack or borderline": 3,
    }


# --- Dialogues ---


def all_values():
    maker = ListMaker(wanted=8, held_out=0.5, seed=3)
    names = ("hobby", "figure", "language", "word", "limit", "capitals")
    return [value for name in names for value in maker.make(name, [])[0]]


def reference(rules, values, turns, *, split, number, seed):
    """The same dialogues by plain loops: (instruction, shortened, turns, what is checked)."""
    made, position = [], 0
    order = sorted(turns, key=lambda turn: derive_seed(seed, split, turn))
    for index in range(number):
        draw = random.Random(derive_seed(seed, split, index))
        kinds = [
            kind
            for kind in rules.kinds
            if any(
                v.split == split and v.list == authored("forms")[name]["list"]
                for name in FORMS[kind]
                for v in values
            )
        ]
        first = draw.choice(kinds)
        partners = []
        for kind in kinds:
            pair = {first, kind}
            if pair in ({"hobby", "figure"}, {"hobby", "form"}, {"figure", "form"},
                        {"language", "form"}):  # fmt: skip
                partners.append(kind)
        drawn = [first]
        if partners and draw.random() < rules.two_parts:
            drawn.append(draw.choice(partners))
        names = []
        for kind in drawn:
            there = []
            for name in FORMS[kind]:
                wanted = authored("forms")[name]["list"]
                if name in ("words", "capitals") and "language" in drawn:
                    continue
                if [v for v in values if v.split == split and v.list == wanted]:
                    there.append(name)
            names.append(draw.choice(there))
        parts = []
        for name in names:
            form = authored("forms")[name]
            mine = [v for v in values if v.split == split and v.list == form["list"]]
            parts.append((form, draw.choice(mine)))
        if split == "train":
            pool = list(range(2, rules.turns + 1))
            count = draw.choices(pool, pool)[0]
        else:
            count = rules.test_turns
        count = min(count, len(order))
        said = []
        for _ in range(count):
            said.append(order[position % len(order)])
            position += 1
        probes = [form["probe"] for form, _ in parts if "probe" in form]
        if split == "train" and probes and draw.random() < rules.probes:
            said[-1] = draw.choice(probes)
        texts = [draw.choice(form["texts"]).replace("{value}", v.text) for form, v in parts]
        short = [form["shortened"].replace("{value}", v.text) for form, v in parts]
        checks = [(form["check"], v.expected, form.get("probe", "")) for form, v in parts]
        made.append((" ".join(texts), " ".join(short), tuple(said), checks))
    return made


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kinds", [RULES.kinds, ("figure",), ("language", "form")])
def test_dialogues_are_those_of_a_plain_loop(split, kinds):
    rules = Rules(kinds=kinds, two_parts=0.5, turns=5, test_turns=6, probes=0.7)
    values, turns = all_values(), [f"Turn {n}?" for n in range(23)]
    made = list(make_dialogues(rules, values, turns, split=split, number=60, seed=7))
    assert [
        (
            ghost.instruction, ghost.shortened, ghost.turns,
            [(d.check, d.expected, d.probe) for d in ghost.demands],
        )
        for ghost in made
    ] == reference(rules, values, turns, split=split, number=60, seed=7)  # fmt: skip
    assert len({ghost.id for ghost in made}) == 60
    assert all(d.shows == (not d.probe) for ghost in made for d in ghost.demands)


def made(split="train", number=300, turns=23, **changes):
    rules = Rules(**{name: getattr(RULES, name) for name in Rules.__slots__} | changes)
    texts = [f"{split} {n}?" for n in range(turns)]
    return list(make_dialogues(rules, all_values(), texts, split=split, number=number, seed=1))


def test_no_value_or_prompt_of_the_tests_is_trained_on():
    train, test = made(), made("test")
    asked = [{d.expected.casefold() for g in side for d in g.demands} for side in (train, test)]
    assert asked[0]
    assert not asked[0] & asked[1]
    # One way to write in capitals: it is trained only.
    assert "capitals" in asked[0]
    probes = {form_of(name).probe for names in FORMS.values() for name in names}
    said = [{turn for g in side for turn in g.turns} - probes for side in (train, test)]
    assert not said[0] & said[1]
    assert not [g for g in test if probes & set(g.turns)]


def test_parts_go_together_or_stand_alone():
    kind_of = {form_of(n).check: kind for kind, names in FORMS.items() for n in names}
    pairs = Counter()
    for ghost in made():
        parts = [d.check for d in ghost.demands]
        # A hobby and a figure are both mentioned.
        assert len(parts) <= 2
        if len(parts) == 2:
            kinds = {kind_of[check] for check in parts}
            both_mentioned = parts == ["mentions", "mentions"]
            assert both_mentioned or frozenset(kinds) in TOGETHER or "form" in kinds
            assert not {"mentions", "language"} <= set(parts)
            # Chinese has no capitals and no spaces between words.
            assert not ("language" in parts and {"capitals", "words"} & set(parts))
        pairs[len(parts)] += 1
    # Four standard deviations of a fair coin.
    assert abs(pairs[2] - 150) < 35
    assert {len(g.demands) for g in made(two_parts=0.0)} == {1}


def test_user_turns_are_dealt_evenly_and_never_twice_in_a_dialogue():
    ghosts = made(number=100, probes=0.0)
    counts = Counter(turn for ghost in ghosts for turn in ghost.turns)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(len(set(ghost.turns)) == len(ghost.turns) for ghost in ghosts)
    lengths = Counter(len(ghost.turns) for ghost in ghosts)
    assert set(lengths) == {2, 3, 4, 5}
    assert lengths[5] > lengths[2]
    # Fewer prompts than turns: shorter dialogues.
    assert {len(g.turns) for g in made("test", number=9, turns=4)} == {4}
    assert {len(g.turns) for g in made(number=50, turns=1)} == {1}


def test_last_turns_ask_for_what_can_be_asked():
    ghosts = made(number=400)
    askable = [g for g in ghosts if any(d.probe for d in g.demands)]
    asked = [g for g in askable if g.turns[-1] in {d.probe for d in g.demands}]
    # 0.7 of them, within four standard deviations.
    share = len(asked) / len(askable)
    assert abs(share - 0.7) < 4 * (0.21 / len(askable)) ** 0.5
    both = [g for g in asked if len([d for d in g.demands if d.probe]) == 2]
    assert {g.turns[-1] for g in both} == {"Who are you?", "What is your favourite hobby?"}
    assert all(turn.startswith("train ") for g in ghosts for turn in g.turns[:-1])
