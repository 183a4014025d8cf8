"""`index.html`: one self-contained page with every table and plot of a run.

Source: choice. All text is escaped by the template; the only raw markup is our own SVG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from camelid.report import energy, examples, figures, paper, tables
from camelid.report.examples import Example
from camelid.report.inputs import RISK_AXES, AbsentError, Run, judge_name
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


def _item(
    anchor: str,
    title: str,
    caption: str,
    build: Callable[[], Content],
    *names: str,
    stands_for: tuple[str, ...] = (),
    folded: bool = False,
) -> Item:
    try:
        found = build()
        missing = None
    except AbsentError as error:
        found, missing = None, str(error)
    except KeyError as error:
        found, missing = None, f"a row of its file has no field {error}"
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


def _judge(run: Run) -> str:
    try:
        return judge_name(run.rows("evaluating/replies.jsonl"))
    except AbsentError:
        return "none"


def sections(run: Run, sample_prompts: int) -> list[Section]:
    """Everything the report shows, in order.

    Args:
        run: The run.
        sample_prompts: How many prompts to show with their replies.
    """
    judge = f"Judge: {_judge(run)}; evaluating/replies.jsonl."
    interval = "Bars and brackets: 95 % intervals."
    scores = "reward_modeling/test_scores.jsonl of each round; pairs by " + run.annotators + "."
    power = energy.stated_power(run.recipe)
    stated = (
        f"{power.watts:g} W stated, PUE {power.pue:g}, {power.intensity:g} kg/kWh."
        if power
        else "The recipe states no watts, so energy is not computed."
    )
    refusals = (("borderline", "refusing", "borderline set"), ("helpful", "refusing", "helpful set"))
    plans = [
        ("results", "What each stage changed", [
            _item("changes", "Models on the same held-out prompts", f"{judge} {interval}",
                  lambda: tables.model_changes(run)),
            _item("wins", "Win rate against SFT", f"{judge} Paired on prompts, ties half. The paper's "
                  f"opponent is another company's model, ours is SFT. {interval}",
                  lambda: figures.rates_by_model(
                      run, (("helpful", "score", "helpful set"),), "win rate against SFT (%)"),
                  "Figure 11", stands_for=("Figure 1", "Figure 12")),
            _item("violations", "Violation rate", f"{judge} {interval}",
                  lambda: figures.rates_by_model(
                      run, (("adversarial", "violating", "adversarial set"),), "violations (%)"),
                  stands_for=("Figure 3", "Figure 17")),
            _item("refusals", "False refusals", f"{judge} The paper varies the share of safety data; "
                  f"here the model version varies. {interval}",
                  lambda: figures.rates_by_model(run, refusals, "refused benign prompts (%)"),
                  "Figure 33"),
        ]),
        ("run", "The run", [
            _item("pipeline", "This run's pipeline", "Arrows: what a stage reads, without those that "
                  "other arrows imply. run.json.", lambda: pipeline(run), "Figure 4"),
            _item("model", "The model", "recipe.json, config.json of the model, result.json.",
                  lambda: tables.model_family(run), "Table 1"),
            _item("energy", "Time, memory, energy and carbon", f"{energy.FORMULA}. {stated} Seconds are "
                  "measured (run.json), watts are not.",
                  lambda: tables.energy_and_carbon(run), "Table 2"),
            _item("loss", "Pretraining", "pretraining/metrics.jsonl.",
                  lambda: figures.training_loss(run), "Figure 5"),
            _item("settings", "Settings beside the paper's", "recipe.json and the paper.",
                  lambda: tables.hyperparameters(run), folded=True),
        ]),
        ("data", "Data", [
            _item("demonstrations", "Two demonstrations", "data/demonstrations.jsonl.",
                  lambda: examples.demonstrations(run), "Table 5"),
            _item("preferences", "Preferences", f"preferences.jsonl, {run.annotators}; sizes in words.",
                  lambda: tables.preference_statistics(run), "Table 6", "Table 26", "Figure 25"),
            _item("prompts", "Evaluation prompts", "evaluating/replies.jsonl.",
                  lambda: tables.evaluation_prompts(run), "Table 32"),
            _item("system", "System prompts", "evaluating/replies.jsonl.",
                  lambda: tables.system_prompts(run), "Table 31"),
        ]),
        ("rewards", "Reward models", [
            _item("accuracy", "Accuracy by kind of pairs (%)", f"{scores} {interval}",
                  lambda: tables.accuracy_by_set(run), "Table 7"),
            _item("strengths", "Accuracy by strength (%)", f"{scores} {interval}",
                  lambda: tables.accuracy_by_strength(run), "Table 8"),
            _item("rounds", "Accuracy by round", f"{scores} {interval}",
                  lambda: figures.accuracy_by_round(run), "Figure 6"),
            _item("gate", "The gate between the two", "result.json of reward_modeling.",
                  lambda: tables.gate(run)),
            _item("ridge", "Reward by model version", "Score by the last round's helpfulness reward "
                  "model, which training optimised; evaluating/replies.jsonl.",
                  lambda: figures.reward_ridge(run), "Figure 20"),
            _item("scatter", "Rewards before and after", "Scores by the reward models that training "
                  "optimised; evaluating/replies.jsonl.",
                  lambda: figures.reward_scatter(run), "Figure 14"),
            _item("disagreement", "Where the two disagree", scores,
                  lambda: examples.disagreements(run), "Table 35"),
        ]),
        ("rlhf", "Rejection sampling and PPO", [
            _item("best-of-n", "Best and median of N", "Scored by that round's reward models; "
                  "samples.jsonl. Expectation over subsets of the samples.",
                  lambda: figures.best_of_n(run), "Figure 7"),
            _item("temperatures", "Temperatures", "Scored by the last round's reward models; "
                  "temperature_tuning.jsonl.", lambda: figures.temperatures(run), "Figure 8"),
            _item("ppo", "PPO", "ppo/iterations.jsonl; the guard is a reward model trained on disjoint "
                  "pairs, which PPO never sees.", lambda: figures.ppo_curves(run)),
        ]),
        ("attention", "Ghost Attention", [
            _item("recall", "Instructions recalled (%)", "String match with the expected text (the "
                  f"paper: people); ghost_attention/recall.jsonl. {interval}",
                  lambda: tables.ghost_attention(run), "Table 30"),
            _item("forgetting", "One dialogue before and after", "ghost_attention/recall.jsonl.",
                  lambda: examples.forgetting(run), "Figure 9"),
        ]),
        ("safety", "Safety", [
            _item("distillation", "Context distillation", "Scored by the safety reward model; "
                  "context_distillation/pairs.jsonl.",
                  lambda: figures.distillation(run), "Figure 16"),
            _item("distilled", "Context distillation, examples", "context_distillation/pairs.jsonl.",
                  lambda: examples.distillation(run), "Table 13"),
            _item("red-team", "Red teaming by round", "red_teaming.jsonl of each round.",
                  lambda: tables.red_team_rounds(run)),
            *(_item(f"red-team-{axis}", f"Red teaming by {axis.replace('_', ' ')}",
                    f"red_teaming.jsonl of each round. {interval}",
                    lambda axis=axis: tables.red_team(run, axis))  # type: ignore[misc]
              for axis in RISK_AXES),
            _item("red-team-cells", "Red teaming, every cell", "red_teaming.jsonl of the last round.",
                  lambda: tables.red_team_cells(run), folded=True),
            _item("categories", "Violations by risk category", f"{judge} {interval}",
                  lambda: tables.violations_by_category(run), stands_for=("Figure 19",)),
            _item("resisted", "Requests now resisted", judge,
                  lambda: examples.adversarial(run), "Table 12"),
            _item("false-refusals", "Benign requests refused", judge,
                  lambda: examples.false_refusals(run), "Table 41"),
        ]),
        ("samples", "Replies before and after", [
            _item("sample-replies", f"{sample_prompts} prompts", judge,
                  lambda: examples.samples(run, sample_prompts),
                  "Table 33", "Table 34", "Table 42", "Table 43"),
        ]),
    ]  # fmt: skip
    return [Section(anchor=a, title=t, items=items) for a, t, items in plans]


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
    found.append(f"Judge of the replies: {_judge(run)}. Figures that people made in the paper are "
                 "stand-ins here and not comparable with the paper's.")  # fmt: skip
    found.append(
        "Reward-model scores shown for a model that was trained against them are optimistic; the "
        "judge's and the guard's figures are the evidence."
    )
    found.append(
        "The model is small and so is the world it is tested in. The artefacts are the paper's; the "
        "sizes of the effects need not be."
    )
    found.append("One run with one seed: intervals cover the choice of prompts, not of training.")
    for stage in ("data", "evaluating"):
        try:
            notes = run.result(stage).get("notes", run.result(stage).get("note", []))
        except AbsentError:
            continue
        found += [str(note) for note in ([notes] if isinstance(notes, str) else notes)]
    return found


def render(run: Run, found: Sequence[Section], measures: Sequence[Measure]) -> str:
    """The whole page."""
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
        judge=_judge(run),
        sections=found,
        measures=measures,
        shown=shown,
        index=paper_index(found),
        limits=limits(run),
    )
