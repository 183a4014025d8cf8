"""How the exact judge reads replies: sentences, known words, refusals, and what a sentence states.

A statement is recognised by its whole form, never by the words in it, so that lists of keywords and
shuffled words state nothing. The writer's own templates are forms; `judge_forms.toml` has those
that only replies use. Source: choice; the paper judges by people.
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
from camelid.simulation.lexicon import RECOMMENDATIONS, TALKS, read, texts

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


LEAD = f"(?:{any_of(texts('judge_forms', 'leads'))} )*"
HEDGE = f"(?P<hedge>{any_of(texts('judge_forms', 'hedges'))} )?"
_FACTS = read("judge_forms", "facts", dict[str, tuple[str, ...]])
_PRONOUNS = read("judge_forms", "pronouns", dict[lexicon.EntityKind, str])
_PARTS = read("judge_forms", "parts", dict[str, dict[str, str]])


def _stripped(text: str) -> str:
    """Plain words without a leading article."""
    return re.sub(r"^(?:the|a|an) ", "", plain(text))


def _given(*names: str) -> str:
    """A pattern of the lines that stand before the sentence, as named groups.

    Compiling costs far more than matching, so no pattern holds a subject, value, task or option:
    each is given on a line of its own, and the pattern refers back to it.
    """
    return "".join(rf"(?P<{name}>.*)\n" for name in names)


@dataclass(frozen=True, slots=True)
class _Forms:
    """Sentence forms as patterns of a whole sentence and of the start of one."""

    whole: re.Pattern[str]
    start: re.Pattern[str]

    def match(self, *lines: str) -> re.Match[str] | None:
        """Match the last line, given the others; `rest` holds what follows."""
        text = "\n".join(lines)
        # The whole sentence first: a shorter form must not leave a rest that a longer one explains.
        return self.whole.match(text) or self.start.match(text)


def _compiled(given: str, forms: Iterable[str], parts: dict[str, str]) -> _Forms:
    pattern = f"{given}{LEAD}{HEDGE}{_expanded(forms, parts)}"
    return _Forms(re.compile(rf"{pattern}(?P<rest>)$"), re.compile(rf"{pattern}(?P<rest> .*)$"))


def _expanded(forms: Iterable[str], parts: dict[str, str]) -> str:
    """Any of the forms, each part written out; whatever is upper-case in a form is a part."""
    return re.sub("|".join(parts), lambda part: parts[part.group()], any_of(forms))


_MARKS = {"s": "qqs", "v": "qqv", "n": "qqn", "a_v": "qqa qqv", "task": "qqt", "means": "qqm"}


def _derived(templates: Iterable[str]) -> list[str]:
    """The writer's templates as forms: plain words, with the parts for the slots."""
    # Slots are marked by words of no language, because templates are read as words first.
    marked = (plain(template.format(**_MARKS)) for template in templates)
    subjects = (re.sub(r"\b(?:the |a |an |every )?qqs\b", "S", form) for form in marked)
    return [re.sub(r"\bqq(\w)\b", lambda mark: mark[1].upper(), form) for form in subjects]


def _kind(subject: str, attribute: str) -> lexicon.EntityKind:
    """Which pronouns stand for the subject of a fact."""
    known = lexicon.ATTRIBUTE.get(attribute)
    is_entity = subject[:1].isupper() or attribute in ("diet", "den", "colour")
    return known.kind if known and is_entity else "person"


@cache
def _fact_forms(attribute: str, kind: lexicon.EntityKind) -> _Forms:
    """Forms of one attribute, given subject and value."""
    known = lexicon.ATTRIBUTE.get(attribute)
    told = [form for talk in TALKS.values() if talk.attribute == attribute for form in talk.replies]
    own = _derived([*(known.statements if known else ()), *told])
    # The wider forms go first: what the writer's add is tried on what is left.
    forms = any_of([*_FACTS[attribute], *own])
    parts = _PARTS["fact"] | {"S": _PARTS["fact"]["S"].replace("PRONOUN", _PRONOUNS[kind])}
    return _compiled(_given("subject", "value"), [LEAD + forms], parts)


