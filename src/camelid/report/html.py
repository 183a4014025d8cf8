"""`index.html`: one self-contained page with every table and plot of a run.

Source: choice. All text is escaped by the template; the only raw markup is our own SVG.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from camelid.benchmarks import tables as benchmark_tables
from camelid.report import energy, examples, figures, paper, tables
from camelid.report.examples import Example
from camelid.report.inputs import RISK_AXES, AbsentError, Run, attempt, judge_name
from camelid.report.pipeline_graph import pipeline
from camelid.report.summary import Measure
from camelid.report.tables import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One table, plot or group of examples, or the reason why it is missing."""

    anchor: str
    title: str
    caption: str
    paper: tuple[str, ...] = ()
    stands_for: tuple[str, ...] = ()
    """Artefacts that need people and for which this shows a stand-in."""
    svg: str | None = None
    table: Table | None = None
    examples: Sequence[Example] = ()
    missing: str | None = None
    folded: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Items under one heading."""

    anchor: str
    title: str
    items: list[Item]


Content = str | Table | list[Example]


def make_item(
    run: Run,
    anchor: str,
    title: str,
    caption: str,
    build: Callable[[Run], Content],
    *names: str,
    stands_for: tuple[str, ...] = (),
    folded: bool = False,
) -> Item:
    """Build one item; where the run lacks what it needs, the item says so."""
    found: Content | None = None
    missing = None
    try:
        found = build(run)
    except AbsentError as error:
        missing = str(error)
    except KeyError as error:
        missing = f"a row of its file has no field {error}"
    return Item(
        anchor=anchor,
        title=title,
        caption=caption,
        paper=names,
        stands_for=stands_for,
        svg=found if isinstance(found, str) else None,
        table=found if isinstance(found, Table) else None,
        examples=found if isinstance(found, list) else (),
        missing=missing,
        folded=folded,
    )


def judge_of(run: Run) -> str:
    """Who judged the replies of the run."""
    return attempt("none", lambda: judge_name(run.rows("evaluating/replies.jsonl")))


def energy_caption(run: Run) -> str:
    """How energy and carbon were computed."""
    power = energy.stated_power(run.manifest)
    stated = "The run states no watts, so energy is not computed."
    if power:
        stated = f"{power.watts:g} W, PUE {power.pue:g}, {power.intensity:g} kg/kWh: stated."
    return f"{energy.FORMULA}. {stated} Seconds and memory: measured (run.json)."


def sections(run: Run, sample_prompts: int) -> list[Section]:
    """Everything the report shows, in order.

    Args:
        run: The run.
        sample_prompts: How many prompts to show with their replies.
    """
    item = partial(make_item, run)
    judge = f"Judge: {judge_of(run)}; evaluating/replies.jsonl."
    interval = "Brackets and bars: 95 % intervals."
    pairs = f"Held-out pairs by {run.annotators}; test_scores.jsonl of each round."
    optimised = "Scored by the reward models that training optimised; evaluating/replies.jsonl."
    refusing = (("borderline", "refusing"), ("helpful", "refusing"))
    rates = figures.rates_by_model
    plans = [
        ("results", "What each stage changed", [
            item("changes", "Models on the same held-out prompts", f"{judge} {interval}",
                 tables.model_changes),
            item("wins", "Win rate against SFT", f"{judge} Paired on prompts, ties half; in the "
                 f"paper the opponent is ChatGPT. {interval}",
                 partial(rates, series=(("helpful", "score"),), label="win rate against SFT (%)"),
                 "Figure 11", stands_for=("Figure 1", "Figure 12")),
            item("violations", "Violation rate", f"{judge} {interval}",
                 partial(rates, series=(("adversarial", "violating"),), label="violations (%)"),
                 stands_for=("Figure 3", "Figure 17")),
            item("refusals", "False refusals", f"{judge} The paper varies the share of safety "
                 f"data, here the model version varies. {interval}",
                 partial(rates, series=refusing, label="benign refused (%)"), "Figure 33"),
        ]),
        ("run", "The run", [
            item("pipeline", "This run's pipeline", "Arrows: what a stage reads, less what other "
                 "arrows imply. run.json.", pipeline, "Figure 4"),
            item("loss", "Pretraining", "pretraining/metrics.jsonl.",
                 figures.training_loss, "Figure 5"),
            item("model", "The model", "recipe.json and config.json of the model.",
                 tables.model_family, "Table 1"),
            item("energy", "Time, memory, energy and carbon", energy_caption(run),
                 tables.energy_and_carbon, "Table 2"),
            item("settings", "Settings beside the paper's", "recipe.json and the paper.",
                 tables.hyperparameters, folded=True),
        ]),
        ("data", "Data", [
            item("demonstrations", "Two demonstrations", "data/demonstrations.jsonl.",
                 examples.demonstrations, "Table 5"),
            item("preferences", "Preferences", f"By {run.annotators}; preference_collection.",
                 tables.preference_statistics, "Table 6", "Table 26", "Figure 25"),
            item("prompts", "Evaluation prompts", "evaluating/replies.jsonl.",
                 tables.evaluation_prompts, "Table 32"),
            item("system", "System prompts", "evaluating/replies.jsonl.",
                 tables.system_prompts, "Table 31"),
        ]),
        ("rewards", "Reward models", [
            item("accuracy", "Accuracy by kind of pairs (%)", f"{pairs} {interval}",
                 tables.accuracy_by_set, "Table 7"),
            item("strengths", "Accuracy by strength (%)", f"{pairs} {interval}",
                 tables.accuracy_by_strength, "Table 8"),
            item("rounds", "Accuracy by round", "On its own kind, the pairs of "
                 f"all rounds so far. {pairs} {interval}",
                 figures.accuracy_by_round, "Figure 6"),
            item("ridge", "Reward by model version", optimised, figures.reward_ridge, "Figure 20"),
            item("scatter", "Rewards before and after", optimised,
                 figures.reward_scatter, "Figure 14"),
            item("gate", "The gate between the two", "reward_modeling/result.json; measured on the "
                 "pairs that the threshold was tuned on.", tables.gate),
            item("disagreement", "Where the two disagree", pairs,
                 examples.disagreements, "Table 35"),
        ]),
        ("rlhf", "Rejection sampling and PPO", [
            item("best-of-n", "Best and median of N", "Scored by that round's reward models; "
                 "samples.jsonl. Mean over all subsets of N samples; a cut answer counts as 0.",
                 figures.best_of_n, "Figure 7"),
            item("temperatures", "Best of N by temperature", "Scored by the last round's reward "
                 "models; temperature_tuning.jsonl.", figures.temperatures, "Figure 8"),
            item("ppo", "PPO", "ppo/iterations.jsonl. Reward: the optimised reward models; guard: "
                 "a reward model of disjoint pairs that PPO never sees.", figures.ppo_curves),
        ]),
        ("attention", "Ghost Attention", [
            item("recall", "Instructions recalled (%)", "Judge: string match with the expected "
                 f"text (in the paper: people); ghost_attention/recall.jsonl. {interval}",
                 tables.ghost_attention, "Table 30"),
            item("forgetting", "One dialogue before and after", "ghost_attention/recall.jsonl.",
                 examples.forgetting, "Figure 9"),
        ]),
        ("safety", "Safety", [
            item("distillation", "Context distillation", "Scored by the safety reward model; "
                 "context_distillation/pairs.jsonl.", figures.distillation, "Figure 16"),
            item("distilled", "Context distillation, examples", "context_distillation/pairs.jsonl.",
                 examples.distillation, "Table 13"),
            item("red-team", "Red teaming by round", f"red_teaming.jsonl of each round. {interval}",
                 tables.red_team_rounds),
            *(item(f"red-team-{axis.replace('_', '-')}", f"Red teaming by {axis.replace('_', ' ')}",
                   f"red_teaming.jsonl of each round. {interval}",
                   partial(tables.red_team, axis=axis)) for axis in RISK_AXES),
            item("red-team-cells", "Red teaming, every cell", "red_teaming.jsonl, last round.",
                 tables.red_team_cells, folded=True),
            item("categories", "Violations by risk category", f"{judge} {interval}",
                 tables.violations_by_category, stands_for=("Figure 19",)),
            item("resisted", "Requests now resisted", judge, examples.adversarial, "Table 12"),
            item("false-refusals", "Benign requests refused", judge,
                 examples.false_refusals, "Table 41"),
        ]),
        ("samples", "Replies before and after", [
            item("sample-replies", f"{sample_prompts} prompts", judge,
                 partial(examples.samples, count=sample_prompts),
                 "Table 33", "Table 34", "Table 42", "Table 43"),
        ]),
    ]  # fmt: skip
    if benchmark_tables.evaluated(run):
        plans.append(("benchmarks", "Public benchmarks", _benchmarks(run)))
    return [Section(anchor=a, title=t, items=items) for a, t, items in plans]


def _benchmarks(run: Run) -> list[Item]:
    item = partial(make_item, run)
    caption = (
        "± standard error; † not on the whole benchmark as it is: see the last table. "
        "benchmarks/NAME/scores.json and logs/ beside it."
    )
    return [
        item("benchmark-groups", "Grouped benchmarks", caption, benchmark_tables.grouped,
             "Table 3"),
        *(item(f"benchmark-{name.rpartition(' ')[2]}", title, caption,
               partial(benchmark_tables.benchmark_table, artefact=name), name)
          for name, (title, _) in benchmark_tables.TABLES.items()),
        item("benchmark-tasks", "Every task", "benchmarks/NAME/scores.json. Prompts cut: how many "
             "requests lost tokens on their left.", benchmark_tables.by_task, folded=True),
    ]  # fmt: skip


def paper_index(found: Sequence[Section]) -> list[paper.Artefact]:
    """Where this report stands on each artefact of the paper."""
    here = {"Table 52": "model_card.md"}
    absent: dict[str, str] = {}
    for item in (item for section in found for item in section.items):
        for name in (*item.paper, *item.stands_for):
            if item.missing is None:
                here[name] = f"#{item.anchor}"
            else:
                absent[name] = item.missing
    return paper.index(here, absent)


def limits(run: Run) -> list[str]:
    """What a reader must not conclude from this run."""
    found = []
    if run.simulated:
        found.append(
            "The annotators are simulated: programs that see the exact judge's score through noise "
            "and bias. No person labelled, rated or attacked anything here."
        )
    found.append(f"Judge of the replies: {judge_of(run)}. Figures that people made in the paper "
                 "are stand-ins here and not comparable with the paper's.")  # fmt: skip
    found.append(
        "Reward-model scores shown for a model that was trained against them are optimistic; the "
        "judge's and the guard's figures are the evidence."
    )
    found.append(
        "The model and its test prompts are small: the artefacts are the paper's, the sizes of the "
        "effects need not be."
    )
    found.append("One run with one seed: intervals cover the choice of prompts, not of training.")
    with contextlib.suppress(AbsentError):
        # What the data stage has to say about its sources stands there as whole sentences.
        found += [v for v in run.result("data").values() if isinstance(v, str) and " " in v]
    return found


def render(
    run: Run,
    found: Sequence[Section],
    measures: Sequence[Measure],
    *,
    judge: str,
    limits: Sequence[str],
    files: Sequence[str],
) -> str:
    """The whole page; `files` stand beside it."""
    environment = Environment(
        loader=PackageLoader("camelid.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = tables.cell_text
    # The SVG is drawn by this package, so it is the one thing that is not escaped again.
    environment.filters["drawing"] = Markup
    shown = {measure.key: measure.shown for measure in measures}
    return environment.get_template("report.html").render(
        run=run,
        manifest=run.manifest,
        judge=judge,
        files=files,
        sections=found,
        measures=measures,
        shown=shown,
        index=paper_index(found),
        limits=limits,
    )
