"""What users tell of themselves and ask for again (`talks.toml`)."""

from __future__ import annotations

from dataclasses import dataclass

from camelid.simulation.lexicon import read, texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """One kind of thing that users tell; {v} is what is asked for, {n} what it is told of."""

    attribute: str
    """What is asked for: a key of `words.TELLABLE`, or the name; of the judge's reference."""
    of: str = ""
    """What it is told of: a key of `words.TELLABLE`; empty where it is told of oneself."""
    told: tuple[str, ...]
    heard: str
    """The assistant's acknowledgement."""
    replies: tuple[str, ...]
    """Phrasings of a good reply."""


TALKS = read("talks", "talks", dict[str, Talk])
"""Key of the question's templates to the talk."""
OPENINGS = texts("talks", "openings")
