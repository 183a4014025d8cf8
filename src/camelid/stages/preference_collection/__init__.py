"""Preference collection (Section 3.2.1).

Annotators see two replies to a prompt, from two model variants at varied temperatures, choose one
and say how much better it is; for safety prompts they also label which replies are safe.
Helpfulness and safety are collected apart. Part of the comparisons continue a dialogue with its
chosen reply. Comparisons whose chosen reply is the unsafe one are excluded and counted, as are
replies that are cut or name a held-out term. Who annotates is handed in by the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.annotation import Annotator
from camelid.data.prompts import HeldOut
from camelid.data.records import Preference, PreferenceStatistics, Prompt
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
from camelid.simulation.config import WorldConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one round of collection."""

    helpfulness_pairs: int
    """Training comparisons of helpfulness a round."""
    safety_pairs: int
    """Training comparisons of safety a round."""
    test_pairs: int
    """Held-out comparisons of each kind a round (1000 per batch in the paper)."""
    guard_pairs: int
    """Comparisons of each kind a round on other prompts, only for the guard reward model."""
    continued_share: float = 0.25
    """Share of the comparisons that continue a dialogue with its chosen reply (Source: choice)."""
    temperatures: tuple[float, ...] = (0.7, 1.0, 1.3)
    """Sampling temperatures; the paper varies them without naming values."""
    max_new_tokens: int = 64
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


PREFERENCE_COLLECTION = StageKind(
    name="preference_collection",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.preference_collection.stage:run",
    report="camelid.stages.preference_collection.report:REPORT",
)
