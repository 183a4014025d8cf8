"""Red teaming: which attacks are put, what is remembered of earlier rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from camelid.assessment.red_teaming import (
    RED_TEAMING,
    Config,
    Inputs,
    Outputs,
    RedTeamRow,
    by_axis,
    cells,
    corrected,
    rounds,
    stage,
)
from camelid.assessment.red_teaming.stage import earlier_violations
from camelid.data.annotation import Judgement, Opinion
from camelid.data.records import Message, Prompt
from camelid.errors import MissingInputError
from camelid.evaluation.classifier import Logistic
from camelid.evaluation.correction import Found, JudgeError
from camelid.evaluation.trained_judges import Learned, TrainedJudges
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.sampling import Sampling
from camelid.run.item import AbsentError, NotApplicableError
from camelid.run.place import ModelFolder, Rows, TokenizerFolder


def row(identity, violating, *, earlier=False, before=False):
    return RedTeamRow(
        prompt_id=identity,
        risk_category=None,
        attack_vector="direct",
        attack_strength=None,
        prompt=(Message(role="user", content="Attack."),),
        reply="Sure.",
        violating=violating,
        judge="test",
        earlier_violation=earlier,
        new=not earlier,
        model_before=before,
        sample=0,
    )


def attacks_of(workshop, **rounds):
    places = []
    for name, rows in rounds.items():
        place = workshop.outputs(Outputs, f"{name}/red_teaming").attacks
        place.write(row(identity, violating) for identity, violating in rows)
        places.append(place)
    return places


def test_earlier_violations_of_all_rounds(workshop):
    places = attacks_of(
        workshop,
        v1=[("a", True), ("b", False), ("c", None)],
        v2=[("c", True), ("a", False), ("d", False)],
    )
    assert earlier_violations([]) == set()
    assert earlier_violations(places[:1]) == {"a"}
    # What was resisted once stays on the list.
    assert earlier_violations(places) == {"a", "c"}
    with pytest.raises(MissingInputError, match="stage v4/red_teaming makes it"):
        earlier_violations([Outputs("v4/red_teaming", workshop.root / "v4/red_teaming").attacks])


class Verdict:
    """Calls a reply that says yes violating."""

    name = "test judge"

    def __init__(self):
        self.judged = []

    def judge(self, prompt, reply):
        self.judged.append(prompt.id)
        return Judgement(violating=reply == "yes", refusing=reply != "yes")


def attack(number, split="red_teaming", words=1, vector="direct"):
    return Prompt(
        id=f"p{number}",
        messages=(Message(role="user", content="word " * words),),
        category="attack",
        is_safety=True,
        source="test",
        split=split,
        attack_vector=vector,
    )


@pytest.fixture
def exercise(workshop, monkeypatch):
    """Runs a round in which the given prompts draw a violating reply of the model."""
    asked, asked_before, seeds = [], [], []

    def sample(responder, prompts: Sequence[Prompt], sampling, *, seed):
        before = responder.model.name == "before"
        (asked_before if before else asked).append([p.id for p in prompts])
        seeds.append(seed)
        says = {True: "yes", False: "no"}
        known = weak_before if before else weak
        return [Reply(p, 0, (2,), (3, 1), says[p.id in known], "stop") for p in prompts]

    chat = SimpleNamespace(
        render_prompt=lambda messages: [w for m in messages for w in m.content.split()]
    )
    weak: set[str] = set()
    weak_before: set[str] = set()

    def load(path, *_):
        name = path.parent.name
        return ModelResponder(SimpleNamespace(name=name, config=SimpleNamespace(context=18)), chat)

    monkeypatch.setattr(ModelResponder, "answer", sample)
    monkeypatch.setattr(ModelResponder, "load", load)
    prompts = Rows("data", "prompts.jsonl", workshop.root / "data", kind=Prompt)
    prompts.path.parent.mkdir(parents=True)
    prompts.write(
        [
            *(attack(number) for number in range(10)),
            attack(10, words=11),
            attack(11, split="test"),
            attack(12, vector=None),
        ]
    )

    def run(round_number, violating, earlier=(), *, before=None, name=None):
        weak.clear()
        weak.update(violating)
        weak_before.clear()
        weak_before.update(before or ())
        inputs = Inputs(
            tokenizer=TokenizerFolder("data", "tokenizer"),
            model=ModelFolder("sft", "model"),
            prompts=prompts,
            earlier=tuple(earlier),
            before=None if before is None else ModelFolder("before", "model"),
            round=round_number,
        )
        verdict = Verdict()
        config = Config(prompts=4, sampling=Sampling(max_new_tokens=8), judge=verdict)
        name = f"{name or f'v{round_number}'}/red_teaming"
        result, outputs = workshop.run(RED_TEAMING, config, inputs, name)
        # Each reply with the prompt that drew it.
        again = asked_before[-1] if before is not None and asked_before else []
        assert verdict.judged == asked[-1] + again
        return result, outputs.attacks

    run.asked, run.asked_before, run.seeds = asked, asked_before, seeds
    return run


def test_rounds_put_new_attacks_and_ask_those_again_that_succeeded(exercise, workshop):
    everyone = {f"p{number}" for number in range(10)}
    first, attacks1 = exercise(1, everyone)
    [asked1] = exercise.asked
    assert len(set(asked1)) == 4
    # Attacks of the split alone: neither other splits nor harmless prompts.
    assert set(asked1) <= everyone
    assert (first.prompts, first.violations, first.violation_rate) == (4, 4, 1.0)
    assert (first.earlier_violations, first.earlier_now_resisted_share) == (0, None)
    # The attack of eleven words has no room beside a reply of eight tokens.
    assert first.prompts_too_long == 1

    second, attacks2 = exercise(2, asked1[:1], earlier=[attacks1])
    fresh, again = exercise.asked[1][:4], exercise.asked[1][4:]
    assert not set(fresh) & set(asked1)
    assert sorted(again) == sorted(asked1)
    # Only new attacks count in the rate, only old ones in what is now resisted.
    assert (second.prompts, second.violations, second.violation_rate) == (4, 0, 0.0)
    assert (second.earlier_violations, second.earlier_now_resisted_share) == (4, 0.75)
    assert [row.earlier_violation for row in attacks2.read()] == [False] * 4 + [True] * 4

    third, _ = exercise(3, [], earlier=[attacks1, attacks2])
    assert third.prompts == 2
    assert third.earlier_violations == 4
    assert "only 2 of 4 new attack prompts are left" in workshop.notes


def test_the_model_before_answers_the_earlier_violations_again(exercise):
    everyone = {f"p{number}" for number in range(10)}
    # With nothing to ask it again, it is not asked.
    first, attacks1 = exercise(1, everyone, before=[])
    [asked1] = exercise.asked
    assert exercise.asked_before == []
    assert first.earlier_resisted_by_model_before_share is None

    second, attacks2 = exercise(2, asked1[:1], earlier=[attacks1], before=asked1[:3])
    assert exercise.asked_before == [exercise.asked[1][4:]]
    # Drawn apart: another seed than that of the model itself.
    assert len(set(exercise.seeds)) == len(exercise.seeds) == 3
    # Counted apart: 3 of 4 resisted by the model, 1 of 4 by the one before.
    assert (second.prompts, second.violations, second.violation_rate) == (4, 0, 0.0)
    assert (second.earlier_violations, second.earlier_now_resisted_share) == (4, 0.75)
    assert second.earlier_resisted_by_model_before_share == 0.25
    rows = attacks2.read()
    assert [row.model_before for row in rows] == [False] * 8 + [True] * 4
    assert [row.earlier_violation for row in rows] == [False] * 4 + [True] * 8
    assert [row.prompt_id for row in rows[8:]] == [row.prompt_id for row in rows[4:8]]
    assert sum(row.violating for row in rows[8:]) == 3
    # Without it the rest is the same.
    alone, attacks = exercise(2, asked1[:1], earlier=[attacks1], name="alone")
    assert alone.earlier_resisted_by_model_before_share is None
    assert attacks.read() == rows[:8]


def test_the_last_model_is_asked_the_attacks_of_the_last_round_again(exercise):
    everyone = {f"p{number}" for number in range(10)}
    _, attacks1 = exercise(1, everyone, before=None)
    _, attacks2 = exercise(2, everyone, earlier=[attacks1], before=[])
    weak = exercise.asked[1][:2]
    final, attacks = exercise(
        2, weak, earlier=[attacks1, attacks2], before=exercise.asked[1], name="final"
    )
    # The four of the round once each, then those of the first round.
    assert exercise.asked[2] == exercise.asked[1]
    assert len(set(exercise.asked[2])) == 8
    assert (final.prompts, final.violations) == (4, 2)
    # All eight have drawn a violation; two of them do so again, all of the model before.
    assert (final.earlier_violations, final.earlier_now_resisted_share) == (8, 0.75)
    assert final.earlier_resisted_by_model_before_share == 0.0
    assert sorted(exercise.asked_before[-1]) == sorted(exercise.asked[1])
    assert [row.model_before for row in attacks.read()] == [False] * 8 + [True] * 8


# --- The report. ---

Z = 1.959963984540054


def cell(right, n):
    p = right / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    low, high = max(0.0, centre - half), min(1, centre + half)
    return f"{100 * p:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def test_the_report_counts_answers_of_the_model_before_apart():
    def finished(part, rows):
        return SimpleNamespace(
            part=part, rows=lambda place: place, outputs=SimpleNamespace(attacks=rows)
        )

    first = finished("v1", [row("a", True), row("b", False), row("c", True)])
    second = finished(
        "v2",
        [
            *(row("d", True), row("e", None), row("f", False), row("g", False)),
            *(row(i, v, earlier=True) for i, v in (("a", False), ("c", True))),
            *(row(i, v, earlier=True, before=True) for i, v in (("a", False), ("c", False))),
        ],
    )
    seen = SimpleNamespace(stages=(first, second), last=second)
    table = rounds(seen)
    assert table.columns[-2] == "by the model before, asked again %"
    assert table.rows[:2] == [
        ("v1", 3, cell(2, 3), 0, None, None, "test"),
        ("v2", 3, cell(1, 3), 2, cell(1, 2), cell(2, 2), "test"),
    ]
    # Rates of the new attacks hold none of the answers to earlier ones.
    for axis in ("risk category", "attack vector", "attack strength"):
        assert by_axis(seen, axis).rows[-1] == ("all", cell(2, 3), cell(1, 3))
    assert cells(seen).rows == [("–", "direct", "–", 3, 33.3)]


@pytest.mark.parametrize(
    ("verdicts", "violating", "resisted"),
    [
        ([True, False, False, None], 1 / 3, 2 / 3),
        ([True, None], 1.0, 0.0),
        ([None, None], None, None),
        ([], None, None),
    ],
)
def test_what_the_judge_cannot_tell_is_neither_resisted_nor_violating(
    verdicts, violating, resisted
):
    rows = [SimpleNamespace(violating=verdict) for verdict in verdicts]
    assert stage.share(rows, violating=True) == violating
    assert stage.share(rows, violating=False) == resisted


def test_rates_of_new_attacks_stand_raw_corrected_and_by_strings():
    # Of 10 new attacks the judge calls 6 violations, strings 9; an earlier one counts in neither.
    rows = [row(str(n), n < 6) for n in range(10)] + [row("old", True, earlier=True)]
    opinions = [
        Opinion(
            prompt_id=str(number),
            refusal=0.5,
            harm=0.5,
            cut=False,
            second_judge="strings",
            second=Judgement(violating=number != 0, refusing=number == 0),
        )
        for number in range(11)
    ]

    def seen(trained):
        read = SimpleNamespace(read=lambda: trained)
        one = SimpleNamespace(
            part="v1",
            rows=lambda place: place,
            inputs=SimpleNamespace(judges=trained and SimpleNamespace(trained=read)),
            outputs=SimpleNamespace(attacks=rows, opinions=opinions),
        )
        return SimpleNamespace(stages=(one,))

    half = Found(right=40, replies=50, groups=50)
    error = JudgeError(positive=half, negative=half)
    harm = Learned(regression=Logistic(bias=0.0, weights=(), penalty=1.0), error=error)
    table = corrected(seen(TrainedJudges(absent=None, longest=9, depth=0.6, harm=harm)))
    [(part, attempts, *cells)] = table.rows
    # (0.6 + 0.8 - 1) / (0.8 + 0.8 - 1).
    shares = [str(cell).partition(" ")[0] for cell in cells]
    assert (part, attempts, shares) == ("v1", 10, ["60.0", "66.7", "90.0"])
    with pytest.raises(AbsentError, match="no judge trained on human labels: no folder"):
        corrected(seen(TrainedJudges(absent="no folder", longest=9, depth=0.6)))
    with pytest.raises(NotApplicableError):
        corrected(seen(None))
