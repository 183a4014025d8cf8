"""`summary.json`: the figures of a run for machines, each with its interval and its judge.

Source: arXiv 2307.09288, Sections 3.2.2 (accuracy), 3.4 (win rates), 4.4 (violations), Table 30
(Ghost Attention) and Section 4.2.3 (false refusals). Pairing on prompts: Source: choice, because
the same prompts answered twice give a far narrower interval than two samples would.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from camelid.data.records import STRENGTHS
from camelid.evaluation.statistics import Estimate, mean, paired_difference, proportion, win_rate
from camelid.report.inputs import AbsentError, Row, Run, attempt, flags, judge_name, paired

REPLY_SETS = ("helpful", "dialogue")
"""Sets of ordinary prompts, the first that a run has is used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One figure; `value` is None where the run cannot have it, and `reason` says why."""

    key: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str
    judge: str | None
    reason: str | None = None

    def as_json(self) -> Row:
        """The entry of `summary.json`; `reason` only where there is no value."""
        found = dataclasses.asdict(self)
        if self.value is not None:
            del found["reason"]
        return found

    @property
    def shown(self) -> str:
        """Value with its 95 % interval for people, or `missing: reason`."""
        if self.value is None:
            return f"missing: {self.reason}"
        share = self.unit == "share"
        scale, digits = (100.0, 1) if share else (1.0, 3 if abs(self.value) < 10 else 1)
        # Adding zero turns the -0.0 of rounding into 0.0.
        value, low, high = (
            None if x is None else round(x * scale, digits) + 0.0
            for x in (self.value, self.low, self.high)
        )
        text = f"{value:.{digits}f}" + (" %" if share else "")
        if low is not None and high is not None:
            text += f" ({low:.{digits}f} to {high:.{digits}f})"
        return text


Answer = tuple[Estimate | tuple[float, int] | float, str | None]
"""A figure (with its interval, or with its count alone, or bare) and who judged it."""


def _measure(key: str, unit: str, compute: Callable[[], Answer]) -> Measure:
    try:
        found, judge = compute()
    except AbsentError as error:
        return Measure(key=key, value=None, unit=unit, judge=None, reason=str(error))
    value, low, high, n = (
        (found.value, found.low, found.high, found.n)
        if isinstance(found, Estimate)
        else (found[0], None, None, found[1])
        if isinstance(found, tuple)
        else (found, None, None, None)
    )
    return Measure(
        key=key,
        value=_finite(value),
        low=_finite(low),
        high=_finite(high),
        n=n,
        unit=unit,
        judge=judge,
        reason="not finite",
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def share(run: Run, model: str, name: str, verdict: str) -> Answer:
    """Share of a model's replies on one set that the judge gives a verdict."""
    rows = run.replies(model, name)
    found = flags(rows, verdict)
    return proportion(int(sum(found)), len(found)), judge_name(rows)


def wins(run: Run, model: str, against: str = "sft") -> Answer:
    """Win rate by the judge's score on the same helpful prompts, ties half."""
    rows = run.replies(model, "helpful")
    flags(rows, "score")
    a, b = paired(rows, run.replies(against, "helpful"), "judge", "score")
    return win_rate(a, b), judge_name(rows)


def _difference(run: Run, a: str, b: str, sets: Sequence[str], path: str) -> Answer:
    rows = run.replies(a, *sets)
    left, right = paired(rows, run.replies(b, *sets), *path.split("."))
    judge = judge_name(rows) if path.startswith("judge") else path.replace("_rm", " reward model")
    return paired_difference(left, right), judge


def _gain(run: Run, field: str) -> Answer:
    """What PPO changed: the final model against the one it started from, on ordinary prompts."""
    start = run.result("evaluating")["references"]["final"]
    return _difference(run, "final", start, ("dialogue", "helpful"), field)


def _halved(run: Run) -> Answer:
    rows = run.replies("final", "adversarial")
    flags(rows, "violating")
    left, right = paired(rows, run.replies("sft", "adversarial"), "judge", "violating")
    return paired_difference(left, [0.5 * value for value in right]), judge_name(rows)


def _mean_of(run: Run, model: str, field: str) -> Answer:
    rows = run.replies(model, *REPLY_SETS)
    values = [float(row[field]) for row in rows if row.get(field) is not None]
    if not values:
        raise AbsentError(f"no reply of {model} has `{field}`")
    return mean(values), None


def _eos(run: Run) -> Answer:
    rows = run.replies("final", *REPLY_SETS)
    return proportion(sum(row["stop_reason"] == "stop" for row in rows), len(rows)), None


def distinct(run: Run, model: str) -> Answer:
    """Share of distinct reply strings: near 0 when one text answers every prompt."""
    replies = [row["reply"] for row in run.replies(model, *REPLY_SETS)]
    return (len(set(replies)) / len(replies), len(replies)), None


def accuracy(run: Run, round_name: str, model: str, strength: str | None, kind: str) -> Estimate:
    """Share of held-out pairs whose chosen reply scores higher; ties count as wrong.

    Several pairs may share a prompt; the interval counts prompts.

    Args:
        run: The run.
        round_name: For example `v1`.
        model: `helpfulness_rm` or `safety_rm`.
        strength: One of the four strengths, or None for all pairs.
        kind: Kind of pairs, `helpfulness` or `safety`.

    Source: arXiv 2307.09288, Tables 7 and 8.
    """
    rows = run.rows(f"{round_name}/reward_modeling/test_scores.jsonl")
    rows = [row for row in rows if row["kind"] == kind and model in row["chosen_scores"]]
    if strength is not None:
        rows = [row for row in rows if row.get("strength") == strength]
    if not rows:
        raise AbsentError(f"no held-out {kind} pair of strength {strength or 'any'}")
    right = sum(row["chosen_scores"][model] > row["rejected_scores"][model] for row in rows)
    return proportion(right, len(rows), len({row["prompt_key"] for row in rows}))


