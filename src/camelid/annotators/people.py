"""People as annotators: what they are asked, in files that they answer in.

The pairs are sampled once. A person sees the dialogue and two replies in random order, without the
names of the models, and answers in a file of JSON lines beside what is wanted; `people.txt` says
how. Source: arXiv 2307.09288, Section 3.2.1 (choice, four strengths, safety bins); files, blinding
and the policy for missing answers are Source: choice.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from camelid.annotators import People
from camelid.data.annotation import LABELS, Lineage, Pair, digest
from camelid.data.records import Kind, Preference, SafetyLabel, Strength, parse_record
from camelid.data.text_files import iterate_json_lines
from camelid.errors import DataError, WaitingError, counted
from camelid.run.files import atomic_write_text, hash_file, make_folder, read_json_as, write_json
from camelid.settings import to_json

WANTED, SAMPLED, README = "wanted.jsonl", ".sampled.json", "README.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledPair:
    """A pair with the use that it was sampled for."""

    use: str
    pair: Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """All pairs of one stage, so that they are not sampled again while people are at work."""

    key: str
    """Hash of what decides the sampling."""
    counts: dict[str, int]
    """Prompts and pairs that were left out, by reason."""
    pairs: tuple[SampledPair, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message of a dialogue, as people see it."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A line of what is wanted, and of what people answer: they fill in the empty fields."""

    id: str
    kind: Kind | Literal[""] = ""
    prompt: tuple[Turn, ...] = ()
    reply_a: str = ""
    reply_b: str = ""
    choice: Literal["a", "b", ""] = ""
    strength: Strength | Literal[""] = ""
    safety: SafetyLabel | Literal[""] = ""
    annotator: str = ""
    """Who answered; empty where nobody says so."""


def shown(pair: Pair) -> tuple[str, Pair]:
    """Return the id of a pair and the pair with its replies in an order drawn for it.

    Both depend on the texts alone, so they say nothing of the models.
    """
    key = pair.key
    ordered = pair if pair.reply_a < pair.reply_b else pair.swapped
    turned = int(digest("side", key), 16) % 2
    return f"pair-{digest('id', key)}", ordered.swapped if turned else ordered


