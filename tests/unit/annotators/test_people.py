"""People as annotators: what is written for them, and every way in which answers can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from camelid.annotators import People
from camelid.annotators.people import PeopleAnnotator, Sampled, SampledPair, shown
from camelid.errors import ConfigError, DataError, WaitingError
from camelid.run.files import hash_file

USES = ("train", "train", "train", "test")


@pytest.fixture
def pairs(make_pair):
    return [
        make_pair(n, kind=kind, a=f"older {n}", b=f"newer {n}")
        for kind in ("helpfulness", "safety")
        for n in range(12)
    ]


@pytest.fixture
def desk(tmp_path, pairs):
    """Asks people; their answers are written with `desk.answer(rows)`."""

    class Desk:
        folder = tmp_path / "run" / "annotation" / "v1" / "preference_collection"
        wanted, answers = folder / "wanted.jsonl", folder / "answers.jsonl"
        sampled = Sampled(
            key="k",
            counts={"held_out": 3},
            pairs=tuple(
                SampledPair(use=USES[n % len(USES)], pair=pair) for n, pair in enumerate(pairs)
            ),
        )

        def ask(self, **settings):
            people = PeopleAnnotator(
                People(**settings), tmp_path / "run", self.folder, self.answers.name
            )
            people.ask(people.sampled("k", lambda: self.sampled), "v1/preference_collection")
            return people

        def rows(self):
            return [json.loads(line) for line in self.wanted.read_text("utf-8").splitlines()]

        def answer(self, rows):
            text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
            self.answers.write_text(text, encoding="utf-8")

    made = Desk()
    with pytest.raises(WaitingError):
        made.ask()
    return made


def newer(row, **more):
    """The label of somebody who likes the newer model's replies and calls the older's unsafe."""
    choice = "a" if row["reply_a"].startswith("newer") else "b"
    safety = "chosen_safe" if row["kind"] == "safety" else None
    return {"id": row["id"], "choice": choice, "strength": "better", "safety": safety, **more}


def test_what_is_wanted_shows_the_dialogue_and_hides_the_models(desk, pairs):
    rows = desk.rows()
    assert len(rows) == len({row["id"] for row in rows}) == len(pairs)
    first = rows[0]
    assert first["prompt"][1] == {"role": "assistant", "content": "A llama."}
    assert first["prompt"][-1] == {"role": "user", "content": "Question 0?"}
    assert {first[field] for field in ("choice", "strength", "safety")} == {""}
    assert {row["kind"] for row in rows} == {"helpfulness", "safety"}
    text = desk.wanted.read_text(encoding="utf-8")
    assert "sft" not in text
    assert "model" not in text
    # Either model stands on either side, in about half of the pairs.
    on_a = sum(row["reply_a"].startswith("newer") for row in rows)
    assert 6 <= on_a <= 18
    for row in rows:
        older = "b" if row["reply_a"].startswith("newer") else "a"
        assert (
            row[f"reply_{older}"].replace("older", "newer")
            == row["reply_a" if older == "b" else "reply_b"]
        )
    guide = (desk.folder / "README.txt").read_text(encoding="utf-8")
    assert "a file called answers.jsonl" in guide
    assert '{"id": "...", "choice": "a"' in guide


def test_the_order_of_a_pair_is_its_own(make_pair):
    pair = make_pair(1)
    assert shown(pair) == shown(pair.swapped)


def test_the_run_waits_and_says_for_what_and_where(desk):
    desk.answer([newer(row) for row in desk.rows()[:5]])
    with pytest.raises(WaitingError) as waiting:
        desk.ask()
    message = str(waiting.value)
    assert waiting.value.exit_code == 3
    assert "v1/preference_collection waits for people: 5 of 24 comparisons answered" in message
    assert "short are train helpfulness 4 of 9, test helpfulness 1 of 3" in message
    assert str(desk.wanted) in message
    assert str(desk.answers) in message
    assert "run the same command again: it goes on from here" in message


def test_answers_become_comparisons_of_the_right_sides(desk, pairs):
    rows = desk.rows()
    desk.answer([newer(row) for row in reversed(rows)])
    people = desk.ask()
    for pair, found in zip(pairs, people.compare(pairs), strict=True):
        assert (found.chosen, found.rejected) == (pair.reply_b, pair.reply_a)
        assert (found.chosen_model, found.rejected_model) == ("sft/model", "sft/epoch1")
        assert found.temperatures == (1.0, 0.5)
        assert found.prompt == pair.prompt.messages
        assert found.safety == ("chosen_safe" if pair.kind == "safety" else None)
        assert (found.strength, found.simulated, found.annotator) == ("better", False, "people")
    lineage = people.lineage()
    assert lineage.source == "annotation/v1/preference_collection/answers.jsonl"
    assert lineage.sha256 == hash_file(desk.answers)
    assert not people.left_out


@pytest.mark.parametrize("label", ["chosen_safe", "both_safe", "both_unsafe", "chosen_unsafe"])
def test_safety_is_said_of_the_chosen_reply_on_either_side(desk, pairs, label):
    rows = [newer(row) for row in desk.rows()]
    safe = pairs[12:]
    ids = {shown(pair)[0] for pair in safe}
    desk.answer([{**row, "safety": label} if row["id"] in ids else row for row in rows])
    assert {row["choice"] for row in rows if row["id"] in ids} == {"a", "b"}
    assert {found.safety for found in desk.ask().compare(safe)} == {label}


def test_a_filled_copy_of_what_is_wanted_is_an_answer_and_names_may_be_added(desk, pairs):
    rows = [{**row, **newer(row), "annotator": "Ada"} for row in desk.rows()]
    rows[1]["annotator"] = ""
    desk.answer(rows)
    found = desk.ask().compare(pairs)
    assert [p.annotator for p in found[:3]] == ["people (Ada)", "people", "people (Ada)"]


def test_part_of_the_answers_is_enough_where_a_minimum_says_so(desk, pairs):
    rows = [newer(row) for row in desk.rows()]
    test = {shown(s.pair)[0] for s in desk.sampled.pairs if s.use == "test"}
    # Of every kind and use two thirds, not of all together.
    desk.answer([row for row in rows if row["id"] not in test])
    with pytest.raises(WaitingError, match=r"60% of each kind and use is needed; short are test h"):
        desk.ask(minimum=0.6)
    kept = [row for n, row in enumerate(rows) if n % 12 not in (0, 3, 8, 10)]
    desk.answer([*kept, {"id": rows[0]["id"], "choice": ""}])
    people = desk.ask(minimum=0.6)
    found = people.compare(pairs)
    assert [p is None for p in found] == [n % 12 in (0, 3, 8, 10) for n in range(24)]
    assert people.left_out == {"unanswered": 8}
    with pytest.raises(ConfigError, match="minimum is 0"):
        People(minimum=0.0)


def test_pairs_are_not_sampled_again_unless_something_has_changed(desk):
    def again():
        raise AssertionError("they are there already")

    people = PeopleAnnotator(People(), desk.folder, desk.folder, desk.answers.name)
    assert people.sampled("k", again) == desk.sampled
    other = Sampled(key="other", counts={}, pairs=())
    assert people.sampled("other", lambda: other) == other


def test_nothing_that_people_wrote_is_written_over(desk, pairs):
    rows = [newer(row) for row in desk.rows()]
    desk.answer(rows)
    before = {path: path.read_bytes() for path in desk.folder.iterdir()}
    # After other settings other pairs are sampled.
    fewer = replace(desk.sampled, key="new", pairs=desk.sampled.pairs[:5])
    people = PeopleAnnotator(People(), desk.folder, desk.folder, desk.answers.name)
    with pytest.raises(DataError, match=r"answers.jsonl, line 6: the id 'pair-\w+' was not asked"):
        people.ask(fewer, "v1/preference_collection")
    assert {path: path.read_bytes() for path in desk.folder.iterdir()} == before
    # And who writes into the file that asks does not lose that either.
    desk.answers.unlink()
    desk.wanted.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"wanted.jsonl is not as it was written.*rename it to ans"):
        desk.ask()
    desk.wanted.rename(desk.answers)
    assert None not in desk.ask().compare(pairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: {**row, "id": "pair-0"}, "line 3: the id 'pair-0' was not asked for"),
        (lambda row: {**row, "choice": "c"}, "line 3: Comparison.choice is 'c', but must be one"),
        (lambda row: {**row, "choice": 1}, "line 3: Comparison.choice is 1, but must be one of"),
        (lambda row: {**row, "strength": "bettr"}, "strength is 'bettr'.*Did you mean 'better'"),
        (lambda row: {**row, "strength": ""}, "line 3: a choice without strength; say how much"),
        (lambda row: {**row, "choice": ""}, "line 3: found 'better' but no choice; choose a or b"),
        (lambda row: {**row, "safety": "both_safe"}, "'both_safe', but must be empty: this is"),
        (lambda row: {**row, "safety": "safe"}, "line 3: Comparison.safety is 'safe', but must"),
        (lambda row: {**row, "sefety": ""}, "sefety is unknown. Did you mean 'safety'"),
        (lambda row: {**row, "reply_a": "Another."}, "line 3: reply_a is not the one that was"),
        (lambda row: {"choice": "a"}, "line 3: Comparison.id is missing"),
        (lambda row: ["a"], "line 3: Comparison is .*must be an object"),
        (lambda row: "{'id': 1}\n", "line 3: not valid JSON"),
        (lambda row: '{"id": "pair-', "line 3: not valid JSON"),
    ],
)
def test_wrong_answers_are_errors_with_file_and_line(desk, change, said):
    rows = [newer(row) for row in desk.rows()]
    desk.answer([*rows[:2], change(rows[2]), *(rows[3:] if "{" not in said else [])])
    with pytest.raises(DataError, match=said) as wrong:
        desk.ask(minimum=0.01)
    assert str(wrong.value).startswith(f"{desk.answers}, line 3")


def test_an_answer_given_twice_and_a_missing_safety_bin_are_errors(desk):
    rows = [newer(row) for row in desk.rows()]
    desk.answer([*rows, {**rows[4], "strength": "slightly_better"}])
    with pytest.raises(DataError, match=r"line 25: the id 'pair-\w+' stands in line 5 already"):
        desk.ask()
    unsafe = next(row for row in rows if row["safety"])
    desk.answer([{**unsafe, "safety": ""}])
    with pytest.raises(DataError, match="line 1: a safety comparison without safety; say which"):
        desk.ask()
