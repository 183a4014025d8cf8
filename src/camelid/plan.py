"""Plan: the stages of a run in order, wired by what they write.

A recipe is a function with typed keyword options that adds stages to a plan and returns it; a study
is the same thing. What is optional is plain Python in that function.

Source: arXiv 2307.09288, Figure 4 (the pipeline); the plan itself is Source: choice.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from camelid.errors import ConfigError
from camelid.options import group_words, option_name, with_options
from camelid.run.place import ModelFolder, TokenizerFolder
from camelid.run.stage import C, I, O, PlannedStage, R, RunSettings, StageKind
from camelid.settings import declared, flatten, from_json, read_value, suggestion, to_json

AnyStage = PlannedStage[Any, Any, Any, Any]
Recipe = Callable[..., "Plan"]


class Plan:
    """Stages in order, models by name.

    Args:
        name: Name of the recipe or study.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.recipe = name
        """How its recipe is found again: by its name, or as FILE.py:FUNCTION."""
        self.settings = RunSettings()
        self.stages: list[AnyStage] = []
        self.models: dict[str, ModelFolder] = {}
        self.tokenizer: TokenizerFolder | None = None
        self.options: dict[str, Any] = {}
        self.remark = ""
        """What must be said of its figures, wherever they are shown."""
        self.left_out: dict[str, str] = {}
        """Parts of the recipe that do not take part, with the reason."""
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
            raise ConfigError(
                f"plan {self.name}: stage '{name}' is there already; name a round or variant that "
                "it belongs to (`within`)."
            )
        if self.stages and self.stages[-1].kind.shows:
            raise ConfigError(f"plan {self.name}: {name} comes after the report; add that last.")
        for place in inputs.places():
            if place.stage not in known:
                raise ConfigError(f"plan {self.name}: {name} reads {place.label}, made by nothing.")
        stage = PlannedStage(name, kind, config, inputs)
        self.stages.append(stage)
        return stage.outputs()

    def outputs(self, stage: str, kind: StageKind[C, I, O, R]) -> O:
        """Return the places of a stage that is there, by its name.

        Raises:
            ConfigError: No stage of this kind has the name.
        """
        for planned in self.stages:
            if planned.name == stage and planned.kind is kind:
                return kind.outputs(stage)
        names = [planned.name for planned in self.stages if planned.kind is kind]
        raise ConfigError(f"plan {self.name}: no {kind.name} '{stage}'. There are: {names}.")

    def require(self, check: Callable[[Plan], None]) -> None:
        """Add a check of the settings of several stages; it raises a `ConfigError`."""
        self._checks.append(check)

    def check(self) -> None:
        """Run the checks, after all settings are as they will be."""
        for check in self._checks:
            check(self)

    def override(self, words: Sequence[str]) -> None:
        """Apply `--STAGE.field value` options.

        `--ppo.iterations 10` sets it for all stages of that kind, `--v2.rejection-sampling.samples
        8` for one. Underscores do for dashes.

        Raises:
            ConfigError: No stage or field has this name (the nearest is named), or a value is
                wrong.
        """
        groups, known = group_words(words), set()
        chosen: dict[str, dict[str, tuple[str, list[str]]]] = {}
        # A round's own setting wins over that of all rounds, in whatever order they are given.
        for own in (False, True):
            for stage in self.stages:
                prefix = f"{stage.dotted if own else stage.kind.name}."
                for option in (option for option in groups if option.startswith(prefix)):
                    known.add(option)
                    field = option.removeprefix(prefix)
                    chosen.setdefault(stage.name, {})[field] = (option_name(option), groups[option])
        for option in (option for option in groups if option not in known):
            if option in self.options:
                name = option_name(option)
                raise ConfigError(
                    f"{name} is an option of {self.name} that its file has fixed; name the recipe "
                    f"to choose it: camelid run {self.name} {name} ..."
                )
            # Those of one round or variant too, so that a hint does not change them all.
            own = any(option.startswith(f"{s.dotted.partition('.')[0]}.") for s in self.stages)
            fields = [
                f"{s.dotted if own else s.kind.name}.{f}"
                for s in self.stages
                for f in flatten(s.config)
            ]
            known_names = [*fields, *self.options, "out", "redo", "until", "seed"]
            hint = suggestion(option_name(option), map(option_name, known_names))
            raise ConfigError(
                f"{option_name(option)} is no option and no setting of {self.name}."
                f"{hint or f' `camelid show {self.name}` lists them.'}"
            )
        for index, stage in enumerate(self.stages):
            config = with_options(stage.config, chosen.get(stage.name, {}))
            self.stages[index] = dataclasses.replace(stage, config=config)

    def description(self) -> dict[str, Any]:
        """Return the JSON of everything that decides this run; `described` makes it again."""
        settings = {stage.name: stage.config for stage in self.stages}
        found: dict[str, Any] = to_json(
            Description(
                recipe=self.recipe, options=self.options, run=self.settings, settings=settings
            )
        )
        return found

    def use(self, settings: dict[str, Any]) -> None:
        """Take the settings of all stages from a description.

        Raises:
            ConfigError: A stage is missing or unknown, or a setting does not fit.
        """
        known = [stage.name for stage in self.stages]
        if missing := [name for name in known if name not in settings]:
            raise ConfigError(f"settings of {', '.join(missing)} are missing; add them.")
        for name in (name for name in settings if name not in known):
            hint = suggestion(name, known) or f" Stages: {', '.join(known)}."
            raise ConfigError(f"'{name}' is no stage of this recipe.{hint}")
        for index, stage in enumerate(self.stages):
            kind = type(stage.config)
            config = read_value(settings[stage.name], kind, stage.name, current=stage.config)
            self.stages[index] = dataclasses.replace(stage, config=config)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """`recipe.json`."""

    recipe: str
    """Name of a recipe or study, or FILE.py:FUNCTION."""
    options: dict[str, Any]
    """Keyword options of that function."""
    run: RunSettings
    settings: dict[str, Any]
    """Settings of every stage by its name."""


def make_plan(recipe: Recipe, options: Mapping[str, Any], prefix: str) -> Plan:
    """Call a recipe with options that were read from somewhere.

    Args:
        recipe: A recipe or study.
        options: JSON values by name; those that are absent keep their defaults.
        prefix: Put before the name of an option in errors.

    Raises:
        ConfigError: An option is unknown (the nearest is named) or does not fit.
    """
    known = option_types(recipe)
    values = {}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"{prefix}{name} is unknown.{suggestion(name, known)}")
        path = Path in typing.get_args(known[name]) and isinstance(value, str)
        values[name] = Path(value) if path else read_value(value, known[name], f"{prefix}{name}")
    plan = recipe(**values)
    defaults = {name: option.default for name, option in signature(recipe).parameters.items()}
    plan.options = defaults | dict(options)
    return plan


def option_types(recipe: Recipe) -> dict[str, Any]:
    """Return the options of a recipe with their types."""
    return {k: kind for k, kind in declared(recipe).items() if k != "return"}


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
    try:
        plan = make_plan(recipes(found.recipe), found.options, "option ")
        plan.recipe = found.recipe
        plan.settings = found.run
        plan.use(found.settings)
        plan.check()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return plan
