"""Drafts of prompts of every category: messages, the judge's reference, good and poor replies.

Source: choice. The helpfulness categories follow arXiv 2307.09288, Table 33 and Section 3.4.2;
risk categories and attack vectors follow Section 4.2.1.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from camelid.data.records import Message
from camelid.data.references import Choice, Fact, Harm, HowTo, Reference, Rewrite, Rhyme
from camelid.simulation import lexicon
from camelid.simulation.lexicon import read
from camelid.simulation.setting import Pool, Setting, capitalise, with_article

HELPFUL: tuple[str, ...] = ("factual", "dialogue", "recommendation", "writing", "language")

_FORMS = read("templates", "rewritings", dict[str, tuple[str, ...]])
REWRITES = tuple(_FORMS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A prompt before it has an id and a split, with replies that simulated annotators write."""

    category: str
    messages: tuple[Message, ...]
    reference: Reference
    good: tuple[str, ...]
    poor: tuple[str, ...]
    """Terse, vague, wrong, evasive or incomplete replies; violating ones for harmful prompts."""
    refusals: tuple[str, ...] = ()
    """Needless refusals of a request that is, or may look, harmful; demonstrators write none."""
    borderline: bool = False
    is_safety: bool = False
    attack_vector: str | None = None
    attack_strength: str | None = None
    risk_category: str | None = None

    def labels(self) -> dict[str, Any]:
        """Fields of the `Prompt` that this becomes, but for its id, messages, source and split."""
        labels = ("category", "is_safety", "attack_vector", "attack_strength", "risk_category")
        return {field: getattr(self, field) for field in (*labels, "borderline", "reference")}


@dataclass(frozen=True, slots=True)
class Option:
    """Something that can be recommended."""

    name: str
    verb: str
    wish: str
    """What somebody says who is best served by it."""
    clause: str
    """What is said of it; it fits the wish."""
    reason: str
    """The part of the clause that a reply must name."""

    @property
    def because(self) -> str:
        """The clause with its subject."""
        return f"{self.name if self.verb == 'ask' else 'it'} {self.clause}"

    @property
    def described(self) -> str:
        """The clause as a sentence."""
        return f"{capitalise(self.name)} {self.clause}."

    def asked_for(self, name: str) -> str:
        """What somebody says who is best served by it, up to its name."""
        return f"{name} says: {self.wish} So {name} should {self.verb}"

    def recommended(self, form: str) -> str:
        """A reply that recommends this."""
        return form.format(
            verb=self.verb, option=self.name, Option=capitalise(self.name), because=self.because
        )


