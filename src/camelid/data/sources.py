"""Readers of public data sets by their public file names and columns.

Texts are stripped, nothing else is changed. A line that cannot be read at all (no JSON, no CSV, a
missing column) is an error that names file and line. A row that can be read but not used is
excluded; its file, line and reason are returned beside the rows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from camelid.data.records import Dialogue, Message, Preference
from camelid.data.text_files import PACKINGS, iterate_json_lines, iterate_lines, iterate_table
from camelid.data.turns import HALF_PAIR, Tally, as_comparison, split_transcript
from camelid.errors import DataError, MissingInputError

HH_SUBSETS = ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")
HH_RLHF = "Anthropic/hh-rlhf"
ANNOTATOR = "Anthropic HH-RLHF, human"
DOLLY = "databricks/databricks-dolly-15k"
ADVBENCH = "llm-attacks/llm-attacks"


@dataclass(frozen=True, kw_only=True, slots=True)
class Excluded:
    """A row that was read and not used."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What one data set gave."""

    used: list[Any] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """One harmful request of AdvBench."""

    id: str
    text: str


def find_public_files(directory: Path) -> dict[str, Path]:
    """Find all public files below a folder.

    Args:
        directory: Holds `hh-rlhf/` (or `hh-rlhf-test/`), `databricks-dolly-15k/` (or `dolly-1000/`)
            and `advbench/`; files may also lie in the folder itself.

    Returns:
        The subsets of HH-RLHF, `dolly` and `advbench`, each with its file.

    Raises:
        MissingInputError: Files are missing; names every one and where the public gets it.
    """
    found: dict[str, Path] = {}
    missing = []
    listed = Path(__file__).with_name("public_files.toml").read_text(encoding="utf-8")
    for name, entry in tomllib.loads(listed).items():
        paths = [directory / f"{place}{end}" for place in entry["places"] for end in PACKINGS]
        there = [path for path in paths if path.is_file()]
        if there:
            found[name] = there[0]
        else:
            missing.append(f"  {entry['places'][0]}: {entry['source']}")
    if missing:
        raise MissingInputError(
            f"{directory}: these public files are needed and missing (.gz, .bz2 or .xz will do):\n"
            + "\n".join(missing)
        )
    return found


def _iterate(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a JSON-lines or CSV file; each column is a string."""
    if ".csv" in path.suffixes:
        yield from iterate_table(iterate_lines(path), str(path), columns)
        return
    for number, row in iterate_json_lines(path):
        for name in columns:
            if not isinstance(row, dict) or not isinstance(row.get(name), str):
                raise DataError(f"{path}, line {number}: needs the text field {name!r}.")
        yield number, row


def parse_transcript(text: str) -> tuple[Message, ...]:
    r"""Parse `\n\nHuman: .. \n\nAssistant: ..` into a dialogue that ends in an assistant turn.

    Raises:
        ValueError: The text is not of this form; the message is the reason.
    """
    messages: list[Message] = []
    for speaker, content, _ in split_transcript(text):
        role: Literal["user", "assistant"] = "assistant" if len(messages) % 2 else "user"
        if (speaker == "Human") != (role == "user"):
            raise ValueError("turns do not alternate")
        if not content.strip():
            raise ValueError("empty turn")
        messages.append(Message(role=role, content=content.strip()))
    if messages[-1].role != "assistant":
        raise ValueError("does not end in an Assistant turn")
    return tuple(messages)


def _read(
    path: Path,
    columns: Sequence[str],
    parse: Callable[[int, dict[str, str]], Any],
    layout: str,
    name: str | None = None,
) -> Rows:
    """Read a file row by row; a row that `parse` cannot use (`ValueError`) is excluded.

    Raises:
        DataError: No row can be used; the reasons and the `layout` that is needed are named.
    """
    rows = Rows()
    for number, row in _iterate(path, columns):
        try:
            if any(HALF_PAIR.search(row[key]) for key in columns):
                raise ValueError("holds half a surrogate pair")
            rows.used.append(parse(number, row))
        except ValueError as error:
            rows.excluded.append(Excluded(file=name or path.name, line=number, reason=str(error)))
    if not rows.used:
        tally = Tally()
        for excluded in rows.excluded:
            tally.add(excluded.reason, f"line {excluded.line}")
        raise DataError(f"{path}: no usable row; {tally}. needed: {layout}.")
    return rows


def read_comparisons(path: Path, subset: str) -> Rows:
    """Read one file of HH-RLHF (columns `chosen`, `rejected`) into `Preference`s."""

    def parse(number: int, row: dict[str, str]) -> Preference:
        sides = (parse_transcript(row[column]) for column in _PAIR)
        prompt, chosen, rejected = as_comparison(*sides)
        return Preference(
            id=f"hh-rlhf/{subset}/{number}",
            kind="safety" if subset.startswith("harmless") else "helpfulness",
            round=1,
            batch=1,
            category=subset,
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            strength=None,
            annotator=ANNOTATOR,
        )

    return _read(path, _PAIR, parse, _TRANSCRIPTS, f"{subset}/{path.name}")


_PAIR = ("chosen", "rejected")
_TRANSCRIPTS = (
    "chosen and rejected, each the whole dialogue as '\\n\\nHuman: ...\\n\\nAssistant: ...', "
    "equal up to the last reply"
)


def read_dolly(path: Path) -> Rows:
    """Read Dolly (columns `instruction`, `context`, `response`, `category`) into `Dialogue`s.

    The context follows the instruction after an empty line; the response carries loss.
    """

    def parse(number: int, row: dict[str, str]) -> Dialogue:
        instruction, context, reply = (row[name].strip() for name in columns[:3])
        if not instruction or not reply:
            raise ValueError("empty instruction or response")
        request = Message(role="user", content=f"{instruction}\n\n{context}".strip())
        return Dialogue(
            id=f"dolly/{number}",
            messages=(request, Message(role="assistant", content=reply, train=True)),
            category=row["category"],
            is_safety=False,
            source=DOLLY,
        )

    columns = ("instruction", "context", "response", "category")
    return _read(path, columns, parse, "an instruction and a response that are not empty")


def read_advbench(path: Path) -> Rows:
    """Read the harmful behaviours of AdvBench (column `goal`) into `Goal`s without repeats."""
    seen: set[str] = set()

    def parse(number: int, row: dict[str, str]) -> Goal:
        text = row["goal"].strip()
        if not text or text in seen:
            raise ValueError("repeated goal" if text else "empty goal")
        seen.add(text)
        return Goal(id=f"advbench/{number}", text=text)

    return _read(path, ("goal",), parse, "a goal that is not empty")
