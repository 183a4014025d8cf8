"""What each method changed beside its control and its ceiling, on the same held-out prompts.

The paper shows what changed from version to version (Figure 11); a change can also come from the
temperature of the samples that a method trains on, or from training longer. So each method stands
beside the same without it, and beside the same with the judge in its place. Source: choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from camelid.assessment.evaluating import Comparison, Config, Inputs, Outputs, Result, at
from camelid.data.annotation import JudgedReply, PromptSet
from camelid.evaluation.judged import (
    Verdict,
    decided,
    exact,
    outcomes,
    paired,
    rate,
    refusing,
    replies,
)
from camelid.evaluation.judged import violating as complying
from camelid.evaluation.statistics import Estimate, attempt, paired_difference
from camelid.report.estimates import measure, percent, points
from camelid.run.digits import number
from camelid.run.finished import Finished
from camelid.run.item import AbsentError, Cell, Measure, Table

Stage = Finished[Config, Inputs, Outputs, Result]


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a method is to change."""

    name: str
    key: str
    """As in `summary.json`."""
    set: PromptSet
    verdict: Verdict
    best: float
    """Share that leaves nothing to wish for."""

    def better(self, rows: Sequence[JudgedReply], models: Iterable[str]) -> str:
        """Return the model that comes nearest to the best share."""
        found = {
            name: attempt(partial(rate, rows, name, self.set, self.verdict)) for name in models
        }
        known = {name: abs(e.value - self.best) for name, e in found.items() if e is not None}
        if not known:
            raise AbsentError(f"none of {', '.join(found)} was evaluated on the {self.set} set")
        return min(known, key=lambda name: known[name])


GOALS = (
    Goal(name="exactly right %", key="exact", set="helpful", verdict=exact, best=1.0),
    Goal(name="violations %", key="violations", set="adversarial", verdict=complying, best=0.0),
    Goal(
        name="false refusals %", key="false_refusals", set="borderline", verdict=refusing, best=0.0
    ),
)


def at_its_best(stage: Stage, rows: Sequence[JudgedReply], name: str, goal: Goal) -> str:
    """Return a model under the name of that of its temperatures which suits a goal best.

    Raises:
        AbsentError: The run has no such model.
    """
    temperatures = stage.config.other_temperatures if name in stage.inputs.sharpened else ()
    return goal.better(rows, [name, *(at(name, t) for t in temperatures)])


def gain(rows: Sequence[JudgedReply], goal: Goal, after: str, control: str) -> Estimate:
    """Return the paired difference of a method's model less its control."""
    a, b = (replies(rows, name, goal.set) for name in (after, control))
    return paired_difference(*paired(a, b, goal.verdict), largest=1.0)


def headroom(
    rows: Sequence[JudgedReply], goal: Goal, comparison: Comparison, control: str
) -> float:
    """Return how far the ceiling is from the control, towards what is wished for."""
    start = rate(rows, control, goal.set, goal.verdict).value
    top = goal.best
    if comparison.ceiling is not None:
        top = rate(rows, comparison.ceiling, goal.set, goal.verdict).value
    return math.copysign(top - start, (top - start) * (goal.best - start))


def closed(rows: Sequence[JudgedReply], goal: Goal, comparison: Comparison, control: str) -> float:
    """Return the share of the way from the control to the ceiling that the method went.

    Raises:
        AbsentError: There is no way to go, or a model of it is not in the run.
    """
    room = headroom(rows, goal, comparison, control)
    if room <= 0:
        raise AbsentError("the control is as good as the ceiling")
    start = rate(rows, control, goal.set, goal.verdict).value
    after = rate(rows, comparison.after, goal.set, goal.verdict).value
    return math.copysign(after - start, (after - start) * (goal.best - start)) / room


def _headroom(
    stage: Stage, rows: Sequence[JudgedReply], goal: Goal, comparison: Comparison
) -> float:
    control = at_its_best(stage, rows, comparison.control, goal)
    return headroom(rows, goal, comparison, control)


ROOM = "headroom"
DIFFERENCES = ("after less control", "both at their best")
SHARE = "headroom closed"
COLUMNS = ("before", "after", "control", "ceiling", *DIFFERENCES, SHARE)


