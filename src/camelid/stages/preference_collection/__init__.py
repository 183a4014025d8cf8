"""Preference collection (Section 3.2.1).

Annotators see two replies to a prompt, from two model variants at varied temperatures, choose one
and say how much better it is; for safety prompts they also label which replies are safe.
Helpfulness and safety are collected apart. Part of the comparisons continue a dialogue with its
chosen reply. Comparisons whose chosen reply is the unsafe one are excluded and counted, as are
replies that are cut or name a held-out term. Who annotates is handed in by the recipe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from camelid.data.annotation import Annotator
from camelid.data.prompts import HeldOut
from camelid.data.records import STRENGTHS, Preference, PreferenceStatistics, Prompt
from camelid.run.finished import Found
from camelid.run.item import Cell, Line, StageReport, Table
from camelid.run.place import (
    Json,
    ModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.settings import Number, Share, Temperatures, Tokens, bounded
from camelid.simulation.config import WorldConfig


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of one round of collection."""

    helpfulness_pairs: Number
    """Training comparisons of helpfulness a round."""
    safety_pairs: Number
    """Training comparisons of safety a round."""
    test_pairs: Number
    """Held-out comparisons of each kind a round (1000 per batch in the paper)."""
    guard_pairs: Number
    """Comparisons of each kind a round on other prompts, only for the guard reward model."""
    continued_share: Share = 0.25
    """Share of the comparisons that continue a dialogue with its chosen reply (Source: choice)."""
    temperatures: Temperatures = (0.7, 1.0, 1.3)
    """Sampling temperatures; the paper varies them without naming values."""
    max_new_tokens: Tokens = 64
    """Longest reply in tokens."""
    annotator: Annotator
    """Who compares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    prompts: Rows[Prompt]
    older: ModelFolder
    newer: ModelFolder
    held_out: Json[HeldOut] | None = None
    """Held-out terms; a comparison of a reply that names one is not used."""
    world: Json[WorldConfig] | None = None
    """The pocket world, which writes how a dialogue goes on; without it none is continued."""
    round: int


class Outputs(StageOutputs):
    """What the stage writes."""

    preferences: Rows[Preference] = place("preferences.jsonl")
    test_preferences: Rows[Preference] = place("test_preferences.jsonl")
    guard_preferences: Rows[Preference] = place("guard_preferences.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was collected, and what was left out by reason."""

    statistics: PreferenceStatistics
    counts: dict[str, int]


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
            100 * found.strength.get(strength, 0) / max(1, found.comparisons)
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
    return Table(columns=(*names, *(f"{strength} %" for strength in STRENGTHS)), rows=rows)


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


@REPORT.lines
def _lines(seen: Seen) -> Iterable[Line]:
    if annotators(seen) == "simulated annotators":
        yield Line(tile="doubt", text="What people would prefer: the annotators are simulated.")


PREFERENCE_COLLECTION = StageKind(
    name="preference_collection",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.preference_collection.stage:run",
    report=REPORT,
)