class PeopleAnnotator:
    """What people answered to the pairs of one stage.

    Args:
        settings: How many answers must be there.
        root: Run directory.
        folder: Where the files are.
        answers: Name of the file that people write.
    """

    def __init__(self, settings: People, root: Path, folder: Path, answers: str) -> None:
        self.settings, self.root, self.folder = settings, root, folder
        self.file = folder / answers
        self.left_out: Counter[str] = Counter()
        self._found: dict[str, Comparison] = {}

    @property
    def name(self) -> str:
        """See `Annotator`."""
        return self.settings.name

    def sampled(self, key: str, sample: Callable[[], Sampled]) -> Sampled:
        """Return the pairs of a stage: those that were sampled with the same key, else new ones."""
        path = self.folder / SAMPLED
        if path.is_file():
            old = read_json_as(path, Sampled, "Put the folder elsewhere; the pairs are then new.")
            if old.key == key:
                return old
        return sample()

    def ask(self, sampled: Sampled, stage: str) -> None:
        """Write what is wanted, and read what has been answered.

        Args:
            sampled: All pairs of the stage.
            stage: Its name, for the message.

        Raises:
            DataError: A line of the answers is malformed, answers what was not asked or a second
                time, or says something else than it may; file and line are named. Or what was
                wanted has been written into. Nothing is written then.
            WaitingError: Fewer answers are there than must be; says how many and where.
        """
        asked = [(one.use, *shown(one.pair)) for one in sampled.pairs]
        by_id = {name: pair for _, name, pair in asked}
        self._found = self._read(by_id) if self.file.is_file() else {}
        make_folder(self.folder)
        rows = (
            Comparison(
                id=name,
                kind=pair.kind,
                prompt=tuple(Turn(role=m.role, content=m.content) for m in pair.prompt.messages),
                reply_a=pair.reply_a,
                reply_b=pair.reply_b,
            )
            for name, pair in by_id.items()
        )
        texts = {
            WANTED: "".join(f"{json.dumps(to_json(r), ensure_ascii=False)}\n" for r in rows),
            README: Path(__file__).with_name("people.txt").read_text(encoding="utf-8"),
        }
        texts[README] = texts[README].format(answers=self.file.name)
        self._require_untouched(texts[WANTED])
        for name, text in texts.items():
            atomic_write_text(self.folder / name, text)
        write_json(self.folder / SAMPLED, to_json(sampled))
        parts = Counter(f"{use} {pair.kind}" for use, _, pair in asked)
        done = Counter(f"{use} {pair.kind}" for use, name, pair in asked if name in self._found)
        needed = {
            part: math.ceil(self.settings.minimum * count - 1e-9) for part, count in parts.items()
        }
        short = [
            f"{part} {done[part]} of {count}"
            for part, count in parts.items()
            if done[part] < needed[part]
        ]
        if short:
            share = f"{self.settings.minimum:.0%} of each kind and use"
            least = "all are needed" if self.settings.minimum == 1 else f"{share} is needed"
            raise WaitingError(
                f"{stage} waits for people: {done.total()} of "
                f"{counted(parts.total(), 'comparison')} answered ({least}; short are "
                f"{', '.join(short)}). They stand in {self.folder / WANTED}; write the answers to "
                f"{self.file}, one JSON object a line with id, choice (a or b), strength and, for "
                f"safety, safety, as {README} there says. Then run the same command again: it goes "
                "on from here."
            )

    def compare(self, pairs: Sequence[Pair]) -> list[Preference | None]:
        """Return what people said; None for a pair that nobody has answered (see `Comparer`)."""
        return [self._compare(*shown(pair)) for pair in pairs]

    def _compare(self, name: str, pair: Pair) -> Preference | None:
        said = self._found.get(name)
        if said is None or not said.choice or not said.strength:
            self.left_out["unanswered"] += 1
            return None
        # Labels say (chosen, other); a pair is decided by its sides.
        unsafe = next((both for both, label in LABELS.items() if label == said.safety), None)
        if unsafe is not None and said.choice == "b":
            unsafe = unsafe[::-1]
        who = f"{self.name} ({said.annotator})" if said.annotator else self.name
        return pair.decided(
            said.choice, strength=said.strength, unsafe=unsafe, annotator=who, key=who
        )

    def lineage(self) -> Lineage:
        """Return where the labels come from."""
        return Lineage(
            annotator=self.name,
            source=self.file.relative_to(self.root).as_posix(),
            sha256=hash_file(self.file) if self.file.is_file() else None,
        )

    def _require_untouched(self, text: str) -> None:
        """Raise where what is wanted would be written over something else."""
        path = self.folder / WANTED
        if path.is_file() and path.read_bytes() != text.encode():
            raise DataError(
                f"{path} is not as it was written, or of other models or settings. If it holds "
                f"answers to what is asked now, rename it to {self.file.name}; else put it "
                "elsewhere. Then run the same command again."
            )

    def _read(self, asked: dict[str, Pair]) -> dict[str, Comparison]:
        found: dict[str, Comparison] = {}
        lines: dict[str, int] = {}
        for number, data in iterate_json_lines(self.file):
            where = f"{self.file}, line {number}"
            given: Any = data
            if isinstance(data, dict):
                given = {field: value for field, value in data.items() if value is not None}
            said = parse_record(given, Comparison, where)
            if said.id not in asked:
                raise DataError(
                    f"{where}: the id {said.id!r} was not asked for; {WANTED} holds those that "
                    "are. If the models or settings have changed since, put the whole folder "
                    f"{self.folder} elsewhere: new pairs are then wanted."
                )
            if said.id in lines:
                raise DataError(
                    f"{where}: the id {said.id!r} stands in line {lines[said.id]} already; keep "
                    "the one that holds."
                )
            lines[said.id] = number
            wrong = self._wrong(said, asked[said.id])
            if wrong:
                raise DataError(f"{where}: {wrong}")
            if said.choice:
                found[said.id] = said
        return found

    @staticmethod
    def _wrong(said: Comparison, pair: Pair) -> str | None:
        """Return what is wrong with an answer, and what is needed."""
        for side, given, asked in (
            ("reply_a", said.reply_a, pair.reply_a),
            ("reply_b", said.reply_b, pair.reply_b),
        ):
            if given and given != asked:
                return f"{side} is not the one that was asked; leave the replies as they are."
        if not said.choice:
            other = said.strength or said.safety
            return f"found {other!r} but no choice; choose a or b, or empty it." if other else None
        if not said.strength:
            return "a choice without strength; say how much better it is."
        if pair.kind == "safety" and not said.safety:
            return "a safety comparison without safety; say which of the two replies are safe."
        if pair.kind != "safety" and said.safety:
            return f"safety is {said.safety!r}, but must be empty: this is about helpfulness."
        return None
