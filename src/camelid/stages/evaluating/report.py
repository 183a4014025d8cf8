"""What the report shows of the evaluation: what each stage changed, on the same held-out prompts.

Source: arXiv 2307.09288, Sections 3.4 (win rates), 4.2.3 (false refusals) and 4.4 (violations),
Figures 11, 14, 20 and 33, Tables 31 and 32. Pairing on prompts: Source: choice, because the same
prompts answered twice give a far narrower interval than two samples would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from camelid.evaluation.statistics import (
    Estimate,
    mean,
    paired_difference,
    proportion,
    win_rate,
)
from camelid.report import figure
from camelid.report.estimates import attempt, measure, percent, share, shares
from camelid.run.finished import Found
from camelid.run.item import AbsentError, Cell, Drawing, Item, Measure, StageReport, Table
from camelid.stages.evaluating import (
    Config,
    Inputs,
    JudgedReply,
    Outputs,
    PromptSet,
    Result,
    examples,
)

Seen = Found[Config, Inputs, Outputs, Result]
Value = Callable[[JudgedReply], float | None]
Verdict = Callable[[JudgedReply], bool | None]

ORDINARY: tuple[PromptSet, ...] = ("helpful", "dialogue")
"""Sets of ordinary prompts; the first that a run has is used."""


def violating(row: JudgedReply) -> bool | None:
    """Whether the judge calls a reply a violation."""
    return row.judgement.violating


def refusing(row: JudgedReply) -> bool | None:
    """Whether the judge calls a reply a refusal."""
    return row.judgement.refusing


def exact(row: JudgedReply) -> bool | None:
    """Whether the judge calls a reply exactly right."""
    return row.judgement.exact


def _score(row: JudgedReply) -> float | None:
    return row.judgement.score


def models(seen: Seen) -> list[str]:
    """Evaluated models, in the order of training."""
    return [name for name, _ in seen.last.inputs.models]


def judge(seen: Seen) -> str:
    """Name of the judge."""
    return seen.last.result.judge


def replies(seen: Seen, model: str, *sets: PromptSet) -> list[JudgedReply]:
    """Replies of one model in the first of `sets` that it answered.

    Raises:
        AbsentError: There is none.
    """
    rows = seen.last.rows(seen.last.outputs.replies)
    for name in sets:
        if found := [row for row in rows if row.model == model and row.set == name]:
            return found
    raise AbsentError(f"{model} was not evaluated on the {' or '.join(sets)} set")


def paired(
    a: Sequence[JudgedReply], b: Sequence[JudgedReply], value: Value
) -> tuple[list[float], list[float]]:
    """The same value of two models' replies on the prompts that both answered.

    Raises:
        AbsentError: There is no such prompt.
    """
    left, right = (
        {row.prompt_id: found for row in rows if (found := value(row)) is not None}
        for rows in (a, b)
    )
    common = [name for name in left if name in right]
    if not common:
        raise AbsentError("no prompt has this value for both models")
    return [left[name] for name in common], [right[name] for name in common]


def rate(seen: Seen, model: str, name: PromptSet, verdict: Verdict) -> Estimate:
    """Share of a model's replies on one set with a verdict of the judge."""
    rows = replies(seen, model, name)
    return share(rows, verdict, f"the judge ({judge(seen)}) gives no such verdict on this set")


def wins(seen: Seen, model: str) -> Estimate:
    """Win rate against SFT by the judge's score on the same helpful prompts, ties half."""
    a, b = (replies(seen, name, "helpful") for name in (model, "sft"))
    return win_rate(*paired(a, b, _score))


def change(seen: Seen, sets: Sequence[PromptSet], value: Value, *, start: str) -> Estimate:
    """Paired difference between the final model and another one."""
    rows = replies(seen, "final", *sets)
    return paired_difference(*paired(rows, replies(seen, start, *sets), value))


def halved(seen: Seen) -> Estimate:
    """Violations of the final model less half of those of SFT, paired on prompts."""
    a, b = (replies(seen, name, "adversarial") for name in ("final", "sft"))
    left, right = paired(a, b, violating)
    return paired_difference(left, [0.5 * value for value in right])


def average(seen: Seen, model: str, value: Value) -> Estimate:
    """Mean of a value over the replies to ordinary prompts."""
    rows = replies(seen, model, *ORDINARY)
    values = [float(found) for row in rows if (found := value(row)) is not None]
    if not values:
        raise AbsentError(f"no reply of {model} has this value")
    return mean(values)


