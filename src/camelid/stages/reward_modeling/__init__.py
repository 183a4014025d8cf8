"""Reward models (Section 3.2.2).

Two models, helpfulness and safety, each started from the latest chat model, learn from comparisons
by a ranking loss with graded margins; the safety model also by the auxiliary loss of A.3.4. Their
data are mixed as in the paper: helpfulness with as many others, safety 90 to 10. On held-out
comparisons the accuracy by strength is measured and the threshold of the gate of Section 3.2.3 is
tuned. In the last round a guard model is trained on comparisons that the two never saw, to watch
for over-optimisation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import get_args

from camelid.data.records import STRENGTHS, Kind, MetricsRow, Preference, TestScore
from camelid.errors import ConfigError
from camelid.evaluation.gate import PAPER_PRECISION, PAPER_RECALL, PAPER_THRESHOLD, Gate
from camelid.evaluation.statistics import Estimate, attempt, proportion
from camelid.report import figure
from camelid.report.estimates import measure, percent
from camelid.report.texts import cut
from camelid.run.finished import Finished, Found
from camelid.run.item import AbsentError, Cell, Drawing, Example, Measure, StageReport, Table
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
from camelid.settings import PaperValue
from camelid.train.config import Margin, OptimizerConfig, paper_optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the reward models."""

    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 1e-5 (5e-6 at 70B)."""
    batch_pairs: int = 512
    """Comparisons per optimizer step (Section 3.2.2)."""
    micro_pairs: int = 32
    """Comparisons in memory at once; cannot change the result."""
    epochs: int = 1
    """Passes over the comparisons (Section 3.2.2: more overfits)."""
    margin: Margin = "small"
    """Margins of Table 27; which one the final models use is not specified."""
    safety_auxiliary: float = 1.0
    """Weight of the auxiliary loss of the safety model (A.3.4; value: Source: choice)."""
    newest_factor: int = 2
    """How often the newest round's comparisons are repeated (Source: choice)."""
    helpfulness_share: float = 0.5
    """Share of helpfulness comparisons in the helpfulness model's mix (Section 3.2.2); more of them
    where there are not enough others."""
    safety_share: float = 0.9
    """Share of safety comparisons in the safety model's mix (Section 3.2.2)."""
    gate_precision: float = 0.89
    """Precision wanted of the gate on unsafe replies (Section 3.2.3)."""
    longest: int = 512
    """Most tokens of prompt and reply; longer comparisons are dropped and counted."""

    def __post_init__(self) -> None:
        for name in ("helpfulness_share", "safety_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(
                    f"reward_modeling.{name} is {getattr(self, name)}; it must be above 0 and at "
                    "most 1."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    chat_model: ModelFolder
    preferences: tuple[Rows[Preference], ...]
    test_preferences: tuple[Rows[Preference], ...]
    guard_preferences: tuple[Rows[Preference], ...] = ()
    """Empty in all rounds but the last: no guard model is trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardModels(StageInputs):
    """The two reward models of a round with their gate: what other stages optimise against."""

    helpfulness: RewardModelFolder
    safety: RewardModelFolder
    gate: Json[Gate]


class Outputs(StageOutputs):
    """What the stage writes."""

    helpfulness_rm: RewardModelFolder = place("helpfulness_rm")
    safety_rm: RewardModelFolder = place("safety_rm")
    guard_rm: RewardModelFolder = place("guard_rm", optional=True)
    gate: Json[Gate] = place("gate.json")
    test_scores: Rows[TestScore] = place("test_scores.jsonl")
    metrics_helpfulness: Rows[MetricsRow] = place("metrics_helpfulness_rm.jsonl")
    metrics_safety: Rows[MetricsRow] = place("metrics_safety_rm.jsonl")
    metrics_guard: Rows[MetricsRow] = place("metrics_guard_rm.jsonl", optional=True)

    @property
    def models(self) -> RewardModels:
        """The two reward models with their gate."""
        return RewardModels(helpfulness=self.helpfulness_rm, safety=self.safety_rm, gate=self.gate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What one reward model learned from."""

    pairs: int
    kinds: dict[str, int]
    too_long: int
    steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What each model learned from; the guard only in the last round."""

    helpfulness_rm: Trained
    safety_rm: Trained
    guard_rm: Trained | None
    test_too_long: int
    """Held-out comparisons left out."""


Stage = Finished[Config, Inputs, Outputs, Result]
Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def annotators(seen: Seen) -> str:
    """Who labelled the held-out pairs, as a phrase."""
    rows = [row for stage in seen.stages for place in stage.inputs.test_preferences
            for row in stage.rows(place)]  # fmt: skip
    names = {row.annotator for row in rows if not row.simulated}
    return ", ".join(sorted(names)) or "simulated annotators"


def _caption(text: str, seen: Seen) -> str:
    return (
        f"{text}Held-out pairs, labelled by {annotators(seen)}. Brackets and bars: 95 % intervals."
    )


KINDS: tuple[Kind, ...] = get_args(Kind)
PAPER_TABLE_8 = {
    ("safety_rm", "safety"): (94.3, 76.3, 65.7, 55.3, 64.5),
    ("helpfulness_rm", "safety"): (89.9, 73.2, 63.8, 54.5, 62.8),
    ("safety_rm", "helpfulness"): (64.6, 57.5, 53.8, 52.2, 56.2),
    ("helpfulness_rm", "helpfulness"): (80.7, 67.5, 60.9, 54.7, 63.2),
}
"""Accuracy in % by (reward model, kind of pairs): the four strengths, then the average."""


def accuracy(stage: Stage, model: str, kind: str, strength: str | None = None) -> Estimate:
    """Share of held-out pairs whose chosen reply scores higher; ties count as wrong.

    Several pairs may share a prompt; the interval counts prompts.

    Args:
        stage: A round.
        model: `helpfulness_rm` or `safety_rm`.
        kind: Kind of pairs.
        strength: One of the four strengths, or None for all pairs.

    Source: arXiv 2307.09288, Tables 7 and 8.
    """
    rows = [
        row
        for row in stage.rows(stage.outputs.test_scores)
        if row.kind == kind and strength in (None, row.strength)
    ]
    if not rows:
        raise AbsentError(f"no held-out {kind} pair of strength {strength or 'any'}")
    right = sum(row.chosen_scores[model] > row.rejected_scores[model] for row in rows)
    return proportion(right, len(rows), len({row.prompt_key for row in rows}))


def _cell(stage: Stage, model: str, kind: str, strength: str | None = None) -> Cell:
    return percent(attempt(partial(accuracy, stage, model, kind, strength)))


def _models(stage: Stage) -> tuple[str, str]:
    return stage.outputs.helpfulness_rm.name, stage.outputs.safety_rm.name


@REPORT.item("rewards", "Accuracy by kind of pairs (%)", partial(_caption, ""), "Table 7")
def accuracy_by_set(seen: Seen) -> Table:
    """Table 7: both reward models on both kinds of held-out pairs."""
    rows: list[tuple[Cell, ...]] = [
        (f"{stage.part} {model}", *(_cell(stage, model, kind) for kind in KINDS))
        for stage in seen.stages
        for model in _models(stage)
    ]
    rows += [
        (f"the paper, {model}", *(PAPER_TABLE_8[model, kind][4] for kind in KINDS))
        for model in _models(seen.last)
    ]
    return Table(columns=("reward model", *(f"{kind} pairs %" for kind in KINDS)), rows=rows)


@REPORT.item("rewards", "Accuracy by strength (%)", partial(_caption, ""), "Table 8")
def accuracy_by_strength(seen: Seen) -> Table:
    """Table 8: accuracy by strength of preference, the paper's beside."""
    rows: list[tuple[Cell, ...]] = []
    for (model, kind), paper in PAPER_TABLE_8.items():
        cells = [_cell(seen.last, model, kind, strength) for strength in (*STRENGTHS, None)]
        rows.append((f"{model} on {kind} pairs, {seen.last.part}", *cells))
        rows.append((f"{model} on {kind} pairs, the paper", *paper))
    return Table(columns=("reward model", *STRENGTHS, "all"), rows=rows)


@REPORT.item(
    "rewards",
    "Accuracy by round",
    partial(_caption, "On its own kind, the pairs of all rounds so far. "),
    "Figure 6",
)
def accuracy_by_round(seen: Seen) -> Drawing:
    """Figure 6: reward model accuracy by round, on all pairs and on the clearest."""
    panels = ((None, "all pairs"), (STRENGTHS[0], "significantly better pairs"))
    with figure.figure(2) as (axes, out):
        for panel, (strength, title) in zip(axes, panels, strict=True):
            for i, (model, kind) in enumerate(zip(_models(seen.last), KINDS, strict=True)):
                points = [
                    (stage.part, found)
                    for stage in seen.stages
                    if (found := attempt(partial(accuracy, stage, model, kind, strength)))
                ]
                figure.intervals(panel, points, i, f"{kind} RM")
            figure.chance(panel)
            panel.set(ylabel=f"accuracy (%),\n{title}", xlabel="round")
            figure.legend(panel)
    return out[0]


@REPORT.item(
    "rewards",
    "The gate between the two",
    "Measured on the pairs that the threshold was tuned on.",
    safety=True,
)
def gates(seen: Seen) -> Table:
    """The gate's threshold by round with its precision and recall (Section 3.2.3)."""
    rows: list[tuple[Cell, ...]] = []
    for stage in seen.stages:
        gate = stage.outputs.gate.read()
        rows.append((stage.part, gate.threshold, gate.precision, gate.recall))
        rows.append(
            (
                f"{stage.part} at the paper's threshold",
                PAPER_THRESHOLD,
                gate.precision_at_paper_threshold,
                gate.recall_at_paper_threshold,
            )
        )
    rows.append(("the paper", PAPER_THRESHOLD, PAPER_PRECISION, PAPER_RECALL))
    return Table(columns=("round", "safety threshold", "precision", "recall"), rows=rows)


@REPORT.item("rewards", "Where the two disagree", partial(_caption, ""), "Table 35")
def disagreements(seen: Seen) -> list[Example]:
    """Table 35: held-out replies on which the two reward models differ most, both ways."""
    stage = seen.last
    helpfulness_rm, safety_rm = _models(stage)
    found = []
    for row in stage.rows(stage.outputs.test_scores):
        for side, text, raw in (
            ("chosen", row.chosen, row.chosen_scores),
            ("rejected", row.rejected, row.rejected_scores),
        ):
            safety, helpful = figure.scores([raw[safety_rm], raw[helpfulness_rm]]).tolist()
            found.append((safety - helpful, safety, helpful, row.prompt, side, text))
    if not found:
        raise AbsentError("no held-out pair was scored")
    found.sort(key=lambda entry: entry[0])
    return [
        Example(
            prompt=cut(prompt),
            note=f"safety score {safety:.2f}, helpfulness score {helpful:.2f}",
            answers=((f"{side} reply", cut(text)),),
        )
        for _, safety, helpful, prompt, side, text in (*found[:2], *found[-2:])
    ]


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    judge = annotators(seen)
    for stage in seen.stages:
        for model, kind in zip(_models(stage), KINDS, strict=True):
            for strength in (None, *STRENGTHS):
                yield measure(
                    f"{stage.part}.{model}.accuracy" + (f".{strength}" if strength else ""),
                    "share",
                    partial(accuracy, stage, model, kind, strength),
                    judge=judge,
                    headline=None if strength else (f"{kind} RM accuracy", stage.part),
                )


_RM = "Section 3.2.2"
REWARD_MODELING = StageKind(
    name="reward_modeling",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.reward_modeling.stage:run",
    report=REPORT,
    paper={
        **paper_optimizer("1e-5 (70B: 5e-6)", _RM),
        "optimizer.schedule": PaperValue("cosine", _RM),
        "optimizer.final_fraction": PaperValue("0.1", _RM),
        "optimizer.warmup_fraction": PaperValue("0.03", _RM),
        "optimizer.warmup_minimum": PaperValue("5 steps", _RM),
        "batch_pairs": PaperValue("512 (1,024 rows)", _RM),
        "epochs": PaperValue("1", _RM),
        "margin": PaperValue("small 1, 2/3, 1/3, 0 or large 3, 2, 1, 0", "Table 27"),
        "helpfulness_share": PaperValue("0.5", _RM),
        "safety_share": PaperValue("0.9", _RM),
        "gate_precision": PaperValue("0.89 (threshold 0.15, recall 0.55)", "Section 3.2.3"),
    },
)
