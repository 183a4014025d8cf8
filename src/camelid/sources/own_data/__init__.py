"""Own data: text, demonstrations, comparisons and prompts from anybody's files.

In place of the paper's own corpora and annotations (Sections 2.1, 3.1 and 3.2.1). Each file has one
of the layouts that `camelid data check` knows. Every conversation gets one use, so that nothing is
tested on what trained it; what is left out is counted by reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from camelid.data.own_uses import PairShares, PromptShares
from camelid.data.records import Dialogue, Preference, Prompt
from camelid.report.texts import demonstrations as shown_demonstrations
from camelid.run.finished import Found
from camelid.run.item import CardField, Cell, Example, Line, NotApplicableError, StageReport, Table
from camelid.run.place import Corpus, Rows, StageOutputs, place
from camelid.run.stage import NoInputs, StageKind
from camelid.settings import Number, Range, SomeShare, bounded

_PAIRS = PairShares()
_PROMPTS = PromptShares()


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Where the data are, and how they are divided (Source: choice)."""

    text: str | None = None
    """File or folder of text to pretrain on."""
    demonstrations: str | None = None
    """File or folder of dialogues."""
    comparisons: str | None = None
    """File or folder of comparisons; those without a column `kind` or `safety` are of
    helpfulness."""
    safety_comparisons: str | None = None
    """The same of safety; of one path named twice each option takes its own kind."""
    prompts: str | None = None
    """File or folder of prompts. Without it a part of the comparisons' conversations serves, or of
    the demonstrations'."""
    left_out: Annotated[tuple[str, ...], Range(0, 100)] = ()
    """Parts of the recipe that do not take part, each with its reason."""
    annotated: bool = False
    """Whether annotators compare replies, which needs prompts of its own."""
    imitated: bool = False
    """Whether an imitation of people learns from a part of the comparisons."""
    document_characters: Number = 8_000
    """Plain text is cut into documents between paragraphs, after so many characters."""
    upsampled: Annotated[tuple[str, ...], Range(0, 1_000)] = ()
    """Mixture of the text: `books=2` counts the documents of the folder or file `books` twice."""
    text_held_out: SomeShare = 0.01
    """Share of the documents that validates pretraining."""
    demonstrations_held_out: SomeShare = 0.05
    """Share of the demonstrations' conversations that measures fine-tuning."""
    conversations_as_prompts: SomeShare = 0.25
    """Share of the comparisons' conversations whose prompts serve where no prompts are given."""
    pairs: PairShares = _PAIRS
    """Uses of the comparisons."""
    splits: PromptShares = _PROMPTS
    """Uses of the prompts."""

    @property
    def paths(self) -> list[Path]:
        """All that is read."""
        named = (
            *(self.text, self.demonstrations, self.comparisons),
            *(self.safety_comparisons, self.prompts),
        )
        return [Path(path) for path in dict.fromkeys(named) if path is not None]


