"""What the report shows of rejection sampling: the best and the median of N samples.

Source: arXiv 2307.09288, Figures 7 and 8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from camelid.data.records import Sample, TuningRow
from camelid.methods.best_of import expected_max, expected_median
from camelid.report import figure
from camelid.run.finished import Found
from camelid.run.item import Drawing, StageReport
from camelid.stages.rejection_sampling import Config, Inputs, Outputs, Result

Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item(
    "rlhf",
    "Best and median of N",
    "Scored by that round's reward models. Mean over all subsets of N samples; a "
    "cut answer counts as 0.",
    "Figure 7",
)
def best_of_n(seen: Seen) -> Drawing:
    """Figure 7: mean of the best and of the median reward of N samples a prompt."""
    with figure.figure(height=3.2) as ((axes,), out):
        for i, stage in enumerate(seen.stages):
            samples = stage.rows(stage.outputs.samples)
            groups = _by_prompt(samples)
            counts = _counts(groups)
            for style, compute, label in (
                ("o-", expected_max, "best"),
                ("s--", expected_median, "median"),
            ):
                values = [np.mean([compute(g, n) for g in groups]) for n in counts]
                axes.plot(
                    counts, values, style, color=figure.colour(i), label=f"{stage.part} {label}"
                )
        axes.set(xlabel="samples a prompt, N", ylabel="mean reward R_c (0 to 1)")
        figure.legend(axes)
    return out[0]


def _by_prompt(rows: Sequence[Sample | TuningRow]) -> list[list[float]]:
    """Rewards R_c by prompt; an answer that was cut cannot win and counts as 0."""
    groups: dict[str, list[float]] = defaultdict(list)
    scores = figure.scores([row.reward for row in rows]).tolist()
    for row, score in zip(rows, scores, strict=True):
        groups[row.prompt_id].append(score if row.stop_reason == "stop" else 0.0)
    return list(groups.values())


def _counts(groups: Iterable[Sequence[float]]) -> range:
    return range(1, min(len(values) for values in groups) + 1)


@REPORT.item(
    "rlhf", "Best of N by temperature", "Scored by the last round's reward models.", "Figure 8"
)
def temperatures(seen: Seen) -> Drawing:
    """Figure 8: mean best reward against N for each temperature."""
    by_temperature: dict[float, list[TuningRow]] = defaultdict(list)
    for row in seen.last.rows(seen.last.outputs.tuning):
        by_temperature[row.temperature].append(row)
    with figure.figure(height=3.2) as ((axes,), out):
        for i, (temperature, rows) in enumerate(sorted(by_temperature.items())):
            groups = _by_prompt(rows)
            counts = _counts(groups)
            values = [np.mean([expected_max(g, n) for g in groups]) for n in counts]
            axes.plot(counts, values, "o-", color=figure.colour(i), label=f"T = {temperature:g}")
        axes.set(xlabel="samples a prompt, N", ylabel="mean best reward R_c (0 to 1)")
        figure.legend(axes)
    return out[0]
