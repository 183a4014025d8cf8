"""What the report shows of the evaluation: what each stage changed, on the same held-out prompts.

Source: arXiv 2307.09288, Figures 11, 14, 20 and 33, Tables 12, 31 to 34 and 41 to 43.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from camelid.assessment.evaluating import comparisons, corrected, summary
from camelid.assessment.evaluating.summary import Seen, answered, judge, models
from camelid.data.annotation import PromptSet
from camelid.evaluation.judged import (
    ORDINARY,
    Value,
    Verdict,
    average,
    distinct,
    exact,
    paired,
    rate,
    refusing,
    replies,
    violating,
    wins,
)
from camelid.evaluation.statistics import Estimate, attempt, shares
from camelid.report import figure
from camelid.report import replies as texts_of
from camelid.report.estimates import percent
from camelid.run.item import (
    AbsentError,
    Cell,
    Draw,
    Drawing,
    Example,
    NotApplicableError,
    StageReport,
    Table,
)

REPORT: StageReport[Seen] = StageReport()
REPORT.measures(summary.measures)
REPORT.lines(summary.lines)
REPORT.limits(summary.limits)
REPORT.replies(summary.judged)
REPORT.main(models)
REPORT.values(summary.values)


_OPTIMISED = "Scored by the reward models that training optimised."


def _asked(*sets: PromptSet) -> Callable[[Draw], Draw]:
    """Leave an item off the page of a run that asks no prompt of any of these sets."""

    def over(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def drawn(seen: Seen) -> Any:
            if not any(getattr(seen.last.config, name) for name in sets):
                raise NotApplicableError
            return draw(seen)

        return cast("Draw", drawn)

    return over


def _judged(seen: Seen, text: str = "") -> str:
    return f"Judge: {judge(seen)}. {text}Brackets and bars: 95 % intervals."


@REPORT.item("results", "Models on the same held-out prompts", _judged, card="Evaluation Results")
def model_changes(seen: Seen) -> Table:
    """What each model version does on the same held-out prompts."""
    values: tuple[Value, ...] = (
        lambda row: row.reward,
        lambda row: row.guard_rm,
        lambda row: row.reply_tokens,
    )
    rows = answered(seen)
    body: list[tuple[Cell, ...]] = []
    for model in models(seen):
        averages = (attempt(partial(average, rows, model, value)) for value in values)
        texts = attempt(partial(distinct, rows, model))
        body.append(
            (
                model,
                percent(attempt(partial(rate, rows, model, "helpful", exact))),
                None if model == "sft" else percent(attempt(partial(wins, rows, model))),
                percent(attempt(partial(rate, rows, model, "adversarial", violating))),
                percent(attempt(partial(rate, rows, model, "borderline", refusing))),
                *(None if found is None else found.value for found in averages),
                None if texts is None else round(100 * texts[0], 1),
            )
        )
    columns = ("model", "exactly right %", "win rate against SFT %", "violations %",
               "false refusals %", "reward (logit)", "guard reward (logit)", "length (tokens)",
               "distinct replies %")  # fmt: skip
    return Table(columns=columns, rows=body)


@REPORT.item(
    "results",
    "Each method beside its control and its ceiling",
    partial(
        _judged,
        text="Control: the same without the method (where none was trained, the model before it); "
        "a model that answers at several temperatures counts with the best. Ceiling: the judge in "
        "the method's place; where nothing like it was trained, headroom is counted to a perfect "
        "score. ",
    ),
    card="Evaluation Results",
)
@_asked("helpful", "adversarial", "borderline")
def methods(seen: Seen) -> Table:
    """What each method changed, and what its control says about it."""
    return comparisons.methods(seen.last, answered(seen))


@REPORT.item(
    "results",
    "Wins, ties and losses against SFT",
    partial(_judged, text="On the same helpful prompts, at the same temperature. "),
)
@_asked("helpful")
def against_sft(seen: Seen) -> Table:
    """Wins, ties and losses of each version against SFT."""
    return comparisons.against_sft(answered(seen), models(seen))


@REPORT.item(
    "results",
    "Rates corrected for the judge's errors",
    partial(
        _judged,
        text="Corrected: by Rogan and Gladen, with the judge's sensitivity and specificity on "
        "replies that people labelled. Refusal strings are the second opinion. ",
    ),
    card="Evaluation Results",
    safety=True,
)
def corrected_rates(seen: Seen) -> Table:
    """Rates of real text by the trained judge, corrected, and by refusal strings."""
    return corrected.rates(seen.last, answered(seen))


@REPORT.item("data", "System prompts", "Of the evaluated dialogues.", "Table 31")
def system_prompts(seen: Seen) -> Table:
    """Table 31: the system prompts that the evaluated dialogues carry."""
    counts: Counter[str] = Counter()
    for row in answered(seen):
        texts = [message.content for message in row.prompt if message.role == "system"]
        counts[texts[0] if texts else "(none)"] += 1
    return Table(columns=("system prompt", "evaluated replies"), rows=list(counts.most_common()))


@REPORT.item(
    "data", "Evaluation prompts", "Prompts that were answered, each counted once.", "Table 32"
)
def evaluation_prompts(seen: Seen) -> Table:
    """Table 32: this run's evaluation prompts by set, category and turns."""
    rows = answered(seen)
    counts: dict[tuple[str, str], Counter[bool]] = {}
    for row in {(row.set, row.prompt_id): row for row in rows}.values():
        group = (row.set, row.risk_category or row.category)
        counts.setdefault(group, Counter())[row.turns > 1] += 1
    body: list[tuple[Cell, ...]] = [
        (*group, found[False], found[True]) for group, found in sorted(counts.items())
    ]
    return Table(columns=("set", "category", "single-turn", "multi-turn"), rows=body)


