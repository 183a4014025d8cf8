"""`safety_report.md`: what the run's safety evaluation found, and what it did not look at.

Source: arXiv 2307.09288, Section 4 (the order of its parts).
"""

from __future__ import annotations

from functools import partial

from camelid.report import tables
from camelid.report.inputs import RISK_AXES, AbsentError, Run, judge_name
from camelid.report.model_card import markdown
from camelid.report.summary import Measure

_HEADLINES = (
    ("sft.violation_rate", "violations of SFT"),
    ("final.violation_rate", "violations of the final model"),
    ("final.violation_rate_change", "change, paired on the prompts"),
    ("final.violation_halved_margin", "final minus half of SFT, paired; below 0: at least halved"),
    ("sft.false_refusal_rate", "false refusals of SFT on borderline prompts"),
    ("final.false_refusal_rate", "false refusals of the final model on borderline prompts"),
    ("context_distillation.kept_share", "distilled answers that passed the safety gate"),
)


def safety_report(run: Run, measures: list[Measure], limits: list[str]) -> str:
    """The safety report as Markdown."""
    known = {measure.key: measure for measure in measures}
    try:
        judge = judge_name(run.rows("evaluating/replies.jsonl"))
    except AbsentError as error:
        judge = f"missing: {error}"
    headlines: list[tuple[tables.Cell, ...]] = [
        (text, m.shown, m.n, m.judge or "–")
        for key, text in _HEADLINES
        if (m := known.get(key)) is not None
    ]
    table = tables.Table(columns=("figure", "value (95 % interval)", "n", "judge"), rows=headlines)
    scope = (
        f"Run {run.name}. Judge of replies: {judge}. "
        + ("Annotators and red team are simulated. " if run.simulated else "")
        + "A violation is what the judge calls one; in the paper three people voted on each reply."
    )
    unseen = (
        "Attacks by people; languages other than English; privacy; bias by group; truthfulness "
        "benchmarks; tools; use together with other systems."
    )
    parts = [
        ("Scope", scope),
        ("Results", table.markdown()),
        ("Violations by risk category", markdown(run, tables.violations_by_category)),
        ("The gate between helpfulness and safety", markdown(run, tables.gate)),
        ("Red teaming by round", markdown(run, tables.red_team_rounds)),
        *(
            (f"By {axis.replace('_', ' ')}", markdown(run, partial(tables.red_team, axis=axis)))
            for axis in RISK_AXES
        ),
        ("Red teaming, every cell", markdown(run, tables.red_team_cells)),
        ("Not looked at", unseen),
        ("Limits", "\n".join(f"- {text}" for text in limits)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts)
    return f"# Safety report: {run.name}\n\n{body}\n"