def distinct(seen: Seen, model: str) -> tuple[float, int]:
    """Share of distinct reply strings: near 0 when one text answers every prompt."""
    texts = [row.reply for row in replies(seen, model, *ORDINARY)]
    return len(set(texts)) / len(texts), len(texts)


def ended(seen: Seen) -> Estimate:
    """Share of the final model's replies that ended by themselves."""
    rows = replies(seen, "final", *ORDINARY)
    return proportion(sum(row.stop_reason == "stop" for row in rows), len(rows))


# Tables


def model_changes(seen: Seen) -> Table:
    """What each model version does on the same held-out prompts."""
    values: tuple[Value, ...] = (
        lambda row: row.reward,
        lambda row: row.guard_rm,
        lambda row: row.reply_tokens,
    )
    rows: list[tuple[Cell, ...]] = []
    for model in models(seen):
        averages = (attempt(partial(average, seen, model, value)) for value in values)
        texts = attempt(partial(distinct, seen, model))
        rows.append(
            (
                model,
                percent(attempt(partial(rate, seen, model, "helpful", exact))),
                None if model == "sft" else percent(attempt(partial(wins, seen, model))),
                percent(attempt(partial(rate, seen, model, "adversarial", violating))),
                percent(attempt(partial(rate, seen, model, "borderline", refusing))),
                *(None if found is None else found.value for found in averages),
                None if texts is None else round(100 * texts[0], 1),
            )
        )
    columns = ("model", "exactly right %", "win rate against SFT %", "violations %",
               "false refusals %", "reward (logit)", "guard reward (logit)", "length (tokens)",
               "distinct replies %")  # fmt: skip
    return Table(columns=columns, rows=rows)


def system_prompts(seen: Seen) -> Table:
    """Table 31: the system prompts that the evaluated dialogues carry."""
    counts: Counter[str] = Counter()
    for row in seen.last.rows(seen.last.outputs.replies):
        texts = [message.content for message in row.prompt if message.role == "system"]
        counts[texts[0] if texts else "(none)"] += 1
    return Table(columns=("system prompt", "evaluated replies"), rows=list(counts.most_common()))


def evaluation_prompts(seen: Seen) -> Table:
    """Table 32: this run's evaluation prompts by set, category and turns."""
    rows = seen.last.rows(seen.last.outputs.replies)
    counts: dict[tuple[str, str], Counter[bool]] = {}
    for row in {(row.set, row.prompt_id): row for row in rows}.values():
        group = (row.set, row.risk_category or row.category)
        counts.setdefault(group, Counter())[row.turns > 1] += 1
    body: list[tuple[Cell, ...]] = [
        (*group, found[False], found[True]) for group, found in sorted(counts.items())
    ]
    return Table(columns=("set", "category", "single-turn", "multi-turn"), rows=body)


def violations_by_category(seen: Seen) -> Table:
    """Violations of every chat model by risk category, on the same prompts."""
    chats = [model for model in models(seen) if model != "base"]
    rows = [row for model in chats for row in replies(seen, model, "adversarial")]
    found = shares(rows, lambda row: (row.risk_category or "–", row.model), violating)
    body: list[tuple[Cell, ...]] = [
        (group, *(percent(found.get((group, model))) for model in chats))
        for group in sorted({group for group, _ in found})
    ]
    return Table(columns=("risk category", *(f"{m} violations %" for m in chats)), rows=body)


# Figures


def _lines(
    label: str, series: Sequence[tuple[str, dict[str, Estimate | None]]], *, half: bool = False
) -> Drawing:
    """Draw shares by model version with 95 % intervals, a line a series."""
    if not any(found for _, values in series for found in values.values()):
        raise AbsentError("no model has this verdict on these sets")
    with figure.figure(height=3) as ((axes,), out):
        for i, (name, values) in enumerate(series):
            points = [(model, found) for model, found in values.items() if found is not None]
            figure.intervals(axes, points, i, name)
        if half:
            figure.chance(axes)
        axes.set(xlabel="model version", ylabel=label)
        figure.legend(axes)
    return out[0]


def win_rates(seen: Seen) -> Drawing:
    """Figure 11: win rate against SFT by model version."""
    others = [model for model in models(seen) if model not in ("base", "sft")]
    values = {model: attempt(partial(wins, seen, model)) for model in others}
    return _lines("win rate against SFT (%)", [("helpful set", values)], half=True)


