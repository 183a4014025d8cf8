"""What each method changed beside its control and its ceiling, on the same held-out prompts.

The paper shows what changed from version to version (Figure 11); a change can also come from the
temperature of the samples that a method trains on, or from training longer. So each method stands
beside the same without it, and beside the same with the judge in its place. Source: choice.
"""

from __future__ import annotations

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
from camelid.report.estimates import measure, percent
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


def control_of(
    stage: Stage, rows: Sequence[JudgedReply], comparison: Comparison, goal: Goal
) -> str:
    """Return the control of a method under the name of its best temperature.

    Raises:
        AbsentError: The run has no such control.
    """
    name = comparison.control
    temperatures = stage.config.other_temperatures if name in stage.inputs.sharpened else ()
    return goal.better(rows, [name, *(at(name, t) for t in temperatures)])


def rated(rows: Sequence[JudgedReply], goal: Goal, name: str | None) -> Estimate:
    """Return a model's share of what a goal counts.

    Raises:
        AbsentError: There is no such model.
    """
    if name is None:
        raise AbsentError("nothing like it was trained")
    return rate(rows, name, goal.set, goal.verdict)


def gain(rows: Sequence[JudgedReply], goal: Goal, after: str, control: str) -> Estimate:
    """Return the paired difference of a method's model less its control."""
    a, b = (replies(rows, name, goal.set) for name in (after, control))
    return paired_difference(*paired(a, b, goal.verdict))


def headroom(
    rows: Sequence[JudgedReply], goal: Goal, comparison: Comparison, control: str
) -> float:
    """Return the share of the way from the control to the ceiling that the method went.

    Raises:
        AbsentError: There is no way to go, or a model of it is not in the run.
    """
    start = rate(rows, control, goal.set, goal.verdict).value
    after = rate(rows, comparison.after, goal.set, goal.verdict).value
    top = goal.best
    if comparison.ceiling is not None:
        top = rate(rows, comparison.ceiling, goal.set, goal.verdict).value
    if (top - start) * (goal.best - start) <= 0:
        raise AbsentError("the control is as good as the ceiling")
    return (after - start) / (top - start)


def methods(stage: Stage, rows: Sequence[JudgedReply]) -> Table:
    """Return before, after, control, ceiling of each method, and what is left of its gain."""
    body: list[tuple[Cell, ...]] = []
    for comparison in stage.inputs.comparisons:
        for goal in GOALS:
            control = attempt(partial(control_of, stage, rows, comparison, goal))
            shown = (comparison.before, comparison.after, control, comparison.ceiling)
            # Their intervals stand in the table of models; that of the difference is what counts.
            cells: list[Cell] = []
            for name in shown:
                found = attempt(partial(rated, rows, goal, name))
                cells.append(None if found is None else round(100 * found.value, 1))
            if not any(cell is not None for cell in cells):
                continue
            if cells[2] is not None:
                cells[2] = f"{cells[2]} ({control})"
            difference = closed = None
            if control is not None:
                difference = attempt(partial(gain, rows, goal, comparison.after, control))
                closed = attempt(partial(headroom, rows, goal, comparison, control))
            body.append(
                (
                    comparison.method,
                    goal.name,
                    *cells,
                    points(difference),
                    None if closed is None else round(100 * closed),
                )
            )
    columns = ("method", "measured", "before", "after", "control", "ceiling",
               "after less control, points", "headroom closed %")  # fmt: skip
    return Table(columns=columns, rows=body)


def points(found: Estimate | None) -> Cell:
    """A difference of shares in percentage points with its interval."""
    if found is None or found.n < 2:
        return None
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


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
            for column, compute in _columns(stage, rows, comparison, goal).items():
                yield measure(
                    f"methods.{slug(comparison.method)}.{goal.key}.{slug(column)}",
                    "share",
                    compute,
                    judge=judge,
                    signed=column in DIFFERENCES,
                    method=(f"{comparison.method}: {goal.name}", column),
                )
    for name in (*stage.inputs.rounds, "final"):
        found_wins = partial(decided, rows, name)
        yield measure(f"{name}.wins_of_decided", "share", found_wins, judge=judge)


DIFFERENCES = ("after less control", "headroom closed")


def _columns(
    stage: Stage, rows: Sequence[JudgedReply], comparison: Comparison, goal: Goal
) -> dict[str, Callable[[], Estimate | float]]:
    """Return what computes each column of the table of methods."""

    def control() -> str:
        return control_of(stage, rows, comparison, goal)

    return {
        "before": lambda: rated(rows, goal, comparison.before),
        "after": lambda: rated(rows, goal, comparison.after),
        "control": lambda: rated(rows, goal, control()),
        "ceiling": lambda: rated(rows, goal, comparison.ceiling),
        "after less control": lambda: gain(rows, goal, comparison.after, control()),
        "headroom closed": lambda: headroom(rows, goal, comparison, control()),
    }
