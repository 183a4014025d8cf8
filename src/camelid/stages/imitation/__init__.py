"""An imitation of people: reward models that compare replies in their place.

Trained on human comparisons that no other stage of the plan reads, so that what is optimised
against its labels has not seen the labels behind it. It is no person and no judge: it is called an
imitation wherever its comparisons show, with its agreement with people on others of theirs.

Source: choice; the models are those of arXiv 2307.09288, Section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from camelid.annotators import ImitationModels, Learned
from camelid.data.records import MetricsRow, Preference
from camelid.errors import ConfigError
from camelid.plan import Plan
from camelid.run.finished import Found
from camelid.run.item import Cell, StageReport, Table
from camelid.run.place import (
    Json,
    ModelFolder,
    RewardModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.stages import reward_modeling
from camelid.stages.reward_modeling import Trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    chat_model: ModelFolder
    preferences: tuple[Rows[Preference], ...]
    """Human comparisons that no other stage reads (`is_alone` checks it)."""
    test_preferences: tuple[Rows[Preference], ...]
    """Others, to see how often it decides as people did."""


class Outputs(StageOutputs):
    """What the stage writes."""

    helpfulness_rm: RewardModelFolder = place("helpfulness_imitation")
    safety_rm: RewardModelFolder = place("safety_imitation", optional=True)
    """Absent where there is no safety comparison to learn from."""
    learned: Json[Learned] = place("learned.json")
    metrics_helpfulness: Rows[MetricsRow] = place("metrics_helpfulness_imitation.jsonl")
    metrics_safety: Rows[MetricsRow] = place("metrics_safety_imitation.jsonl", optional=True)

    @property
    def models(self) -> ImitationModels:
        """What preference collection takes; without safety comparisons leave `safety` out."""
        return ImitationModels(
            helpfulness=self.helpfulness_rm, safety=self.safety_rm, learned=self.learned
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What each model learned from, and what came of it."""

    helpfulness_rm: Trained
    safety_rm: Trained | None
    learned: Learned


Seen = Found[reward_modeling.Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item(
    "rewards",
    "The imitation of people",
    "Reward models that compare replies in place of people, trained on human comparisons that no "
    "other stage reads. Agreement: how often they prefer the same reply as a person did, on other "
    "human comparisons; coin tosses would give 50 %.",
)
def imitation_agreement(seen: Seen) -> Table:
    """One row a kind of comparison."""
    result = seen.last.result
    trained = {"helpfulness": result.helpfulness_rm, "safety": result.safety_rm}
    rows: list[tuple[Cell, ...]] = []
    for kind, model in trained.items():
        if model is None:
            continue
        right, tested = result.learned.right.get(kind, 0), result.learned.tested.get(kind, 0)
        rows.append((kind, model.pairs, tested, 100 * right / tested if tested else None))
    return Table(columns=("kind", "trained on", "tested on", "agreement with people %"), rows=rows)


@REPORT.notices
def _notices(seen: Seen) -> Iterable[str]:
    count = seen.last.result.learned.comparisons
    yield (
        f"Comparisons by an imitation of people are reward models' that learned from {count:,} "
        "human comparisons: no person has seen the replies."
    )


def is_alone(plan: Plan) -> None:
    """Check that no other stage reads what an imitation is trained on.

    Raises:
        ConfigError: One does; both are named.
    """
    for stage in plan.stages:
        if not isinstance(stage.inputs, Inputs):
            continue
        own = {rows.label for rows in stage.inputs.preferences}
        for other in plan.stages:
            shared = own & {place.label for place in other.inputs.places()}
            if shared and other is not stage:
                raise ConfigError(
                    f"{other.name} reads {', '.join(sorted(shared))}, from which {stage.name} "
                    "learns to imitate people; give each comparisons of its own."
                )


IMITATION = StageKind(
    name="imitation",
    config=reward_modeling.Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.imitation.stage:run",
    report=REPORT,
    paper=reward_modeling.REWARD_MODELING.paper,
)