def rates(seen: Seen, verdict: Verdict, label: str, *sets: PromptSet) -> Drawing:
    """Shares of a verdict by model version on several sets (Figure 33 for refusals)."""
    series = [
        (
            f"{name} set",
            {model: attempt(partial(rate, seen, model, name, verdict)) for model in models(seen)},
        )
        for name in sets
    ]
    return _lines(label, series)


def reward_scatter(seen: Seen) -> Drawing:
    """Figure 14: both reward models before and after alignment on the same prompts."""
    panels: tuple[tuple[PromptSet, str, Value], ...] = (
        ("adversarial", "safety RM score", lambda row: row.safety_rm),
        ("helpful", "helpfulness RM score", lambda row: row.helpfulness_rm),
    )
    found = [
        paired(replies(seen, "final", name), replies(seen, "sft", name), value)
        for name, _, value in panels
    ]
    with figure.figure(2, 3.8) as (axes, out):
        for panel, (name, label, _), (after, before) in zip(axes, panels, found, strict=True):
            panel.scatter(
                figure.scores(before), figure.scores(after), s=9, alpha=0.45, color=figure.colour(0)
            )
            panel.plot([0, 1], [0, 1], color="#888888", linewidth=1)
            panel.set(xlabel=f"{label} of SFT (0 to 1)", ylabel=f"{label} of final (0 to 1)")
            panel.set(title=f"{name} prompts, n = {len(after)}", xlim=(0, 1), ylim=(0, 1))
    return out[0]


def reward_ridge(seen: Seen) -> Drawing:
    """Figure 20: distribution of the helpfulness score by model version."""
    edges = np.linspace(0, 1, 41)
    series = []
    for model in models(seen):
        rows = replies(seen, model, *ORDINARY)
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


# Figures of the summary


def _measures(seen: Seen) -> Iterable[Measure]:
    named = judge(seen)
    rounds = seen.last.inputs.rounds
    titles = {"sft": "SFT"}

    def of(row: str, model: str) -> tuple[str, str]:
        return row, titles.get(model, model)

    for model in ("base", "sft", "final"):
        yield measure(
            f"{model}.exact_helpfulness",
            "share",
            partial(rate, seen, model, "helpful", exact),
            judge=named,
            headline=of("exactly right", model),
        )
    for model in (*rounds, "final"):
        yield measure(
            f"{model}.win_rate_vs_sft",
            "share",
            partial(wins, seen, model),
            judge=named,
            headline=of("win rate against SFT", model),
        )
    for model in ("sft", *rounds, "final"):
        shown = model in ("sft", "final")
        yield measure(
            f"{model}.violation_rate",
            "share",
            partial(rate, seen, model, "adversarial", violating),
            judge=named,
            headline=of("violations", model) if shown or model == rounds[-1] else None,
            safety=f"violations of {titles.get(model, f'the {model} model')}" if shown else None,
        )
    yield measure(
        "final.violation_rate_change",
        "share",
        partial(change, seen, ("adversarial",), violating, start="sft"),
        judge=named,
        safety="change, paired on the prompts",
    )
    yield measure(
        "final.violation_halved_margin",
        "share",
        partial(halved, seen),
        judge=named,
        safety="final minus half of SFT, paired; below 0: at least halved",
    )
    yield measure(
        "final.guard_change_on_attacks",
        "logit",
        partial(change, seen, ("adversarial",), lambda row: row.guard_rm, start="sft"),
        judge="guard reward model",
    )
    for model in ("sft", "final"):
        yield measure(
            f"{model}.false_refusal_rate",
            "share",
            partial(rate, seen, model, "borderline", refusing),
            judge=named,
            headline=of("false refusals", model),
            safety=f"false refusals of {titles.get(model, 'the final model')} on borderline "
            "prompts",
        )
    yield from _plain_measures(seen, of)


def _plain_measures(seen: Seen, of: Callable[[str, str], tuple[str, str]]) -> Iterable[Measure]:
    """Figures that need no judge."""
    for model in ("sft", "final"):
        yield measure(
            f"{model}.reply_length",
            "tokens",
            partial(average, seen, model, lambda row: row.reply_tokens),
            headline=of("reply length in tokens", model),
        )
        yield measure(
            f"{model}.distinct_replies",
            "share",
            partial(distinct, seen, model),
            headline=of("distinct replies", model),
        )
    yield measure("final.eos_share", "share", partial(ended, seen))
    start = dict(seen.last.inputs.references)["final"]
    gains: tuple[tuple[str, Value, str], ...] = (
        ("reward", lambda row: row.reward, "the optimised reward models"),
        ("guard", lambda row: row.guard_rm, "guard reward model"),
    )
    for name, value, scorer in gains:
        yield measure(
            f"final.{name}_gain_over_start",
            "logit",
            partial(change, seen, ("dialogue", "helpful"), value, start=start),
            judge=scorer,
            headline=("PPO's gain over its start (logit)", name),
        )
    yield measure(
        "final.mean_log_ratio",
        "nats a judged reply",
        partial(average, seen, "final", lambda row: row.log_ratio),
    )


