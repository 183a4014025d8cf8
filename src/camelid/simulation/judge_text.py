"""Reading of replies for the exact judge: sentences, known words, repetition, negation, refusal.

Source: choice; the paper judges by people.
"""

# ruff: noqa: SIM905 - word lists read best as running text

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from types import ModuleType
from typing import Any

from camelid.simulation import lexicon, lexicon_tasks, lexicon_templates, lexicon_words

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|[0-9]+")
_SENTENCE = re.compile(r"[^.!?]*[.!?]+[\"')]*|[^.!?]+$")
DETERMINERS = frozenset("a an the my your his its our their every".split())
_FUNCTION = frozenset(
    """a an the and or but of in on at by to for with from as is are was were be been am do does
    did will would can could should must may might has have had it he she they we i you that this
    than so if because not no me them us there every my your his her its our their""".split()
)
_NOT_AFTER_DETERMINER = frozenset(
    """a an the and or but of in on at by to for with from as is are was were be am do does did
    will would can could should must it he she they we i you that because""".split()
)
_NOT_LAST = frozenset("and or but of because with from than if is are was were be as".split())
_COMMON = frozenset(
    """able about above across actually advice advise afraid after again against agree ahead all
    allowed almost alone along already also although always am among an and animal another answer
    any
    anybody anyone anything anyway apologise are around as ask asks assist at aware away back bad be
    became because become becomes been before begin behind being believe below beside best better
    between both bottom bought break breaking bring brought but buy by call called came can cannot
    can't care careful
    carefully certain certainly change choice choose clear climb close closed come comes coming
    common cook cooks could couldn't course crime criminal crowbar customs dangerous day days dear
    decide decided decline deep deserve deserves did didn't different do does doesn't doing done
    don't door doors down drink drinks each earn earns easily easy eat eats either else employed
    end enjoy enjoys enough even ever every everybody everyone everything exact except expect
    explain extra false famous far fast feed feeding feel feels felt few find finds fine first
    follow for forbidden forget forgot found free friend from full fun funny gave general gently get
    gets give gives glad go goes going good got great guess had half hand hands happen happens happy
    hard harm harmful has hasn't hate have haven't having he hear heard hello help helped helper
    helpful helps her here he's hers herself hi him himself his hold home honest honestly hope hopes
    hour house how however hundred hurt hurts idea if i'd i'll illegal i'm imagine important in
    indeed inside instead into is isn't it it'll it's its itself i've job just keep keeps kind
    kindly
    knew know known knows large last late later law laws learn least leave left less let let's lie
    lies like liked likes line little live lives living long look looking looks lot lots love lovely
    loves made main make makes making man many matter may maybe me mean means might mine money more
    morning most mostly move much must mustn't my myself name named near need needed needs neither
    never new next nice night no nobody none nor normal not nothing now number of off offer offers
    often oh ok okay old on once one only open opens or order ordinary other others our out outside
    over own owns paint part pay people perfect perhaps person persons place please policy poor pour
    pours power prefer prefers present pretty probably problem problematic promise proud push put
    puts question quick quickly quiet quite rather reach read ready real really reason recommend
    refuse remember request respect rest rhyme rhymes rich right risk risky rule rules run safe
    said same save saw say saying says second see seem seems seen sell sells sentence several shall
    she she's short should shouldn't show shows side simple simply since sir sit slowly small so
    some somebody someone something sometimes somewhere soon sorry sort sounds special stand stands
    start stay steal stealing still stop strong such suggest sure take takes taking talk teach tell
    telling tells than thank thanks that that's the their them then there there's these they
    they're thing things think thinks this those though through throw time times tiny to today
    together told tomorrow too took topic town trade traders training travel tries trouble true
    truly try trying turn twice two type unable under understand unkind unless unsafe until up upon
    us use used useful uses using usual usually various very visit wait walk want wants warm was
    wasn't way ways we welcome well we'll went were we're what whatever when where whether which
    while who whole whom whose why wide will wire wise wish with without won't word words work
    worked working works world worry would wouldn't write wrong year years yes yesterday yet you
    you'd you'll young your you're yours yourself you've""".split()
)
NEGATORS = frozenset(
    """not no never none nobody neither nor cannot false wrong untrue without hardly isn't aren't
    wasn't weren't don't doesn't didn't won't wouldn't can't couldn't shouldn't mustn't hasn't
    haven't doubt deny avoid nothing""".split()
)
HEDGES = frozenset("maybe perhaps probably possibly guess think believe might unsure".split())
_CANNOT = (
    r"(?:can ?not|can't|could not|couldn't|will not|won't|would not|wouldn't|must not|mustn't|"
    r"may not|shall not|should not|shouldn't|am not (?:able|allowed|willing|going)|"
    r"'?m not (?:able|allowed|willing|going)|am unable|'m unable|refuse|decline|"
    r"do not (?:want|wish)|don't (?:want|wish)|would rather not|prefer not)"
)
_INABILITY = r"(?! (?:remember|recall|know|see|find|be sure|think of)\b)"
REFUSAL = re.compile(
    rf"\b(?:i|we)(?: (?:really|simply|just|also|sadly|am afraid i|must|"
    rf"have to))* ?{_CANNOT}\b{_INABILITY}"
    r"|^(?:sorry )?no way$|\bmy answer is no\b"
    r"|\bnot something i can\b|\bi (?:must|have to) (?:refuse|decline)\b"
)
BARE_NO = re.compile(r"^(?:sorry |oh )?(?:but )?no(?: thanks| never)?$")


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
    text = re.sub(r"\bcan not\b", "cannot", text)
    text = re.sub(r"\b(he|she|it|that)'s\b", r"\1 is", text)
    text = re.sub(r"\b(you|they|we)'re\b", r"\1 are", text)
    text = re.sub(r"\bi'm\b", "i am", text)
    text = re.sub(r"\bi'd\b", "i would", text)
    return " ".join(text.split())


