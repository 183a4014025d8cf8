"""Instructions for Ghost Attention on real text, and the user turns they are to hold through.

A chat model writes lists of hobbies, public figures, languages and words, as the paper's does
(Section 3.3, A.3.5); an instruction combines one or two of them at random. User turns come from
ordinary prompts. What the tests ask for, prompts and values, is never trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from camelid.data.records import GhostDialogue, Prompt
from camelid.data.records import Split as PromptSplit
from camelid.errors import ConfigError
from camelid.inference.sampling import Sampling
from camelid.methods.instruction_checks import tells_languages
from camelid.methods.instructions import InstructionKind, InstructionValue, ListCounts
from camelid.report.estimates import measure
from camelid.run.finished import Found
from camelid.run.item import Example, Measure, StageReport, Table
from camelid.run.place import ModelFolder, Rows, StageInputs, StageOutputs, TokenizerFolder, place
from camelid.run.stage import StageKind
from camelid.settings import Number, Range, Share, SomeShare, bounded

KINDS: tuple[InstructionKind, ...] = ("hobby", "figure", "language", "form")
"""The paper's three kinds, and the form of replies (as in its Figures 9 and 28)."""


def kinds_here() -> tuple[InstructionKind, ...]:
    """The kinds that can be checked with the packages that are installed."""
    return tuple(kind for kind in KINDS if kind != "language" or tells_languages())


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """How many instructions, of what kinds, over which turns (numbers: not in the paper)."""

    train: Number = 400
    """Dialogues to train on."""
    test: Number = 60
    """Dialogues to measure recall on."""
    kinds: Annotated[tuple[InstructionKind, ...], Range(1, 4)] = KINDS
    """What instructions ask for; `language` needs the package py3langid."""
    listed: Annotated[int, Range(2, 1_000)] = 40
    """Values wanted in each list."""
    asks: Annotated[int, Range(0, 1_000)] = 4
    """How often the model is asked for each list; 0 takes the authored lists only."""
    sampling: Sampling = Sampling(temperature=0.8, top_p=0.9, max_new_tokens=192)  # noqa: RUF009
    """How the lists are drawn."""
    held_out: SomeShare = 0.3
    """Share of each list that only test dialogues have."""
    two_parts: Share = 0.4
    """Share of instructions that ask for two things, where their kinds go together."""
    turns: Annotated[int, Range(2, 100)] = 6
    """Most user turns of a dialogue to train on."""
    test_turns: Annotated[int, Range(2, 1_000)] = 6
    """User turns of a dialogue for tests; they come again where recall is measured later."""
    probes: Share = 0.7
    """Share of dialogues to train on whose last turn asks for the instruction, of those that have
    something to ask for."""
    longest: Number = 160
    """Most characters of a user turn."""
    train_split: PromptSplit = "rejection_sampling"
    """Prompts whose first messages are user turns to train on: sampling is as in Section 3.2.3."""
    test_split: PromptSplit = "validation"
    """The same for tests."""

    def __post_init__(self) -> None:
        """Refuse one split for both uses, and a kind given twice."""
        if self.train_split == self.test_split:
            raise ConfigError(
                f"train_split and test_split: both are {self.train_split!r}, but they must differ; "
                "else tests would ask what was trained on."
            )
        if len(set(self.kinds)) < len(self.kinds):
            raise ConfigError(f"kinds: found {list(self.kinds)}, but each must be named once.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    model: ModelFolder
    prompts: Rows[Prompt]


class Outputs(StageOutputs):
    """What the stage writes."""

    ghost_dialogues: Rows[GhostDialogue] = place("dialogues.jsonl")
    values: Rows[InstructionValue] = place("values.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was made of what."""

    dialogues: dict[str, int]
    """By split."""
    two_parts: int
    user_turns: dict[str, int]
    """Distinct ones by split."""
    most_turns: dict[str, int]
    """Turns of the longest dialogue by split: fewer than asked for where prompts are few."""
    prompts_left_out: dict[str, int]
    """By reason."""
    lists: tuple[ListCounts, ...]
    not_asked: int
    """Lists that the model was not asked for, because the question leaves no room for a reply."""


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item(
    "data",
    "Instructions for Ghost Attention",
    "Values that the model wrote when asked for a list, values of authored lists, and lines of the "
    "model's lists that were left out. Tested values are never trained on.",
    anchor="ghost-instructions",
)
def _lists(seen: Seen) -> Table:
    values = seen.last.rows(seen.last.outputs.values)
    rows = []
    for counts in seen.last.result.lists:
        mine = [value for value in values if value.list == counts.list]
        dropped = ", ".join(f"{reason}: {n}" for reason, n in counts.dropped.items())
        examples = [value.text for value in mine if value.origin == "model"]
        tested = sum(value.split == "test" for value in mine)
        rows.append(
            (
                *(counts.list, counts.by_model, counts.authored, dropped or "none", tested),
                ", ".join(examples[:6]),
            )
        )
    return Table(
        columns=("list", "by the model", "authored", "lines left out", "tested", "of the model's"),
        rows=list(rows),
    )


@REPORT.item("data", "Two dialogues for Ghost Attention", "User turns; replies are sampled later.")
def _ghosts(seen: Seen) -> list[Example]:
    ghosts = [g for g in seen.last.rows(seen.last.outputs.ghost_dialogues) if g.split == "train"]
    return [
        Example(
            dialogue=(
                ("instruction", ghost.instruction),
                ("or shortened", ghost.shortened),
                *(("user", turn) for turn in ghost.turns),
            ),
            answers=(),
        )
        for ghost in ghosts[:2]
    ]


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    result = seen.last.result
    model, authored = (
        sum(getattr(counts, origin) for counts in result.lists)
        for origin in ("by_model", "authored")
    )
    yield measure("ghost_instructions.by_model", "count", lambda: float(model))
    yield measure("ghost_instructions.authored", "count", lambda: float(authored))


@REPORT.limits
def _limits(seen: Seen) -> list[str]:
    counts = [found for found in seen.last.result.lists if found.authored]
    kinds = [kind for kind in KINDS if kind not in seen.last.config.kinds]
    said = []
    if counts:
        lists = ", ".join(f"{found.list} ({found.authored})" for found in counts)
        said.append(
            "Not all instructions of Ghost Attention are the model's own: these lists were filled "
            f"up by hand, with so many values: {lists}."
        )
    if kinds:
        said.append(f"Ghost Attention has no instructions of these kinds: {', '.join(kinds)}.")
    return said


GHOST_INSTRUCTIONS = StageKind(
    name="ghost_instructions",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.sources.ghost_instructions.stage:run",
    report=REPORT,
)
