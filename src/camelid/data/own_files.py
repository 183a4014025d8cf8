"""Records from people's files: dialogues, comparisons and prompts of any known layout.

A file has one layout, which its first row tells. What cannot be read (no JSON, another layout, a
wrong type, an unknown role) is an error that names file and line. A row that can be read but not
used is left out; what was left out or changed is counted with its first line. Source: choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from camelid.data.layouts import KINDS, LAYOUTS, OASST_MESSAGES, Held, Layout, Record, as_trees
from camelid.data.records import (
    Dialogue,
    Kind,
    Preference,
    Prompt,
    SafetyLabel,
    Strength,
)
from camelid.data.text_files import (
    PACKINGS,
    iterate_json_lines,
    iterate_json_list,
    iterate_lines,
    iterate_table,
)
from camelid.data.turns import HALF_PAIR, Tally, as_comparison, as_dialogue, as_prompt, tidy
from camelid.errors import DataError, MissingInputError
from camelid.settings import read_value

Use = Literal["dialogues", "comparisons", "prompts"]
_USES: dict[type[Record], Use] = {
    Dialogue: "dialogues",
    Preference: "comparisons",
    Prompt: "prompts",
}
T = TypeVar("T", Dialogue, Preference, Prompt)
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
"""Names of people's files end so, packed or not."""


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that are named, and those of the folders that are, without `.txt` there.

    Raises:
        MissingInputError: There is no such file or folder, or none in a folder.
    """
    found = []
    for path in paths:
        if not path.exists():
            raise MissingInputError(f"{path} does not exist. Name another file or folder.")
        inside = sorted(p for p in path.glob("*") if _ending(p) in ENDINGS[:-1])
        if path.is_dir() and not inside:
            raise MissingInputError(
                f"{path}: no file of data in it; name a file, or a folder of files that end in "
                f"{', '.join(ENDINGS[:-1])} (each may be packed: {', '.join(PACKINGS[1:])})."
            )
        found += inside if path.is_dir() else [path]
    return found


def _ending(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in PACKINGS else path).suffix.lower()


def iterate_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number, row) of a file: JSON lines, a JSON list, a table, or lines of text.

    Raises:
        MissingInputError: There is no such file.
        DataError: The file is damaged or of another kind; names file and line.
    """
    ending = _ending(path)
    if ending not in ENDINGS:
        raise DataError(f"{path}: ends in {ending!r}, needed one of {', '.join(ENDINGS)}.")
    if ending == ".txt":
        return ((n, line) for n, line in enumerate(iterate_lines(path), 1) if not line.isspace())
    if ending in (".csv", ".tsv"):
        # The line ends of the file are no part of its texts.
        lines = (line.replace("\r\n", "\n") for line in iterate_lines(path))
        return iterate_table(lines, str(path), tabs=ending == ".tsv")
    # Many a list's name ends in .json, and many a file of JSON lines' too.
    opening = next((line for line in iterate_lines(path) if not line.isspace()), "")
    is_list = ending == ".json" and opening.lstrip().startswith("[")
    return iterate_json_list(path) if is_list else iterate_json_lines(path)


