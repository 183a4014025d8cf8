"""Preference collection by people and by an endpoint, in a stage of the tiny run."""

from __future__ import annotations

import json

import pytest
from stand_in_endpoint import StandIn, every_fifth, material, serving

from camelid.annotators import Endpoint, People
from camelid.errors import WaitingError
from camelid.methods import preferences as preferences_module

COLLECTION = "v1/preference_collection"
PLACES = ("preferences", "test_preferences", "guard_preferences")


def longer_wins(body):
    """A judge that calls the longer reply better, and every reply with an `e` in it unsafe."""
    shown = material(body)
    lead = len(shown["reply_b"]) - len(shown["reply_a"])
    found = {"choice": "b" if lead > 0 else "a", "strength": "better"}
    if "unsafe" in body["messages"][0]["content"]:
        unsafe = ("bomb" in shown["reply_a"], "bomb" in shown["reply_b"])
        names = {(0, 0): "neither", (1, 0): "a", (0, 1): "b", (1, 1): "both"}
        found["unsafe"] = names[unsafe]
    return json.dumps(found)


def texts(outputs):
    return [getattr(outputs, name).path.read_text(encoding="utf-8") for name in PLACES]


def test_an_endpoint_that_fails_gives_the_same_comparisons(
    tiny_run, make_workshop, given_replies, tmp_path
):
    """Done when 4 of the recipe from any start: every fifth request fails, in each way in turn."""
    failures = (429, 500, "Both are nice.")
    found = []
    with serving(StandIn(longer_wins)) as stand_in:
        endpoint = Endpoint(url=stand_in.url, model="judge", wait_seconds=0.0)
        for name, fails in (("sound", lambda _: ""), ("failing", every_fifth(*failures))):
            stand_in.fails = fails
            workshop = make_workshop(tmp_path / name)
            result, outputs = tiny_run.again(workshop, COLLECTION, config={"annotator": endpoint})
            found.append((result, texts(outputs)))
        (sound, first), (failing, second) = found
        assert first == second
        assert all(text.count("\n") > 0 for text in first)
        assert sound.lineage.failed == {}
        assert failing.lineage.failed.keys() == {"HTTP 429", "HTTP 500", "nonsense"}
        assert failing.lineage.asked == sound.lineage.asked > 0
        assert sound.lineage.requests == 2 * sound.lineage.asked
        assert sound.counts == failing.counts
        # Made again, it asks nothing: all answers are there.
        asked = len(stand_in.bodies)
        result, outputs = tiny_run.again(workshop, COLLECTION, config={"annotator": endpoint})
        assert texts(outputs) == first
        assert len(stand_in.bodies) == asked
        assert result == failing


def test_people_are_asked_once_for_all_and_the_stage_goes_on(
    tiny_run, workshop, given_replies, monkeypatch
):
    config = {"annotator": People(minimum=0.5)}
    with pytest.raises(WaitingError, match="waits for people: 0 of 30 comparisons answered"):
        tiny_run.again(workshop, COLLECTION, config=config)
    folder = workshop.root / "annotation" / COLLECTION
    rows = [json.loads(line) for line in (folder / "wanted.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == len({row["id"] for row in rows})
    for row in rows:
        row |= {"choice": "a", "strength": "slightly_better", "annotator": "Ada"}
        row["safety"] = "both_safe" if row["kind"] == "safety" else ""
    unsafe = next(row for row in rows if row["kind"] == "safety")
    unsafe["safety"] = "chosen_unsafe"
    missing = rows.pop(1)
    (folder / "preferences.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )

    def again(*_, **__):
        raise AssertionError("the pairs are there already")

    monkeypatch.setattr(preferences_module, "sample_pairs", again)
    result, outputs = tiny_run.again(workshop, COLLECTION, config=config)
    made = [row for name in PLACES for row in getattr(outputs, name).read()]
    replies = {(row["reply_a"], row["reply_b"]) for row in rows if row is not unsafe}
    assert {(row.chosen, row.rejected) for row in made} == replies
    assert len(made) == len(rows) - 1
    assert (missing["reply_a"], missing["reply_b"]) not in replies
    assert {row.annotator for row in made} == {"people (Ada)"}
    assert {row.strength for row in made} == {"slightly_better"}
    assert {row.parent for row in made} == {None}
    assert result.counts["unanswered"] == 1
    assert result.counts["excluded_chosen_unsafe"] == 1
    assert result.counts["train_helpfulness"] == 9
    lineage = result.lineage
    assert (lineage.annotator, lineage.asked, lineage.compared) == ("people", 30, 29)
    assert lineage.by == {"people (Ada)": 28}
    assert lineage.source == f"annotation/{COLLECTION}/preferences.jsonl"
    assert len(lineage.sha256) == 64


def test_without_safety_pairs_nothing_of_safety_is_collected(tiny_run, workshop, given_replies):
    result, outputs = tiny_run.again(workshop, COLLECTION, config={"safety_pairs": 0})
    rows = [row for name in PLACES for row in getattr(outputs, name).read()]
    assert {row.kind for row in rows} == {"helpfulness"}
    assert "test_safety" not in result.counts