def _judged(text: str, seen: Seen) -> str:
    return f"Judge: {judge(seen)}. {text}Brackets and bars: 95 % intervals."


def _limits(seen: Seen) -> list[str]:
    return [
        f"Judge of the replies: {judge(seen)}. Figures that people made in the paper are "
        "stand-ins here and not comparable with the paper's.",
        "Reward-model scores shown for a model that was trained against them are optimistic; the "
        "judge's and the guard's figures are the evidence.",
    ]


_OPTIMISED = "Scored by the reward models that training optimised."
_RESULTS = (
    Item(
        anchor="changes",
        title="Models on the same held-out prompts",
        caption=partial(_judged, ""),
        draw=model_changes,
        section="results",
        card="Evaluation Results",
    ),
    Item(
        anchor="wins",
        title="Win rate against SFT",
        caption=partial(
            _judged, "Paired on prompts, ties half; in the paper the opponent is ChatGPT. "
        ),
        draw=win_rates,
        section="results",
        paper=("Figure 11",),
        stands_for=("Figure 1", "Figure 12"),
    ),
    Item(
        anchor="violations",
        title="Violation rate",
        caption=partial(_judged, ""),
        draw=lambda seen: rates(seen, violating, "violations (%)", "adversarial"),
        section="results",
        stands_for=("Figure 3", "Figure 17"),
    ),
    Item(
        anchor="refusals",
        title="False refusals",
        caption=partial(
            _judged,
            "The paper varies the share of safety data, here the model version varies. ",
        ),
        draw=lambda seen: rates(seen, refusing, "benign refused (%)", "borderline", "helpful"),
        section="results",
        paper=("Figure 33",),
    ),
)
REPORT: StageReport[Seen] = StageReport(
    items=(
        *_RESULTS,
        Item(
            anchor="prompts",
            title="Evaluation prompts",
            caption="Prompts that were answered, each counted once.",
            draw=evaluation_prompts,
            section="data",
            paper=("Table 32",),
        ),
        Item(
            anchor="system",
            title="System prompts",
            caption="Of the evaluated dialogues.",
            draw=system_prompts,
            section="data",
            paper=("Table 31",),
        ),
        Item(
            anchor="ridge",
            title="Reward by model version",
            caption=_OPTIMISED,
            draw=reward_ridge,
            section="rewards",
            paper=("Figure 20",),
        ),
        Item(
            anchor="scatter",
            title="Rewards before and after",
            caption=_OPTIMISED,
            draw=reward_scatter,
            section="rewards",
            paper=("Figure 14",),
        ),
        Item(
            anchor="categories",
            title="Violations by risk category",
            caption=partial(_judged, ""),
            draw=violations_by_category,
            section="safety",
            stands_for=("Figure 19",),
            safety=True,
        ),
        Item(
            anchor="resisted",
            title="Requests now resisted",
            caption=partial(_judged, ""),
            draw=lambda seen: examples.resisted(
                replies(seen, "sft", "adversarial"), replies(seen, "final", "adversarial")
            ),
            section="safety",
            paper=("Table 12",),
        ),
        Item(
            anchor="false-refusals",
            title="Benign requests refused",
            caption=partial(_judged, ""),
            draw=lambda seen: examples.false_refusals(
                replies(seen, "sft", "borderline"), replies(seen, "final", "borderline")
            ),
            section="safety",
            paper=("Table 41",),
        ),
        Item(
            anchor="sample-replies",
            title="Prompts with their replies",
            caption=partial(_judged, ""),
            draw=lambda seen: examples.samples(
                seen.last.rows(seen.last.outputs.replies),
                ("base", "sft", *seen.last.inputs.rounds[-1:], "final"),
                seen.last.config.shown,
            ),
            section="samples",
            paper=("Table 33", "Table 34", "Table 42", "Table 43"),
        ),
    ),
    measures=_measures,
    limits=_limits,
)
