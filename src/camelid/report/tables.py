"""Tables of the report, each computed from files of the run.

Source: arXiv 2307.09288, Tables 1, 2, 5-8, 12, 13, 26, 30-32, 35, 41 and 52; the paper's figures
that stand beside ours are quoted from it.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from camelid.data.records import STRENGTHS
from camelid.evaluation.statistics import Estimate, mean, proportion
from camelid.paper import paper_values
from camelid.report import energy, summary
from camelid.report.inputs import RISK_AXES, AbsentError, Row, Run, attempt, flags, judge_name
from camelid.settings import flatten

Cell = str | float | None

PAPER_TABLE_8 = {
    ("safety_rm", "safety"): (94.3, 76.3, 65.7, 55.3, 64.5),
    ("helpfulness_rm", "safety"): (89.9, 73.2, 63.8, 54.5, 62.8),
    ("safety_rm", "helpfulness"): (64.6, 57.5, 53.8, 52.2, 56.2),
    ("helpfulness_rm", "helpfulness"): (80.7, 67.5, 60.9, 54.7, 63.2),
}
"""Accuracy in % by (reward model, kind of pairs): the four strengths, then the average."""
PAPER_TABLE_30 = {2: (100, 100), 4: (10, 100), 6: (0, 100)}
"""Recall in % by turn: baseline, with Ghost Attention."""
PAPER_PREFERENCES = ("the paper (Meta)", 1_418_091, 3.9, 798.5, 31.4, 234.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Columns and rows; None shows as a dash."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def write_csv(self, path: Path) -> None:
        """Write the unrounded cells, an empty field where there is none."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows)

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join("| " + " | ".join(_plain(cell) for cell in row) + " |" for row in lines)


