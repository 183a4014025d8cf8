"""Wires of Ghost Attention: who is sampled, trained on and measured, and when."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from intervals import bonett_price, wilson

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, GhostDialogue, Message, RecallRow
from camelid.errors import ConfigError, DataError
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.run.digits import interval
from camelid.run.item import NotApplicableError
from camelid.run.place import Json, ModelFolder, Rows, TokenizerFolder
from camelid.stages.ghost_attention import (
    GHOST_ATTENTION,
    REPORT,
    Config,
    Inputs,
    Unmeasured,
    stage,
)
from camelid.train.config import FineTuned, FineTuningConfig, OptimizerConfig

TUNING = FineTuningConfig(optimizer=OptimizerConfig(learning_rate=1e-3), steps=5)
CONFIG = Config(
    dialogues=4,
    test_dialogues=2,
    sampling=Sampling(max_new_tokens=8),
    bests_per_dialogue=0.5,
    fine_tuning=TUNING,
)
TUNED = FineTuned(
    steps=5, rows=1, tokens=1, target_tokens=1, packing="isolated", dialogues=1,
    too_long_policy="drop", dialogues_too_long=0, dialogues_dropped=0, final_loss=1.0,
)  # fmt: skip


def ghost(number, split):
    return GhostDialogue(
        id=f"{split}/{number}", instruction="Be Orlo.", shortened="Orlo.", turns=("One?", "Two?"),
        probe="Who are you?", expected="Orlo", split=split,
    )  # fmt: skip


def best(number):
    messages = (
        Message(role="user", content="hello"),
        Message(role="assistant", content=f"{number}", train=True),
    )
    return Dialogue(
        id=f"best/{number}", messages=messages, category="x", is_safety=False, source="test"
    )


class Haunting:
    """Runs the stage; its replies name the model, Orlo, and what they are asked."""

    def __init__(self, workshop, monkeypatch):
        self.workshop, self.events, self.says = workshop, [], "I am Orlo."
        self.room = 10**6
        chat = SimpleNamespace(render_prompt=lambda ms: [w for m in ms for w in m.content.split()])
        monkeypatch.setattr(
            ModelResponder,
            "load",
            lambda path, *_: ModelResponder(
                SimpleNamespace(name=path.parent.name, config=SimpleNamespace(context=256)), chat
            ),
        )

        def answer(responder, *given, **named):
            return self.answer(responder, *given, **named)

        monkeypatch.setattr(ModelResponder, "answer", answer)
        measure = stage.measure_recall

        def measured(talker, ghosts, when, turns, place):
            self.events.append((when, [g.id for g in ghosts]))
            return measure(talker, ghosts, when, turns, place)

        monkeypatch.setattr(stage, "measure_recall", measured)
        monkeypatch.setattr(stage, "fine_tune", self.fine_tune)
        folder = workshop.root / "data"
        folder.mkdir(parents=True)
        self.ghosts = Rows("data", "ghosts.jsonl", folder, kind=GhostDialogue)
        self.ghosts.write(ghost(n, split) for split in ("test", "train") for n in range(6))
        self.bests = Rows("data", "bests.jsonl", folder, kind=Dialogue)
        self.bests.write(best(n) for n in range(6))
        self.held_out = Json("data", "held_out.json", folder, kind=HeldOut)
        self.held_out.write(HeldOut(terms=("Avrel",), templates=()))

    def answer(self, responder, prompts, sampling, *, seed, **_):
        assert sampling == CONFIG.sampling
        self.model = responder.model.name
        return [
            SimpleNamespace(
                prompt=p,
                text=self.says,
                stop_reason="stop",
                prompt_cut=int(len(responder.chat.render_prompt(p.messages)) > self.room),
            )
            for p in prompts
        ]

    def fine_tune(self, model, chat, dialogues, config, context, *, outputs):
        self.events.append(("trained", [d.id for d in dialogues]))
        self.tuned = SimpleNamespace(model=model.name, dialogues=dialogues, config=config)
        outputs.model.path.mkdir()
        outputs.metrics.write([])
        return TUNED

    def run(self, **changes):
        inputs = Inputs(
            tokenizer=TokenizerFolder("tokenizer", "tokenizer"),
            model=ModelFolder("distilled", "model"),
            ghost_dialogues=self.ghosts,
            bests=self.bests,
            held_out=self.held_out,
        )
        return self.workshop.run(GHOST_ATTENTION, replace(CONFIG, **changes), inputs)


@pytest.fixture
def haunting(workshop, monkeypatch):
    return Haunting(workshop, monkeypatch)


def test_recall_is_measured_on_test_dialogues_before_and_after_training(haunting):
    _, outputs = haunting.run()
    (before, first), (trained, dialogues), (after, second) = haunting.events
    assert (before, trained, after) == ("before", "trained", "after")
    assert first == second == ["test/0", "test/1"]
    ghosts = [identity for identity in dialogues if identity.startswith("ghost/")]
    assert ghosts == [f"ghost/train/{n}" for n in range(4)]
    rows = outputs.recall.read()
    assert [row.when for row in rows] == ["before"] * 6 + ["after"] * 6
    assert all(isinstance(row, RecallRow) and row.kept for row in rows)
    assert haunting.model == haunting.tuned.model == "distilled"


def test_bests_are_mixed_in_by_their_share(haunting):
    result, outputs = haunting.run()
    assert (result.ghost_dialogues, result.bests_mixed_in) == (4, 2)
    assert len(haunting.tuned.dialogues) == 6
    assert all(d.id.startswith("best/") for d in haunting.tuned.dialogues[4:])
    # PPO gets the Ghost dialogues, not the bests.
    assert [d.id for d in outputs.dialogues.read()] == [f"ghost/train/{n}" for n in range(4)]
    assert haunting.tuned.config == TUNING


def test_replies_that_name_a_held_out_term_are_not_trained_on(haunting):
    haunting.says = "I am Orlo of Avrel."
    with pytest.raises(DataError, match="no sampled dialogue holds its instruction"):
        haunting.run()


def test_only_the_last_turn_of_a_ghost_dialogue_is_learned(haunting):
    haunting.run()
    for dialogue in haunting.tuned.dialogues[:4]:
        assert [m.train for m in dialogue.messages] == [False, False, False, True]
        assert "Orlo." in dialogue.messages[0].content
        assert dialogue.messages[2].content == "Two?"


# --- What is dropped ---


class Spoken:
    """A talker whose sampled dialogues are given."""

    cut = 3


def ghost_dialogue(expected="Captain Orlo", **changes):
    fields = {"id": "g", "instruction": "Act.", "shortened": "Act", "expected": expected}
    fields |= {"turns": ("Hello?", "Who?"), "probe": "Who?", "shows": False, "split": "train"}
    return GhostDialogue(**(fields | changes))


def spoken(*answers):
    messages = []
    for answer in answers:
        messages.append(Message(role="user", content="Act. Hello?"))
        messages.append(Message(role="assistant", content=answer))
    return messages


def test_ghost_dialogues_are_dropped_by_reason(monkeypatch):
    said = [
        spoken("Arr.", "I am Captain Orlo."),
        spoken("", "I am Captain Orlo."),
        spoken("Arr.", "I am nobody."),
        spoken("From Avrel.", "I am captain orlo."),
        # Empty and without the expected words: the first reason counts.
        spoken("", "I am nobody."),
    ]
    monkeypatch.setattr(stage, "sample_dialogues", lambda talker, ghosts: said)
    config = replace(CONFIG, require_expected=True)
    talker, ghosts = Spoken(), [ghost_dialogue()] * 5
    kept, dropped = stage._sample(talker, ghosts, config, ["Avrel"], "ghost_attention")
    assert [d.messages[-1].content for d in kept] == ["I am Captain Orlo."]
    assert (dropped.empty_or_cut, dropped.without_expected, dropped.held_out) == (2, 1, 1)
    # Those before training; the measurement after it counts from zero.
    assert (dropped.prompts_cut, talker.cut) == (3, 0)
    kept, dropped = stage._sample(
        talker, ghosts, replace(config, require_expected=False), [], "ghost_attention"
    )
    assert len(kept) == 3
    with pytest.raises(DataError, match="no sampled dialogue holds its instruction"):
        stage._sample(talker, [ghost_dialogue("x")] * 5, config, [], "ghost_attention")
    # Where the last turn does not show whether the instruction holds, none is dropped for it.
    unseen = [ghost_dialogue("x", turns=("Who?", "Hello?"))] * 5
    kept, dropped = stage._sample(talker, unseen, config, ["Avrel"], "ghost_attention")
    assert [d.messages[-1].content for d in kept] == ["I am Captain Orlo.", "I am nobody."]
    assert (dropped.empty_or_cut, dropped.without_expected, dropped.held_out) == (2, 0, 1)
    shown = [ghost_dialogue("Captain Orlo", turns=("Who?", "Hello?"), shows=True)] * 5
    kept, dropped = stage._sample(talker, shown, config, ["Avrel"], "ghost_attention")
    assert [d.messages[-1].content for d in kept] == ["I am Captain Orlo."]
    assert (dropped.empty_or_cut, dropped.without_expected, dropped.held_out) == (2, 1, 1)


# --- Turns, places, checks ---


def test_recall_is_measured_at_the_turns_that_are_set(haunting):
    result, outputs = haunting.run(probed_turns=(3, 20))
    assert sorted({row.turn for row in outputs.recall.read()}) == [3, 20]
    assert result.unmeasured == ()


def test_dialogues_that_lose_their_start_are_left_out_and_counted(haunting):
    # Words of the probe at turn 4: three of the first message, of each reply and of the probe, and
    # one of each other turn.
    haunting.room = 3 + 3 * 3 + 3 + 2
    result, outputs = haunting.run(probed_turns=(2, 4, 6))
    assert {row.turn for row in outputs.recall.read()} == {2, 4}
    assert [(u.turn, u.when, u.replies) for u in result.unmeasured] == [
        (6, "before", 2),
        (6, "after", 2),
    ]


def test_a_context_too_short_for_any_dialogue_is_an_error(haunting):
    haunting.room = 4
    with pytest.raises(DataError) as error:
        haunting.run()
    assert "every dialogue lost its instruction before turn 2" in str(error.value)
    assert "the model's context of 256 tokens is too short" in str(error.value)


def test_the_instruction_may_stand_in_a_system_message(haunting):
    haunting.run(place="system")
    for dialogue in haunting.tuned.dialogues[:4]:
        roles = [message.role for message in dialogue.messages]
        assert roles == ["system", "user", "assistant", "user", "assistant"]
        assert [m.train for m in dialogue.messages] == [False] * 4 + [True]
        assert dialogue.messages[0].content in ("Be Orlo.", "Orlo.")
        assert [m.content for m in dialogue.messages[1::2]] == ["One?", "Two?"]


@pytest.mark.parametrize("turns", [(4, 2), (2, 2)])
def test_turns_out_of_order_are_refused(turns):
    with pytest.raises(ConfigError, match="they must rise, each once"):
        replace(CONFIG, probed_turns=turns)
    with pytest.raises(ConfigError, match="must be from 2 to"):
        replace(CONFIG, probed_turns=(1,))


def seen_of(rows, turns, unmeasured=()):
    return SimpleNamespace(
        last=SimpleNamespace(
            rows=lambda place: rows,
            outputs=SimpleNamespace(recall=None),
            config=replace(CONFIG, probed_turns=turns),
            result=SimpleNamespace(unmeasured=unmeasured),
        )
    )


def row(turn, when, kept, *, asked="probe", dialogue="d", check="mentions", expected="Orlo"):
    return RecallRow(
        when=when, asked=asked, dialogue_id=dialogue, turn=turn, instruction="Be Orlo.",
        expected=expected, reply="", kept=kept, check=check,
    )  # fmt: skip


def item(title):
    return next(found for found in REPORT.items if found.title.startswith(title))


ROWS = [
    *(row(turn, "before", kept=turn < 4, dialogue=d) for turn in (2, 20, 30) for d in "ab"),
    *(row(turn, "after", kept=d == "a", dialogue=d) for turn in (2, 20, 30) for d in "ab"),
    row(20, "before", kept=False, asked="ordinary turn", dialogue="c", check="begins"),
    row(20, "after", kept=True, asked="ordinary turn", dialogue="c", check="begins"),
    # Nothing to compare it with.
    row(30, "before", kept=True, dialogue="e"),
]


def test_the_table_has_the_turns_that_were_measured_and_the_papers_where_it_has_them():
    lost = (Unmeasured(turn=30, when="after", replies=3),)
    seen = seen_of(ROWS, (2, 20, 30), lost)
    shown = item("Instructions recalled (%)")
    body = {r[0]: r[1:] for r in shown.draw(seen).rows}
    assert list(body) == [2, 20, 30]
    assert [body[turn][4:] for turn in body] == [(100, 100), (0, 100), (None, None)]
    assert str(body[20][0]).startswith("0")
    assert str(body[20][3]).startswith("100")
    assert body[2][2:4] == (None, None)
    text = shown.caption(seen)
    assert "Judge: string match with the expected text; string match at the start" in text
    assert "lost the instruction: 3 at turn 30 after training." in text
    assert "Left out" not in shown.caption(seen_of(ROWS, (2, 20, 30)))


def test_the_change_at_late_turns_counts_each_dialogue_once():
    figures = {m.key: m for m in REPORT.find_measures(seen_of(ROWS, (2, 20, 30)))}
    late = figures["ghost_attention.late.change"]
    # a: from 0 to 1, b: stays at 0, c: from 0 to 1; e has no reply after training.
    low, high = bonett_price([1, 0, 1])[1:]
    assert late.value == pytest.approx(2 / 3)
    assert (late.low, late.high) == pytest.approx((low, high))
    assert late.n == 3
    assert figures["ghost_attention.turn30.after"].n == 2
    # Turn 6 was not measured: the last one stands at the end of a run.
    heads = {m.headline for m in figures.values() if m.headline}
    assert ("instruction held at turn 30", "before") in heads
    early = {m.key: m for m in REPORT.find_measures(seen_of(ROWS[:2], (2,)))}
    assert "nothing was measured at turn 4 or later" in str(
        early["ghost_attention.late.change"].reason
    )


def test_recall_by_check_counts_dialogues_and_is_left_off_where_all_are_alike():
    rows = item("Instructions recalled by").draw(seen_of(ROWS, (2, 20, 30))).rows
    assert [r[:2] for r in rows] == [
        ("string match with the expected text", 13),
        ("string match at the start", 2),
    ]
    before = wilson(3, 7, clusters=3)
    assert rows[0][2] == interval(*(100 * value for value in before), percent=True)
    with pytest.raises(NotApplicableError):
        item("Instructions recalled by").draw(seen_of(ROWS[:12], (2, 20, 30)))


def test_two_things_asked_of_one_dialogue_are_two_values():
    rows = [row(2, "after", kept=True), row(2, "after", kept=False, expected="chess")]
    [values] = REPORT.find_values(seen_of(rows, (2,)))
    assert list(values.by_item.values()) == [1.0, 0.0]
