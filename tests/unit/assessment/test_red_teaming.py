"""Red teaming: which attacks are put, what is remembered of earlier rounds."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from camelid.assessment.red_teaming import RED_TEAMING, Config, Inputs, Outputs, RedTeamRow
from camelid.assessment.red_teaming.stage import earlier_violations
from camelid.data.annotation import Judgement
from camelid.data.records import Message, Prompt
from camelid.errors import MissingInputError
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.sampling import Sampling
from camelid.run.place import ModelFolder, Rows, TokenizerFolder


def row(identity, violating):
    return RedTeamRow(
        prompt_id=identity,
        risk_category=None,
        attack_vector="direct",
        attack_strength=None,
        prompt=(Message(role="user", content="Attack."),),
        reply="Sure.",
        violating=violating,
        judge="test",
        earlier_violation=False,
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
    """Runs a round in which the prompts of the given numbers draw a violating reply."""
    asked = []

    def sample(_, prompts: Sequence[Prompt], sampling, *, seed):
        asked.append([p.id for p in prompts])
        says = {True: "yes", False: "no"}
        return [Reply(p, 0, (2,), (3, 1), says[p.id in weak], "stop") for p in prompts]

    chat = SimpleNamespace(
        render_prompt=lambda messages: [w for m in messages for w in m.content.split()]
    )
    weak: set[str] = set()
    model = SimpleNamespace(config=SimpleNamespace(context=18))
    monkeypatch.setattr(ModelResponder, "answer", sample)
    monkeypatch.setattr(ModelResponder, "load", lambda *_: ModelResponder(model, chat))
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

    def run(round_number, violating, earlier=()):
        weak.clear()
        weak.update(violating)
        inputs = Inputs(
            tokenizer=TokenizerFolder("data", "tokenizer"),
            model=ModelFolder("sft", "model"),
            prompts=prompts,
            earlier=tuple(earlier),
            round=round_number,
        )
        verdict = Verdict()
        config = Config(prompts=4, sampling=Sampling(max_new_tokens=8), judge=verdict)
        result, outputs = workshop.run(RED_TEAMING, config, inputs, f"v{round_number}/red_teaming")
        # Each reply with the prompt that drew it.
        assert verdict.judged == asked[-1]
        return result, outputs.attacks

    run.asked = asked
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