class OwnFile:
    """One file, read once, row by row: `for record in OwnFile(path, use): ...`.

    Attributes:
        layout: How its rows look.
        use: What they become.
        rows: Rows read so far.
        records: Records made so far.
        left_out: Rows, or parts of one, that cannot be used, by reason.
        changed: What was changed in those that are used.
    """

    def __init__(self, path: Path, use: Use | None = None, *, kind: Kind = "helpfulness") -> None:
        """Open a file and recognise its layout.

        Args:
            path: The file.
            use: What its rows are to become; None for what the first row looks like.
            kind: Of comparisons that have no column `kind` and no label of safety.

        Raises:
            MissingInputError: There is no such file.
            DataError: It is damaged, empty or of an unknown layout, or its layout does not serve
                the use.
        """
        self.path, self.kind = path, kind
        self.rows = self.records = 0
        self.left_out, self.changed = Tally(), Tally()
        rows = iterate_rows(path)
        first = next(rows, None)
        if first is None:
            raise DataError(f"{path}: holds no row; needed at least one.")
        self._rows = chain([first], rows)
        layout = _layout_of(first[1])
        if layout is None:
            known = "".join(f"\n  {layout.name}: {layout.needs}" for layout in LAYOUTS)
            raise DataError(
                f"{path}, line {first[0]}: unknown format, found {_describe(first[1])}; needed one "
                f"of:{known}"
            )
        self.layout = layout
        self.use: Use = use or self._natural_use(*first)
        if (self.use == "comparisons") != self.layout.compares:
            raise DataError(f"{path}: found {self.layout.name}, needed {self.use}.")

    def _natural_use(self, line: int, row: Any) -> Use:
        """Return what the file is for: a first row that ends with a user's turn is a prompt."""
        if self.layout.compares:
            return "comparisons"
        # A tree's first message may be one that nobody answered.
        if self.layout.read is OASST_MESSAGES.read:
            return "dialogues"
        try:
            messages = [m for held in self.layout.read(row, []) for m in tidy(held.turns, [])]
        except ValueError:
            return "dialogues"
        except DataError as error:
            raise DataError(f"{self.path}, line {line}: {error}") from None
        return "prompts" if messages and messages[-1].role == "user" else "dialogues"

    def _checked(self) -> Iterator[tuple[int, Any]]:
        """Yield rows, all of the layout of the first."""
        for line, row in self._rows:
            self.rows += 1
            if not self.layout.fits(row):
                other = _layout_of(row)
                mixed = f" The row is of {other.name}: split mixed formats." if other else ""
                raise DataError(
                    f"{self.path}, line {line}: found {_describe(row)}; the rows before are "
                    f"{self.layout.name} and need {self.layout.needs}.{mixed}"
                )
            yield line, row

    def __iter__(self) -> Iterator[Record]:
        """Yield the records.

        Raises:
            DataError: A row cannot be read, or none can be used; names file and line.
        """
        rows = self._checked()
        gathered = as_trees(rows, self.left_out) if self.layout is OASST_MESSAGES else rows
        for line, row in gathered:
            where = f"line {line}"
            try:
                yield from self._records(row, line, where)
            except ValueError as error:
                self.left_out.add(str(error), where)
            except DataError as error:
                raise DataError(f"{self.path}, {where}: {error}") from None
        if not self.records:
            raise DataError(
                f"{self.path}: no usable row for {self.use}; {self.left_out}. "
                f"Needed: {self.layout.needs}."
            )

    def _records(self, row: Any, line: int, where: str) -> Iterator[Record]:
        dropped: list[str] = []
        columns = row if isinstance(row, dict) else {}
        for number, held in enumerate(self.layout.read(row, dropped)):
            changes: list[str] = []
            name = f"{self.path.name}/{line}{f'/{number}' if number else ''}"
            try:
                record = self._record(held, columns, name, changes)
            except ValueError as error:
                self.left_out.add(str(error), where)
                continue
            for change in changes:
                self.changed.add(change, where)
            self.records += 1
            yield record
        for change in dropped:
            self.changed.add(change, where)

    def _record(self, held: Held, columns: dict[str, Any], name: str, changes: list[str]) -> Record:
        messages, own = tidy(held.turns, changes), held.own
        record: Record
        if held.rejected is not None:
            prompt, chosen, rejected = as_comparison(messages, tidy(held.rejected, []))
            if isinstance(own, Preference):
                record = replace(own, prompt=prompt, chosen=chosen, rejected=rejected)
            else:
                record = Preference(
                    id=name,
                    round=1,
                    batch=1,
                    category=_category(columns),
                    prompt=prompt,
                    chosen=chosen,
                    rejected=rejected,
                    annotator=self.path.name,
                    **_labels(columns, self.kind),
                )
            # Section 3.2.1 leaves these out too.
            if record.safety == "chosen_unsafe":
                raise ValueError("chosen is unsafe and rejected safe")
            return record
        origin: dict[str, Any] = {
            "category": _category(columns),
            "source": self.path.name,
            "is_safety": _flag(columns, "is_safety"),
        }
        if self.use == "dialogues":
            whole = as_dialogue(messages, changes)
            if isinstance(own, Dialogue):
                return replace(own, messages=whole)
            return Dialogue(id=name, messages=whole, **origin)
        asked = as_prompt(messages, changes)
        if isinstance(own, Prompt):
            return replace(own, messages=asked)
        return Prompt(id=name, messages=asked, split="rm_train", **origin)


def _layout_of(row: Any) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.fits(row)), None)


def _category(columns: dict[str, Any]) -> str:
    category = columns.get("category")
    if isinstance(category, str) and HALF_PAIR.search(category):
        raise ValueError("holds half a surrogate pair")
    return category if isinstance(category, str) else ""


def _flag(columns: dict[str, Any], name: str) -> bool:
    """Return a column that says true or false, which in a table is a word."""
    value = columns.get(name)
    value = {"true": True, "false": False, "": False}.get(str(value).lower(), value)
    return bool(read_value(False if value is None else value, bool, name, error=DataError))


def _labels(columns: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Return the labels of a comparison, null where there are no columns for them."""
    found: dict[str, Any] = {}
    for name, type_ in (("strength", Strength), ("safety", SafetyLabel), ("kind", Kind)):
        label = columns.get(name) or None
        if isinstance(label, str):
            label = label.strip().lower().replace(" ", "_").replace("-", "_")
        found[name] = label and read_value(label, type_, name, error=DataError)
    return {**found, "kind": found["kind"] or ("safety" if found["safety"] else kind)}


def _describe(row: Any) -> str:
    if isinstance(row, dict):
        return f"an object with {', '.join(map(repr, list(row)[:20])) or 'nothing'}"
    return KINDS.get(type(row), f"the value {row!r:.60}")


def read_own(
    paths: Iterable[Path], schema: type[T], *, kind: Kind = "helpfulness"
) -> tuple[list[T], list[OwnFile]]:
    """Read files for a stage: all records, and each file with its counts.

    Args:
        paths: Files, or folders of files.
        schema: What the rows are to become: `Dialogue`, `Preference` or `Prompt`.
        kind: As for `OwnFile`.

    Raises:
        MissingInputError: There is no such file or folder.
        DataError: A file cannot be read, or none of its rows used; names file and line.
    """
    files = [OwnFile(path, _USES[schema], kind=kind) for path in find_files(paths)]
    return [row for file in files for row in file if isinstance(row, schema)], files


class Pairs(NamedTuple):
    """Comparisons of a file, and what became of its other rows."""

    used: list[Preference]
    left_out: Tally
    """Rows that cannot be used, by reason; as a text it says how many, why, and the first lines."""
    changed: Tally
    """What was changed in rows that are used, as by `camelid data check`."""


def read_pairs(path: str | Path) -> Pairs:
    """Read comparisons of anybody, in any layout that `camelid data check` knows.

    Args:
        path: A file with `chosen` and `rejected` (texts, messages or transcripts) or with scored
            completions; columns `strength` and `safety` are labels.

    Raises:
        MissingInputError: There is no such file.
        DataError: A line cannot be read, or no row can be used; file and line are named.
    """
    used, [file] = read_own([Path(path)], Preference)
    return Pairs(used, file.left_out, file.changed)
