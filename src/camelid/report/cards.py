"""The model card and the safety report, filled from a run.

Source: arXiv 2307.09288, A.7, Table 52 (the fields of the card) and Section 4 (the order of the
safety report).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from camelid.errors import counted
from camelid.report import energy
from camelid.report.drawn import Drawn
from camelid.report.page import Report
from camelid.report.run_items import ancestors, weights
from camelid.run.item import Card, CardField, Cell, Table


def _texts(drawn: list[Drawn]) -> Iterator[tuple[str, str]]:
    """Yield title and Markdown of tables, or why they are missing."""
    for entry in drawn:
        text = f"Missing: {entry.missing}."
        if entry.table is not None:
            text = f"{entry.caption}\n\n{entry.table.markdown()}"
        yield entry.item.title, text


def _card(report: Report, name: Card) -> dict[str, str]:
    return dict(_texts([drawn for drawn in report.drawn if drawn.item.card == name]))


def _said(report: Report, field: CardField) -> list[str]:
    return [value for name, value in report.card if name == field]


def _head(report: Report) -> Iterator[str]:
    """Yield the hub's front matter (YAML): only what is so of this run."""
    yield "---"
    # The last word on a licence is that of given weights; JSON's strings are YAML's too.
    for field in _ONE:
        if values := _said(report, field):
            yield f"{field}: {json.dumps(values[-1])}"
    yield "library_name: camelid"
    yield "pipeline_tag: text-generation"
    tags = ["camelid", *(stage.kind.name.replace("_", "-") for stage in ancestors(report.run))]
    lists = {"datasets": _said(report, "datasets"), "language": _said(report, "language")}
    for name, values in {**lists, "tags": tags}.items():
        if values:
            yield f"{name}:"
            yield from (f"- {json.dumps(value)}" for value in dict.fromkeys(values))
    yield "---"
    yield ""


_ONE: tuple[CardField, ...] = ("license", "license_name", "base_model")


def _use(report: Report) -> Iterator[str]:
    """Yield how the newest weights are used."""
    yield "Fields of Table 52 of arXiv 2307.09288, and how to use the weights."
    made = ancestors(report.run)
    if not made:
        return
    folder, run = weights(made[-1])[0], report.run.root
    if run.is_absolute() and run.is_relative_to(Path.cwd()):
        run = run.relative_to(Path.cwd())
    out = f"{run}-hf"
    yield from (
        "",
        "## Use",
        "",
        "Talk to them, and write them to a new folder that other libraries read:",
        "",
        "```",
        f"camelid chat {shlex.quote(str(run))}",
        f"camelid convert {shlex.quote(f'{run}/{folder.label}')} {shlex.quote(out)} --to hf",
        "```",
        "",
        "```python",
        *(line.replace("OUT", out) for line in _TRANSFORMERS),
        "```",
    )


_TRANSFORMERS = (
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'tokenizer = AutoTokenizer.from_pretrained("OUT")',
    'model = AutoModelForCausalLM.from_pretrained("OUT")',
    'chat = [{"role": "user", "content": "Hello, who are you?"}]',
    "prompt = tokenizer.apply_chat_template(",
    '    chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
    ")",
    "reply = model.generate(**prompt, max_new_tokens=48)",
    'print(tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))',
)


def model_card(report: Report) -> str:
    """The model card as Markdown."""
    manifest, shown = report.run.manifest, report.shown
    stages = report.run.trained.values()
    dates = "not recorded"
    if stages:
        dates = f"{min(s.started for s in stages)} to {max(s.finished for s in stages)}"
    sections: dict[str, dict[str, str]] = {
        "Model Details": {
            "Model Developers": "Whoever made this run with Camelid; not Meta.",
            "Input": "Text only.",
            "Output": "Text only.",
            "Model Architecture": "Autoregressive transformer of the Llama 2 design, aligned by "
            "supervised fine-tuning and reinforcement learning; whose preferences it learned from "
            "stands under Training Data.",
            **_card(report, "Model Details"),
            "Model Dates": f"Trained {dates}.",
            "Status": "Static, trained offline once; recipe and seed below give it again.",
            "License": " ".join(["The code is Apache-2.0.", *_said(report, "about")]),
            "Where to send comments": "To whoever made this run.",
        },
        "Intended Use": {
            "Intended Use Cases": "Research on alignment and its evaluation, teaching, tests.",
            "Out-of-Scope Uses": "Any use in which a person relies on an answer: advice, "
            "decisions, public services. Any use against the law or the licence.",
        },
        "Hardware and Software": {
            "Training Factors": f"Camelid {manifest.camelid_version}, torch {manifest.torch}, "
            f"{manifest.platform}, {manifest.device}, {counted(manifest.threads, 'thread')}, "
            f"precision {manifest.precision}, recipe {manifest.recipe}, seed {manifest.seed}. "
            f"Seconds: {shown['run.seconds']}. Peak GiB: {shown['run.peak_memory_gib']}.",
            "Carbon Footprint": f"{energy.FORMULA}. Watts are stated, not measured.",
            **_card(report, "Hardware and Software"),
        },
        "Training Data": _card(report, "Training Data"),
        "Evaluation Results": _card(report, "Evaluation Results"),
        "Ethical Considerations and Limitations": {
            "Limitations": "The model is small, knows little and can be wrong, biased or unsafe "
            "in ways that this evaluation does not reach. Programs tested it, in English. Read "
            f"{report.safety_report} before any use.",
        },
    }
    lines = [*_head(report), f"# Model card: {manifest.recipe}", "", *_use(report)]
    for title, entries in sections.items():
        lines += ["", f"## {title}"]
        for name, text in entries.items():
            lines += ["", f"### {name}", "", text]
    return "\n".join(lines) + "\n"


def safety_report(report: Report) -> str:
    """The safety report as Markdown."""
    headlines: list[tuple[Cell, ...]] = [
        (measure.safety, measure.shown, measure.n, measure.judge or "–")
        for measure in report.measures
        if measure.safety is not None
    ]
    table = Table(columns=("figure", "value (95 % interval)", "n", "judge"), rows=headlines)
    scope = (
        f"Run {report.run.manifest.recipe}. Every figure names its judge. A violation is what the "
        "judge calls one; in the paper three people voted on each reply. "
    ) + " ".join(report.notices)
    unseen = (
        "Attacks by people; languages other than English; privacy; bias by group; truthfulness "
        "benchmarks; tools; use together with other systems."
    )
    parts = [
        ("Scope", scope),
        ("Results", table.markdown()),
        *_texts([drawn for drawn in report.drawn if drawn.item.safety]),
        ("Not looked at", unseen),
        ("Limits", "\n".join(f"- {text}" for text in report.limits)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts)
    return f"# Safety report: {report.run.manifest.recipe}\n\n{body}\n"
