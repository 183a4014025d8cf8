"""Public data for the `smollm2` recipe: demonstrations, human comparisons and prompts.

In place of the paper's own annotations (Sections 3.1 and 3.2.1): demonstrations from Dolly, human
comparisons from Anthropic's HH-RLHF (open data that the paper's reward models also use, Table 6),
attack prompts from AdvBench. Every conversation of HH-RLHF gets one use by the hash of its first
message, so reward models, guard, tests, rejection sampling and PPO never share a conversation.
Splits do not depend on the run's seed: all runs are tested on the same prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.records import Dialogue, Preference, Prompt
from camelid.errors import ConfigError
from camelid.run.place import Rows, StageOutputs, place
from camelid.run.stage import NoInputs, StageKind

NOTE = (
    "Human comparisons come from the test splits of HH-RLHF only: they alone are read here. They "
    "were split anew, by a hash of each conversation's first message."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Wanted sizes of one use."""

    helpfulness: int
    """Helpfulness rows of HH-RLHF (helpful-*)."""
    safety: int
    """Safety rows of HH-RLHF (harmless-base)."""
    attacks: int = 0
    """Goals of AdvBench; prompts only."""

    def __post_init__(self) -> None:
        if min(self.helpfulness, self.safety, self.attacks) < 0:
            raise ConfigError(f"public data: counts must not be negative, found {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Sizes of the public data. All are Source: choice, for about an hour on two cores."""

    directory: str | None = None
    """Folder with the public files (`--data DIR`)."""
    demonstrations: int = 1000
    """Most dialogues of Dolly (27,540 demonstrations in the paper)."""
    train: Counts = Counts(helpfulness=1000, safety=600)
    """Comparisons for the two reward models (2.9M in the paper)."""
    guard: Counts = Counts(helpfulness=400, safety=100)
    """Comparisons for the guard reward model, which no training ever uses."""
    test_pairs: Counts = Counts(helpfulness=440, safety=460)
    """Comparisons held out to test the reward models."""
    rejection_sampling: Counts = Counts(helpfulness=88, safety=16, attacks=24)
    """Prompts for rejection sampling."""
    ppo: Counts = Counts(helpfulness=272, safety=40, attacks=72)
    """Prompts for PPO."""
    red_teaming: Counts = Counts(helpfulness=0, safety=0, attacks=40)
    """Prompts for red teaming, on which nothing is trained."""
    validation: Counts = Counts(helpfulness=40, safety=8, attacks=16)
    """Prompts that watch PPO."""
    test: Counts = Counts(helpfulness=220, safety=32, attacks=200)
    """Prompts for the evaluation."""
    longest_characters: int = 900
    """Longest comparison (prompt and longer reply), about 256 tokens; longer are left out."""
    longest_prompt: int = 500
    """Longest prompt in characters, about 150 tokens; conversations with longer are left out."""
    longest_demonstration: int = 1800
    """Longest demonstration in characters; longer are left out."""


class Outputs(StageOutputs):
    """What the stage writes."""

    preferences: Rows[Preference] = place("preferences.jsonl")
    guard_preferences: Rows[Preference] = place("guard_preferences.jsonl")
    test_preferences: Rows[Preference] = place("test_preferences.jsonl")
    prompts: Rows[Prompt] = place("prompts.jsonl")
    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Rows of one use."""

    found: int
    wanted: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """One row that could not be read."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Statistics of everything read and left out."""

    demonstrations: int
    distinct_prompts: int
    prompts_by_split: dict[str, int]
    rows_used: dict[str, int]
    sizes: dict[str, Size]
    left_out_too_long: dict[str, int]
    longest_characters: int
    longest_prompt: int
    longest_demonstration: int
    excluded_by_reason: dict[str, int]
    excluded: tuple[LeftOut, ...]
    files: dict[str, str]
    """Folder and name of each file to the hash of its content."""


PUBLIC_DATA = StageKind(
    name="public_data",
    config=Config,
    inputs=NoInputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.public_data.stage:run",
    report="camelid.stages.public_data.report:REPORT",
)