def states_fact(sentence: str, subject: str, attribute: str, value: str) -> re.Match[str] | None:
    """Match a sentence (plain words) that states the value; `rest` holds what follows."""
    if attribute not in _FACTS:
        return None
    forms = _fact_forms(attribute, _kind(subject, attribute))
    return forms.match(plain(subject), plain(value), sentence)


def states_anything(sentence: str, subject: str, value: str) -> bool:
    """Whether a sentence gives the subject this value in any relation at all."""
    found = (states_fact(sentence, subject, attribute, value) for attribute in _FACTS)
    return any(match and not match["rest"] for match in found)


@cache
def other_subjects() -> frozenset[str]:
    """Lower-case names of everything that can be a subject."""
    names = {name.lower() for group in lexicon.NAMES.values() for name in group}
    return frozenset(names | set(lexicon.ITEMS) | set(lexicon.COUNTED) | set(lexicon.KIN))


_OPTION = "(?:(?:the |a |an )?(?P=option))"


def _recommendation(x: str) -> re.Pattern[str]:
    # Of the writer's forms, what stands before the verb.
    own = [plain(form.partition("{verb}")[0]) for form in RECOMMENDATIONS if "{verb}" in form]
    parts = {
        "OPENING": any_of([*own, *texts("judge_forms", "openings")]),
        "VERB": any_of([*lexicon.CHOICES, *texts("judge_forms", "verbs")]),
        "X": x,
    }
    return re.compile(
        _given("option") + LEAD + _expanded(texts("judge_forms", "recommendation"), parts)
    )


_RECOMMENDS = _recommendation(_OPTION)
_RECOMMENDS_IT = _recommendation("(?:it|there|that one|him|her|them|this one)")


def recommends(clause: str, option: str, *, pronoun: bool = False) -> bool:
    """Whether a clause (plain words) recommends exactly this option, or it by a pronoun."""
    pattern = _RECOMMENDS_IT if pronoun else _RECOMMENDS
    return bool(pattern.fullmatch(f"{_stripped(option)}\n{clause}"))


_REASON = re.compile(
    rf"{_given('option', 'reason')}(?:it|he|she|they|this|that|{_OPTION}) "
    rf"{any_of(texts('judge_forms', 'reason_verbs'))} (?:so |very |a |an |the )?(?P=reason)"
)


def gives_reason(clause: str, option: str, reason: str) -> bool:
    """Whether a clause (plain words) states the reason of this option."""
    return bool(_REASON.fullmatch(f"{_stripped(option)}\n{_stripped(reason)}\n{clause}"))


_PLACE = re.compile(r" (?:in|at|of) the \w+$")


def _without_place(task: str) -> str:
    return _PLACE.sub("", plain(task))


_HOW_TO = _compiled(
    _given("task", "short", "means"),
    [*texts("judge_forms", "how_to"), *_derived(lexicon.HOW_TO_REPLIES)],
    _PARTS["how_to"],
)


def tells_how(sentence: str, task: str, means: str) -> re.Match[str] | None:
    """Match a sentence (plain words) that gives the means; `rest` holds what follows."""
    return _HOW_TO.match(plain(task), _without_place(task), _stripped(means), sentence)


def tells_how_to_any(sentence: str, tasks: Sequence[str], means: str) -> bool:
    """Whether a sentence (plain words) gives the means of any of these tasks."""
    named = [task for task in tasks if _without_place(task) in sentence]
    # A form that names no task fits every task alike, so one of them stands for all.
    return any(tells_how(sentence, task, means) for task in named or tasks[:1])


def found_values(sentence: str, values: Sequence[str]) -> list[str]:
    """Values that stand in a sentence (plain words), longest first, none inside another."""
    left, found = f" {sentence} ", []
    for value in sorted(values, key=len, reverse=True):
        phrase = f" {_stripped(value)} "
        if phrase in left:
            found.append(value)
            left = left.replace(phrase, "  ")
    return found
