"""What the report shows of preference collection: sizes and the shares of the strengths."""

from __future__ import annotations

from collections.abc import Iterable

from camelid.data.records import STRENGTHS
from camelid.run.finished import Found
from camelid.run.item import Cell, StageReport, Table
from camelid.stages.preference_collection import Config, Inputs, Outputs, Result

Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()

PAPER = ("the paper (Meta)", 1_418_091, 3.9, 798.5, 31.4, 234.1)


@REPORT.item(
    "data",
    "Preferences",
    lambda seen: f"By {annotators(seen)}.",
    "Table 6",
    "Table 26",
    "Figure 25",
    card="Training Data",
)
def preference_statistics(seen: Seen) -> Table:
    """Tables 6 and 26 and Figure 25: comparisons by round with the shares of the strengths."""
    rows: list[tuple[Cell, ...]] = []
    for stage in seen.stages:
        found = stage.result.statistics
        shares = (
            f"{100 * found.strength.get(strength, 0) / max(1, found.comparisons):.0f} %"
            for strength in STRENGTHS
        )
        rows.append(
            (
                stage.part,
                found.comparisons,
                found.turns_per_dialogue,
                found.tokens_per_example,
                found.tokens_in_prompt,
                found.tokens_in_response,
                *shares,
            )
        )
    rows.append((*PAPER, *([None] * len(STRENGTHS))))
    names = ("data", "comparisons", "turns per dialogue", "tokens per example",
             "tokens in prompt", "tokens in response")  # fmt: skip
    return Table(columns=(*names, *STRENGTHS), rows=rows)


def annotators(seen: Seen) -> str:
    """Who labelled, as a phrase."""
    names = {
        row.annotator
        for stage in seen.stages
        for row in stage.rows(stage.outputs.preferences)
        if not row.simulated
    }
    return ", ".join(sorted(names)) or "simulated annotators"


@REPORT.notices
def _notices(seen: Seen) -> Iterable[str]:
    if annotators(seen) == "simulated annotators":
        yield (
            "The annotators are simulated: programs that see the exact judge's score through noise "
            "and bias. No person labelled, rated or attacked anything here."
        )
