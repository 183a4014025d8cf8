"""An imitation of people: what it learns from, how it compares, and that it learns from its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camelid.annotators import Imitation, ImitationModels
from camelid.annotators import reward_models as room
from camelid.data.annotation import Pair
from camelid.data.records import Preference
from camelid.errors import CheckpointError, ConfigError, MissingInputError
from camelid.formats.convert import convert
from camelid.formats.folder import load_reward_model
from camelid.inference.scoring import score
from camelid.plan import Plan
from camelid.run.place import ModelFolder, Rows, TokenizerFolder
from camelid.run.stage import NoInputs
from camelid.runtime import Runtime
from camelid.sources.world_data import WORLD_DATA
from camelid.stages import imitation
from camelid.stages.imitation import IMITATION, is_alone
from camelid.stages.preference_collection import PREFERENCE_COLLECTION
from camelid.tokenization.chat import load_chat_format

COLLECTION = "v1/preference_collection"


@pytest.fixture(scope="module")
def trained(tiny_run, make_workshop, tmp_path_factory):
    """An imitation trained on the round's comparisons, with its result and outputs."""
    workshop = make_workshop(tmp_path_factory.mktemp("imitation"))
    collected = tiny_run.stages[COLLECTION].outputs()
    given = tiny_run.stages["v1/reward_modeling"]
    inputs = imitation.Inputs(
        tokenizer=given.inputs.tokenizer,
        chat_model=given.inputs.chat_model,
        preferences=(collected.preferences,),
        test_preferences=(collected.test_preferences, collected.guard_preferences),
    )
    result, outputs = workshop.run(
        IMITATION, replace(given.config, helpful_is_safe=False), inputs, read_from=tiny_run.root
    )
    return workshop, result, outputs


def scores(tiny_run, folder, prompt, *replies):
    """Scores of each reply, every one alone."""
    chat = load_chat_format(tiny_run.stages[COLLECTION].inputs.tokenizer.at(tiny_run.root).path)
    model = load_reward_model(folder.path, Runtime())
    return [
        score(model, [[*chat.render_prompt(prompt), *chat.encode_reply(reply), chat.end_id]])[0]
        for reply in replies
    ]


def test_it_learns_from_its_own_comparisons_and_is_tested_on_others(tiny_run, trained):
    _, result, outputs = trained
    own = tiny_run.outputs(COLLECTION).preferences.read()
    others = [
        *tiny_run.outputs(COLLECTION).test_preferences.read(),
        *tiny_run.outputs(COLLECTION).guard_preferences.read(),
    ]
    learned = outputs.learned.read()
    assert learned == result.learned
    assert learned.comparisons == len(own)
    assert learned.safety_labels == sum(row.kind == "safety" for row in own)
    for kind, folder in (("helpfulness", outputs.helpfulness_rm), ("safety", outputs.safety_rm)):
        rows = [row for row in others if row.kind == kind]
        both = [scores(tiny_run, folder, row.prompt, row.chosen, row.rejected) for row in rows]
        assert learned.tested[kind] == len(rows) > 0
        assert learned.right[kind] == sum(chosen > rejected for chosen, rejected in both)
    assert result.helpfulness_rm.kinds["helpfulness"] > 0
    assert result.safety_rm.kinds["safety"] > 0


def test_without_safety_comparisons_there_is_no_safety_model(tiny_run, trained, workshop):
    given = tiny_run.stages["v1/reward_modeling"]
    workshop.outputs(WORLD_DATA.outputs, "own")
    rows = Rows("own", "own.jsonl", workshop.root / "own", kind=Preference)
    rows.write(
        row for row in tiny_run.outputs(COLLECTION).preferences.read() if row.kind != "safety"
    )
    inputs = imitation.Inputs(
        tokenizer=given.inputs.tokenizer.at(tiny_run.root),
        chat_model=given.inputs.chat_model.at(tiny_run.root),
        preferences=(rows,),
        test_preferences=(rows,),
    )
    outputs = workshop.outputs(IMITATION.outputs, "imitation")
    result = IMITATION.runner()(given.config, inputs, outputs, workshop.context("imitation"))
    assert result.safety_rm is None
    assert not outputs.safety_rm.exists
    assert result.learned.safety_labels == 0
    assert result.learned.tested.keys() == {"helpfulness"}
    models = replace(outputs.models, safety=None)
    annotator = room.ImitationAnnotator(Imitation(), models, inputs.tokenizer, Runtime())
    assert len(annotator.compare([pair_of(rows.read()[0])])) == 1
    with pytest.raises(
        ConfigError, match=r"has learned from no comparison of safety; ask it for n"
    ):
        annotator.compare([replace(pair_of(rows.read()[0]), kind="safety")])


