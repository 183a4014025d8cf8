"""Reading of replies for the exact judge: sentences, known words, repetition, negation, refusal.

Source: choice; the paper judges by people.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from camelid.simulation import lexicon
from camelid.simulation.lexicon import read, texts

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|[0-9]+")
_CONTRACTIONS = read("judge_words", "contractions", dict[str, str])
_SENTENCE = re.compile(r"[^.!?]*[.!?]+[\"')]*|[^.!?]+$")


def any_of(alternatives: Iterable[str]) -> str:
    """A pattern of any of these."""
    return f"(?:{'|'.join(alternatives)})"


DETERMINERS = frozenset(texts("judge_words", "determiners"))
_FUNCTION = frozenset(texts("judge_words", "function"))
_NOT_AFTER_DETERMINER = frozenset(texts("judge_words", "not_after_determiner"))
_NOT_LAST = frozenset(texts("judge_words", "not_last"))
_COMMON = frozenset(texts("judge_words", "common"))
NEGATORS = frozenset(texts("judge_words", "negators"))
HEDGES = frozenset(texts("judge_words", "hedges"))


def patterns(file: str) -> dict[str, re.Pattern[str]]:
    """Patterns of a data file; `{name}` in one is any text of that list of the file."""
    found = read(file, "patterns", dict[str, tuple[str, ...]])
    forms = {name: "|".join(alternatives) for name, alternatives in found.items()}
    names = {name for form in forms.values() for name in re.findall(r"\{(\w+)\}", form)}
    lists = {name: any_of(texts(file, name)) for name in names}
    return {name: re.compile(form.format(**lists)) for name, form in forms.items()}


PATTERNS = patterns("judge_words")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, lower-cased."""

    words: tuple[str, ...]
    end: str
    """`.`, `!`, `?` or empty when the text breaks off."""
    text: str
    """As written, with its punctuation, lower-cased."""

    @property
    def plain(self) -> str:
        """Words joined by spaces, without punctuation."""
        return " ".join(self.words)


def tidy(text: str) -> str:
    """Straighten quotes, lower-case, collapse white space."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    text = text.replace("“", '"').replace("”", '"').lower()
    for short, long in _CONTRACTIONS.items():
        text = re.sub(short, long, text)
    return " ".join(text.split())


@lru_cache(maxsize=16_384)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a text."""
    return tuple(_WORD.findall(tidy(text)))


def plain(text: str) -> str:
    """Lower-case words joined by spaces, without punctuation."""
    return " ".join(words(text))


def sentences(text: str) -> list[Sentence]:
    """Sentences of a text; the last one has no `end` if the text breaks off."""
    found = []
    for match in _SENTENCE.finditer(tidy(text)):
        raw = match.group().strip()
        stripped = raw.rstrip("\"')")
        end = stripped[-1:] if stripped[-1:] in ".!?" else ""
        spoken = tuple(_WORD.findall(raw))
        if raw.startswith("no,") and len(spoken) > 1:
            # An interjection denies what stood before, not what follows.
            spoken = spoken[1:]
        if spoken:
            found.append(Sentence(spoken, end, raw))
    return found


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _strings(dataclasses.astuple(value))
    elif isinstance(value, (dict, tuple)):
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _strings(item)


@cache
def vocabulary() -> frozenset[str]:
    """Every word that the judge takes for a word."""
    found = set(_COMMON | _FUNCTION | NEGATORS | HEDGES)
    for name, value in vars(lexicon).items():
        # What users say of themselves is theirs: its words make no reply clear.
        if not name.startswith("_") and name not in ("TALKS", "OPENINGS"):
            for text in _strings(value):
                found.update(words(re.sub(r"\{\w*\}", " ", text)))
    return frozenset(found)


@cache
def is_known(word: str) -> bool:
    """Whether a word, or its stem, is in the vocabulary."""
    known = vocabulary()
    if word in known or word.isdigit():
        return True
    word = word.removesuffix("'s")
    if word in known:
        return True
    stems = [word.removesuffix(end) for end in ("s", "es", "ed", "ing", "er") if word.endswith(end)]
    stems += [word[:-1]] if word.endswith("ed") else []
    stems += [word[:-3] + "e"] if word.endswith("ing") else []
    stems += [word[:-3] + "y"] if word.endswith("ies") else []
    return any(len(stem) > 2 and stem in known for stem in stems)


def is_repetitive(spoken: Sequence[str]) -> bool:
    """Whether words or phrases of one sentence come again and again."""
    doubled = any(a == b and a not in ("that", "very", "maybe") for a, b in pairwise(spoken))
    triples = Counter(zip(spoken, spoken[1:], spoken[2:], strict=False))
    content = Counter(word for word in spoken if word not in _FUNCTION)
    return doubled or max(triples.values(), default=0) > 1 or max(content.values(), default=0) > 2


def is_salad(spoken: Sequence[str], own: Iterable[str] = ()) -> bool:
    """Whether words are strung together as in no sentence: unknown, dangling or bare lists.

    Args:
        spoken: Words of one sentence.
        own: Further words to take for words (from the prompt's reference).
    """
    extra = set(own)
    if any(not is_known(word) and word not in extra for word in spoken):
        return True
    for word, following in zip(spoken, (*spoken[1:], ""), strict=True):
        if word in DETERMINERS and (following in _NOT_AFTER_DETERMINER or not following):
            return word != "her" or bool(following)
        if word in _NOT_LAST and not following:
            return True
    run = 0
    for word in spoken:
        run = 0 if word in _FUNCTION or word in DETERMINERS else run + 1
        if run > 5:
            return True
    return len(spoken) > 3 and not any(word in _FUNCTION for word in spoken)


def content_words(spoken: Iterable[str]) -> list[str]:
    """The words that are more than grammar."""
    return [word for word in spoken if word not in _FUNCTION]


def is_broken(text: str, own: Iterable[str] = ()) -> bool:
    """Whether a reply is empty, cut off, repetitive, repeated or gibberish."""
    found = sentences(text)
    if not found or not found[-1].end:
        return True
    if len({sentence.plain for sentence in found}) < len(found):
        return True
    return any(is_repetitive(s.words) or is_salad(s.words, own) for s in found)


def is_negated(spoken: Sequence[str], own: Iterable[str] = ()) -> bool:
    """Whether a sentence holds a word of denial that is not a word of its own topic."""
    own = set(own)
    return any((word in NEGATORS or word.endswith("n't")) and word not in own for word in spoken)


def is_refusal(text: str) -> bool:
    """Whether any sentence of a reply declines to answer; `No, he is a smith.` does not."""
    return any(PATTERNS["refusal"].search(sentence.plain) for sentence in sentences(text))


_VERBS = frozenset(
    line.split()[0] for sides in lexicon.RHYME_LINES for lines in sides for line in lines
) | frozenset(texts("judge_words", "rhyme_verbs"))


def is_clause(spoken: Sequence[str]) -> bool:
    """Whether a line of a rhyme holds a verb."""
    return any(word in _VERBS or word.endswith("ed") for word in spoken[:-1])
