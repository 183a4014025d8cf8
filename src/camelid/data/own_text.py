"""People's text to pretrain on: documents of `.txt` and JSON-lines files, packed or not.

Source: choice (arXiv 2307.09288, Section 2.1, says of its corpus that factual sources were
up-sampled, not how).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from camelid.data.text_files import PACKINGS, iterate_json_lines, iterate_lines
from camelid.errors import ConfigError, DataError, MissingInputError
from camelid.settings import suggestion

ENDINGS = (".txt", ".jsonl", ".ndjson")
"""Names of files of text end so, packed or not."""
END_OF_DOCUMENT = "<|endoftext|>"
"""A line of its own that ends a document, as in TinyStories."""


class Document(NamedTuple):
    """A document and the part of the mixture that it belongs to."""

    part: str
    text: str

    @property
    def number(self) -> float:
        """From 0 to 1, spread evenly and a function of the text alone."""
        return int.from_bytes(hashlib.sha256(self.text.encode()).digest()[:8], "big") / 2**64


def _stem(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in PACKINGS else path


def text_files(root: Path) -> dict[Path, str]:
    """Return the files of text of a folder at any depth, or one file, with their part of the mix.

    The part is the first folder below the root; of a file in the root itself its name without
    endings.

    Raises:
        MissingInputError: There is no such path, or no file of text in it.
    """
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    found = {}
    for path in files:
        if path.is_file() and (path == root or _stem(path).suffix.lower() in ENDINGS):
            inside = path.relative_to(root).parts if path != root else (path.name,)
            found[path] = inside[0] if len(inside) > 1 else _stem(path).stem
    if not found:
        raise MissingInputError(
            f"{root}: no file of text. Name a file, or a folder of files, that ends in "
            f"{', '.join(ENDINGS)} (each may be packed: {', '.join(PACKINGS[1:])})."
        )
    return found


def _of_lines(path: Path, most: int) -> Iterator[str]:
    """Yield documents of plain text: paragraphs gathered up to so many characters."""
    gathered: list[str] = []
    size = 0
    for line in iterate_lines(path):
        text = line.rstrip()
        ends = text == END_OF_DOCUMENT
        if not ends:
            gathered.append(text)
            size += len(text) + 1
        # A document ends between paragraphs, not within one.
        if ends or (size >= most and not text):
            yield "\n".join(gathered)
            gathered, size = [], 0
    yield "\n".join(gathered)


def _of_rows(path: Path) -> Iterator[str]:
    for number, row in iterate_json_lines(path):
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise DataError(f"{path}, line {number}: needs the text field 'text'.")
        yield text


def documents(root: Path, most: int) -> Iterator[Document]:
    """Yield the documents of a file or folder, without empty ones.

    Args:
        root: As for `text_files`.
        most: Characters after which a document of plain text ends with its paragraph. A row of
            JSON lines is a document, however long.

    Raises:
        MissingInputError: As `text_files`.
        DataError: A file is damaged, or a row has no text; file and line are named.
    """
    for path, part in text_files(root).items():
        plain = _stem(path).suffix.lower() not in ENDINGS[1:]
        for text in _of_lines(path, most) if plain else _of_rows(path):
            if stripped := text.strip():
                yield Document(part, stripped)


def read_factors(words: tuple[str, ...], parts: Mapping[Path, str]) -> dict[str, float]:
    """Return how often each part of the mixture counts, from words such as `books=2`.

    Raises:
        ConfigError: A word is not of this form, or there is no such part.
    """
    factors: dict[str, float] = {}
    known = sorted({*parts.values()})
    for word in words:
        name, _, value = word.rpartition("=")
        if name not in known:
            raise ConfigError(
                f"own_data.upsampled: '{word}' names no part of the text.{suggestion(name, known)}"
                f" Write NAME=FACTOR; there are: {', '.join(known)}."
            )
        try:
            factors[name] = float(value)
        except ValueError:
            factors[name] = -1.0
        if not 0 <= factors[name] <= 1_000:
            raise ConfigError(f"own_data.upsampled: '{word}' needs a factor from 0 to 1,000.")
    return factors


def repeats(document: Document, factors: Mapping[str, float]) -> int:
    """Return how often a document stands in the mixture: a fraction is that share of them."""
    factor = factors.get(document.part, 1.0)
    # Another digit of the number than the one that holds documents out.
    return int(factor) + ((document.number * 1_000) % 1 < factor % 1)
