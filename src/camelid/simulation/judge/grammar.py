"""Sentence forms that state a fact, recommend an option or tell how to do a task.

A statement is recognised by its whole form, never by the words in it, so that lists of keywords and
shuffled words state nothing. The writer's own templates are forms; `judge_forms.toml` has those
that only replies use. Source: choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from camelid.simulation import lexicon
from camelid.simulation.judge.reading import any_of, plain
from camelid.simulation.lexicon import RECOMMENDATIONS, TALKS, read, texts

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
