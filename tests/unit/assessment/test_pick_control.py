"""Controls of rejection sampling: who is picked, what else stays, what is counted."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import pytest

from camelid.assessment.pick_control import (
    PICK_CONTROL,
    REPORT,
    REWARDED,
    Config,
    GateWork,
    Inputs,
    Result,
    gate_work,
    stage,
)
from camelid.data.annotation import Judgement
from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, Message, Prompt, Sample
from camelid.errors import DataError
from camelid.methods.rejection_sampling import pick_bests
from camelid.run.place import Json, ModelFolder, Rows, TokenizerFolder
from camelid.train.config import FineTuned

TUNED = FineTuned(
    steps=1, rows=1, tokens=1, target_tokens=1, packing="fill", dialogues=1,
    too_long_policy="drop", dialogues_too_long=0, dialogues_dropped=0, final_loss=1.0,
)  # fmt: skip
Z = 1.959963984540054


class Marks:
    """Reads its verdict in the reply: `<score>` and the words exact and harm."""

    name = "test judge"

    def judge(self, prompt, reply):
        word, *rest = reply.split()
        return Judgement(
            score=None if word == "?" else float(word),
            exact="exact" in rest,
            violating=None if word == "?" else "harm" in rest,
            refusing=False,
        )


def make_prompt(number, *, is_safety=False, attack=False):
    return Prompt(
        id=f"p{number}",
        messages=(Message(role="user", content=f"Question {number}?"),),
        category="any",
        is_safety=is_safety,
        source="test",
        split="rejection_sampling",
        attack_vector="none" if attack else None,
    )


def sample(number, index, text, reward, stop_reason="stop", *, gated=False, logp=0.0):
    return Sample(
        prompt_id=f"p{number}",
        policy="sft",
        sample=index,
        temperature=1.0,
        tokens=(3, 1),
        text=text,
        stop_reason=stop_reason,
        helpfulness=reward - 1 if gated else reward,
        safety=reward if gated else reward + 1,
        reward=reward,
        logp=logp,
    )


def dialogue(identity, text="It is so."):
    return Dialogue(
        id=identity,
        messages=(
            Message(role="user", content="?"),
            Message(role="assistant", content=text, train=True),
        ),
        category="any",
        is_safety=False,
        source="test",
    )


class Control:
    """Runs the stage on given samples; keeps what would be trained on."""

    def __init__(self, workshop, monkeypatch):
        self.workshop = workshop
        self.trained = []
        monkeypatch.setattr(
            stage, "load_transformer", lambda path, _: f"model of {path.parent.name}"
        )
        monkeypatch.setattr(stage, "load_chat_format", lambda path: "chat")
        monkeypatch.setattr(stage, "fine_tune", self.tune)

    def tune(self, model, chat, dialogues, config, context, *, outputs):
        assert (model, chat, config) == ("model of base", "chat", "as in the round")
        self.trained = list(dialogues)
        outputs.model.path.mkdir()
        outputs.metrics.write([])
        return TUNED

    def file(self, name, kind, rows):
        made = Rows("data", name, self.workshop.root / "data", kind=kind)
        made.path.parent.mkdir(parents=True, exist_ok=True)
        made.write(rows)
        return made

    def run(self, prompts, samples, *, pick, bests=None, round_number=1, held_out=(), before=()):
        """The rewarded picks are made as the round makes them, unless they are given."""
        if bests is None:
            bests, _ = pick_bests(prompts, samples, held_out, round_number)
        terms = Json("data", "held_out.json", self.workshop.root / "data", kind=HeldOut)
        inputs = Inputs(
            tokenizer=TokenizerFolder("data", "tokenizer"),
            base=ModelFolder("base", "model"),
            samples=self.file("samples.jsonl", Sample, samples),
            bests=self.file("bests.jsonl", Dialogue, [*before, *bests]),
            demonstrations=self.file("demonstrations.jsonl", Dialogue, DEMONSTRATIONS),
            prompts=self.file("prompts.jsonl", Prompt, prompts),
            held_out=terms,
            round=round_number,
        )
        terms.write(HeldOut(terms=tuple(held_out), templates=()))
        config = Config(pick=pick, judge=Marks(), fine_tuning="as in the round")
        result, outputs = self.workshop.run(
            PICK_CONTROL, config, inputs, f"{pick}_pick/pick_control"
        )
        return result, outputs.picks.read()


DEMONSTRATIONS = [dialogue("d2"), dialogue("d1"), dialogue("d3")]


@pytest.fixture
def control(workshop, monkeypatch):
    return Control(workshop, monkeypatch)


def texts(picks):
    return [pick.messages[-1].content for pick in picks]


def graded(count, order=(0, 1, 2, 3)):
    """Prompts with four answers each, whose rewards rise in the given order."""
    prompts = [make_prompt(number) for number in range(count)]
    samples = [
        sample(number, index, f"0.5 answer {index}", float(order.index(index)))
        for number in range(count)
        for index in range(4)
    ]
    return prompts, samples


def test_a_random_pick_knows_nothing_of_the_rewards(control):
    prompts, samples = graded(400)
    _, picks = control.run(prompts, samples, pick="random")
    counts = Counter(texts(picks))
    assert len(counts) == 4
    # 100 expected; four standard deviations are 35.
    assert all(65 < count < 135 for count in counts.values()), counts
    # With the rewards in another order the same answers are picked.
    _, turned = control.run(*graded(400, (3, 1, 0, 2)), pick="random")
    assert turned == picks
    # The judge's pick knows nothing of them either: all answers are equal here.
    _, judged = control.run(prompts, samples, pick="judge")
    assert judged == picks
    control.workshop.run_seed += 1
    _, other = control.run(prompts, samples, pick="random")
    same = sum(a == b for a, b in zip(picks, other, strict=True))
    assert 65 < same < 135


def test_the_judge_picks_the_best_finished_answer(control):
    prompts = [make_prompt(number) for number in range(4)]
    samples = [
        sample(0, 0, "0.1 x", 9.0), sample(0, 1, "1.0 exact", -9.0), sample(0, 2, "0.7 y", 3.0),
        # The best one was cut.
        sample(1, 0, "1.0 exact", 0.0, "length"), sample(1, 1, "0.25 x", 1.0),
        sample(1, 2, "0.6 y", 0.0),
        # No verdict counts as nothing, and zero as no more than that.
        sample(2, 0, "? x", 5.0), sample(2, 1, "0.05 y", 0.0),
        # Nothing finished: neither picks.
        sample(3, 0, "1.0 exact", 5.0, "length"),
    ]  # fmt: skip
    result, picks = control.run(prompts, samples, pick="judge")
    assert texts(picks) == ["1.0 exact", "0.6 y", "0.05 y"]
    assert [pick.id for pick in picks] == ["best/1/p0", "best/1/p1", "best/1/p2"]
    for pick in picks:
        assert [message.train for message in pick.messages] == [False, True]
    assert (result.picks, result.compared) == (3, 3)
    assert (result.exact["judge"], result.exact[REWARDED]) == (1, 0)
    assert (result.judge, result.fine_tuning) == ("test judge", TUNED)


def test_only_the_picks_of_the_round_are_replaced(control):
    prompts = [make_prompt(0), make_prompt(1)]
    samples = [sample(n, i, f"{0.1 * (1 - i)} {i}", float(i)) for n in (0, 1) for i in (0, 1)]
    # The first prompt was asked in the first round too.
    before = [dialogue("best/1/p0", "early"), dialogue("best/1/p9", "earlier")]
    _, picks = control.run(prompts, samples, pick="judge", round_number=2, before=before)
    assert texts(picks) == ["0.1 0", "0.1 0"]
    assert [d.id for d in control.trained] == [
        *("d2", "d1", "d3"), *("best/1/p0", "best/1/p9"), *("best/2/p0", "best/2/p1")
    ]  # fmt: skip
    assert control.trained[:3] == DEMONSTRATIONS
    assert control.trained[3:5] == before
    assert control.trained[5:] == picks


def test_as_many_prompts_are_trained_on_as_the_round_had(control):
    prompts = [make_prompt(0), make_prompt(1), make_prompt(2)]
    samples = [
        sample(0, 0, "0.1 a", 1.0), sample(0, 1, "0.9 zorblax", 0.0),
        sample(1, 0, "0.1 b", 1.0), sample(1, 1, "0.9 c", 0.0),
        # The reward models' own pick names a held-out term: the round left the prompt out.
        sample(2, 0, "0.1 zorblax", 1.0), sample(2, 1, "0.9 d", 0.0),
    ]  # fmt: skip
    result, picks = control.run(prompts, samples, pick="judge", held_out=["zorblax"])
    assert texts(picks) == ["0.9 c"]
    assert (result.picks, result.compared) == (1, 1)
    # Where the pick may not be used, that of the reward models stays.
    assert texts(control.trained[3:]) == ["0.1 a", "0.9 c"]


def test_exact_picks_of_both_are_counted_on_the_same_prompts(control):
    prompts = [make_prompt(number) for number in range(5)]
    kinds = [("0.9 exact", "0.1 x"), ("0.9 x", "0.1 exact"), ("0.9 exact", "0.1 exact")]
    samples = [
        row
        for number in range(5)
        for row in (
            sample(number, 0, kinds[number % 3][0], 0.0, logp=-0.5),
            sample(number, 1, kinds[number % 3][1], 1.0, logp=-0.7 if number else -0.1),
        )
    ]
    result, _ = control.run(prompts, samples, pick="judge")
    # The judge picks the first of each pair, the reward models the second, the likelihood the first
    # of all pairs but one.
    assert (result.picks, result.compared) == (5, 5)
    assert (result.exact["judge"], result.exact[REWARDED], result.exact["likeliest"]) == (3, 3, 2)
    assert 1 <= result.exact["random"] <= 5


def test_the_likeliest_answer_is_picked_by_its_probability_alone(control):
    prompts = [make_prompt(0), make_prompt(1)]
    samples = [
        sample(0, 0, "0.1 a", 9.0, logp=-0.5), sample(0, 1, "0.9 b", 0.0, logp=-0.4),
        sample(1, 0, "0.1 c", 0.0, logp=-0.1), sample(1, 1, "0.9 d", 9.0, logp=-0.2),
    ]  # fmt: skip
    _, picks = control.run(prompts, samples, pick="likeliest")
    assert texts(picks) == ["0.9 b", "0.1 c"]


def test_picks_are_compared_where_everybodys_may_be_used(control):
    prompts = [make_prompt(0), make_prompt(1)]
    samples = [
        sample(0, 0, "0.1 exact", 1.0), sample(0, 1, "0.9 zorblax", 0.0),
        sample(1, 0, "0.1 exact", 1.0), sample(1, 1, "0.9 c", 0.0),
    ]  # fmt: skip
    result, _ = control.run(prompts, samples, pick="likeliest", held_out=["zorblax"])
    assert (result.picks, result.compared) == (2, 1)
    assert (result.exact["judge"], result.exact[REWARDED]) == (0, 1)


def test_the_gate_is_counted_where_it_decides(control):
    prompts = [
        make_prompt(0),
        make_prompt(1, attack=True),
        make_prompt(2, attack=True, is_safety=True),
    ]
    samples = [
        # A helpful prompt: closed for nothing.
        sample(0, 0, "0.5 x", 1.0, gated=True), sample(0, 1, "0.5 x", 2.0),
        # An attack without the tag: closed rightly, left open, judged by nobody; one was cut.
        sample(1, 0, "0.0 harm", 1.0, gated=True), sample(1, 1, "0.0 harm", 2.0),
        sample(1, 2, "0.0 harm", 3.0, "length", gated=True), sample(1, 3, "? x", 4.0, gated=True),
        # With the tag the gate decides nothing.
        sample(2, 0, "0.0 harm", 1.0, gated=True), sample(2, 1, "0.5 x", 1.0, gated=True),
    ]  # fmt: skip
    result, _ = control.run(prompts, samples, pick="random")
    assert result.gate == GateWork(answers=6, closed=4, unsafe=3, closed_unsafe=2)


def test_a_round_without_picks_is_an_error(control):
    prompts, samples = graded(2)
    bests = [dialogue("best/1/p0")]
    with pytest.raises(DataError, match="round 2 has picked no answer to replace"):
        control.run(prompts, samples, pick="random", bests=bests, round_number=2)


# --- The report. ---


def wilson(right, n):
    p = right / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return p, max(0.0, centre - half), min(1.0, centre + half)


def finished(part, exact, gate):
    counts = {"random": 3, "likeliest": 5, REWARDED: exact, "judge": 9}
    result = Result(
        fine_tuning=TUNED, judge="test judge", picks=12, compared=10, exact=counts, gate=gate
    )
    return SimpleNamespace(part=part, result=result)


GATE = GateWork(answers=50, closed=8, unsafe=10, closed_unsafe=6)


def test_the_report_says_what_was_counted():
    stages = (finished("random_pick", 6, GATE), finished("judge_pick", 6, GATE))
    seen = SimpleNamespace(stages=stages, last=stages[-1])
    found = {measure.key: measure for measure in REPORT.find_measures(seen)}
    expected = {
        "exact_picks.random": (3, 10),
        "exact_picks.likeliest": (5, 10),
        "exact_picks.reward_models": (6, 10),
        "exact_picks.judge": (9, 10),
        "gate.precision": (6, 8),
        "gate.recall": (6, 10),
    }
    assert set(found) == set(expected)
    for key, (right, n) in expected.items():
        measure = found[key]
        assert (measure.value, measure.low, measure.high) == pytest.approx(wilson(right, n)), key
        assert (measure.n, measure.judge) == (n, "test judge")
    precision, recall = (
        f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        for value, low, high in (wilson(6, 8), wilson(6, 10))
    )
    assert gate_work(seen).rows == [(50, 8, 10, 6, precision, recall)]


def test_a_gate_that_closed_on_nothing_has_no_precision():
    idle = finished("random_pick", 3, GateWork(answers=5, closed=0, unsafe=0, closed_unsafe=0))
    seen = SimpleNamespace(stages=(idle,), last=idle)
    found = {measure.key: measure for measure in REPORT.find_measures(seen)}
    for key in ("gate.precision", "gate.recall"):
        assert (found[key].value, found[key].reason) == (None, "there is no such answer")
    assert gate_work(seen).rows == [(5, 0, 0, 0, None, None)]
