"""A run by the command line that stops for people, goes on with their answers and names them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from camelid.annotators import People
from camelid.cli import main
from camelid.plan import Plan
from camelid.recipes import RECIPES
from camelid.recipes.pocket import SMOKE
from camelid.run.files import hash_file
from camelid.run.stage import NoInputs
from camelid.sources.tokenizer_training import TOKENIZER_TRAINING
from camelid.sources.tokenizer_training import Inputs as TokenizerInputs
from camelid.sources.world_data import WORLD_DATA
from camelid.stages import preference_collection, pretraining, sft
from camelid.stages.reporting import add_report


def asked_people() -> Plan:
    """Smoke as far as the comparisons of one round, which people make."""
    plan = Plan("asked_people")
    world = plan.add(WORLD_DATA, SMOKE.world, NoInputs())
    tokenizer = plan.add(
        TOKENIZER_TRAINING, SMOKE.tokenizer_training, TokenizerInputs(corpus=world.corpus)
    ).tokenizer
    base = plan.add(
        pretraining.PRETRAINING,
        SMOKE.pretraining,
        pretraining.Inputs(tokenizer=tokenizer, corpus=world.corpus, validation=world.validation),
    )
    tuned = plan.add(
        sft.SFT,
        replace(SMOKE.sft, epochs=2),
        sft.Inputs(tokenizer=tokenizer, base=base.model, demonstrations=world.demonstrations),
    )
    plan.add(
        preference_collection.PREFERENCE_COLLECTION,
        replace(SMOKE.preference_collection, annotator=People(), max_new_tokens=48),
        preference_collection.Inputs(
            tokenizer=tokenizer,
            prompts=world.prompts,
            older=tuned.epoch1,
            newer=tuned.model,
            held_out=world.held_out,
            world=world.world,
            round=1,
        ),
        within="v1",
    )
    add_report(plan)
    return plan


def test_a_run_stops_for_people_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(RECIPES, "asked_people", asked_people)
    run = tmp_path / "run"
    words = ["run", "asked_people", "--out", str(run), "--threads", "1"]
    stage = run / "v1" / "preference_collection"
    folder = run / "annotation" / "v1" / "preference_collection"
    assert main(words) == 3
    said = capsys.readouterr().err
    assert f"They stand in {folder / 'wanted.jsonl'}; write the answers to {folder}" in said
    assert "Traceback" not in said
    assert not stage.exists()
    wanted = (folder / "wanted.jsonl").read_bytes()
    rows = [json.loads(line) for line in wanted.splitlines()]
    assert len(rows) > 50

    answers = folder / "preferences.jsonl"
    first = {"id": rows[0]["id"], "choice": "a", "strength": "better"}
    for wrong, code, message in (
        (f"{json.dumps({**first, 'id': 'x'})}\n", 2, "line 1: the id 'x' was not asked for"),
        (json.dumps(first) + "\n", 3, f"1 of {len(rows)} comparisons answered"),
    ):
        answers.write_text(wrong, encoding="utf-8")
        assert main(words) == code
        assert message in capsys.readouterr().err
    assert (folder / "wanted.jsonl").read_bytes() == wanted

    with answers.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            safety = "both_safe" if row["kind"] == "safety" else None
            said_by = {"safety": safety, "annotator": ("Ada", "Bo")[number % 2]}
            answer = {"id": row["id"], "choice": "b", "strength": "better", **said_by}
            file.write(json.dumps(answer) + "\n")
    # More answers or fewer that are needed change nothing of what was sampled.
    minimum = ["--preference-collection.annotator.minimum", "0.9"]
    assert main([*words, *minimum]) == 0
    result = json.loads((stage / "result.json").read_text(encoding="utf-8"))
    assert result["lineage"]["annotator"] == "people"
    assert result["lineage"]["sha256"] == hash_file(answers)
    assert result["lineage"]["compared"] == len(rows)
    assert result["lineage"]["by"].keys() == {"people (Ada)", "people (Bo)"}
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "Where the comparisons come from" in page
    assert "annotation/v1/preference_collection/preferences.jsonl" in page
    assert hash_file(answers)[:12] in page
    assert "people (Ada)" in page
    assert "By people." in page
    assert "The annotators are simulated" not in page

    # Made again, it asks nothing: what people said is still there.
    before = (stage / "preferences.jsonl").read_bytes()
    assert main([*words, *minimum, "--redo", "v1/preference_collection"]) == 0
    assert (stage / "preferences.jsonl").read_bytes() == before
    assert (folder / "wanted.jsonl").read_bytes() == wanted


@pytest.mark.parametrize("minimum", ["0", "1.5", "x"])
def test_a_wrong_minimum_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, minimum):
    monkeypatch.setitem(RECIPES, "asked_people", asked_people)
    words = ["run", "asked_people", "--out", str(tmp_path / "run")]
    assert main([*words, "--preference-collection.annotator.minimum", minimum]) == 2
    assert "--preference-collection.annotator.minimum" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
