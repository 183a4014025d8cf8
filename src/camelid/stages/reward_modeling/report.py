"""What the report shows of the reward models.

Source: arXiv 2307.09288, Tables 7, 8 and 35, Figure 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import get_args

import numpy as np

from camelid.data.annotation import group
from camelid.data.records import STRENGTHS, Fault, Kind, MetricsRow, TestScore
from camelid.evaluation import statistics
from camelid.evaluation.gate import PAPER_PRECISION, PAPER_RECALL, PAPER_THRESHOLD
from camelid.evaluation.statistics import Estimate, attempt
from camelid.report import figure
from camelid.report.estimates import measure, percent
from camelid.report.texts import cut
from camelid.run.finished import Finished, Found
from camelid.run.item import (
    AbsentError,
    Cell,
    Drawing,
    Example,
    Measure,
    NotApplicableError,
    StageReport,
    Table,
)
from camelid.stages.reward_modeling import Config, Inputs, Outputs, Result, Trained

Stage = Finished[Config, Inputs, Outputs, Result]
Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def annotators(seen: Seen) -> str:
    """Who labelled the held-out pairs, as a phrase."""
    rows = [row for stage in seen.stages for place in stage.inputs.test_preferences
            for row in stage.rows(place)]  # fmt: skip
    names = {group(row.annotator) for row in rows if not row.simulated}
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
    lead = _leads(model)
    return statistics.accuracy([lead(row) for row in rows], [row.prompt_key for row in rows])


FAULTS: tuple[Fault, ...] = get_args(Fault)
_BASELINES: dict[str, Callable[[TestScore], float]] = {
    "the longer reply": lambda row: len(row.chosen.split()) - len(row.rejected.split()),
    "the shorter reply": lambda row: len(row.rejected.split()) - len(row.chosen.split()),
}
"""What one would try without a reward model; above 0 where the good reply is taken."""


def fault_accuracy(
    rows: Sequence[TestScore], fault: Fault, lead: Callable[[TestScore], float], kind: Kind
) -> Estimate:
    """Share of drafted pairs of one fault whose good reply leads; ties count as wrong."""
    found = [row for row in rows if row.fault == fault and row.kind == kind]
    if not found:
        raise AbsentError(f"no drafted {kind} pair of fault {fault}")
    return statistics.accuracy([lead(row) for row in found], [row.prompt_key for row in found])


def _leads(model: str) -> Callable[[TestScore], float]:
    return lambda row: row.chosen_scores[model] - row.rejected_scores[model]


def _scored(stage: Stage) -> tuple[str, ...]:
    """The reward models of a round, the guard too where it has one."""
    guard = stage.result.guard_rm is not None
    return (*_models(stage), *((stage.outputs.guard_rm.name,) if guard else ()))


@REPORT.item(
    "rewards",
    "What the reward models notice (%)",
    "Pairs of a good reply and one with a known fault, both written by the simulated world on "
    "held-out terms: how often the good one scores higher. Brackets: 95 % intervals.",
)
def accuracy_by_fault(seen: Seen) -> Table:
    """Accuracy on drafted pairs by kind of fault, beside what needs no model."""
    stages = [stage for stage in seen.stages if stage.inputs.drafted_pairs is not None]
    if not stages:
        raise NotApplicableError
    rows = {stage.part: stage.rows(stage.outputs.drafted_scores) for stage in stages}
    kinds: dict[Fault, Kind] = dict.fromkeys(FAULTS, "helpfulness")
    kinds["violating"] = "safety"
    judged = [(f"{stage.part} {model}", rows[stage.part], _leads(model))
              for stage in stages for model in _scored(stage)]  # fmt: skip
    judged += [(name, rows[stages[-1].part], lead) for name, lead in _BASELINES.items()]
    body: list[tuple[Cell, ...]] = []
    for name, scores, lead in judged:
        cells = (
            percent(attempt(partial(fault_accuracy, scores, fault, lead, kind)))
            for fault, kind in kinds.items()
        )
        body.append((name, *cells))
    return Table(columns=("who picks", *FAULTS), rows=body)


def _cell(stage: Stage, model: str, kind: str, strength: str | None = None) -> Cell:
    return percent(attempt(partial(accuracy, stage, model, kind, strength)))


def _models(stage: Stage) -> tuple[str, ...]:
    """The reward models that are optimised against; a recipe may have none of safety."""
    places = (stage.outputs.helpfulness_rm, stage.outputs.safety_rm)
    return tuple(place.name for place in places[: 1 if stage.result.safety_rm is None else 2])


@REPORT.item("rewards", "Accuracy by kind of pairs (%)", partial(_caption, ""), "Table 7")
def accuracy_by_set(seen: Seen) -> Table:
    """Table 7: both reward models on both kinds of held-out pairs."""
    rows: list[tuple[Cell, ...]] = [
        (f"{stage.part} {model}", *(_cell(stage, model, kind) for kind in KINDS))
        for stage in seen.stages
        for model in _scored(stage)
    ]
    rows += [
        (f"the paper, {model}", *(PAPER_TABLE_8[model, kind][4] for kind in KINDS))
        for model in _models(seen.last)
    ]
    return Table(columns=("reward model", *(f"{kind} pairs %" for kind in KINDS)), rows=rows)


@REPORT.item("rewards", "Accuracy by strength (%)", partial(_caption, ""), "Table 8", folded=True)
def accuracy_by_strength(seen: Seen) -> Table:
    """Table 8: accuracy by strength of preference, the paper's beside."""
    rows: list[tuple[Cell, ...]] = []
    for (model, kind), paper in PAPER_TABLE_8.items():
        if model not in _models(seen.last):
            continue
        cells = [_cell(seen.last, model, kind, strength) for strength in (*STRENGTHS, None)]
        rows.append((f"{model} on {kind} pairs, {seen.last.part}", *cells))
        rows.append((f"{model} on {kind} pairs, the paper", *paper))
    columns = ("reward model", *(f"{strength} %" for strength in (*STRENGTHS, "all")))
    return Table(columns=columns, rows=rows)


