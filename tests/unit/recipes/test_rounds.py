"""Wires between the stages of a recipe, read off the plan that it returns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camelid.cli import main
from camelid.errors import ConfigError
from camelid.recipes import RECIPES
from camelid.recipes.pocket import SMOKE, _plan
from camelid.recipes.smollm2 import smollm2

ROUNDS = 3


def planned(name="smoke", rounds=ROUNDS):
    return {stage.name: stage for stage in RECIPES[name](rounds=rounds).stages}


@pytest.fixture(params=["smoke", "pocket", "smollm2"])
def recipe(request):
    return planned(request.param)


@pytest.fixture
def smoke():
    return planned()


def label(place):
    return None if place is None else place.label


def labels(places):
    return [place.label for place in places]


def test_fine_tuning_starts_from_the_base(recipe):
    start = "weights/model" if "weights" in recipe else "pretraining/model"
    assert label(recipe["sft"].inputs.base) == start
    assert recipe["sft"].inputs.demonstrations.name == "demonstrations.jsonl"
    mixed = "safety_data" if "weights" in recipe else "world_data"
    for number in range(1, ROUNDS + 1):
        inputs = recipe[f"v{number}/rejection_sampling"].inputs
        # From the base model in every round, never from the policy that sampled.
        assert label(inputs.base) == start
        assert label(inputs.demonstrations) == f"{mixed}/demonstrations.jsonl"


def test_the_latest_model_answers_and_is_scored_by_its_own_rounds_rewards(recipe):
    latest = "sft/model"
    for number in range(1, ROUNDS + 1):
        rewards = recipe[f"v{number}/reward_modeling"].inputs
        sampling = recipe[f"v{number}/rejection_sampling"].inputs
        assert label(rewards.chat_model) == label(sampling.policy) == latest
        folder = f"v{number}/reward_modeling"
        assert label(sampling.rewards.helpfulness) == f"{folder}/helpfulness_rm"
        assert label(sampling.rewards.safety) == f"{folder}/safety_rm"
        assert label(sampling.rewards.gate) == f"{folder}/gate.json"
        assert sampling.round == number
        latest = f"v{number}/rejection_sampling/model"


def test_bests_of_all_earlier_rounds_come_along(recipe):
    found = [label(recipe[f"v{n}/rejection_sampling"].inputs.earlier_bests) for n in (1, 2, 3)]
    assert found == [None, *(f"v{n}/rejection_sampling/bests.jsonl" for n in (1, 2))]


def test_the_two_latest_variants_answer_in_each_round(smoke):
    found = []
    for number in range(1, ROUNDS + 1):
        inputs = smoke[f"v{number}/preference_collection"].inputs
        assert inputs.round == number
        found.append((label(inputs.older), label(inputs.newer)))
    assert found == [
        ("sft/epoch1", "sft/model"),
        ("sft/model", "v1/rejection_sampling/model"),
        ("v1/rejection_sampling/model", "v2/rejection_sampling/model"),
    ]


def test_reward_models_learn_from_the_comparisons_of_all_rounds_so_far(smoke):
    for number in range(1, ROUNDS + 1):
        inputs = smoke[f"v{number}/reward_modeling"].inputs
        so_far = [f"v{n}/preference_collection" for n in range(1, number + 1)]
        assert labels(inputs.preferences) == [
            "world_data/open_comparisons.jsonl",
            *(f"{n}/preferences.jsonl" for n in so_far),
        ]
        assert labels(inputs.test_preferences) == [f"{n}/test_preferences.jsonl" for n in so_far]
        # Only the last round trains a guard, on comparisons of its own.
        guards = [
            "world_data/guard_comparisons.jsonl",
            *(f"{n}/guard_preferences.jsonl" for n in so_far),
        ]
        assert labels(inputs.guard_preferences) == (guards if number == ROUNDS else [])


def test_comparisons_that_there_are_from_the_start_are_taken_once():
    stages = planned("smollm2")
    for number in range(1, ROUNDS + 1):
        inputs = stages[f"v{number}/reward_modeling"].inputs
        fresh = [f"v{n}/preference_collection" for n in range(2, number + 1)]
        for place, name in (
            (inputs.preferences, "preferences.jsonl"),
            (inputs.test_preferences, "test_preferences.jsonl"),
        ):
            assert labels(place) == [f"{source}/{name}" for source in ("public_data", *fresh)]
    guards = [f"{source}/guard_preferences.jsonl" for source in ("public_data", *fresh)]
    assert labels(inputs.guard_preferences) == guards


def test_red_teaming_attacks_the_new_model_and_remembers_all_rounds(recipe):
    for number in range(1, ROUNDS + 1):
        inputs = recipe[f"v{number}/red_teaming"].inputs
        assert label(inputs.model) == f"v{number}/rejection_sampling/model"
        earlier = [f"v{n}/red_teaming/red_teaming.jsonl" for n in range(1, number)]
        assert labels(inputs.earlier) == earlier
        assert inputs.round == number


def test_what_is_held_out_is_held_out_everywhere(smoke):
    asked = {name: stage.inputs for name, stage in smoke.items()}
    found = {
        name: label(inputs.held_out)
        for name, inputs in asked.items()
        if hasattr(inputs, "held_out")
    }
    assert set(found.values()) == {"world_data/held_out.json"}
    assert set(found) == {
        *(f"v{n}/{kind}" for n in (1, 2, 3) for kind in (
            "preference_collection", "rejection_sampling")),
        "context_distillation",
        "ghost_attention",
        *("random_pick/pick_control", "judge_pick/pick_control"),
    }  # fmt: skip
    assert {label(asked[f"v{n}/preference_collection"].world) for n in (1, 2, 3)} == {
        "world_data/world.json"
    }


def test_the_last_steps_follow_each_other(smoke):
    distilled, held, ppo = (
        smoke[name].inputs for name in ("context_distillation", "ghost_attention", "ppo")
    )
    assert label(distilled.model) == "v3/rejection_sampling/model"
    assert label(distilled.rewards.safety) == "v3/reward_modeling/safety_rm"
    assert label(held.model) == "context_distillation/model"
    assert label(held.ghost_dialogues) == "world_data/ghost_dialogues.jsonl"
    bests = "v3/rejection_sampling/bests.jsonl"
    assert label(distilled.bests) == label(held.bests) == bests
    assert label(ppo.policy) == "ghost_attention/model"
    assert label(ppo.ghost) == "ghost_attention/dialogues.jsonl"


def test_ppo_is_scored_by_the_last_rewards_and_watched_by_the_guard(recipe):
    ppo, evaluating = recipe["ppo"].inputs, recipe["evaluating"].inputs
    for inputs in (ppo, evaluating):
        assert label(inputs.rewards.helpfulness) == "v3/reward_modeling/helpfulness_rm"
        assert label(inputs.rewards.safety) == "v3/reward_modeling/safety_rm"
        assert label(inputs.rewards.gate) == "v3/reward_modeling/gate.json"
        assert label(inputs.guard) == "v3/reward_modeling/guard_rm"
        assert label(inputs.prompts).endswith("/prompts.jsonl")
    if "ghost_attention" not in recipe:
        assert label(ppo.policy) == "v3/rejection_sampling/model"
        assert ppo.ghost is None


def test_every_model_is_evaluated_and_the_last_against_its_start(recipe):
    inputs = recipe["evaluating"].inputs
    found = {name: folder.label for name, folder in inputs.models}
    rounds = {f"v{n}": f"v{n}/rejection_sampling/model" for n in (1, 2, 3)}
    start = {"base": label(recipe["sft"].inputs.base), "sft": "sft/model"}
    rest = {
        name: f"{name}/model"
        for name in ("context_distillation", "ghost_attention")
        if name in recipe
    }
    assert found == start | rounds | rest | {"final": "ppo/model"}
    assert list(found)[-1] == "final"
    assert inputs.rounds == ("v1", "v2", "v3")
    # What PPO started from.
    [(model, reference)] = inputs.references
    assert model == "final"
    assert found[reference] == label(recipe["ppo"].inputs.policy)


def test_pretraining_is_validated_on_a_corpus_of_its_own(smoke):
    inputs = smoke["pretraining"].inputs
    assert label(inputs.corpus) == "world_data/corpus.txt"
    assert label(inputs.validation) == "world_data/corpus_validation.txt"
    assert label(smoke["tokenizer_training"].inputs.corpus) == "world_data/corpus.txt"


def test_all_stages_speak_with_one_tokenizer(recipe):
    made = "weights/tokenizer" if "weights" in recipe else "tokenizer_training/tokenizer"
    found = {
        name: label(stage.inputs.tokenizer)
        for name, stage in recipe.items()
        if hasattr(stage.inputs, "tokenizer")
    }
    assert set(found.values()) == {made}
    assert len(found) > 8


def test_every_stage_has_the_settings_of_its_kind():
    # All different, so that none can stand in for another.
    use = replace(
        SMOKE,
        sft=replace(SMOKE.sft, epochs=7),
        context_distillation=replace(SMOKE.context_distillation, prompts=8),
        ghost_attention=replace(SMOKE.ghost_attention, dialogues=9),
    )
    stages = {stage.name: stage for stage in _plan("x", use, 2).stages}
    fields = {
        **{name: name for name in (
            "tokenizer_training", "pretraining", "sft", "context_distillation",
            "ghost_attention", "ppo", "evaluating",
        )},
        "world_data": "world",
    }  # fmt: skip
    for kind in ("preference_collection", "reward_modeling", "rejection_sampling", "red_teaming"):
        fields |= {f"v{n}/{kind}": kind for n in (1, 2)}
    for name, field in fields.items():
        assert stages[name].config == getattr(use, field), name
    assert stages["final/red_teaming"].config == use.red_teaming
    for pick in ("random", "judge"):
        config = stages[f"{pick}_pick/pick_control"].config
        assert config.fine_tuning == use.rejection_sampling.fine_tuning
        assert (config.pick, config.judge) == (pick, use.evaluating.judge)
        fields[f"{pick}_pick/pick_control"] = ""
    assert set(stages) == {*fields, "final/red_teaming", "reporting"}


@pytest.mark.parametrize("name", RECIPES)
def test_so_many_rounds_as_are_asked_for(name):
    for rounds in (1, 2):
        stages = planned(name, rounds)
        sampled = [n for n in stages if n.endswith("rejection_sampling")]
        assert sampled == [f"v{n}/rejection_sampling" for n in range(1, rounds + 1)]
        assert label(stages["ppo"].inputs.guard) == f"v{rounds}/reward_modeling/guard_rm"
    with pytest.raises(ConfigError, match="--rounds 0: at least 1 round needed"):
        RECIPES[name](rounds=0)


def test_data_and_weights_of_smollm2_are_those_that_are_named(tmp_path):
    data, weights = tmp_path / "data", tmp_path / "weights"
    plan = smollm2(data=data, weights=weights)
    stages = {stage.name: stage for stage in plan.stages}
    assert stages["public_data"].config.directory == str(data)
    assert stages["weights"].config.path == str(weights)
    public = stages["public_data"].outputs()
    assert stages["safety_data"].inputs.demonstrations == (public.demonstrations,)
    assert stages["safety_data"].inputs.prompts == (public.prompts,)
    # What safety training adds is seen beside a model that learned from Dolly alone.
    assert label(stages["sft"].inputs.demonstrations) == "public_data/demonstrations.jsonl"
    for name in ("v1/rejection_sampling", "v2/rejection_sampling"):
        assert label(stages[name].inputs.demonstrations) == "safety_data/demonstrations.jsonl"
    # Nobody has compared the models' replies of the first round: people's comparisons teach it.
    assert "v1/preference_collection" not in stages
    assert stages["v2/preference_collection"].inputs.imitation is not None
    assert {label(stages[n].inputs.prompts) for n in ("ppo", "evaluating", "v1/red_teaming")} == {
        "safety_data/prompts.jsonl"
    }


def test_case_data_of_smollm2_is_looked_for_when_the_command_is_read(tmp_path, capsys):
    for option in ("data", "weights"):
        assert main(["run", "smollm2", f"--{option}", str(tmp_path / "x")]) == 2
        assert f"--{option}: {tmp_path / 'x'} does not exist" in capsys.readouterr().err
    assert main(["run", "smollm2", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "hh-rlhf/harmless-base/test.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