class Outputs(StageOutputs):
    """What the stage writes, each where there is an input for it."""

    corpus: Corpus = place("corpus.txt", optional=True)
    validation: Corpus = place("corpus_validation.txt", optional=True)
    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl", optional=True)
    held_out_demonstrations: Rows[Dialogue] = place("held_out_demonstrations.jsonl", optional=True)
    preferences: Rows[Preference] = place("preferences.jsonl", optional=True)
    guard_preferences: Rows[Preference] = place("guard_preferences.jsonl", optional=True)
    test_preferences: Rows[Preference] = place("test_preferences.jsonl", optional=True)
    imitation_preferences: Rows[Preference] = place("imitation_preferences.jsonl", optional=True)
    """Which no other stage reads than the one that imitates people."""
    prompts: Rows[Prompt] = place("prompts.jsonl", optional=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadFile:
    """One file and what became of its rows."""

    path: str
    """Name in its folder."""
    sha256: str
    format: str
    use: str
    rows: int
    used: int
    left_out: dict[str, int]
    changed: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was read, left out, and divided among which uses."""

    files: tuple[ReadFile, ...]
    documents: dict[str, int]
    """Of the text: by part of the mixture, repeats counted."""
    documents_held_out: int
    characters: int
    demonstrations: int
    demonstrations_held_out: int
    demonstrations_repeated: int
    comparisons: dict[str, int]
    """By use and kind."""
    strengths: int
    """Comparisons of training that have one."""
    safety_labels: int
    prompts_by_split: dict[str, int]
    prompts_left_out: dict[str, int]


Seen = Found[Config, NoInputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item(
    "data",
    "Your files",
    "What was read, how, and what became of the rows.",
    card="Training Data",
    anchor="own-data",
)
def files(seen: Seen) -> Table:
    """A row a file."""

    def counted(tally: dict[str, int]) -> Cell:
        return "; ".join(f"{count:,} x {what}" for what, count in tally.items()) or None

    rows: list[tuple[Cell, ...]] = [
        (f.path, f.format, f.use, f.rows, f.used, counted(f.left_out), counted(f.changed))
        for f in seen.last.result.files
    ]
    rows += [
        (part, "text", "pretraining", None, count, None, None)
        for part, count in seen.last.result.documents.items()
    ]
    names = ("file", "format", "use", "rows", "used", "left out", "changed")
    return Table(columns=names, rows=rows)


@REPORT.item(
    "data",
    "What they are used for",
    "Divided by conversation (its first user message): what tests anything has trained nothing.",
)
def uses(seen: Seen) -> Table:
    """A row a use."""
    found = seen.last.result
    rows: list[tuple[Cell, ...]] = []
    if found.documents:
        rows += [("documents of text, training", sum(found.documents.values())),
                 ("documents of text, held out", found.documents_held_out)]  # fmt: skip
    if found.demonstrations:
        rows += [
            ("demonstrations, training", found.demonstrations),
            ("demonstrations, held out", found.demonstrations_held_out),
            ("demonstrations, exact repeats left out", found.demonstrations_repeated),
        ]
    rows += [(f"comparisons, {use}", count) for use, count in found.comparisons.items()]
    rows += [
        (f"prompts, {split.replace('_', ' ')}", count)
        for split, count in found.prompts_by_split.items()
    ]
    rows += [(f"prompts left out: {why}", count) for why, count in found.prompts_left_out.items()]
    return Table(columns=("use", "number"), rows=rows)


@REPORT.item("data", "Two demonstrations", "Of those that are trained on.", "Table 5")
def _demonstrations(seen: Seen) -> list[Example]:
    place = seen.last.outputs.demonstrations
    if not place.exists:
        raise NotApplicableError
    return shown_demonstrations(seen.last.rows(place))


@REPORT.card
def _card(seen: Seen) -> Iterable[tuple[CardField, str]]:
    names = [file.path for file in seen.last.result.files]
    names += [f"text ({part})" for part in seen.last.result.documents]
    yield "about", f"It learned from files of its maker: {', '.join(names)}."


@REPORT.lines
def _lines(seen: Seen) -> Iterable[Line]:
    found = seen.last.result
    trained = sum(count for use, count in found.comparisons.items() if use.startswith("train"))
    if trained and not found.strengths:
        text = "No comparison says how much better the chosen reply is: no margin was applied."
        yield Line(tile="trained", text=text)
    if seen.last.config.left_out:
        yield Line(tile="trained", text=f"Left out: {'; '.join(seen.last.config.left_out)}.")
    yield Line(tile="doubt", text="Whether the files are what their maker takes them for.")


OWN_DATA = StageKind(
    name="own_data",
    config=Config,
    inputs=NoInputs,
    outputs=Outputs,
    result=Result,
    run="camelid.sources.own_data.stage:run",
    report=REPORT,
    files=lambda config: config.paths,
)