@REPORT.item(
    "rewards",
    "Accuracy by round",
    partial(_caption, "On its own kind, the pairs of all rounds so far. "),
    "Figure 6",
)
def accuracy_by_round(seen: Seen) -> Drawing:
    """Figure 6: reward model accuracy by round, on all pairs and on the clearest."""
    panels = []
    for strength, title in ((None, "all pairs"), (STRENGTHS[0], "significantly better pairs")):
        series = {
            kind: [
                (stage.part, found)
                for stage in seen.stages
                if (found := attempt(partial(accuracy, stage, model, kind, strength)))
            ]
            for model, kind in zip(_models(seen.last), KINDS, strict=False)
        }
        # Public comparisons have no strength: no empty panel.
        if any(series.values()):
            panels.append((title, series))
    if not panels:
        raise AbsentError("no held-out pair was scored")
    with figure.figure(len(panels)) as (axes, out):
        for panel, (title, series) in zip(axes, panels, strict=True):
            for i, (kind, points) in enumerate(series.items()):
                figure.intervals(panel, points, i, f"{kind} RM")
            figure.chance(panel)
            panel.set(ylabel=f"accuracy (%),\n{title}", xlabel="round")
            figure.legend(panel)
    return out[0]


LEARNING_POINTS = 12
"""Points of a learning curve; each averages that part of the comparisons."""


def _trained(stage: Stage) -> Iterator[tuple[str, list[MetricsRow], Trained]]:
    """Yield each reward model of a round with its steps and what it learned from."""
    outputs, result = stage.outputs, stage.result
    for rows, trained in (
        (outputs.metrics_helpfulness, result.helpfulness_rm),
        (outputs.metrics_safety, result.safety_rm),
        (outputs.metrics_guard, result.guard_rm),
    ):
        if trained is not None:
            name = rows.name.removeprefix("metrics_").removesuffix("_rm.jsonl")
            yield name, stage.rows(rows), trained


@REPORT.item(
    "rewards",
    "Reward models: loss by step",
    "Ranking loss (equation 2) on each batch of comparisons before it is learned from (pale) and "
    f"the mean of the last {figure.SMOOTHED} steps, by round. Coin tosses would give 0.69 without "
    "a margin.",
)
def reward_model_loss(seen: Seen) -> Drawing:
    """The loss of every reward model by step."""
    with figure.figure(len(seen.stages), 2.2) as (panels, out):
        for axes, stage in zip(panels, seen.stages, strict=True):
            for index, (name, rows, _) in enumerate(_trained(stage)):
                figure.losses(axes, rows, index, f"{name} RM")
            axes.set(ylabel=f"loss, {stage.part}")
        figure.legend(panels[0] if len(panels) == 1 else panels[-1])
    return out[0]


