"""`model_card.md`: the fields of the paper's model card, filled from a run.

Source: arXiv 2307.09288, A.7, Table 52 (the fields).
"""

from __future__ import annotations

from collections.abc import Callable

from camelid.report import energy, tables
from camelid.report.inputs import AbsentError, Run, attempt
from camelid.report.summary import Measure
from camelid.report.tables import Table
from camelid.settings import flatten


def markdown(run: Run, build: Callable[[Run], Table]) -> str:
    """A table as Markdown, or why it is missing."""
    try:
        return build(run).markdown()
    except AbsentError as error:
        return f"Missing: {error}."


def model_card(run: Run, measures: list[Measure]) -> str:
    """The model card as Markdown."""
    shown = {measure.key: measure.shown for measure in measures}
    manifest = run.manifest
    simulated = "simulated annotators, no people" if run.simulated else run.annotators
    versions = ", ".join(attempt([], lambda: run.models)) or "none evaluated"
    started = [str(s["started"]) for s in run.stages.values() if s.get("started")]
    finished = [str(s["finished"]) for s in run.stages.values() if s.get("finished")]
    dates = f"{min(started)} to {max(finished)}" if started and finished else "not recorded"
    given = "weights" in run.recipe or (run.root / "weights").is_dir()
    sections: dict[str, dict[str, str]] = {
        "Model Details": {
            "Model Developers": "Whoever made this run with Camelid; not Meta.",
            "Variations": f"One size; versions evaluated: {versions}.",
            "Input": "Text only.",
            "Output": "Text only.",
            "Model Architecture": "Autoregressive transformer of the Llama 2 design, aligned by "
            "supervised fine-tuning and reinforcement learning from preferences of "
            f"{simulated}.\n\n{markdown(run, tables.model_family)}",
            "Model Dates": f"Trained {dates}.",
            "Status": "Static, trained offline once; recipe and seed below give it again.",
            "License": "The code is Apache-2.0. The weights follow their data and, where the run "
            "starts from given weights, the licence of those.",
            "Where to send comments": "To whoever made this run.",
        },
        "Intended Use": {
            "Intended Use Cases": "Research on alignment and its evaluation, teaching, tests.",
            "Out-of-Scope Uses": "Any use in which a person relies on an answer: advice, "
            "decisions, public services. Any use against the law or the licence.",
        },
        "Hardware and Software": {
            "Training Factors": f"Camelid {manifest.get('camelid_version', '?')}, torch "
            f"{manifest.get('torch', '?')}, {manifest.get('platform', 'platform not recorded')}, "
            f"{manifest.get('device', '?')}, {manifest.get('threads', '?')} threads, "
            f"precision {manifest.get('precision', '?')}, "
            f"recipe {run.name}, seed {manifest.get('seed', '?')}. "
            f"Seconds: {shown['run.seconds']}. Peak GiB: {shown['run.peak_memory_gib']}.",
            "Carbon Footprint": f"{energy.FORMULA}. Watts are stated, not measured.\n\n"
            + markdown(run, tables.energy_and_carbon),
        },
        "Training Data": {
            "Overview": f"{len(run.preferences(default=())):,} comparisons by {simulated}. "
            f"Statistics of the data:\n\n{markdown(run, _statistics)}",
            "Data Freshness": "Pretraining: see the card of the weights that the run starts from."
            if given
            else "A program wrote all texts for this run; they say nothing of the real world.",
        },
        "Evaluation Results": {
            "Results": "Shares in % with 95 % intervals, on held-out prompts.\n\n"
            + markdown(run, tables.model_changes),
        },
        "Ethical Considerations and Limitations": {
            "Limitations": "The model is small, knows little and can be wrong, biased or unsafe "
            "in ways that this evaluation does not reach. Programs tested it, in English. Read "
            "safety_report.md before any use.",
        },
    }
    lines = [f"# Model card: {run.name}", "", "Fields of Table 52 of arXiv 2307.09288."]
    for title, entries in sections.items():
        lines += ["", f"## {title}"]
        for name, text in entries.items():
            lines += ["", f"### {name}", "", text]
    return "\n".join(lines) + "\n"


def _statistics(run: Run) -> Table:
    found = flatten(run.result("data")).items()
    return Table(columns=("statistic", "value"), rows=[(name, str(value)) for name, value in found])
