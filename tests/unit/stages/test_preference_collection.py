"""Wires of preference collection: who answers, how many for which use, written where."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from camelid.data.prompts import HeldOut
from camelid.data.records import Message, Preference, Prompt
from camelid.inference.replies import ModelResponder
from camelid.run.place import Json, ModelFolder, Rows, TokenizerFolder
from camelid.stages.preference_collection import PREFERENCE_COLLECTION, Config, Inputs, stage


class Annotator:
    name = "test"

    def compare(self, pairs):
        raise AssertionError("the collector is a stand-in")


CONFIG = Config(
    helpfulness_pairs=5,
    safety_pairs=4,
    test_pairs=3,
    guard_pairs=2,
    continued_share=0.4,
    temperatures=(0.3, 0.9),
    max_new_tokens=7,
    annotator=Annotator(),
)


@pytest.fixture
def collection(workshop, monkeypatch):
    """Runs the stage; returns the collector that was made and what it was asked for."""
    made = []

    class Collector:
        def __init__(self, **settings):
            self.settings, self.asked, self.counts = SimpleNamespace(**settings), [], Counter()
            self.put = Counter(asked=40, compared=38)
            made.append(self)

        def collect(self, prompts, kind, wanted, use):
            self.asked.append((kind, wanted, use))
            return [
                Preference(id=f"{use}/{kind}/{n}", kind=kind, round=1, batch=1, category="x",
                           prompt=(Message(role="user", content="x"),), chosen="a", rejected="b",
                           strength=None)
                for n in range(wanted)
            ]  # fmt: skip

    chat = SimpleNamespace(
        encode_reply=list, render_prompt=list, tokenizer=SimpleNamespace(encode=list)
    )
    monkeypatch.setattr(stage, "Collector", Collector)
    monkeypatch.setattr(
        ModelResponder,
        "load",
        lambda path, *_: ModelResponder(SimpleNamespace(name=path.parent.name), chat),
    )
    folder = workshop.root / "data"
    folder.mkdir(parents=True)
    prompts = Rows("data", "prompts.jsonl", folder, kind=Prompt)
    prompts.write(
        [Prompt(id="p", messages=(Message(role="user", content="x"),), category="x",
                is_safety=False, source="x", split="rm_train")]
    )  # fmt: skip
    held_out = Json("data", "held_out.json", folder, kind=HeldOut)
    held_out.write(HeldOut(terms=("Avrel",), templates=()))

    def run(**changes):
        inputs = Inputs(
            tokenizer=TokenizerFolder("tokenizer", "tokenizer"),
            prompts=prompts,
            older=ModelFolder("older", "model"),
            newer=ModelFolder("newer", "model"),
            held_out=held_out,
            round=2,
        )
        result, outputs = workshop.run(PREFERENCE_COLLECTION, CONFIG, replace(inputs, **changes))
        return made[-1], result, outputs

    return run


def test_the_two_latest_variants_answer_under_their_names(collection):
    collector, _, _ = collection()
    found = [(v.name, v.responder.model.name) for v in collector.settings.variants]
    assert found == [("older/model", "older"), ("newer/model", "newer")]


def test_settings_reach_the_collector(collection):
    collector, _, _ = collection()
    seen = collector.settings
    assert (seen.temperatures, seen.max_new_tokens) == ((0.3, 0.9), 7)
    assert (seen.continued_share, seen.round_number) == (0.4, 2)
    assert list(seen.forbidden) == ["Avrel"]
    assert seen.annotator is CONFIG.annotator
    without, _, _ = collection(held_out=None)
    assert list(without.settings.forbidden) == []


def test_each_use_has_its_own_number_and_file(collection):
    collector, result, outputs = collection()
    assert collector.asked == [
        *(("helpfulness", 5, "train"), ("safety", 4, "train")),
        *(("helpfulness", 3, "test"), ("safety", 3, "test")),
        *(("helpfulness", 2, "guard"), ("safety", 2, "guard")),
    ]
    for use, place, count in (
        ("train", outputs.preferences, 9),
        ("test", outputs.test_preferences, 6),
        ("guard", outputs.guard_preferences, 4),
    ):
        rows = place.read()
        assert len(rows) == count
        assert all(row.id.startswith(f"{use}/") for row in rows)
    assert result.statistics.comparisons == 9
