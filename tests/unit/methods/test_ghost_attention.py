"""Ghost Attention: where the instruction stands in sampling, in training and in the measurement."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from camelid.data.records import Demand, GhostDialogue, Message
from camelid.methods.ghost_attention import (
    as_ppo_prompts,
    holds,
    measure_recall,
    sample_dialogues,
    training_dialogue,
)

INSTRUCTION = "Act as Captain Orlo."
SHORTENED = "Figure: Captain Orlo."
PROBE = "Who are you?"


def ghost(identity="g", turns=("One?", "Two?", PROBE), **changes):
    fields = {
        "id": identity,
        "instruction": INSTRUCTION,
        "shortened": SHORTENED,
        "turns": turns,
        "probe": PROBE,
        "expected": "Captain Orlo",
        "split": "train",
    }
    return GhostDialogue(**(fields | changes))


def answered(text):
    """A reply; a text that ends in dots was cut by the length limit."""
    stop = "length" if text.endswith("...") else "stop"
    return SimpleNamespace(text=text, stop_reason=stop, prompt_cut=0)


class FakeTalker:
    """Numbers its answers and keeps what it was asked, as (salt, {id: [(role, text)]})."""

    def __init__(self, reply=None):
        self.asked, self.reply, self.system = [], reply, False

    def answer(self, dialogues, salt):
        said = {i: [(m.role, m.content) for m in ms] for i, ms in dialogues.items()}
        self.asked.append((salt, said))
        for messages in said.values():
            roles = [role for role, _ in messages]
            assert (roles[0] == "system") is self.system
            roles = roles[self.system :]
            assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        reply = self.reply or (lambda identity, salt: f"{salt} of {identity}")
        return {i: answered(reply(i, salt)) for i in dialogues}


def spoken_of(item):
    [messages] = sample_dialogues(FakeTalker(), [item])
    return messages


def test_sampling_puts_the_instruction_before_every_user_message():
    talker = FakeTalker()
    # The last turn is what the dialogue says it is: the probe or any other.
    other = ghost("h", ("Alpha?", "Beta?"), instruction="Say arr.", probe="What do you say?")
    first, second = sample_dialogues(talker, [ghost(), other])
    assert [m.content for m in first] == [
        *(f"{INSTRUCTION} One?", "turn/0 of 0"),
        *(f"{INSTRUCTION} Two?", "turn/1 of 0"),
        *(f"{INSTRUCTION} {PROBE}", "turn/2 of 0"),
    ]
    assert [m.content for m in second] == [
        *("Say arr. Alpha?", "turn/0 of 1"),
        *("Say arr. Beta?", "turn/1 of 1"),
    ]
    # The shorter dialogue is over after two turns; each turn sees all earlier ones.
    assert [(salt, sorted(said)) for salt, said in talker.asked] == [
        ("turn/0", ["0", "1"]),
        ("turn/1", ["0", "1"]),
        ("turn/2", ["0"]),
    ]
    assert [text for _, text in talker.asked[2][1]["0"]] == [m.content for m in first[:-1]]
    for _, said in talker.asked:
        for identity, messages in said.items():
            lead = (INSTRUCTION, "Say arr.")[int(identity)]
            assert all(text.startswith(lead) for role, text in messages if role == "user")


def test_a_cut_answer_is_left_empty():
    talker = FakeTalker(lambda identity, salt: "I am Capt..." if salt == "turn/2" else "Yes.")
    [messages] = sample_dialogues(talker, [ghost()])
    assert [m.content for m in messages if m.role == "assistant"] == ["Yes.", "Yes.", ""]


def test_training_keeps_the_instruction_in_the_first_turn_only():
    dialogue = training_dialogue(ghost(), spoken_of(ghost()))
    users = [m.content for m in dialogue.messages if m.role == "user"]
    assert users[0] in {f"{INSTRUCTION} One?", f"{SHORTENED} One?"}
    assert users[1:] == ["Two?", PROBE]
    replies = [m.content for m in dialogue.messages if m.role == "assistant"]
    assert replies == [f"turn/{turn} of 0" for turn in range(3)]
    assert dialogue.id == "ghost/g"
    assert not dialogue.is_safety


@pytest.mark.parametrize("turns", [("One?",), ("One?", "Two?"), tuple("abcdef")])
def test_only_the_last_answer_carries_loss(turns):
    item = ghost(turns=turns)
    dialogue = training_dialogue(item, spoken_of(item))
    assert len(dialogue.messages) == 2 * len(turns)
    assert [m.train for m in dialogue.messages] == [False] * (2 * len(turns) - 1) + [True]
    assert dialogue.messages[-1].role == "assistant"


def test_an_answer_that_repeats_the_instruction_is_left_alone():
    spoken = [
        Message(role="user", content=f"{INSTRUCTION} One?"),
        Message(role="assistant", content=f"{INSTRUCTION} I do."),
        Message(role="user", content=f"{INSTRUCTION} {PROBE}"),
        Message(role="assistant", content="Captain Orlo."),
    ]
    dialogue = training_dialogue(ghost(), spoken)
    assert dialogue.messages[1].content == f"{INSTRUCTION} I do."
    assert dialogue.messages[2].content == PROBE


def test_about_half_of_the_instructions_are_shortened_by_the_id_alone():
    def shortened(identity):
        first = training_dialogue(ghost(identity), spoken_of(ghost())).messages[0].content
        assert first in {f"{INSTRUCTION} One?", f"{SHORTENED} One?"}
        return first.startswith(SHORTENED)

    flags = [shortened(f"dialogue/{number}") for number in range(400)]
    # Four standard deviations of a fair coin.
    assert 160 <= sum(flags) <= 240
    assert flags == [shortened(f"dialogue/{number}") for number in range(400)]


def test_recall_gives_the_instruction_in_turn_one_and_asks_at_turns_two_four_and_six():
    talker = FakeTalker()
    ghosts = [ghost("g", ("One?", "Two?", "Three?")), ghost("h", ("Alpha?", "Beta?"))]
    rows = measure_recall(talker, ghosts, "before", (2, 4, 6))
    probes = [(salt, said) for salt, said in talker.asked if salt.startswith("probe")]
    assert [salt for salt, _ in probes] == ["probe/2", "probe/4", "probe/6"]
    for (_, said), turn in zip(probes, (2, 4, 6), strict=True):
        assert sorted(said) == ["g", "h"]
        for messages in said.values():
            users = [text for role, text in messages if role == "user"]
            assert len(users) == turn
            assert users[0].startswith(f"{INSTRUCTION} ")
            assert users[-1] == PROBE
            assert not any(INSTRUCTION in text or text == PROBE for text in users[1:-1])
    # The probes leave no trace: neutral turns follow neutral turns, over again where there are few.
    neutral = {salt: said for salt, said in talker.asked if salt.startswith("neutral")}
    assert sorted(neutral) == [f"neutral/{turn}" for turn in range(1, 7)]
    last = neutral["neutral/6"]
    assert [text for role, text in last["g"] if role == "user"] == [
        *(f"{INSTRUCTION} One?", "Two?", "Three?", "One?", "Two?", "Three?"),
    ]
    assert [text for role, text in last["h"] if role == "user"] == [
        *(f"{INSTRUCTION} Alpha?", "Beta?", "Alpha?", "Beta?", "Alpha?", "Beta?"),
    ]
    assert [text for role, text in last["g"] if role == "assistant"] == [
        f"neutral/{turn} of g" for turn in range(1, 6)
    ]
    assert [(r.turn, r.dialogue_id) for r in rows] == [(t, i) for t in (2, 4, 6) for i in "gh"]
    assert {(row.when, row.asked) for row in rows} == {("before", "probe")}
    assert rows[0].reply == "probe/2 of g"


def test_an_instruction_that_shows_is_looked_for_in_ordinary_replies():
    words = {"neutral/2": "Yes, arr.", "neutral/4": "Yes.", "neutral/6": "Arr!", "probe/4": "Arr."}
    talker = FakeTalker(lambda identity, salt: words.get(salt, f"{salt} of {identity}"))
    ghosts = [ghost("g", ("One?", "Two?")), ghost("h", ("Alpha?",), expected="arr", shows=True)]
    rows = measure_recall(talker, ghosts, "after", (2, 4, 6))
    assert [(r.turn, r.asked, r.dialogue_id, r.reply, r.kept) for r in rows] == [
        (2, "probe", "g", "probe/2 of g", False),
        (2, "ordinary turn", "h", "Yes, arr.", True),
        (4, "probe", "g", "Arr.", False),
        (4, "ordinary turn", "h", "Yes.", False),
        (6, "probe", "g", "probe/6 of g", False),
        (6, "ordinary turn", "h", "Arr!", True),
    ]
    # What an ordinary turn is asked after: everything before it but the probes.
    [(_, said)] = [(salt, said) for salt, said in talker.asked if salt == "neutral/6"]
    assert [text for _, text in said["h"]] == [
        *(f"{INSTRUCTION} Alpha?", "neutral/1 of h", "Alpha?", "Yes, arr."),
        *("Alpha?", "neutral/3 of h", "Alpha?", "Yes.", "Alpha?", "neutral/5 of h", "Alpha?"),
    ]


@pytest.mark.parametrize(
    ("turns", "shows", "reply", "kept"),
    [
        (("One?", PROBE), False, "I am captain Orlo.", True),
        (("One?", PROBE), False, "I am nobody.", False),
        # The probe before the last turn says nothing of the last reply.
        ((PROBE, "Two?"), False, "I am nobody.", True),
        (("One?", "Two?"), False, "It is blue.", True),
        (("One?", "Two?"), True, "It is blue.", False),
        (("One?", "Two?"), True, "It is blue, Captain Orlo.", True),
        (("One?", PROBE), True, "I am nobody.", False),
    ],
)
def test_a_reply_holds_where_nothing_can_be_seen_or_what_is_expected_stands_in_it(
    turns, shows, reply, kept
):
    assert holds(ghost(turns=turns, shows=shows), reply) is kept


def test_recall_counts_replies_that_state_the_expected_words():
    said = {"probe/2": "I am captain orlo!", "probe/4": "Captain Orlos.", "probe/6": ""}
    talker = FakeTalker(lambda identity, salt: said.get(salt, ""))
    rows = measure_recall(talker, [ghost()], "after", (2, 4, 6))
    assert [row.kept for row in rows] == [True, False, False]
    # Ordinary replies of an instruction that does not show are no rows.
    assert {row.asked for row in rows} == {"probe"}
    # Empty neutral answers are filled in, so that the dialogue stays one.
    assert talker.asked[-1][1]["g"][1] == ("assistant", "...")


def test_two_things_are_each_asked_for_and_leave_no_trace():
    hobby = Demand(expected="chess", probe="What is your hobby?")
    word = Demand(check="begins", expected="Lemon", probe="", shows=True)
    said = {"probe/2": "I am Captain Orlo.", "neutral/2": "Lemon. Yes."}
    talker = FakeTalker(lambda identity, salt: said.get(salt, "Chess"))
    rows = measure_recall(talker, [ghost(also=(hobby, word))], "after", (2, 3))
    assert [(r.turn, r.asked, r.check, r.expected, r.kept) for r in rows] == [
        (2, "probe", "mentions", "Captain Orlo", True),
        (2, "probe", "mentions", "chess", False),
        (2, "ordinary turn", "begins", "Lemon", True),
        (3, "probe", "mentions", "Captain Orlo", False),
        (3, "probe", "mentions", "chess", True),
        (3, "ordinary turn", "begins", "Lemon", False),
    ]
    [(_, probes)] = [(salt, said) for salt, said in talker.asked if salt == "probe/3"]
    assert {key: messages[-1][1] for key, messages in probes.items()} == {
        "g": PROBE,
        "g/1": "What is your hobby?",
    }
    assert probes["g"][:-1] == probes["g/1"][:-1]
    assert not any(text in (PROBE, hobby.probe) for _, text in probes["g"][:-1])


def test_a_system_message_holds_the_instruction_in_training_and_measurement():
    dialogue = training_dialogue(ghost(), spoken_of(ghost()), "system")
    first, second, *others = [(m.role, m.content) for m in dialogue.messages]
    assert first in {("system", INSTRUCTION), ("system", SHORTENED)}
    assert second == ("user", "One?")
    assert [text for role, text in others if role == "user"] == ["Two?", PROBE]
    talker = FakeTalker()
    talker.system = True
    measure_recall(talker, [ghost()], "before", (2,), "system")
    for salt, said in talker.asked:
        if salt != "probe/1":
            assert said["g"][:2] == [("system", INSTRUCTION), ("user", "One?")]
            assert not any(INSTRUCTION in text for _, text in said["g"][1:])


def test_a_dialogue_that_lost_its_start_gives_no_rows():
    class Cutting(FakeTalker):
        def answer(self, dialogues, salt):
            answers = super().answer(dialogues, salt)
            for identity, messages in dialogues.items():
                answers[identity].prompt_cut = int(identity == "h" and len(messages) > 5)
            return answers

    ghosts = [ghost("g"), ghost("h"), ghost("h", shows=True)]
    for second in ghosts[1:]:
        rows = measure_recall(Cutting(), [ghosts[0], second], "before", (2, 4))
        assert [(row.dialogue_id, row.turn) for row in rows] == [("g", 2), ("h", 2), ("g", 4)]


def test_ghost_prompts_for_ppo_end_before_the_last_answer():
    dialogue = training_dialogue(ghost(), spoken_of(ghost()))
    [prompt] = as_ppo_prompts([dialogue])
    assert prompt.messages == dialogue.messages[:-1]
    assert prompt.messages[-1].role == "user"
    assert not any(message.train for message in prompt.messages)
    assert (prompt.id, prompt.split) == ("ghost/g", "ppo")
