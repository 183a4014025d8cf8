"""Replies of language models with people's scores, by the public columns of PyRIT's score files.

`refusal.csv` holds 0 (answers) or 1 (refuses), the files in `harm/` the severity from 0 (none) to 1
(worst). Several raters have a column each. From these the judges of real text learn; where the
paper asks people or has a classifier of its own (Sections 4.2.3 and 4.4), its data are not given.
Source: choice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from camelid.data.text_files import PACKINGS, iterate_lines, iterate_table
from camelid.errors import DataError, MissingInputError

SOURCE = "https://github.com/Azure/PyRIT, pyrit/datasets/scorer_evals (MIT)"
FOLDER = "pyrit-human-scores"
Label = Literal["refusal", "harm"]
"""What the people said of a reply."""
_TEXTS = ("objective", "assistant_response")
_RATER = re.compile(r"human_score(_\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredReply:
    """A reply with what people say of it."""

    id: str
    """File and the number of the row's last line."""
    category: str
    """Kind of harm; empty for refusals."""
    prompt: str
    reply: str
    raters: int
    score: float
    """Mean over the raters, 0 to 1."""
    positive: bool
    """Whether it counts as a refusal, or as harmful."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HumanScores:
    """What the files of one label gave."""

    replies: list[ScoredReply]
    left_out: Counter[str]
    """Rows that were read and not used, by reason."""


def find_human_scores(directory: Path) -> dict[Label, list[Path]] | None:
    """Return the score files in a folder, or in its folder `pyrit-human-scores`; None without any.

    Raises:
        MissingInputError: Those of one label are there, those of the other are not.
    """
    for folder in (directory / FOLDER, directory):
        refusals = [folder / f"refusal.csv{end}" for end in PACKINGS]
        harms = [path for end in PACKINGS for path in (folder / "harm").glob(f"*.csv{end}")]
        found: dict[Label, list[Path]] = {
            "refusal": [path for path in refusals if path.is_file()][:1],
            "harm": sorted(harms),
        }
        lacking = [label for label, paths in found.items() if not paths]
        if len(lacking) == 1:
            names = {"refusal": "refusal.csv", "harm": "harm/*.csv"}
            raise MissingInputError(
                f"{folder}: {names[lacking[0]]} is missing, needed beside the other human scores. "
                f"Get it from {SOURCE}, or take the folder away to count refusal strings only."
            )
        if not lacking:
            return found
    return None


def read_human_scores(
    paths: Iterable[Path], label: Label, *, harm_threshold: float = 0.5
) -> HumanScores:
    """Read the files of one label.

    A reply is a refusal where most raters say so; of a tie nothing is known, it is left out. It is
    harmful where the mean severity is at least the threshold. A reply to the same prompt counts
    once.

    Args:
        paths: CSV files, packed or not; lines at the top that begin with # are remarks.
        label: What their scores mean.
        harm_threshold: Half of PyRIT's scale is "significant" harm, a quarter "minimal".

    Raises:
        DataError: A column is missing, a score is none, or no row can be used; file and line are
            named.
    """
    found = HumanScores(replies=[], left_out=Counter())
    seen: set[tuple[str, str]] = set()
    files = list(paths)
    for path in files:
        for number, row in iterate_table(_without_remarks(iterate_lines(path)), str(path), _TEXTS):
            where = f"{path}, line {number}"
            scores = list(_scores(row, label, where))
            prompt, reply = (row[name].strip() for name in _TEXTS)
            mean = sum(scores) / len(scores) if scores else 0.0
            reason = None
            if row.get("data_type", "text") != "text":
                reason = "no text"
            elif not (prompt and reply):
                reason = "empty prompt or reply"
            elif not scores:
                reason = "scored by nobody"
            elif label == "refusal" and mean == 0.5:
                reason = "raters are tied"
            elif (prompt, reply) in seen:
                reason = "repeated"
            if reason is not None:
                found.left_out[reason] += 1
                continue
            seen.add((prompt, reply))
            found.replies.append(
                ScoredReply(
                    id=f"{path.name}, line {number}",
                    category=row.get("harm_category", "").strip().lower(),
                    prompt=prompt,
                    reply=reply,
                    raters=len(scores),
                    score=mean,
                    positive=mean > 0.5 if label == "refusal" else mean >= harm_threshold,
                )
            )
    if not found.replies:
        names = ", ".join(map(str, files))
        raise DataError(
            f"{names}: no usable row, left out: {dict(found.left_out)}; needed: objective, "
            "assistant_response and human_score with a number from 0 to 1."
        )
    return found


def _without_remarks(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines, those of the remarks at the top empty, so that line numbers stay right."""
    top = True
    for line in lines:
        top = top and line.startswith("#")
        yield "\n" if top else line


def _scores(row: dict[str, str], label: Label, where: str) -> Iterator[float]:
    """Yield what each rater said; an empty cell is a rater who said nothing."""
    raters = [name for name in row if _RATER.fullmatch(name)]
    if not raters:
        raise DataError(
            f"{where}: needs a column human_score, or human_score_1 and so on; found {list(row)}."
        )
    for name in raters:
        text = row[name].strip()
        try:
            value = float(text) if text else None
        except ValueError:
            value = -1.0
        if value is None:
            continue
        if not 0 <= value <= 1 or (label == "refusal" and value not in (0, 1)):
            needed = "0 or 1" if label == "refusal" else "a number from 0 to 1"
            raise DataError(f"{where}: {name} is {text!r}; needed {needed}, or nothing.")
        yield value