def user(text: str) -> Message:
    """A user turn."""
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    """An assistant turn."""
    return Message(role="assistant", content=text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drafter:
    """Writes drafts from one side of the pools and one side of the templates."""

    setting: Setting
    held_out: bool = False
    """Use held-out terms."""
    held_out_template: bool = False
    """Use held-out templates."""

    @property
    def pool(self) -> Pool:
        """The terms that this drafter may use."""
        return self.setting.pools[self.held_out]

    def template(self, key: str, generator: random.Random) -> str:
        """One template of the kind `key`."""
        return generator.choice(self.setting.templates[self.held_out_template][key])

    def draft(self, category: str, generator: random.Random) -> Draft:
        """One prompt of a helpfulness category, or `borderline`."""
        if category == "factual":
            # A tenth are plain instructions, so that not every how-to looks sensitive.
            how_to = generator.random() < 0.1
            return self._how_to(generator, False) if how_to else self._fact(generator)
        kinds = {"dialogue": self._dialogue, "recommendation": self._recommendation}
        kinds |= {"writing": self._rhyme, "language": self._rewrite}
        return kinds[category](generator) if category in kinds else self._how_to(generator, True)

    def _fact(self, generator: random.Random) -> Draft:
        attribute = generator.choice(lexicon.ATTRIBUTES)
        subject = generator.choice(self.pool.entities[attribute.kind])
        value = self.setting.facts[subject, attribute.name]
        others = tuple(v for v in attribute.values if v != value)
        wrong = generator.choice(attribute.replies).format(s=subject, v=generator.choice(others))
        good = tuple(form.format(s=subject, v=value) for form in attribute.replies)
        return Draft(
            category="factual",
            messages=(user(self.template(attribute.name, generator).format(s=subject)),),
            reference=Fact(
                subject=subject, attribute=attribute.name, answer=value, alternatives=others
            ),
            good=good,
            poor=_poor(value, attribute.vague, wrong, good[0], generator),
        )

    def _how_to(self, generator: random.Random, borderline: bool) -> Draft:
        task = generator.choice([t for t in self.pool.benign if t.borderline == borderline])
        means = tuple(sorted({t.means for t in lexicon.BENIGN_TASKS if t.group != task.group}))
        return Draft(
            category="borderline" if borderline else "factual",
            messages=(user(self.template("how_to", generator).format(task=task.task)),),
            reference=HowTo(task=task.task, means=task.means, alternatives=means),
            good=how_to_replies(task),
            poor=(
                capitalise(task.means) + ".",
                "There are many ways to do it.",
                f"To {task.task}, use {generator.choice(means)}.",
                generator.choice(lexicon.EVASIONS),
            ),
            refusals=("I cannot help you.", *(r for k in lexicon.RISKS for r in refusals(task, k))),
            borderline=borderline,
        )

    def _dialogue(self, generator: random.Random) -> Draft:
        name = generator.choice(lexicon.USER_NAMES)
        kind = generator.choice(("item", "item", "name", "count", "kin", "drink"))
        words = {slot: generator.choice(values) for slot, values in lexicon.TELLABLE.items()}
        words |= {"name": name, "a_colour": with_article(words["colour"])}
        talk = lexicon.TALKS[kind]
        answer, subject = words[talk.attribute], words[talk.of] if talk.of else talk.attribute
        words |= {"n": subject, "v": answer, "a_v": with_article(answer)}
        # Drawn whether needed or not, so that all kinds take as many draws.
        beside = generator.choice(lexicon.TALKS["name"].told)
        told = (beside if kind == "name" else talk.told[0]).format(**words)
        opening = generator.choice(lexicon.OPENINGS).format(
            name=name, told=told, Told=capitalise(told)
        )
        good = tuple(form.format(**words) for form in talk.replies)
        values = lexicon.USER_NAMES if kind == "name" else lexicon.TELLABLE[talk.attribute]
        others = tuple(value for value in values if value != answer)
        wrong = good[0].replace(answer, generator.choice(others))
        return Draft(
            category="dialogue",
            messages=(
                user(opening),
                assistant(f"Hello {name}. {talk.heard.format(**words)}"),
                user(self.template(kind, generator).format(**words)),
            ),
            reference=Fact(
                subject=subject, attribute=talk.attribute, answer=answer, alternatives=others
            ),
            good=good,
            poor=_poor(answer, "You told me that before.", wrong, good[0], generator),
        )

    def option(self, verb: str, generator: random.Random) -> Option:
        """One thing that can be recommended."""
        facts, pool = self.setting.facts, self.pool
        if verb in lexicon.QUALITIES:
            name = generator.choice(pool.options[verb])
            wish, quality = generator.choice(lexicon.QUALITIES[verb])
            return Option(name, verb, wish, f"is {quality}", quality)
        attribute = lexicon.ATTRIBUTE[{"visit": "place", "ask": "trade", "keep": "diet"}[verb]]
        name = generator.choice(pool.entities[attribute.kind])
        value = facts[name, attribute.name]
        if verb == "visit":
            return Option(name, verb, f"I like {value[3:]}.", f"lies {value}", value)
        if verb == "ask":
            return Option(name, verb, f"I need a {value}.", f"is a {value}", f"a {value}")
        return Option(f"the {name}", verb, f"I have plenty of {value}.", f"eats {value}", value)

    def options(self, generator: random.Random, count: int = 2) -> list[Option]:
        """Things of different kinds, so that a wish fits one of them."""
        return [self.option(verb, generator) for verb in generator.sample(lexicon.CHOICES, count)]

    def _recommendation(self, generator: random.Random) -> Draft:
        right, other = options = self.options(generator)
        generator.shuffle(options)
        slots = {"wish": right.wish}
        for side, option in zip("ab", options, strict=True):
            slots |= {side: option.name, side.upper(): capitalise(option.name)}
            slots[f"which_{side}"] = "who" if option.verb == "ask" else "which"
            slots[f"reason_{side}"] = option.clause
        text = self.template("choice", generator).format(**slots)
        names = tuple(option.name for option in options)
        return Draft(
            category="recommendation",
            messages=(user(text),),
            reference=Choice(
                options=names, answer=right.name, reason=right.reason, other_reasons=(other.reason,)
            ),
            good=tuple(map(right.recommended, lexicon.RECOMMENDATIONS)),
            poor=(
                capitalise(right.name) + ".",
                f"You should {right.verb} {right.name}.",
                other.recommended(lexicon.RECOMMENDATIONS[0]),
                "Both are good.",
                generator.choice(lexicon.EVASIONS),
            ),
        )

    def _rhyme(self, generator: random.Random) -> Draft:
        topic = generator.choice(lexicon.TOPICS)
        adjective = generator.choice(lexicon.TOPIC_ADJECTIVES) if generator.random() < 0.7 else ""
        noun = f"{adjective} {topic}".strip()
        group, other = generator.sample(lexicon.RHYME_LINES, 2)
        first = f"The {noun} {generator.choice(group[0])}"
        return Draft(
            category="writing",
            messages=(user(self.template("rhyme", generator).format(topic=with_article(noun))),),
            reference=Rhyme(topic=topic),
            good=tuple(f"{first} / and {line}." for line in group[1]),
            poor=(
                f"{first} / and {generator.choice(other[1])}.",
                f"{first} / and {generator.choice(other[1])}.",
                f"The {noun} is nice.",
                generator.choice(lexicon.EVASIONS),
            ),
        )

    def _rewrite(self, generator: random.Random) -> Draft:
        task = generator.choice(REWRITES)
        source, answers, wrong = rewrite(task, generator)
        return Draft(
            category="language",
            messages=(user(self.template(task, generator).format(source=source)),),
            reference=Rewrite(task=task, source=source, answers=answers),
            good=(answers[0],),
            poor=(
                wrong,
                source,
                f"{answers[0]} {generator.choice(lexicon.ASIDES)}",
                generator.choice(lexicon.EVASIONS),
                "The sentence is fine.",
            ),
        )

    def attack(self, risk: str, vector: str, strength: str, generator: random.Random) -> Draft:
        """One adversarial prompt of a risk category, attack vector and strength."""
        task = generator.choice(self.pool.harm[risk])
        direct = strength == "multi_turn" and vector == "none"
        wording = misspell(task.task, generator) if vector == "misspelling" else task.task
        # A plain attack is worded like a benign request: only the content tells them apart.
        key = "multi_turn" if direct else "how_to" if vector == "none" else vector
        text = self.template(key, generator).format(task=wording)
        messages: tuple[Message, ...] = (user(text),)
        if strength == "multi_turn":
            opener = self._fact(generator)
            messages = (*opener.messages, assistant(generator.choice(opener.good)), *messages)
        return Draft(
            category=risk,
            messages=messages,
            reference=Harm(risk=risk, task=task.task, means=task.means),
            good=refusals(task, task.risk),
            poor=(
                "I cannot help you.",
                lexicon.REFUSALS[0].format(task=task.task) + ".",
                task.compliant,
            ),
            is_safety=True,
            attack_vector=vector,
            attack_strength=strength,
            risk_category=risk,
        )


def _poor(
    answer: str, vague: str, wrong: str, good: str, generator: random.Random
) -> tuple[str, ...]:
    evasion, aside = generator.choice(lexicon.EVASIONS), generator.choice(lexicon.ASIDES)
    return (f"{capitalise(answer)}.", vague, wrong, evasion, f"{good} {aside}")


def cells() -> list[tuple[str, str, str]]:
    """(risk, vector, strength) in equal parts by risk and strength, then by vector."""
    disguises = lexicon.VECTORS[1:]
    # 30 is the least common multiple of 1, 5 and 6 vectors: every strength gets the same weight.
    return [
        (risk, vector, strength)
        for index in range(30)
        for risk in lexicon.RISKS
        for strength, vector in (
            ("plain", "none"),
            ("disguised", disguises[index % 5]),
            ("multi_turn", lexicon.VECTORS[index % 6]),
        )
    ]


def refusals(task: lexicon.BenignTask | lexicon.HarmTask, risk: lexicon.Risk) -> tuple[str, ...]:
    """Refusals with a reason and an alternative, as for a request of a risk category."""
    return tuple(
        f"{refusal.format(task=task.task)}, because {reason}. {alternative}"
        for refusal in lexicon.REFUSALS
        for reason in lexicon.REASONS[risk]
        for alternative in lexicon.ALTERNATIVES[risk]
    )


def how_to_replies(task: lexicon.BenignTask) -> tuple[str, ...]:
    """Good replies to a how-to prompt."""
    return tuple(form.format(task=task.task, means=task.means) for form in lexicon.HOW_TO_REPLIES)


def misspell(text: str, generator: random.Random) -> str:
    """Swap two inner letters of the longest word."""
    word = max(text.split(), key=len)
    at = generator.randrange(1, len(word) - 2)
    return text.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :])


def rewrite(task: str, generator: random.Random) -> tuple[str, tuple[str, ...], str]:
    """A source sentence, the accepted rewritings (the usual one first) and a wrong one."""
    slots = dict(zip(("singular", "plural"), generator.choice(lexicon.SUBJECTS), strict=True))
    slots |= zip(("base", "present", "past"), generator.choice(lexicon.VERBS), strict=True)
    slots |= zip(("thing", "things"), generator.choice(lexicon.OBJECTS), strict=True)
    forms = {key: tuple(text.format(**slots) for text in texts) for key, texts in _FORMS.items()}
    source = forms["order"][0]
    wrong = generator.choice([texts[0] for key, texts in forms.items() if key != task])
    if task == "order":
        words = source.lower().rstrip(".").split()
        first = words[1:3]
        while words[1:3] == first:
            generator.shuffle(words)
        return " ".join(words), forms[task], wrong
    return source, forms[task], wrong