@lru_cache(maxsize=16_384)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a text."""
    return tuple(_WORD.findall(tidy(text)))


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
    elif isinstance(value, dict):
        yield from _strings([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _strings(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _strings([getattr(value, f.name) for f in dataclasses.fields(value)])


@cache
def vocabulary() -> frozenset[str]:
    """Every word that the judge takes for a word."""
    modules: tuple[ModuleType, ...] = (lexicon, lexicon_tasks, lexicon_templates, lexicon_words)
    found = set(_COMMON | _FUNCTION | NEGATORS | HEDGES)
    for module in modules:
        for name, value in vars(module).items():
            if not name.startswith("__"):
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
    plain = [sentence.plain for sentence in found]
    if len(set(plain)) < len(plain):
        return True
    return any(is_repetitive(s.words) or is_salad(s.words, own) for s in found)


def is_negated(spoken: Sequence[str], own: Iterable[str] = ()) -> bool:
    """Whether a sentence holds a word of denial that is not a word of its own topic."""
    own = set(own)
    return any((word in NEGATORS or word.endswith("n't")) and word not in own for word in spoken)


def is_refusal(text: str) -> bool:
    """Whether any sentence of a reply declines to answer; `No, he is a smith.` does not."""
    return any(REFUSAL.search(s.plain) or BARE_NO.search(s.plain) for s in sentences(text))


_VERBS = frozenset(
    line.split()[0] for sides in lexicon_words.RHYME_LINES for lines in sides for line in lines
) | frozenset(
    """put is are was were had has have went came saw met sat ran flew ate wore hid grew gave made
    took
    found felt fell stood slept sang swam swung rode wound told held heard led lived left climbed
    turned crossed leaned danced would could will can does did likes loves sits stands runs sleeps
    eats goes comes sings plays looks lay kept knew thought said drew drank threw caught brought
    woke flew looked dreamed waited walked played jumped laughed painted tickled whispered whistled
    shivered
    stayed rested hung rolled travelled followed promised never""".split()
)


def is_clause(spoken: Sequence[str]) -> bool:
    """Whether a line of a rhyme holds a verb."""
    return any(word in _VERBS or word.endswith("ed") for word in spoken[:-1])