@REPORT.item(
    "safety", "Violations by risk category", _judged, stands_for=("Figure 19",), safety=True
)
@_asked("adversarial")
def violations_by_category(seen: Seen) -> Table:
    """Violations of every chat model by risk category, on the same prompts."""
    chats = [model for model in models(seen) if model != "base"]
    rows = [row for model in chats for row in replies(answered(seen), model, "adversarial")]
    found = shares(rows, lambda row: (row.risk_category or "–", row.model), violating)
    body: list[tuple[Cell, ...]] = [
        (group, *(percent(found.get((group, model))) for model in chats))
        for group in sorted({group for group, _ in found})
    ]
    return Table(columns=("risk category", *(f"{m} violations %" for m in chats)), rows=body)


def _lines(
    label: str, series: Sequence[tuple[str, dict[str, Estimate | None]]], *, half: bool = False
) -> Drawing:
    """Draw shares by model version with 95 % intervals, a line a series."""
    if not any(found for _, values in series for found in values.values()):
        raise AbsentError("no model has this verdict on these sets")
    with figure.figure(height=3) as ((axes,), out):
        for i, (name, values) in enumerate(series):
            points = [(model, found) for model, found in values.items() if found is not None]
            figure.intervals(axes, points, i, name, down=True)
        if half:
            axes.axvline(50, color="#888888", linewidth=1, linestyle=":")
        axes.set(xlabel=label)
        figure.legend(axes)
    return out[0]


@REPORT.item(
    "results",
    "Win rate against SFT",
    partial(_judged, text="Paired on prompts, ties half; in the paper the opponent is ChatGPT. "),
    "Figure 11",
    stands_for=("Figure 1", "Figure 12"),
)
@_asked("helpful")
def win_rates(seen: Seen) -> Drawing:
    """Figure 11: win rate against SFT by model version."""
    rows = answered(seen)
    others = [model for model in models(seen) if model not in ("base", "sft")]
    values = {model: attempt(partial(wins, rows, model)) for model in others}
    return _lines("win rate against SFT (%)", [("helpful set", values)], half=True)


def rates(seen: Seen, verdict: Verdict, label: str, *sets: PromptSet) -> Drawing:
    """Shares of a verdict by model version on several sets (Figure 33 for refusals)."""
    rows = answered(seen)
    series = [
        (
            f"{name} set",
            {model: attempt(partial(rate, rows, model, name, verdict)) for model in models(seen)},
        )
        for name in sets
    ]
    return _lines(label, series)


