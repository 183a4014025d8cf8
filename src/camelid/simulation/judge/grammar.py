"""Sentence forms that state a fact, recommend an option or tell how to do a task.

A statement is recognised by its whole form, never by the words in it, so that lists of keywords and
shuffled words state nothing. Source: choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from camelid.simulation.judge.text import words
from camelid.simulation.lexicon.facts import ATTRIBUTE, NAMES, EntityKind
from camelid.simulation.lexicon.words import COUNTED, ITEMS, KIN

LEAD = (
    r"(?:(?:yes|well|sure|of course|hello|indeed|certainly|i know(?: that)?|as far as i know|"
    r"you (?:told me|said)(?: before)?(?: that)?|i (?:remember|recall|heard)(?: that)?|"
    r"the answer is(?: that)?|i can tell you(?: that)?|people say(?: that)?|"
    r"everyone knows that) )*"
)
HEDGE = (
    r"(?P<hedge>(?:maybe|perhaps|probably|possibly|i (?:think|guess|believe)(?: that)?|"
    r"it (?:may|might) be that) )?"
)
_OFTEN = r"(?:(?:often|mostly|usually|always|also|really|only) )?"
_TONE = r"(?:(?:bright|dark|light|pale|deep|very|quite|all) )?"
_LIVING = r"(?:a|his|her|their|its|the) living"

# S subject, P possessive, A article, V value.
_FACTS: dict[str, str] = {
    "trade": rf"""S (?:works?|is working|is employed|(?:earns?|makes?) {_LIVING}) as A V
        |S (?:is|are|became|has become) A V|(?:the|P) (?:trade|job
        |work) (?:of S )?is (?:that of )?A V
        |P (?:trade|job|work) is (?:that of )?A V|everyone knows S the V|S has the (?:job|trade
        |work) of A V""",
    "pet": r"""S OFTEN(?:keeps?|has|have|owns?|loves) A(?: pet)? V|S (?:keeps?|has|have) A V at home
        |S OFTEN(?:keeps?|has|have|owns?) A V as A pet|at home S keeps A V
        |S OFTENplays with A(?: pet)? V
        |the (?:pet|animal) of S is A V|P (?:pet|animal) is A V|the (?:pet|animal) that S (?:keeps
        |has) is A V
        |S (?:keeps?|has|have) A pet V""",
    "food": r"""S (?:OFTEN)(?:likes?(?: to eat)?|loves?(?: to eat)?|eats?|enjoys?|prefers?
        |asks for|wants) V
        |S (?:loves?|likes?) V (?:most of all|most|best)|S eats V for dinner|(?:for dinner
        |on feast days) S eats V
        |(?:the|P) favourite food of S is V|P favourite food is V|V (?:is|are) P favourite food
        |V (?:is|are) the favourite food of S|(?:you (?:should|can|could) )?cook V(?: for S)?""",
    "place": r"""S (?:is|lies|stands|sits|was built|can be found|is located) V|S is a town V
        |you (?:will|can) find S V|(?:long ago )?people built S V|the people of S live V""",
    "goods": r"""S is (?:famous|known|proud) (?:for|of) (?:its )?V|S (?:sells|makes|offers) V
        |the people of S (?:make|sell) V|traders come to S for V|the market of S is full of V
        |(?:you|people) can buy V (?:in|from|at) S|you can buy V(?: there)?|V come from S""",
    "weather": r"""the weather (?:in|of) S is OFTENV|S is OFTENV|S has OFTENV weather
        |P weather is OFTENV
        |in S (?:the days are|it is|the weather is) OFTENV|it is OFTENV in S|the weather is OFTENV
        |(?:you should )?expect V weather(?: in S)?|(?:the|most) (?:days
        |mornings) in S are OFTENV""",
    "colour": r"""S (?:is|are) TONEV|S has TONEV fur|the colour of its fur is V|S is A V animal
        |S has V fur|the fur of S is V|P fur is V|the colour of S is V
        |P colour is V|you (?:have|own) A V N|you (?:have|own) A N that is V|S has A V colour
        |you need V(?: paint)?
        |S is V in colour""",
    "diet": r"""S OFTEN(?:eats?|lives? on|feeds? on|needs|likes?|likes to eat|looks? for
        |will look for|loves) V
        |the food of S is V|P food is V|(?:you (?:can|should|could) )?feed S V|(?:you (?:can
        |should|could) )?feed V to S""",
    "den": r"""S OFTEN(?:sleeps?|lives?|hides|rests?|nests|is|makes its home
        |can be found) in V(?: at night)?
        |at night S (?:sleeps|hides|rests|is) in V|the home of S is (?:in )?V|P home is (?:in )?V
        |you (?:will|can) find S in V(?: at night)?""",
    "number": r"""you (?:have|own|have got) V N|the number of P N is V|there are V N|you have V""",
    "name": r"""P name is V|you are (?:called |named )?V|i (?:should |will |can )?call you V""",
    "drink": r"""you (?:like|love|prefer|enjoy)(?: to drink| drinking)? V|you drink V
        |P favourite drink is V
        |you like(?: to drink)? V (?:best|most)|V is P favourite drink|i should pour (?:you )?V""",
}
_PRONOUN = {"person": "he|she|they|him|her|them", "town": "it|they", "creature": "it|they|them"}


def _norm(text: str) -> str:
    return " ".join(words(text))


def _stripped(text: str) -> str:
    """Plain words without a leading article."""
    return re.sub(r"^(?:the|a|an) ", "", _norm(text))


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


def _compiled(given: str, forms: str) -> _Forms:
    pattern = rf"{given}{LEAD}{HEDGE}(?:{forms})"
    return _Forms(re.compile(rf"{pattern}(?P<rest>)$"), re.compile(rf"{pattern}(?P<rest> .*)$"))


def _kind(subject: str, attribute: str) -> EntityKind:
    """Which pronouns stand for the subject of a fact."""
    known = ATTRIBUTE.get(attribute)
    is_entity = subject[:1].isupper() or attribute in ("diet", "den", "colour")
    return known.kind if known and is_entity else "person"


@cache
def _fact_forms(attribute: str, kind: EntityKind) -> _Forms:
    """Forms of one attribute, given subject and value."""
    known = ATTRIBUTE.get(attribute)
    name = "(?P=subject)"
    pronoun = _PRONOUN[kind] + ("" if kind == "person" else "|this animal|the animal|the town")
    parts = {
        "S": rf"(?:(?:(?:the|a|an|every|your|this) )?(?:town of )?{name}|{pronoun})",
        "P": rf"(?:(?:the )?{name}'s|his|her|its|their|your)",
        "N": name,
        "A": "(?:a|an|the|some|his|her)",
        "V": "(?P=value)",
    }
    forms = _FACTS[attribute]
    if known is not None:
        fixed = [
            _norm(text.replace("{s}", "sss").replace("{v}", "vvv")) for text in known.statements
        ]
        forms += "|" + "|".join(
            re.sub(r"\b(?:the |a |an |every )?sss\b", "S", text).replace("vvv", "V")
            for text in fixed
        )
    forms = re.sub(r"\s*\n\s*", "", forms).replace("OFTEN", _OFTEN).replace("TONE", _TONE)
    forms = re.sub(r"\b[SPNAV]\b", lambda letter: parts[letter.group()], forms)
    return _compiled(_given("subject", "value"), rf"{LEAD}(?:{forms})")


def states_fact(sentence: str, subject: str, attribute: str, value: str) -> re.Match[str] | None:
    """Match a sentence (plain words) that states the value; `rest` holds what follows."""
    if attribute not in _FACTS:
        return None
    forms = _fact_forms(attribute, _kind(subject, attribute))
    return forms.match(_norm(subject), _norm(value), sentence)


def states_anything(sentence: str, subject: str, value: str) -> bool:
    """Whether a sentence gives the subject this value in any relation at all."""
    found = (states_fact(sentence, subject, attribute, value) for attribute in _FACTS)
    return any(match and not match["rest"] for match in found)


@cache
def other_subjects() -> frozenset[str]:
    """Lower-case names of everything that can be a subject."""
    names = {name.lower() for group in NAMES.values() for name in group}
    return frozenset(names | set(ITEMS) | set(COUNTED) | set(KIN))


_VERBS = (
    r"(?:visit|go to|travel to|choose|take|pick|ask|keep|wear|eat|stay at|try|recommend|suggest|"
    r"prefer|try|get|have|speak with)"
)


_OPTION = "(?:(?:the |a |an )?(?P=option))"


def _recommendation(x: str) -> re.Pattern[str]:
    return re.compile(
        rf"{_given('option')}"
        rf"(?:{LEAD}(?:please |then |so )?(?:(?:you (?:should|could|can|must|may|might)|i would|"
        rf"let us|"
        rf"you had better|my advice is to|it is best to|i would recommend that you|"
        rf"i advise you to) "
        rf"{_VERBS}|{_VERBS}|go|i (?:recommend|suggest)) {x}"
        rf"|{LEAD}{x} (?:is|would be) (?:the )?(?:best|better|right|good|perfect)(?: choice|"
        rf" option| one)?"
        rf"(?: for you)?|{LEAD}(?:the )?(?:best|better|right) (?:choice|option|"
        rf"one)(?: for you)? is {x})"
    )


_RECOMMENDS = _recommendation(_OPTION)
_RECOMMENDS_IT = _recommendation("(?:it|there|that one|him|her|them|this one)")


def recommends(clause: str, option: str, *, pronoun: bool = False) -> bool:
    """Whether a clause (plain words) recommends exactly this option, or it by a pronoun."""
    pattern = _RECOMMENDS_IT if pronoun else _RECOMMENDS
    return bool(pattern.fullmatch(f"{_stripped(option)}\n{clause}"))


_REASON = re.compile(
    rf"{_given('option', 'reason')}(?:it|he|she|they|this|that|{_OPTION}) "
    r"(?:is|are|lies|stands|sits|eats|likes|feeds on|lives on|works as|looks|feels|has|"
    r"is a town|can be found|will be|keeps you)"
    r" (?:so |very |a |an |the )?(?P=reason)"
)


def gives_reason(clause: str, option: str, reason: str) -> bool:
    """Whether a clause (plain words) states the reason of this option."""
    return bool(_REASON.fullmatch(f"{_stripped(option)}\n{_stripped(reason)}\n{clause}"))


_PLACE = re.compile(r" (?:in|at|of) the \w+$")


def _without_place(task: str) -> str:
    return _PLACE.sub("", _norm(task))


def _how_to_forms() -> _Forms:
    m = "(?:(?:a|an|the|some|your) )?(?P=means)"
    it = "(?:(?P=task)|(?P=short)|do (?:it|that|this|so))"
    you = r"(?:(?:you|i|we) (?:should|can|could|must|may|might|would|will|have to) )?"
    use = (
        rf"(?:(?:simply |just |please |then )?{you}(?:simply |just )?(?:use|take|try|get|need)|"
        r"you need(?: to use)?|all you need is)"
    )
    works = r"(?:works?(?: best| well)?|does (?:it|that)|is best)"
    forms = (
        rf"to {it} {use} {m}",
        rf"{use} {m}(?: (?:to {it}|for (?:it|that|this)))?",
        rf"{you}{it} (?:with|using|by using) {m}",
        rf"with {m} you (?:can|could|will) {it}",
        rf"the best (?:way|tool|thing)(?: (?:to {it}|for (?:it|that)))? is(?: to use)? {m}",
        rf"{m} (?:(?:can|could|will|would|should) )?(?:help you (?:to )?)?(?:{it}|{works})",
        rf"what you need is {m}",
        rf"you (?:will )?need {m}(?: to {it})?",
    )
    return _compiled(_given("task", "short", "means"), "|".join(forms))


_HOW_TO = _how_to_forms()


def tells_how(sentence: str, task: str, means: str) -> re.Match[str] | None:
    """Match a sentence (plain words) that gives the means; `rest` holds what follows."""
    return _HOW_TO.match(_norm(task), _without_place(task), _stripped(means), sentence)


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
