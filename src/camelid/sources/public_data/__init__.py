"""Public data for the `smollm2` recipe: demonstrations, human comparisons and prompts.

In place of the paper's own annotations (Sections 3.1 and 3.2.1): demonstrations from Dolly, human
comparisons from Anthropic's HH-RLHF (open data that the paper's reward models also use, Table 6),
attack prompts from AdvBench. Every conversation of HH-RLHF gets one use by the hash of its first
message, so reward models, guard, tests, rejection sampling and PPO never share a conversation.
Splits do not depend on the run's seed: all runs are tested on the same prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.public import PublicDataConfig, Size
from camelid.data.records import Dialogue, Preference, Prompt
from camelid.run.place import Rows, StageOutputs, place
from camelid.run.stage import NoInputs, StageKind

NOTE = (
    "Human comparisons come from the test splits of HH-RLHF only: they alone are read here. They "
    "were split anew, by a hash of each conversation's first message."
)


class Outputs(StageOutputs):
    """What the stage writes."""

    preferences: Rows[Preference] = place("preferences.jsonl")
    guard_preferences: Rows[Preference] = place("guard_preferences.jsonl")
    test_preferences: Rows[Preference] = place("test_preferences.jsonl")
    prompts: Rows[Prompt] = place("prompts.jsonl")
    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl")


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
    config=PublicDataConfig,
    inputs=NoInputs,
    outputs=Outputs,
    result=Result,
    run="camelid.sources.public_data.stage:run",
    report="camelid.sources.public_data.report:REPORT",
)
