"""Plans: wiring, options, settings by stage, and their description."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from camelid.errors import ConfigError
from camelid.plan import Plan, described, make_plan
from camelid.recipes import RECIPES
from camelid.run.place import ModelFolder, StageInputs, StageOutputs, place
from camelid.run.stage import NoInputs, NoSettings, RunSettings, StageKind
from camelid.settings import flatten
from camelid.stages.reporting import add_report
from camelid.studies.known import STUDIES

ALL = {**RECIPES, **STUDIES}


@pytest.mark.parametrize("name", ALL)
def test_every_plan_comes_back_from_its_description(name):
    plan = ALL[name]()
    assert plan.name == name
    data = json.loads(json.dumps(plan.description()))
    again = described(data, ALL.__getitem__, "recipe.json")
    assert again.stages == plan.stages
    assert again.models == plan.models
    assert again.settings == plan.settings
    assert again.stages[-1].name == "reporting"
    assert json.loads(json.dumps(again.description())) == data | {"options": again.options}


@pytest.mark.parametrize("name", ALL)
def test_stages_read_only_what_earlier_ones_write(name):
    written: set[str] = set()
    for stage in ALL[name]().stages:
        for read in stage.inputs.places():
            assert read.label in written, (stage.name, read.label)
        written |= {stage.name, *(made.label for made in stage.outputs().places())}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_what_people_talk_to(name):
    plan = RECIPES[name]()
    assert plan.tokenizer is not None
    assert list(plan.models)[:2] == ["base", "sft"]
    assert list(plan.models)[-1] == "final"


@pytest.mark.parametrize("name", ALL)
def test_every_paper_value_names_a_field(name):
    for stage in ALL[name]().stages:
        assert set(stage.kind.paper) <= set(flatten(stage.config)), stage.name


@pytest.mark.parametrize("name", ["smoke", "pocket"])
def test_every_model_of_a_comparison_is_evaluated(name):
    stages = {stage.name: stage for stage in RECIPES[name]().stages}
    inputs = stages["evaluating"].inputs
    known = dict(inputs.models + inputs.controls)
    assert len(known) == len(inputs.models) + len(inputs.controls)
    assert list(dict(inputs.controls)) == ["random_pick", "judge_pick"]
    for compared in inputs.comparisons:
        named = {compared.before, compared.after, compared.control, compared.ceiling} - {None}
        assert named <= known.keys(), compared.method
    assert set(inputs.sharpened) <= known.keys()
    assert len(set(inputs.sharpened)) == len(inputs.sharpened)
    assert stages["evaluating"].config.other_temperatures
    # A control is its round but for who picks.
    sampled = stages["v1/rejection_sampling"]
    for pick in ("random", "judge"):
        control = stages[f"{pick}_pick/pick_control"]
        assert control.config.pick == pick
        assert control.config.fine_tuning == sampled.config.fine_tuning
        assert control.inputs.base == sampled.inputs.base
        assert control.inputs.round == sampled.inputs.round == 1
        made = sampled.outputs()
        read = control.inputs
        assert (read.samples, read.bests, read.demonstrations) == (
            *(made.samples, made.bests, made.demonstrations),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    width: int = 8
    heads: int = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"{self.heads} heads do not divide {self.width}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    steps: int = 3
    words: tuple[str, ...] = ()
    shape: Shape = field(default_factory=Shape)


class Outputs(StageOutputs):
    model: ModelFolder = place("model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    models: tuple[ModelFolder, ...]


def run(config: Config, inputs: Any, outputs: Outputs, context: Any) -> NoSettings:
    raise AssertionError("a plan runs nothing")


BASE = StageKind(
    name="base", config=Config, inputs=NoInputs, outputs=Outputs, result=NoSettings, run=run
)
SFT = StageKind(
    name="sft", config=Config, inputs=Inputs, outputs=Outputs, result=NoSettings, run=run
)


def toy(*, rounds: int = 2, start: Path | None = None) -> Plan:
    """A base model and a chain of others."""
    plan = Plan("toy")
    made = plan.add(BASE, Config(words=(str(start),)), NoInputs())
    for number in range(1, rounds + 1):
        made = plan.add(SFT, Config(), Inputs(models=(made.model,)), within=f"v{number}")
    return plan


def configs(plan: Plan) -> dict[str, Config]:
    return {stage.name: stage.config for stage in plan.stages}


def test_stages_stand_once_and_in_order():
    plan = toy()
    assert list(configs(plan)) == ["base", "v1/sft", "v2/sft"]
    with pytest.raises(ConfigError, match="plan toy: stage 'base' is there already"):
        plan.add(BASE, Config(), NoInputs())
    with pytest.raises(ConfigError, match="stage 'v2/sft' is there already"):
        plan.add(SFT, Config(), Inputs(models=()), within="v2")
    stranger = Outputs("v9/sft").model
    with pytest.raises(ConfigError, match="plan toy: v3/sft reads v9/sft/model, made by nothing"):
        plan.add(SFT, Config(), Inputs(models=(stranger,)), within="v3")
    assert len(plan.stages) == 3


def test_the_report_reads_all_stages():
    plan = toy()
    add_report(plan)
    assert [read.label for read in plan.stages[-1].inputs.places()] == ["base", "v1/sft", "v2/sft"]


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("", {}),
        ("--sft.steps 10", {"v1/sft": {"steps": 10}, "v2/sft": {"steps": 10}}),
        ("--v2.sft.steps 8", {"v2/sft": {"steps": 8}}),
        ("--sft.steps 10 --v2.sft.steps 8", {"v1/sft": {"steps": 10}, "v2/sft": {"steps": 8}}),
        ("--v2.sft.steps 8 --sft.steps 10", {"v1/sft": {"steps": 10}, "v2/sft": {"steps": 8}}),
        (
            "--sft.steps 10 --v2.sft.words a b",
            {"v1/sft": {"steps": 10}, "v2/sft": {"steps": 10, "words": ("a", "b")}},
        ),
        # Which fit each other only together.
        (
            "--base.shape.width 9 --base.shape.heads 3",
            {"base": {"shape": Shape(width=9, heads=3)}},
        ),
        (
            "--sft.shape.width 9 --v1.sft.shape.heads 3 --v2.sft.shape.width 12",
            {
                "v1/sft": {"shape": Shape(width=9, heads=3)},
                "v2/sft": {"shape": Shape(width=12)},
            },
        ),
    ],
)
def test_settings_of_all_stages_of_a_kind_or_of_one(words, changed):
    plan = toy()
    expected = {name: replace(c, **changed.get(name, {})) for name, c in configs(plan).items()}
    plan.override(words.split())
    assert configs(plan) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sft.step 1", "--sft.step: there is no field 'step'. Did you mean 'steps'?"),
        ("--v2.sft.step 1", "--v2.sft.step: there is no field 'step'. Did you mean 'steps'?"),
        ("--stf.steps 1", "--stf.steps is no option and no setting of toy.*'--sft.steps'"),
        ("--v3.sft.steps 1", "--v3.sft.steps is no option and no setting of toy.*'--sft.steps'"),
        ("--sft 1", "--sft is no option"),
        ("--sft.steps x", "--sft.steps is 'x', but must be a whole number"),
        ("--sft.shape 1", "--sft.shape is a group; give a field of it: shape.width, shape.heads"),
        ("--base.shape.heads 3", "--base.shape.heads: 3 heads do not divide 8"),
        ("--sft.steps 1 --sft.steps 2", "--sft.steps is given twice"),
    ],
)
def test_wrong_settings_are_named_and_change_nothing(words, message):
    plan = toy()
    with pytest.raises(ConfigError, match=message):
        plan.override(words.split())
    assert plan.stages == toy().stages


def test_options_reach_the_recipe():
    plan = make_plan(toy, {"rounds": 1, "start": "/x"}, "--")
    assert list(configs(plan)) == ["base", "v1/sft"]
    assert configs(plan)["base"].words == ("/x",)
    assert plan.options == {"rounds": 1, "start": "/x"}
    assert make_plan(toy, {}, "--").options == {"rounds": 2, "start": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"round": 1}, "--round is unknown. Did you mean 'rounds'?"),
        ({"rounds": "1"}, "--rounds is '1', but must be a whole number"),
        ({"rounds": True}, "--rounds is True"),
        ({"start": 1}, "--start: fields of type"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(toy, options, "--")


def described_toy(data: Any) -> Plan:
    return described(data, {"toy": toy}.__getitem__, "r.json")


def test_a_description_makes_the_plan_again():
    plan = make_plan(toy, {"rounds": 1, "start": "/x"}, "--")
    plan.settings = RunSettings(seed=3, threads=2)
    plan.override(["--sft.steps", "7", "--base.shape.width", "16"])
    data = json.loads(json.dumps(plan.description()))
    assert data["options"] == {"rounds": 1, "start": "/x"}
    again = described_toy(data)
    assert (again.stages, again.settings) == (plan.stages, plan.settings)
    assert again.description() == plan.description()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optoins", {}, r"r\.json\.optoins is unknown\. Did you mean 'options'"),
        ("options.round", 1, "r.json: option round is unknown. Did you mean 'rounds'"),
        ("options.rounds", "x", "r.json: option rounds is 'x', but must be a whole number"),
        ("options.rounds", 3, "r.json: settings of v3/sft are missing"),
        ("options.rounds", 1, "'v2/sft' is no stage of this recipe.*'v1/sft'"),
        ("run.sed", 1, r"r\.json\.run\.sed is unknown\. Did you mean 'seed'"),
        ("run.seed", 1.5, r"r\.json\.run\.seed is 1\.5"),
        ("settings.base.steps", "x", r"r\.json: base\.steps is 'x'"),
        ("settings.v1/sft.shape.with", 1, r"r\.json: v1/sft\.shape\.with is unknown.*'width'"),
        ("settings.base.shape.heads", 3, r"r\.json: base\.shape: 3 heads do not divide 8"),
    ],
)
def test_descriptions_are_read_strictly(path, value, message):
    data = copy.deepcopy(toy().description())
    *groups, last = path.split(".")
    target = data
    for group in groups:
        target = target[group]
    target[last] = value
    with pytest.raises(ConfigError, match=message):
        described_toy(data)


def test_a_missing_part_of_a_description_is_named():
    for name in ("recipe", "options", "run", "settings"):
        data = toy().description()
        del data[name]
        with pytest.raises(ConfigError, match=rf"r\.json\.{name} is missing"):
            described_toy(data)


def test_checks_of_a_plan_see_the_settings_as_they_are():
    plan = toy()
    plan.require(lambda seen: seen_steps.append(configs(seen)["v1/sft"].steps))
    seen_steps: list[int] = []
    plan.override(["--sft.steps", "9"])
    plan.check()
    assert seen_steps == [9]