def cell_text(cell: Cell) -> str:
    """One cell for people: three or more digits, a dash for nothing."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if not math.isfinite(cell):
        return "–"
    if float(cell).is_integer():
        return f"{cell:,.0f}"
    return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"


def _plain(cell: Cell) -> str:
    return cell_text(cell).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def percent(found: Estimate) -> str:
    """An estimated share in % with its 95 % interval."""
    return f"{100 * found.value:.1f} ({max(0, 100 * found.low):.1f}–{100 * found.high:.1f})"


def _text(answer: Callable[..., summary.Answer], *arguments: object) -> Cell:
    found, _ = answer(*arguments)
    return percent(found) if isinstance(found, Estimate) else None


def _average(run: Run, model: str, name: str) -> Cell:
    rows = run.replies(model, *summary.REPLY_SETS)
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    return mean(values).value if values else None


def _distinct(run: Run, model: str) -> Cell:
    replies = [row["reply"] for row in run.replies(model, *summary.REPLY_SETS)]
    return round(100 * len(set(replies)) / len(replies), 1)


def model_changes(run: Run) -> Table:
    """What each model version does on the same held-out prompts."""
    verdicts = (("adversarial", "violating"), ("borderline", "refusing"))
    columns = (
        "model",
        "exactly right %",
        "win rate against SFT %",
        "violations %",
        "false refusals %",
        "reward (logit)",
        "guard reward (logit)",
        "length (tokens)",
        "distinct replies %",
    )
    rows: list[tuple[Cell, ...]] = [
        (
            model,
            attempt(None, _text, summary.share, run, model, "helpful", "exact"),
            None if model == "sft" else attempt(None, _text, summary.wins, run, model),
            *(attempt(None, _text, summary.share, run, model, *verdict) for verdict in verdicts),
            *(
                attempt(None, _average, run, model, n)
                for n in ("reward", "guard_rm", "reply_tokens")
            ),
            attempt(None, _distinct, run, model),
        )
        for model in run.models
    ]
    return Table(columns=columns, rows=rows)


def model_family(run: Run) -> Table:
    """Table 1: attributes of this run's model beside the paper's smallest and largest."""
    stage = "pretraining" if (run.root / "pretraining").is_dir() else "weights"
    shape = run.json(f"{stage}/model/config.json")
    shape = shape.get("model", shape)
    used = flatten(run.recipe)
    result = attempt({}, run.result, stage)
    heads, groups = shape.get("heads"), shape.get("kv_heads")
    rows: list[tuple[Cell, ...]] = [
        ("parameters", result.get("parameters"), "6.7 billion", "69 billion"),
        ("training tokens", result.get("tokens"), "2.0 trillion", "2.0 trillion"),
        ("context (tokens)", shape.get("context"), 4096, 4096),
        ("vocabulary", shape.get("vocabulary_size"), 32000, 32000),
        ("grouped-query attention", "yes" if groups != heads else "no", "no", "yes"),
        ("width", shape.get("dim"), 4096, 8192),
        ("blocks", shape.get("layers"), 32, 80),
        ("query / key-value heads", f"{heads} / {groups}", "32 / 32", "64 / 8"),
        (
            "peak learning rate",
            used.get("from_text.pretraining.optimizer.learning_rate"),
            "3.0e-4",
            "1.5e-4",
        ),
    ]
    return Table(columns=("", f"this run ({run.name})", "Llama 2 7B", "Llama 2 70B"), rows=rows)


def energy_and_carbon(run: Run) -> Table:
    """Table 2: seconds, memory, energy and CO2 by stage, the energy from stated watts."""
    power = energy.stated_power(run.manifest)
    if not run.stages:
        raise AbsentError("run.json names no finished stage")
    rows: list[tuple[Cell, ...]] = []
    for name, stage in run.stages.items():
        seconds = float(stage.get("seconds") or 0)
        memory = stage.get("peak_memory_gib")
        if power is None:
            rows.append((name, round(seconds, 1), memory, None, None, None))
            continue
        used = energy.energy_kwh(seconds, power.watts, power.pue)
        rows.append((name, round(seconds, 1), memory, power.watts, used, used * power.intensity))
    total = [sum(float(row[i] or 0) for row in rows) for i in (1, 4, 5)]
    peak = max((float(row[2] or 0) for row in rows), default=0.0)
    spent = (power.watts, *total[1:]) if power else (None, None, None)
    rows.append(("whole run", round(total[0], 1), peak, *spent))
    names = ("stage", "seconds", "peak memory (GiB)", "watts (stated)", "kWh", "kg CO2eq")
    return Table(columns=names, rows=rows)


def preference_statistics(run: Run) -> Table:
    """Tables 6 and 26 and Figure 25: comparisons by round with the shares of the strengths."""
    tokens = ("tokens_per_example", "tokens_in_prompt", "tokens_in_response")
    sizes = ("comparisons", "turns_per_dialogue", *tokens)
    found = {
        name: result
        for name in run.rounds
        if (result := attempt({}, run.result, f"{name}/preference_collection"))
    }
    if not found:
        kinds = Counter(str(row["kind"]) for row in run.preferences())
        found = {f"{kind} pairs": {"comparisons": count} for kind, count in kinds.items()}
    rows: list[tuple[Cell, ...]] = []
    for name, result in found.items():
        count, strengths = result["comparisons"], result.get("strength", {})
        cells: list[Cell] = [result.get(size) for size in sizes]
        for strength in STRENGTHS:
            share = f"{100 * strengths.get(strength, 0) / count:.0f} %"
            cells.append(share if strengths else None)
        rows.append((name, *cells))
    rows.append((*PAPER_PREFERENCES, *([None] * len(STRENGTHS))))
    names = ("data", *(size.replace("_", " ") for size in sizes), *STRENGTHS)
    return Table(columns=names, rows=rows)


def accuracy_by_set(run: Run) -> Table:
    """Table 7: both reward models on both kinds of held-out pairs."""
    rows: list[tuple[Cell, ...]] = []
    for name in run.rounds:
        for model in ("helpfulness_rm", "safety_rm"):
            cells = [_accuracy(run, name, model, None, k) for k in ("helpfulness", "safety")]
            rows.append((f"{name} {model}", *cells))
    _need(rows, run)
    for model in ("helpfulness_rm", "safety_rm"):
        paper = [PAPER_TABLE_8[model, kind][4] for kind in ("helpfulness", "safety")]
        rows.append((f"the paper, {model}", *paper))
    return Table(columns=("reward model", "helpfulness pairs %", "safety pairs %"), rows=rows)


def accuracy_by_strength(run: Run) -> Table:
    """Table 8: accuracy by strength of preference, the paper's beside."""
    rows: list[tuple[Cell, ...]] = []
    for (model, kind), paper in PAPER_TABLE_8.items():
        cells = [
            _accuracy(run, run.last_round, model, strength, kind) for strength in (*STRENGTHS, None)
        ]
        rows.append((f"{model} on {kind} pairs, {run.last_round}", *cells))
        rows.append((f"{model} on {kind} pairs, the paper", *paper))
    _need(rows[::2], run)
    return Table(columns=("reward model", *STRENGTHS, "all"), rows=rows)