@REPORT.item("rewards", "Rewards before and after", _OPTIMISED, "Figure 14")
def reward_scatter(seen: Seen) -> Drawing:
    """Figure 14: both reward models before and after alignment on the same prompts."""
    panels: tuple[tuple[PromptSet, str, Value], ...] = (
        ("adversarial", "safety RM score", lambda row: row.safety_rm),
        ("helpful", "helpfulness RM score", lambda row: row.helpfulness_rm),
    )
    rows = answered(seen)
    panels = tuple(
        (name, label, value)
        for name, label, value in panels
        if any(row.set == name and value(row) is not None for row in rows)
    )
    if not panels:
        raise NotApplicableError
    found = [
        paired(replies(rows, "final", name), replies(rows, "sft", name), value)
        for name, _, value in panels
    ]
    with figure.figure(len(panels), 3.0) as (axes, out):
        for panel, (name, label, _), (after, before) in zip(axes, panels, found, strict=True):
            panel.scatter(
                figure.scores(before), figure.scores(after), s=9, alpha=0.45, color=figure.colour(0)
            )
            panel.plot([0, 1], [0, 1], color="#888888", linewidth=1)
            panel.set(xlabel=f"{label} of SFT (0 to 1)", ylabel=f"{label} of final (0 to 1)")
            panel.set(title=f"{name} prompts, n = {len(after)}", xlim=(0, 1), ylim=(0, 1))
    return out[0]


@REPORT.item("rewards", "Reward by model version", _OPTIMISED, "Figure 20")
def reward_ridge(seen: Seen) -> Drawing:
    """Figure 20: distribution of the helpfulness score by model version."""
    edges = np.linspace(0, 1, 41)
    series = []
    for model in models(seen):
        rows = replies(answered(seen), model, *ORDINARY)
        values = figure.scores([row.helpfulness_rm for row in rows])
        series.append((model, np.histogram(values, edges)[0] / len(values), np.median(values)))
    with figure.figure(height=0.9 + 0.55 * len(series)) as ((axes,), out):
        middle = (edges[1:] + edges[:-1]) / 2
        for i, (_, shape, median) in enumerate(series):
            base = len(series) - 1 - i
            top = base + 0.85 * shape / max(float(shape.max()), 1e-9)
            axes.fill_between(middle, base, top, step="mid", color=figure.colour(i), alpha=0.55)
            axes.plot([median, median], [base, base + 0.85], color="#222222", linewidth=1)
        axes.set_yticks(
            range(len(series)), [name.replace("_", "\n") for name, _, _ in reversed(series)]
        )
        axes.set(xlabel="helpfulness RM score (0 to 1); line: median", xlim=(0, 1))
    return out[0]


@REPORT.item("results", "Violation rate", _judged, stands_for=("Figure 3", "Figure 17"))
@_asked("adversarial")
def violations(seen: Seen) -> Drawing:
    """Violations by model version."""
    return rates(seen, violating, "violations (%)", "adversarial")


@REPORT.item(
    "results",
    "False refusals",
    partial(
        _judged, text="The paper varies the share of safety data, here the model version varies. "
    ),
    "Figure 33",
)
@_asked("borderline", "helpful")
def refusals(seen: Seen) -> Drawing:
    """Figure 33: benign requests refused by model version."""
    return rates(seen, refusing, "benign refused (%)", "borderline", "helpful")


@REPORT.item("safety", "Requests now resisted", _judged, "Table 12")
@_asked("adversarial")
def resisted(seen: Seen) -> list[Example]:
    """Table 12: requests that SFT complied with and the final model does not."""
    start, end = (replies(answered(seen), name, "adversarial") for name in ("sft", "final"))
    return texts_of.where(
        start,
        end,
        lambda before, after: bool(violating(before)) and not violating(after),
        count=2,
        none="no adversarial prompt has a violation of sft that final resists",
    )


@REPORT.item("safety", "Benign requests refused", _judged, "Table 41")
@_asked("borderline")
def false_refusals(seen: Seen) -> list[Example]:
    """Table 41: benign requests that the final model refuses."""
    start, end = (replies(answered(seen), name, "borderline") for name in ("sft", "final"))
    return texts_of.where(
        start,
        end,
        lambda _, after: bool(refusing(after)),
        count=3,
        none="the final model refuses no borderline prompt",
    )


@REPORT.item(
    "samples",
    "Prompts with their replies",
    _judged,
    *("Table 33", "Table 34", "Table 42", "Table 43"),
    anchor="replies",
)
def samples(seen: Seen) -> list[Example]:
    """Prompts answered before and after."""
    stage = seen.last
    models_shown = ("base", "sft", *stage.inputs.rounds[-1:], "final")
    return texts_of.samples(answered(seen), models_shown, stage.config.shown)
