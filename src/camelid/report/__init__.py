"""The report of a run: everything in it is computed from files of the run directory.

Source: arXiv 2307.09288, whose figures and tables it draws again from the run's own data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camelid.report import html, studies
from camelid.report.inputs import Run
from camelid.report.model_card import model_card
from camelid.report.safety_report import safety_report
from camelid.report.summary import Measure, summarize

__all__ = ["final_table", "write_report", "write_study_report"]


def write_report(root: Path, out: Path, *, sample_prompts: int = 20) -> dict[str, Any]:
    """Write `index.html`, `summary.json`, `model_card.md`, `safety_report.md` and `tables/*.csv`.

    Args:
        root: Run directory to read.
        out: Directory to write, made where it is absent.
        sample_prompts: How many prompts to show with their replies.

    Returns:
        Counts: figures with and without a value, and the paper's artefacts by status.

    Raises:
        DataError: A file of the run is malformed.
    """
    run = Run(root)
    measures = summarize(run)
    sections = html.sections(run, sample_prompts)
    limits = html.limits(run)
    cards = {
        "model_card.md": model_card(run, measures),
        "safety_report.md": safety_report(run, measures, limits),
    }
    page = partial(html.render, run, sections, measures, judge=html.judge_of(run), limits=limits)
    return _write(out, sections, measures, page, cards)


def write_study_report(root: Path, out: Path) -> dict[str, Any]:
    """Write `index.html`, `summary.json` and `tables/*.csv` of a study (as `write_report`)."""
    run = Run(root)
    measures, sections = studies.summarize(run), studies.sections(run)
    judge = "the world's right answers"
    page = partial(html.render, run, sections, measures, judge=judge, limits=studies.LIMITS)
    return _write(out, sections, measures, page, {})


def _write(
    out: Path,
    sections: Sequence[html.Section],
    measures: Sequence[Measure],
    page: Callable[..., str],
    cards: dict[str, str],
) -> dict[str, Any]:
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for item in (item for section in sections for item in section.items):
        if item.table is not None:
            item.table.write_csv(out / "tables" / f"{item.anchor}.csv")
    figures = json.dumps([m.as_json() for m in measures], indent=1, allow_nan=False)
    texts = {"summary.json": figures, **cards}
    for name, text in {**texts, "index.html": page(files=list(texts))}.items():
        (out / name).write_text(text, encoding="utf-8")
    index = html.paper_index(sections)
    return {
        "measures": sum(measure.value is not None for measure in measures),
        "measures_missing": sum(measure.value is None for measure in measures),
        "artefacts": {
            status: sum(artefact.status == status for artefact in index)
            for status in ("here", "not in this run", "needs people", "cannot be regenerated")
        },
    }


def final_table(root: Path) -> list[tuple[str, str]]:
    """What each stage changed, for the terminal at the end of a run.

    Args:
        root: Run directory to read.

    Returns:
        (stage and figure, value with its 95 % interval) pairs, without what the run lacks.
    """
    run = Run(root)
    known = {measure.key: measure for measure in summarize(run) if measure.value is not None}
    last = run.rounds[-1] if run.rounds else ""
    rows = (
        ("pretraining: validation perplexity", ("pretraining.validation_perplexity",)),
        ("exactly right: base, SFT, final", tuple(
            f"{m}.exact_helpfulness" for m in ("base", "sft", "final"))),
        ("helpfulness RM accuracy by round", tuple(
            f"{name}.helpfulness_rm.accuracy" for name in run.rounds)),
        ("safety RM accuracy by round", tuple(f"{n}.safety_rm.accuracy" for n in run.rounds)),
        ("win rate against SFT: rounds, final", tuple(
            f"{m}.win_rate_vs_sft" for m in (*run.rounds, "final"))),
        ("violations: SFT, last round, final", tuple(
            f"{m}.violation_rate" for m in ("sft", last, "final"))),
        ("false refusals: SFT, final", ("sft.false_refusal_rate", "final.false_refusal_rate")),
        ("context distillation: answers kept", ("context_distillation.kept_share",)),
        ("Ghost Attention at turn 6: before, after", (
            "ghost_attention.turn6.before", "ghost_attention.turn6.after")),
        ("PPO: reward gain over its start (logit)", ("final.reward_gain_over_start",)),
        ("reply length in tokens: SFT, final", ("sft.reply_length", "final.reply_length")),
        ("distinct replies: SFT, final", ("sft.distinct_replies", "final.distinct_replies")),
    )  # fmt: skip
    table = [
        (label, " → ".join(known[key].shown for key in keys if key in known))
        for label, keys in rows
    ]
    return [(label, text) for label, text in table if text]