def recall(run: Run, turn: int, when: str) -> Answer:
    """Share of dialogues whose instruction is still held at a turn (Table 30)."""
    rows = run.rows("ghost_attention/recall.jsonl")
    kept = [bool(r["kept"]) for r in rows if r["turn"] == turn and r["when"] == when]
    if not kept:
        raise AbsentError(f"recall.jsonl holds no row {when} training at turn {turn}")
    return proportion(sum(kept), len(kept)), "string match with the expected text"


def ppo_end(run: Run, field: str) -> tuple[float, str]:
    """One figure of the kept PPO policy and where it stands: validation, else last iterations."""
    rows = run.rows("ppo/iterations.jsonl")
    done = (run.root / "ppo/result.json").is_file()
    best = run.result("ppo").get("best_iteration") if done else None
    if best is not None:
        rows = [row for row in rows if row["iteration"] <= best] or rows
    checked = [row for row in rows if row.get(f"validation_{field}") is not None]
    if checked:
        last = checked[-1]
        place = f"validation prompts, iteration {last['iteration']}"
        return float(last[f"validation_{field}"]), place
    last_rows = [row for row in rows if row.get(field) is not None][-3:]
    if not last_rows:
        raise AbsentError(f"ppo/iterations.jsonl has no `{field}`")
    found = sum(float(row[field]) for row in last_rows) / len(last_rows)
    return found, f"mean of the {len(last_rows)} iterations up to {last_rows[-1]['iteration']}"


def _kept(run: Run) -> Answer:
    rows = run.rows("context_distillation/pairs.jsonl")
    return proportion(sum(bool(row["kept"]) for row in rows), len(rows)), "safety reward model"


def _perplexity(run: Run) -> Answer:
    found = run.result("pretraining")
    if found.get("validation_perplexity") is None:
        raise AbsentError("pretraining/result.json has no validation_perplexity")
    return (float(found["validation_perplexity"]), int(found.get("validation_tokens") or 0)), None


def _manifest(run: Run, field: str, combine: Callable[[list[float]], float]) -> Answer:
    values = [float(s[field]) for s in run.stages.values() if s.get(field) is not None]
    if not values:
        raise AbsentError(f"run.json has no `{field}` of a stage")
    return combine(values), None


def summarize(run: Run) -> list[Measure]:
    """All figures of `summary.json`, in the order of the recipe."""
    found: list[Measure] = []

    def add(key: str, unit: str, compute: Callable[..., Answer], *arguments: object) -> None:
        found.append(_measure(key, unit, partial(compute, run, *arguments)))

    add("pretraining.validation_perplexity", "perplexity", _perplexity)
    for model in ("base", "sft", "final"):
        add(f"{model}.exact_helpfulness", "share", share, model, "helpful", "exact")
    for name in run.rounds:
        for kind in ("helpfulness", "safety"):
            for strength in (None, *STRENGTHS):
                key = f"{name}.{kind}_rm.accuracy" + (f".{strength}" if strength else "")
                add(key, "share", own_accuracy, name, kind, strength)
    for model in (*run.rounds, "final"):
        add(f"{model}.win_rate_vs_sft", "share", wins, model)
    for model in ("sft", *run.rounds, "final"):
        add(f"{model}.violation_rate", "share", share, model, "adversarial", "violating")
    violating = ("final", "sft", ("adversarial",), "judge.violating")
    add("final.violation_rate_change", "share", _difference, *violating)
    add("final.violation_halved_margin", "share", _halved)
    guard = ("final", "sft", ("adversarial",), "guard_rm")
    add("final.guard_change_on_attacks", "logit", _difference, *guard)
    for model in ("sft", "final"):
        add(f"{model}.false_refusal_rate", "share", share, model, "borderline", "refusing")
    for model in ("sft", "final"):
        add(f"{model}.reply_length", "tokens", _mean_of, model, "reply_tokens")
        add(f"{model}.distinct_replies", "share", distinct, model)
    add("final.eos_share", "share", _eos)
    for turn in (2, 4, 6):
        for when in ("before", "after"):
            add(f"ghost_attention.turn{turn}.{when}", "share", recall, turn, when)
    add("context_distillation.kept_share", "share", _kept)
    for field, unit in (("reward", "logit"), ("guard_reward", "logit"), ("kl", "nats a reply")):
        add(f"ppo.{field}", unit + _place(run, field), _ppo, field)
    for field, key in (("reward", "reward_gain"), ("guard_rm", "guard_gain")):
        add(f"final.{key}_over_start", "logit", _gain, field)
    add("final.mean_log_ratio", "nats a judged reply", _mean_of, "final", "log_ratio")
    return [*found, *costs(run)]


def costs(run: Run) -> list[Measure]:
    """Seconds of all stages and their largest memory."""
    return [
        _measure("run.seconds", "seconds", partial(_manifest, run, "seconds", sum)),
        _measure("run.peak_memory_gib", "GiB", partial(_manifest, run, "peak_memory_gib", max)),
    ]


def own_accuracy(run: Run, name: str, kind: str, strength: str | None) -> Answer:
    """A reward model's accuracy on its own kind of held-out pairs, and who labelled them."""
    return accuracy(run, name, f"{kind}_rm", strength, kind), run.annotators


def _ppo(run: Run, field: str) -> Answer:
    judges = {"reward": "the optimised reward models", "guard_reward": "guard reward model"}
    return ppo_end(run, field)[0], judges.get(field)


def _place(run: Run, field: str) -> str:
    return attempt("", lambda: f", {ppo_end(run, field)[1]}")