def learning(stage: Stage) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield each model of a round with comparisons seen and accuracy in % on those that follow.

    In the first pass no comparison of a batch has been learned from when its accuracy is measured.
    """
    batch = stage.config.batch_pairs
    for name, rows, trained in _trained(stage):
        first = rows[: max(1, trained.pairs // batch)]
        parts = np.array_split(
            np.array([row.metrics["accuracy"] for row in first]), min(LEARNING_POINTS, len(first))
        )
        seen = np.cumsum([0, *map(len, parts)]) * batch
        middles = (seen[:-1] + seen[1:]) / 2
        yield name, middles.tolist(), [100 * float(part.mean()) for part in parts]


@REPORT.item(
    "rewards",
    "Accuracy by comparisons learned from",
    "On comparisons of training of every strength that is trained on, each before it is learned "
    "from: where a curve still rises, more comparisons would help.",
)
def learning_curves(seen: Seen) -> Drawing:
    """Learning curves of the last round's reward models."""
    with figure.figure(height=3) as ((axes,), out):
        for index, (name, pairs, right) in enumerate(learning(seen.last)):
            axes.plot(pairs, right, "o-", color=figure.colour(index), label=f"{name} RM")
        figure.chance(axes)
        axes.set(xlabel="comparisons learned from", ylabel="accuracy (%)")
        figure.legend(axes)
    return out[0]


@REPORT.item(
    "rewards",
    "The gate between the two",
    "Measured on the pairs that the threshold was tuned on.",
    safety=True,
)
def gates(seen: Seen) -> Table:
    """The gate's threshold by round with its precision and recall (Section 3.2.3)."""
    if seen.last.result.safety_rm is None:
        raise NotApplicableError
    rows: list[tuple[Cell, ...]] = []
    for stage in seen.stages:
        gate = stage.outputs.gate.read()
        found = (gate.precision, gate.recall)
        theirs = (gate.precision_at_paper_threshold, gate.recall_at_paper_threshold)
        rows.append((stage.part, gate.threshold, *map(_percent, found)))
        name = f"{stage.part} at the paper's threshold"
        rows.append((name, PAPER_THRESHOLD, *map(_percent, theirs)))
    paper = (PAPER_PRECISION, PAPER_RECALL)
    rows.append(("the paper", PAPER_THRESHOLD, *map(_percent, paper)))
    return Table(columns=("round", "safety threshold", "precision %", "recall %"), rows=rows)


def _percent(share: float | None) -> Cell:
    return None if share is None else 100 * share


@REPORT.item("rewards", "Where the two disagree", partial(_caption, ""), "Table 35")
def disagreements(seen: Seen) -> list[Example]:
    """Table 35: held-out replies on which the two reward models differ most, both ways."""
    stage = seen.last
    if stage.result.safety_rm is None:
        raise NotApplicableError
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
            dialogue=(("user", cut(prompt)),),
            note=f"safety score {safety:.2f}, helpfulness score {helpful:.2f}",
            answers=((f"{side} reply", cut(text)),),
        )
        for _, safety, helpful, prompt, side, text in (*found[:2], *found[-2:])
    ]


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    judge = annotators(seen)
    for stage in seen.stages:
        for model, kind in zip(_models(stage), KINDS, strict=False):
            for strength in (None, *STRENGTHS):
                yield measure(
                    f"{stage.part}.{model}.accuracy" + (f".{strength}" if strength else ""),
                    "share",
                    partial(accuracy, stage, model, kind, strength),
                    judge=judge,
                    headline=None if strength else (f"{kind} RM accuracy", stage.part),
                )
    stage = seen.last
    if stage.inputs.drafted_pairs is not None:
        scores = stage.rows(stage.outputs.drafted_scores)
        for model in _scored(stage):
            for fault in FAULTS:
                kind = "safety" if fault == "violating" else "helpfulness"
                found = partial(fault_accuracy, scores, fault, _leads(model), kind)
                yield measure(f"{model}.accuracy_on_drafted.{fault}", "share", found, judge=judge)
    if stage.result.guard_rm is not None:
        for kind in KINDS:
            found = partial(accuracy, stage, stage.outputs.guard_rm.name, kind)
            yield measure(f"guard_rm.accuracy.{kind}", "share", found, judge=judge)