def _accuracy(run: Run, name: str, model: str, strength: str | None, kind: str) -> Cell:
    return attempt(None, lambda: percent(summary.accuracy(run, name, model, strength, kind)))


def _need(rows: Iterable[tuple[Cell, ...]], run: Run) -> None:
    if not any(cell is not None for row in rows for cell in row[1:]):
        raise AbsentError(f"recipe {run.name} has no scored held-out pairs")


def gate(run: Run) -> Table:
    """The gate's threshold by round with its precision and recall (Section 3.2.3)."""
    rows: list[tuple[Cell, ...]] = []
    for name in run.rounds:
        found = attempt({}, run.result, f"{name}/reward_modeling").get("gate")
        if found:
            names = ("threshold", "precision", "recall")
            rows.append((name, *(found.get(key) for key in names)))
            rest = [found.get(f"{key}_at_paper_threshold") for key in names[1:]]
            rows.append((f"{name} at the paper's threshold", 0.15, *rest))
    if not rows:
        raise AbsentError("no round has a gate in reward_modeling/result.json")
    rows.append(("the paper", 0.15, 0.89, 0.55))
    return Table(columns=("round", "safety threshold", "precision", "recall"), rows=rows)


def ghost_attention(run: Run) -> Table:
    """Table 30: recall by turn before and after training, the paper's beside."""
    rows: list[tuple[Cell, ...]] = []
    for turn, paper in PAPER_TABLE_30.items():
        found = [summary.recall(run, turn, when)[0] for when in ("before", "after")]
        rows.append((turn, *(percent(e) for e in found if isinstance(e, Estimate)), *paper))
    names = ("turn", "before %", "after %", "paper, baseline %", "paper, GAtt %")
    return Table(columns=names, rows=rows)


def system_prompts(run: Run) -> Table:
    """Table 31: the system prompts that the evaluated dialogues carry."""
    counts: Counter[str] = Counter()
    for row in run.rows("evaluating/replies.jsonl"):
        texts = [m["content"] for m in row["prompt"] if m["role"] == "system"]
        counts[str(texts[0]) if texts else "(none)"] += 1
    return Table(columns=("system prompt", "evaluated replies"), rows=list(counts.most_common()))


def evaluation_prompts(run: Run) -> Table:
    """Table 32: this run's evaluation prompts by set, category and turns."""
    seen = {(row["set"], row["prompt_id"]): row for row in run.rows("evaluating/replies.jsonl")}
    counts: dict[tuple[str, str], Counter[bool]] = defaultdict(Counter)
    for row in seen.values():
        group = row.get("risk_category") or row.get("category") or "–"
        counts[row["set"], str(group)][int(row.get("turns") or 1) > 1] += 1
    rows: list[tuple[Cell, ...]] = [
        (name, group, found[False], found[True]) for (name, group), found in sorted(counts.items())
    ]
    return Table(columns=("set", "category", "single-turn", "multi-turn"), rows=rows)


