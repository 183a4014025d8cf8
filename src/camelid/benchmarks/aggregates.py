"""The paper's averages over benchmarks, each with its standard error.

Source: arXiv 2307.09288, Section 2.3 and Tables 3 and 19-25. Where Table 3 departs from its own
rule (Math of 7B and 13B is GSM8K alone) the rule holds here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from camelid.errors import DataError


class Score(NamedTuple):
    """A mean over items."""

    value: float
    """In the unit of the items: a share where they are right or wrong."""
    standard_error: float
    """Of the mean over items; NaN for a single one."""
    n: int
    """Items behind it."""
    items: int
    """Items that the benchmark has; more than `n` under a limit."""
    note: str = ""
    """What makes it another figure than the benchmark's: a limit, a subset, thin examples."""


def score(values: Sequence[float], items: int | None = None) -> Score:
    """Return the mean of the items' values.

    Raises:
        DataError: There is none.
    """
    if not values:
        raise DataError("score: found no item; at least one needed.")
    n = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Score(float(np.mean(values)), error, n, n if items is None else items)


def average(scores: Sequence[Score], weights: Sequence[float] | None = None) -> Score:
    """Return the weighted mean of independent scores; equal weights by default."""
    shares = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    shares = shares / shares.sum()
    return Score(
        float(sum(w * s.value for w, s in zip(shares, scores, strict=True))),
        math.sqrt(sum((w * s.standard_error) ** 2 for w, s in zip(shares, scores, strict=True))),
        sum(s.n for s in scores),
        sum(s.items for s in scores),
        "; ".join(dict.fromkeys(s.note for s in scores if s.note)),
    )


def question_weighted(scores: Sequence[Score]) -> Score:
    """Return the mean in which every question of every part counts alike (MMLU, AGI Eval)."""
    return average(scores, [s.items for s in scores])


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of the chance that one of k samples is correct.

    1 - C(n - c, k) / C(n, k), as a product that does not overflow. Source: arXiv 2107.03374,
    equation 1, which Table 21 uses.

    Raises:
        DataError: Not 0 <= correct <= samples, or fewer than k samples.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise DataError(
            f"pass@{k}: found {correct} correct of {samples} samples; k or more needed."
        )
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


CATEGORIES: dict[str, tuple[str, ...]] = {
    "Code": ("humaneval@0", "mbpp@3"),
    "Commonsense reasoning": (
        *("piqa@0", "siqa@0", "hellaswag@0", "winogrande@0"),
        *("arc_easy@0", "arc_challenge@0", "openbookqa@0", "commonsenseqa@7"),
    ),
    "World knowledge": ("naturalquestions@5", "triviaqa@5"),
    "Reading comprehension": ("squad@0", "quac@0", "boolq@0"),
    "Math": ("gsm8k@8", "math@4"),
    "MMLU": ("mmlu@5",),
    "BBH": ("bbh@3",),
    "AGI Eval": ("agieval@5",),
}
"""Columns of Table 3 and the tasks, with their shots, whose plain mean each is."""
MMLU_CATEGORIES: dict[str, str] = {
    "Humanities": "formal_logic high_school_european_history high_school_us_history "
    "high_school_world_history international_law jurisprudence logical_fallacies moral_disputes "
    "moral_scenarios philosophy prehistory professional_law world_religions",
    "STEM": "abstract_algebra anatomy astronomy college_biology college_chemistry "
    "college_computer_science college_mathematics college_physics computer_security "
    "conceptual_physics electrical_engineering elementary_mathematics high_school_biology "
    "high_school_chemistry high_school_computer_science high_school_mathematics "
    "high_school_physics high_school_statistics machine_learning",
    "Social Sciences": "econometrics high_school_geography high_school_government_and_politics "
    "high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality "
    "professional_psychology public_relations security_studies sociology us_foreign_policy",
    "Other": "business_ethics clinical_knowledge college_medicine global_facts human_aging "
    "management marketing medical_genetics miscellaneous nutrition professional_accounting "
    "professional_medicine virology",
}
"""Subjects of each column of Table 19."""
BBH_TASKS = (
    "boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages "
    "formal_fallacies geometric_shapes hyperbaton logical_deduction_five_objects "
    "logical_deduction_seven_objects logical_deduction_three_objects movie_recommendation "
    "multistep_arithmetic_two navigate object_counting penguins_in_a_table "
    "reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks "
    "sports_understanding temporal_sequences tracking_shuffled_objects_five_objects "
    "tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects "
    "web_of_lies word_sorting"
)
"""Files of BIG-Bench Hard: 23 tasks, two of them in three sizes each."""
AGIEVAL_TASKS = {
    "AQuA-RAT": "aqua-rat",
    "LogiQA": "logiqa-en",
    "LSAT-AR": "lsat-ar",
    "LSAT-LR": "lsat-lr",
    "LSAT-RC": "lsat-rc",
    "SAT-en": "sat-en",
    "SAT-en (w/o Psg.)": "sat-en-without-passage",
    "SAT-math": "sat-math",
}
"""Columns of Table 24 and the names of their files."""


def with_groups(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Add the groups whose parts are all there to scores by task (`name@shots`).

    A group is never the mean of some of its parts: it stays away until all have a score.
    """
    found = dict(scores)
    groups = {
        f"mmlu:{column}": [f"mmlu_{subject}" for subject in subjects.split()]
        for column, subjects in MMLU_CATEGORIES.items()
    }
    groups["mmlu"] = [part for parts in groups.values() for part in parts]
    groups["agieval"] = [f"agieval_{task}" for task in AGIEVAL_TASKS.values()]
    for group in ("bbh", "bbh-chain"):
        groups[group] = [f"{group}_{task}" for task in BBH_TASKS.split()]
    for k in {name.rpartition("@")[2] for name in scores}:
        for group, parts in groups.items():
            members = [f"{part}@{k}" for part in parts]
            # BBH is the plain mean of all files, each size of a task by itself, as in the harness.
            mean = average if group.startswith("bbh") else question_weighted
            if all(member in scores for member in members):
                found[f"{group}@{k}"] = mean([scores[member] for member in members])
    return found


def table3(scores: Mapping[str, Score]) -> dict[str, Score | None]:
    """Return the columns of Table 3 from scores by task; None where a task has no score."""
    return {
        category: average([scores[t] for t in tasks]) if all(t in scores for t in tasks) else None
        for category, tasks in CATEGORIES.items()
    }


def read_scores(table: Mapping[str, Any]) -> dict[str, Score]:
    """Return the scores by task of a `scores.json`."""
    return {
        name: Score(**{field: entry[field] for field in Score._fields if field in entry})
        for name, entry in table["tasks"].items()
    }


def shown(score: Score) -> str:
    """Return a share in % with its standard error, and a mark where there is a note."""
    mark = " †" if score.note else ""
    return f"{100 * score.value:.1f} ± {100 * score.standard_error:.1f}{mark}"
