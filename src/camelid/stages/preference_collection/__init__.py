"""Preference collection (Section 3.2.1).

Annotators see two replies to a prompt, from two model variants at varied temperatures, choose one
and say how much better it is; for safety prompts they also label which replies are safe.
Helpfulness and safety are collected apart. Part of the comparisons continue a dialogue with its
chosen reply. Comparisons whose chosen reply is the unsafe one are excluded and counted, as are
replies that are cut or name a held-out term. Who annotates is handed in by the recipe; what people
and endpoints are asked and answer stays in the run's folder `annotation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from camelid.annotators import ImitationModels, People
from camelid.data.annotation import Annotator, Lineage, group
from camelid.data.prompts import HeldOut
from camelid.data.records import STRENGTHS, Preference, PreferenceStatistics, Prompt
from camelid.run.finished import Found
from camelid.run.item import AbsentError, Cell, Line, StageReport, Table
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
from camelid.settings import Count, Number, Share, Temperatures, Tokens, bounded
from camelid.simulation.config import WorldConfig


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of one round of collection."""

    helpfulness_pairs: Number
    """Training comparisons of helpfulness a round."""
    safety_pairs: Count
    """Training comparisons of safety a round; with 0 there are none to test with either."""
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
    """The pocket world, which writes how a dialogue goes on; without it none is continued, nor
    where people are asked, who are asked for all at once."""
    imitation: ImitationModels | None = None
    """Who compares where the annotator is an imitation of people."""
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
    lineage: Lineage | None = None
    """Where the labels come from; null in runs made before this was kept."""


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


@REPORT.item(
    "data",
    "Where the comparisons come from",
    "Who was asked, how many pairs came back, and in which file, folder or at which address that "
    "stands (with the start of its hash). An endpoint is asked in both orders of the replies.",
    card="Training Data",
)
def lineages(seen: Seen) -> Table:
    """One row a round: who compared what, from where, and what it cost."""
    rows: list[tuple[Cell, ...]] = []
    for stage in seen.stages:
        found = stage.result.lineage
        if found is not None:
            by = ", ".join(f"{name} {count}" for name, count in found.by.items())
            source = f"{found.source} ({found.sha256[:12]})" if found.sha256 else found.source
            costs = (found.requests, sum(found.failed.values()),
                     found.prompt_tokens, found.completion_tokens)  # fmt: skip
            rows.append(
                (
                    *(stage.part, found.annotator, found.learned_from, found.asked, found.compared),
                    *(by, source),
                    *(costs if found.requests else (None,) * len(costs)),
                )
            )
    if not rows:
        raise AbsentError("this run was made before it was kept who compared")
    names = ("data", "annotator", "learned from", "pairs asked", "compared", "used, by annotator",
             "source", "requests", "failed", "tokens asked", "tokens answered")  # fmt: skip
    return Table(columns=names, rows=rows)


SIMULATED = "simulated annotators"


def annotators(seen: Seen) -> str:
    """Who labelled, as a phrase."""
    names = {
        group(row.annotator)
        for stage in seen.stages
        for row in stage.rows(stage.outputs.preferences)
        if not row.simulated
    }
    return ", ".join(sorted(names)) or SIMULATED


@REPORT.notices
def _notices(seen: Seen) -> Iterable[str]:
    names = annotators(seen)
    if names == SIMULATED:
        yield (
            "The annotators are simulated: programs that see the exact judge's score through noise "
            "and bias. No person labelled, rated or attacked anything here."
        )
    elif names != People().name:
        yield f"Comparisons of replies are by {names}: not all of them are by people."


@REPORT.lines
def _lines(seen: Seen) -> Iterable[Line]:
    names = annotators(seen)
    if names == SIMULATED:
        yield Line(tile="doubt", text="What people would prefer: the annotators are simulated.")
    elif names != People().name:
        yield Line(tile="doubt", text="What people would prefer: others compared in their place.")


PREFERENCE_COLLECTION = StageKind(
    name="preference_collection",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.preference_collection.stage:run",
    report=REPORT,
)