def red_team(run: Run, axis: str) -> Table:
    """Violation rates of red teaming's new prompts along one axis, by round."""
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    rounds = _red_team_rounds(run)
    for name, rows in rounds.items():
        for row in _new(rows):
            found[str(row.get(axis) or "–")][name].append(bool(row["violating"]))
            found["all"][name].append(bool(row["violating"]))
    body: list[tuple[Cell, ...]] = []
    for value in [*sorted(set(found) - {"all"}), "all"]:
        cells = [_rate(found[value].get(name, [])) for name in rounds]
        body.append((value, *cells))
    return Table(
        columns=(axis.replace("_", " "), *(f"{n} violations %" for n in rounds)), rows=body
    )


def _rate(values: Sequence[bool]) -> Cell:
    return percent(proportion(sum(values), len(values))) if values else None


def _red_team_rounds(run: Run) -> dict[str, list[Row]]:
    found = {}
    for name in run.rounds:
        if (run.root / f"{name}/red_teaming/red_teaming.jsonl").is_file():
            found[name] = run.rows(f"{name}/red_teaming/red_teaming.jsonl")
    if not found:
        raise AbsentError(run.absence(f"{run.last_round}/red_teaming/red_teaming.jsonl"))
    return found


def _new(rows: Sequence[Row]) -> list[Row]:
    """Rows that do not repeat a violation of an earlier round."""
    return [row for row in rows if not row.get("earlier_violation")]


def red_team_cells(run: Run) -> Table:
    """Category x vector x strength of the last round of red teaming."""
    name, rows = list(_red_team_rounds(run).items())[-1]
    cells: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    for row in _new(rows):
        cells[tuple(str(row.get(a) or "–") for a in RISK_AXES)].append(bool(row["violating"]))
    body: list[tuple[Cell, ...]] = [
        (*key, len(values), round(100 * sum(values) / len(values), 1))
        for key, values in sorted(cells.items())
    ]
    names = (*(axis.replace("_", " ") for axis in RISK_AXES), "attempts", f"{name} violations %")
    return Table(columns=names, rows=body)


def red_team_rounds(run: Run) -> Table:
    """Red teaming by round: violation rate and the share of earlier violations now resisted."""
    rows: list[tuple[Cell, ...]] = []
    for name, found in _red_team_rounds(run).items():
        earlier = [not row["violating"] for row in found if row.get("earlier_violation")]
        judges = judge_name(found)
        fresh = [bool(row["violating"]) for row in _new(found)]
        rows.append((name, len(fresh), _rate(fresh), len(earlier), _rate(earlier), judges))
    rows.append(("the paper", None, None, None, "90 on average", "people"))
    names = (
        "round",
        "new attempts",
        "violations %",
        "earlier violations",
        "now resisted %",
        "judge",
    )
    return Table(columns=names, rows=rows)


def violations_by_category(run: Run) -> Table:
    """Violations of the first and last chat model by risk category, on the same prompts."""
    models = [model for model in run.models if model != "base"]
    groups: dict[str, dict[str, list[Row]]] = defaultdict(dict)
    for model in models:
        for row in run.replies(model, "adversarial"):
            group = str(row.get("risk_category") or "–")
            groups[group].setdefault(model, []).append(row)

    def rate(rows: list[Row]) -> Cell:
        found = flags(rows, "violating")
        return percent(proportion(int(sum(found)), len(found)))

    body: list[tuple[Cell, ...]] = [
        (group, *(attempt(None, rate, found.get(m, [])) for m in models))
        for group, found in sorted(groups.items())
    ]
    return Table(columns=("risk category", *(f"{m} violations %" for m in models)), rows=body)


def hyperparameters(run: Run) -> Table:
    """Every setting of the recipe for which the paper prints a value, both beside each other."""
    used = flatten(run.recipe)
    rows: list[tuple[Cell, ...]] = [
        (name, str(used[name]), value) for name, value in paper_values().items() if name in used
    ]
    if not rows:
        raise AbsentError("recipe.json has none of the settings that the paper prints")
    return Table(columns=("setting", "used here", "the paper"), rows=rows)
