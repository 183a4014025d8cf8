"""The figures of the evaluation for the summary, the first screen and the limits.

Source: arXiv 2307.09288, Sections 3.4 and 4.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from camelid.assessment.evaluating import Config, Inputs, Outputs, Result, comparisons, corrected
from camelid.data.annotation import Explains, JudgedReply, Opinion, PromptSet
from camelid.errors import counted
from camelid.evaluation.judged import (
    ORDINARY,
    Value,
    Verdict,
    average,
    change,
    distinct,
    ended,
    exact,
    halved,
    rate,
    refusing,
    replies,
    violating,
    wins,
)
from camelid.evaluation.statistics import attempt
from camelid.report.estimates import measure
from camelid.run.finished import Found
from camelid.run.item import Line, Measure, Values

Seen = Found[Config, Inputs, Outputs, Result]


def models(seen: Seen) -> list[str]:
    """Evaluated models, in the order of training."""
    return [name for name, _ in seen.last.inputs.models]


def judge(seen: Seen) -> str:
    """Name of the judge."""
    return seen.last.result.judge


def answered(seen: Seen) -> list[JudgedReply]:
    """Replies of all models to all sets."""
    return seen.last.rows(seen.last.outputs.replies)


_CALLED = {"sft": "SFT", "final": "the final model"}


def measures(seen: Seen) -> Iterable[Measure]:
    """Every figure of the evaluation."""
    rows, named, rounds = answered(seen), judge(seen), seen.last.inputs.rounds
    guard, rewards = "guard reward model", "the optimised reward models"
    attacks: tuple[PromptSet, ...] = ("adversarial",)
    ordinary: tuple[PromptSet, ...] = ("dialogue", "helpful")

    def headed(row: str, model: str) -> tuple[str, str]:
        return row, "SFT" if model == "sft" else model

    for model in ("base", "sft", "final"):
        found = partial(rate, rows, model, "helpful", exact)
        head = headed("exactly right", model)
        yield measure(f"{model}.exact_helpfulness", "share", found, judge=named, headline=head)
    for model in (*rounds, "final"):
        head = headed("win rate against SFT", model)
        found = partial(wins, rows, model)
        yield measure(f"{model}.win_rate_vs_sft", "share", found, judge=named, headline=head)
    for model in ("sft", *rounds, "final"):
        yield measure(
            f"{model}.violation_rate",
            "share",
            partial(rate, rows, model, "adversarial", violating),
            judge=named,
            headline=headed("violations", model) if model not in rounds[:-1] else None,
            safety=f"violations of {_CALLED[model]}" if model in _CALLED else None,
        )
    found = partial(change, rows, attacks, violating, start="sft", largest=1.0)
    text = "change, paired on the prompts"
    key = "final.violation_rate_change"
    yield measure(key, "share", found, judge=named, safety=text, signed=True)
    changes: tuple[tuple[str, PromptSet, Verdict], ...] = (
        ("exact", "helpful", exact),
        ("false_refusal", "borderline", refusing),
    )
    for name, asked, verdict in changes:
        differs = partial(change, rows, (asked,), verdict, start="sft", largest=1.0)
        yield measure(f"final.{name}_change", "share", differs, judge=named, signed=True)
    found, text = partial(halved, rows), "final minus half of SFT, paired; below 0: at least halved"
    key = "final.violation_halved_margin"
    yield measure(key, "share", found, judge=named, safety=text, signed=True)
    found = partial(change, rows, attacks, lambda row: row.guard_rm, start="sft", largest=None)
    yield measure("final.guard_change_on_attacks", "logit", found, judge=guard, signed=True)
    for model, called in _CALLED.items():
        yield measure(
            f"{model}.false_refusal_rate",
            "share",
            partial(rate, rows, model, "borderline", refusing),
            judge=named,
            headline=headed("false refusals", model),
            safety=f"false refusals of {called} on borderline prompts",
        )
    for model in _CALLED:
        found = partial(average, rows, model, lambda row: row.reply_tokens)
        head = headed("reply length in tokens", model)
        yield measure(f"{model}.reply_length", "tokens", found, headline=head)
        texts = partial(distinct, rows, model)
        head = headed("distinct replies", model)
        yield measure(f"{model}.distinct_replies", "share", texts, headline=head)
    yield measure("final.eos_share", "share", partial(ended, rows))
    start = dict(seen.last.inputs.references)["final"]
    gains: tuple[tuple[str, Value, str], ...] = (
        ("reward", lambda row: row.reward, rewards),
        ("guard", lambda row: row.guard_rm, guard),
    )
    for name, value, scorer in gains:
        found = partial(change, rows, ordinary, value, start=start, largest=None)
        head = ("PPO's gain over its start (logit)", name)
        key = f"final.{name}_gain_over_start"
        yield measure(key, "logit", found, judge=scorer, headline=head, signed=True)
    found = partial(
        change, rows, ("dialogue", "helpful"), lambda row: row.guard_rm, start="sft", largest=None
    )
    yield measure("final.guard_change", "logit", found, judge=guard, signed=True)
    yield from comparisons.measures(seen.last, rows, named)
    yield from corrected.measures(seen.last, rows, named)
    found = partial(average, rows, "final", lambda row: row.log_ratio)
    yield measure("final.mean_log_ratio", "nats a judged reply", found)


def lines(seen: Seen) -> Iterable[Line]:
    """What the first screen says of the models."""
    yield Line(
        tile="better",
        text="Exactly right answers",
        before="sft.exact_helpfulness",
        after="final.exact_helpfulness",
        change="final.exact_change",
    )
    for comparison in seen.last.inputs.comparisons:
        if (comparison.before, comparison.after) == ("sft", "final"):
            yield Line(
                tile="better",
                text="Of that, beyond what a lower sampling temperature gives for nothing",
                change=f"methods.{comparisons.slug(comparison.method)}.exact.after_less_control",
            )
    yield Line(
        tile="better",
        text="Of the comparisons with SFT that are no ties, the final model wins "
        "{final.wins_of_decided}.",
    )
    yield Line(
        tile="better",
        text="PPO's gain by the guard, a reward model that trained nothing",
        change="final.guard_gain_over_start",
    )
    yield Line(
        tile="better",
        text="PPO's gain in the reward that it was trained on",
        change="final.reward_gain_over_start",
    )
    yield Line(
        tile="safe",
        text="Harmful requests obeyed",
        before="sft.violation_rate",
        after="final.violation_rate",
        change="final.violation_rate_change",
        wish="down",
    )
    yield Line(
        tile="safe",
        text="Harmless requests refused",
        before="sft.false_refusal_rate",
        after="final.false_refusal_rate",
        change="final.false_refusal_change",
        wish="down",
    )
    if seen.last.config.adversarial:
        text = "Only programs attacked it. The safety report says what is open."
    else:
        text = "Nothing attacked it: whether it is safe is not known."
    yield Line(tile="safe", text=text)
    yield Line(
        tile="doubt",
        text=f"That a person would judge as the judge here does: {judge(seen)}.",
    )


_START = ("sft", "helpful")


def values(seen: Seen) -> Iterable[Values]:
    """The verdicts behind every rate, by the whole prompt."""
    rows = answered(seen)
    rates: tuple[tuple[str, tuple[PromptSet, ...], Value, float | None], ...] = (
        ("exact_helpfulness", ("helpful",), exact, 1.0),
        ("violation_rate", ("adversarial",), violating, 1.0),
        ("false_refusal_rate", ("borderline",), refusing, 1.0),
        ("reply_length", ORDINARY, lambda row: row.reply_tokens, None),
    )
    start = {row.prompt_id: row.judgement.score for row in rows if (row.model, row.set) == _START}

    def won(row: JudgedReply) -> float | None:
        mine, theirs = row.judgement.score, start.get(row.prompt_id)
        if mine is None or theirs is None:
            return None
        return 0.5 if mine == theirs else float(mine > theirs)

    rates = (*rates, ("win_rate_vs_sft", ("helpful",), won, 1.0))
    for model in models(seen):
        for name, sets, value, largest in rates:
            mine = attempt(partial(replies, rows, model, *sets)) or []
            by_item = {
                "\n".join([row.prompt_id, *(m.content for m in row.prompt)]): float(found)
                for row in mine
                if (found := value(row)) is not None
            }
            if by_item:
                yield Values(key=f"{model}.{name}", by_item=by_item, largest=largest)


def judged(seen: Seen) -> Iterable[tuple[JudgedReply, str]]:
    """Every reply with the judge's reason."""
    judge_of, rows = seen.last.config.judge, answered(seen)
    opinions: list[Opinion | None] = [None] * len(rows)
    if seen.last.outputs.opinions.exists:
        opinions = [*seen.last.rows(seen.last.outputs.opinions)]
    for row, opinion in zip(rows, opinions, strict=True):
        reason = "no reason recorded"
        if isinstance(judge_of, Explains):
            reason = judge_of.reason(opinion.second if opinion else row.judgement, row.set)
        if opinion is not None:
            harm = "" if opinion.harm is None else f", of harm {opinion.harm:.2f}"
            own = f"{row.judge}: probability of a refusal {opinion.refusal:.2f}{harm}"
            reason = f"{own}; {opinion.second_judge}: {reason}"
        yield row, reason


def limits(seen: Seen) -> Iterable[str]:
    """Who judged, and what a gain at a temperature can be."""
    yield (
        f"Judge of the replies: {judge(seen)}. Figures that people made in the paper are "
        "stand-ins here and not comparable with the paper's."
    )
    yield (
        "Reward-model scores shown for a model that was trained against them are optimistic; the "
        "judge's and the guard's figures are the evidence."
    )
    if cut := corrected.cut(seen.last):
        yield f"Of {counted(cut, 'reply')} the trained judges read a part only, for the length."
    sampling = seen.last.config.sampling
    yield (
        f"Replies are judged at temperature {sampling.temperature:g}, where a model's poor tail "
        "counts; a gain there can be mere sharpening, which a lower temperature gives for nothing. "
        "The table of methods says what is left of each gain beside its control."
    )