def pair_of(row, **changes):
    """The pair of a comparison, the chosen reply second."""
    from camelid.data.records import Prompt

    prompt = Prompt(
        id="p", messages=row.prompt, category="any", is_safety=row.kind == "safety",
        source="test", split="rm_train",
    )  # fmt: skip
    pair = Pair(
        prompt=prompt, reply_a=row.rejected, reply_b=row.chosen, model_a="old", model_b="new",
        temperature_a=0.5, temperature_b=1.0, kind=row.kind, round=1, batch=1,
    )  # fmt: skip
    return replace(pair, **changes)


def test_comparisons_follow_the_scores(tiny_run, trained):
    _, _, outputs = trained
    tokenizer = tiny_run.stages[COLLECTION].inputs.tokenizer.at(tiny_run.root)
    rows = tiny_run.outputs(COLLECTION).test_preferences.read()
    pairs = [pair_of(row) for row in rows]
    folders = {"helpfulness": outputs.helpfulness_rm, "safety": outputs.safety_rm}
    both = [
        scores(tiny_run, folders[p.kind], p.prompt.messages, p.reply_a, p.reply_b) for p in pairs
    ]
    leads = sorted(abs(a - b) for a, b in both)
    safety = sorted(
        x for pair, s in zip(pairs, both, strict=True) if pair.kind == "safety" for x in s
    )
    # Thresholds that part the differences and the safety scores of these pairs.
    middle = (safety[len(safety) // 2 - 1] + safety[len(safety) // 2]) / 2
    settings = Imitation(
        slightly_better=(leads[0] + leads[1]) / 2,
        better=(leads[1] + leads[2]) / 2,
        significantly_better=(leads[2] + leads[3]) / 2,
        unsafe_below=middle,
    )
    annotator = room.ImitationAnnotator(settings, outputs.models, tokenizer, Runtime())
    found = annotator.compare(pairs)
    for pair, (a, b), made in zip(pairs, both, found, strict=True):
        assert made.chosen == (pair.reply_a if a > b else pair.reply_b)
        rank = leads.index(abs(a - b))
        names = ("negligibly_better", "slightly_better", "better", "significantly_better")
        assert made.strength == names[min(rank, 3)]
        label = {
            (False, True): "chosen_safe", (False, False): "both_safe",
            (True, True): "both_unsafe", (True, False): "chosen_unsafe",
        }[max(a, b) < middle, min(a, b) < middle]  # fmt: skip
        assert made.safety == (label if pair.kind == "safety" else None)
        assert made.annotator == "an imitation of people"
        assert not made.simulated
    lineage = annotator.lineage()
    assert lineage.source == "imitation/helpfulness_imitation, imitation/safety_imitation"
    assert lineage.learned_from == outputs.learned.read().comparisons
    # Sides change nothing, and a pair of two equal replies is no comparison.
    assert annotator.compare([pair.swapped for pair in pairs]) == found
    equal = replace(pairs[0], reply_b=pairs[0].reply_a)
    long = replace(pairs[0], reply_b="word " * 600)
    assert annotator.compare([equal, long]) == [None, None]
    assert annotator.left_out == {"ties": 1, "too_long_to_compare": 1}


def test_models_without_safety_labels_give_none(tiny_run, trained):
    _, _, outputs = trained
    tokenizer = tiny_run.stages[COLLECTION].inputs.tokenizer.at(tiny_run.root)
    learned = replace(outputs.learned, name="unlabelled.json")
    learned.write(replace(outputs.learned.read(), safety_labels=0))
    models = ImitationModels(
        helpfulness=outputs.helpfulness_rm, safety=outputs.safety_rm, learned=learned
    )
    row = next(r for r in tiny_run.outputs(COLLECTION).preferences.read() if r.kind == "safety")
    annotator = room.ImitationAnnotator(Imitation(), models, tokenizer, Runtime())
    assert annotator.compare([pair_of(row)])[0].safety is None
    labelled = room.ImitationAnnotator(Imitation(), outputs.models, tokenizer, Runtime())
    assert labelled.compare([pair_of(row)])[0].safety is not None


def test_a_given_reward_model_compares_as_well(tiny_run, trained, tmp_path):
    _, _, outputs = trained
    tokenizer = tiny_run.stages[COLLECTION].inputs.tokenizer.at(tiny_run.root)
    model = tmp_path / "mine"
    convert(outputs.helpfulness_rm.path, model, to="huggingface", tokenizer=tokenizer.path)
    given = Imitation(helpfulness=str(model), safety=str(model), unsafe_below=None)
    assert given.name == "a given reward model (mine)"
    pairs = [pair_of(row) for row in tiny_run.outputs(COLLECTION).test_preferences.read()]
    own = room.ImitationAnnotator(
        Imitation(), replace(outputs.models, safety=outputs.helpfulness_rm), tokenizer, Runtime()
    )
    other = room.ImitationAnnotator(given, None, tokenizer, Runtime())
    found = other.compare(pairs)
    assert [made.chosen for made in found] == [made.chosen for made in own.compare(pairs)]
    assert {made.safety for made in found} == {None}
    assert other.lineage().source == str(model)
    with pytest.raises(ConfigError, match="by an imitation of people, but this plan trains"):
        room.ImitationAnnotator(Imitation(), None, tokenizer, Runtime())
    chat = tiny_run.stages[COLLECTION].inputs.newer.at(tiny_run.root)
    convert(chat.path, tmp_path / "chat", to="huggingface", tokenizer=tokenizer.path)
    wrong = replace(given, safety=str(tmp_path / "chat"))
    with pytest.raises(CheckpointError, match="found a language model, needed a reward model"):
        room.ImitationAnnotator(wrong, None, tokenizer, Runtime())
    gone = replace(given, helpfulness=str(tmp_path / "gone"))
    with pytest.raises(MissingInputError, match="gone"):
        room.ImitationAnnotator(gone, None, tokenizer, Runtime())


def test_collection_by_an_imitation(tiny_run, trained, workshop, given_replies):
    _, _, outputs = trained
    stage = tiny_run.stages[COLLECTION]
    made = workshop.outputs(stage.kind.outputs, COLLECTION)
    result = stage.kind.runner()(
        replace(stage.config, annotator=Imitation()),
        replace(stage.inputs.at(tiny_run.root), imitation=outputs.models),
        made,
        workshop.context(COLLECTION),
    )
    rows = made.preferences.read()
    assert rows
    assert {row.annotator for row in rows} == {"an imitation of people"}
    assert result.lineage.annotator == "an imitation of people"
    assert result.lineage.asked >= result.lineage.compared >= len(rows)
    assert result.lineage.by == {
        "an imitation of people": sum(
            len(place.read())
            for place in (made.preferences, made.test_preferences, made.guard_preferences)
        )
    }


def test_what_an_imitation_learns_from_is_read_by_no_other_stage(tiny_run):
    plan = Plan("test")
    world = plan.add(WORLD_DATA, tiny_run.stages["world_data"].config, NoInputs())
    given = tiny_run.stages["v1/reward_modeling"]
    other = given.kind.inputs(
        tokenizer=TokenizerFolder("world_data", "t"),
        chat_model=ModelFolder("world_data", "m"),
        preferences=(world.open_comparisons,),
        test_preferences=(world.guard_comparisons,),
    )
    inputs = imitation.Inputs(
        tokenizer=other.tokenizer,
        chat_model=other.chat_model,
        preferences=(world.guard_comparisons,),
        test_preferences=(world.open_comparisons,),
    )
    trained = plan.add(IMITATION, given.config, inputs)
    is_alone(plan)
    assert trained.models.learned.label == "imitation/learned.json"
    plan.add(given.kind, given.config, other)
    with pytest.raises(ConfigError, match="reward_modeling reads world_data/guard_comparisons"):
        is_alone(plan)
    assert PREFERENCE_COLLECTION.inputs is type(tiny_run.stages[COLLECTION].inputs)
