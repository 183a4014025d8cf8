"""Plan: the stages of a run in order, wired by what they write.

A recipe is a function with typed keyword options that adds stages to a plan and returns it; a study
is the same thing. What is optional is plain Python in that function.

Source: arXiv 2307.09288, Figure 4 (the pipeline); the plan itself is Source: choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from camelid.errors import ConfigError
from camelid.options import group_words, with_options
from camelid.run.place import ModelFolder, Place, StageFolder, TokenizerFolder
from camelid.run.stage import C, I, NoSettings, O, PlannedStage, R, RunSettings, StageKind
from camelid.settings import (
    flatten,
    from_json,
    read_onto,
    suggestion,
    to_json,
)
from camelid.stages.reporting import REPORTING
from camelid.stages.reporting import Inputs as ReportingInputs

AnyStage = PlannedStage[Any, Any, Any, Any]
Recipe = Callable[..., "Plan"]


class Plan:
    """Stages in order, models by name.

    Args:
        name: Name of the recipe or study.
        settings: What decides the run beside its stages.
    """

    def __init__(self, name: str, settings: RunSettings | None = None) -> None:
        self.name = name
        self.settings = settings or RunSettings()
        self.stages: list[AnyStage] = []
        self.models: dict[str, ModelFolder] = {}
        self.tokenizer: TokenizerFolder | None = None
        self.options: dict[str, Any] = {}
        self._checks: list[Callable[[Plan], None]] = []

    def add(
        self, kind: StageKind[C, I, O, R], config: C, inputs: I, *, within: str | None = None
    ) -> O:
        """Add a stage after those that are there.

        Args:
            kind: What it is.
            config: Its settings.
            inputs: What it reads: outputs of earlier stages, and plain values.
            within: Round or variant that it belongs to, such as `v1`; part of its name.

        Returns:
            The places that it will write, for the inputs of later stages.

        Raises:
            ConfigError: A stage of this name is there, or an input is made by no earlier stage.
        """
        name = f"{within}/{kind.name}" if within else kind.name
        known = [stage.name for stage in self.stages]
        if name in known:
            raise ConfigError(f"plan {self.name}: stage '{name}' is there already.")
        for place in inputs.places():
            if place.stage not in known:
                raise ConfigError(f"plan {self.name}: {name} reads {place.label}, made by nothing.")
        stage = PlannedStage(name, kind, config, inputs)
        self.stages.append(stage)
        return stage.outputs()

    def add_report(self) -> None:
        """Add the report of everything so far."""
        everything = tuple(StageFolder(stage.name, "") for stage in self.stages)
        self.add(REPORTING, NoSettings(), ReportingInputs(stages=everything))

    def require(self, check: Callable[[Plan], None]) -> None:
        """Add a check of the settings of several stages; it raises a `ConfigError`."""
        self._checks.append(check)

    def check(self) -> None:
        """Run the checks, after all settings are as they will be."""
        for check in self._checks:
            check(self)

    def config_of(self, name: str, kind: type[C]) -> C:
        """Return the settings of one stage."""
        config = next(stage.config for stage in self.stages if stage.name == name)
        if not isinstance(config, kind):
            raise TypeError(f"settings of {name} are {type(config).__name__}")
        return config

    def maker(self, place: Place) -> AnyStage:
        """Return the stage that makes a place."""
        return next(stage for stage in self.stages if stage.name == place.stage)

    # Settings

    def override(self, words: Sequence[str]) -> None:
        """Apply `--STAGE.field value` options.

        `--ppo.iterations 10` sets it for all stages of that kind, `--v2.rejection_sampling.samples
        8` for one.

        Raises:
            ConfigError: No stage or field has this name (the nearest is named), or a value is
                wrong.
        """
        chosen: dict[str, dict[str, tuple[str, list[str]]]] = {}
        # A round's own setting wins over that of all rounds, in whatever order they are given.
        for option, given in sorted(group_words(words).items(), key=lambda o: self._one(o[0])):
            for stage, field in self._addressed(option):
                chosen.setdefault(stage.name, {})[field] = (f"--{option}", given)
        for index, stage in enumerate(self.stages):
            if stage.name in chosen:
                config = with_options(stage.config, chosen[stage.name])
                self.stages[index] = dataclasses.replace(stage, config=config)

    def _one(self, option: str) -> bool:
        """Tell whether an option names one stage in full, its round or variant included."""
        dotted = [stage.name.replace("/", ".") for stage in self.stages if "/" in stage.name]
        return any(option.startswith(f"{name}.") for name in dotted)

    def _addressed(self, option: str) -> list[tuple[AnyStage, str]]:
        """Return the stages that an option means, and the field."""
        one = self._one(option)
        found = [
            (stage, option.removeprefix(f"{name}."))
            for stage in self.stages
            if option.startswith(
                f"{(name := stage.name.replace('/', '.') if one else stage.kind.name)}."
            )
        ]
        if not found:
            fields = [f"{s.kind.name}.{f}" for s in self.stages for f in flatten(s.config)]
            hint = suggestion(option, [*fields, *self.options, "out", "redo", "until", "seed"])
            raise ConfigError(
                f"--{option} is no option and no setting of {self.name}."
                f"{hint or f' `camelid show {self.name}` lists them.'}"
            )
        return found

    # recipe.json

    def description(self) -> dict[str, Any]:
        """Return the JSON of everything that decides this run; `described` makes it again."""
        return {
            "recipe": self.name,
            "options": to_json(self.options),
            "run": to_json(self.settings),
            "settings": {stage.name: to_json(stage.config) for stage in self.stages},
        }

    def use(self, settings: dict[str, Any], where: str) -> None:
        """Take the settings of all stages from a description.

        Raises:
            ConfigError: A stage is missing or unknown, or a setting does not fit.
        """
        known = [stage.name for stage in self.stages]
        for name in [*settings, *known]:
            if name not in known or name not in settings:
                state = "missing" if name in known else "not a stage of this recipe"
                raise ConfigError(
                    f"{where}: settings of {name} are {state}.{suggestion(name, known)}"
                )
        for index, stage in enumerate(self.stages):
            config = read_onto(settings[stage.name], stage.config, f"{where}: {stage.name}")
            self.stages[index] = dataclasses.replace(stage, config=config)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """`recipe.json`."""

    recipe: str
    """Name of a recipe or study."""
    options: dict[str, Any]
    """Keyword options of that function."""
    run: RunSettings
    settings: dict[str, Any]
    """Settings of every stage by its name."""


def described(data: Any, recipes: Callable[[str], Recipe], where: str) -> Plan:
    """Make a plan again from its description.

    Args:
        data: Content of a `recipe.json`.
        recipes: Finds a recipe or study by its name.
        where: The file, for errors.

    Raises:
        ConfigError: It does not fit; the field is named.
    """
    found = from_json(data, Description, where)
    plan = recipes(found.recipe)(**found.options)
    plan.options, plan.settings = found.options, found.run
    plan.use(found.settings, where)
    plan.check()
    return plan