def columns(
    stage: Stage, rows: Sequence[JudgedReply], comparison: Comparison, goal: Goal
) -> dict[str, Callable[[], Estimate | float]]:
    """Return what computes each column of the table of methods, of those that a method has."""

    def share(name: str) -> Estimate:
        return rate(rows, name, goal.set, goal.verdict)

    def best(name: str) -> str:
        return at_its_best(stage, rows, name, goal)

    after, control, ceiling = comparison.after, comparison.control, comparison.ceiling
    found: dict[str, Callable[[], Estimate | float]] = {
        "before": lambda: share(comparison.before),
        "after": lambda: share(after),
        "control": lambda: share(best(control)),
        DIFFERENCES[0]: lambda: gain(rows, goal, after, best(control)),
        SHARE: lambda: closed(rows, goal, comparison, best(control)),
    }
    if ceiling is not None:
        found["ceiling"] = lambda: share(ceiling)
    if {after, control} <= set(stage.inputs.sharpened):
        found[DIFFERENCES[1]] = lambda: gain(rows, goal, best(after), best(control))
    return {name: found[name] for name in COLUMNS if name in found}


def methods(stage: Stage, rows: Sequence[JudgedReply]) -> Table:
    """Return before, after, control, ceiling of each method, and what is left of its gain."""
    body: list[tuple[Cell, ...]] = []
    for comparison in stage.inputs.comparisons:
        for goal in GOALS:
            computed = columns(stage, rows, comparison, goal).items()
            found = {name: attempt(compute) for name, compute in computed}
            if any(value is not None for value in found.values()):
                # Intervals stand in the table of models; that of the difference is what counts.
                cells = {name: _cell(name, value) for name, value in found.items()}
                if cells["control"] is not None:
                    name = at_its_best(stage, rows, comparison.control, goal)
                    name = name.removeprefix(f"{comparison.control}_").replace("_", " ")
                    cells["control"] = f"{cells['control']} ({name})"
                shown = (cells.get(name) for name in COLUMNS)
                body.append((comparison.method, goal.name, *shown))
    units = {name: f"{name}, points" for name in DIFFERENCES} | {SHARE: f"{SHARE} %"}
    names = ("method", "measured", *(units.get(name, name) for name in COLUMNS))
    return Table(columns=names, rows=body)


def _cell(column: str, found: Estimate | float | None) -> Cell:
    if found is None:
        return None
    if isinstance(found, Estimate):
        return points(found) if column in DIFFERENCES else number(100 * found.value, percent=True)
    return number(100 * found, percent=True)


def against_sft(rows: Sequence[JudgedReply], models: Iterable[str]) -> Table:
    """Return wins, ties and losses of each model against SFT, and its share of those decided."""
    body: list[tuple[Cell, ...]] = []
    for model in models:
        counts = attempt(partial(outcomes, rows, model))
        if counts is not None:
            body.append((model, *counts, percent(attempt(partial(decided, rows, model)))))
    return Table(columns=("model", "wins", "ties", "losses", "wins of those decided %"), rows=body)


def slug(method: str) -> str:
    """Return a method's name as a key."""
    return method.replace(",", "").replace(" ", "_").lower()


def measures(stage: Stage, rows: Sequence[JudgedReply], judge: str) -> Iterator[Measure]:
    """Yield the figures of controls, of methods beside them and of decided comparisons."""
    named = [name for name, _ in stage.inputs.controls]
    named += [at(m, t) for m in stage.inputs.sharpened for t in stage.config.other_temperatures]
    for name in named:
        for goal in GOALS:
            found = partial(rate, rows, name, goal.set, goal.verdict)
            yield measure(f"{name}.{goal.key}", "share", found, judge=judge)
    for comparison in stage.inputs.comparisons:
        for goal in GOALS:
            start = f"methods.{slug(comparison.method)}.{goal.key}."
            for column, compute in columns(stage, rows, comparison, goal).items():
                yield measure(
                    f"{start}{slug(column)}",
                    "share",
                    compute,
                    judge=judge,
                    signed=column in (*DIFFERENCES, SHARE),
                    method=(f"{comparison.method}: {goal.name}", column),
                    of=f"{start}{ROOM}" if column == SHARE else None,
                )
            room = partial(_headroom, stage, rows, goal, comparison)
            yield measure(f"{start}{ROOM}", "share", room, judge=judge, signed=True)
    for name in (*stage.inputs.rounds, "final"):
        found_wins = partial(decided, rows, name)
        yield measure(f"{name}.wins_of_decided", "share", found_wins, judge=judge)
