"""Instructions for Ghost Attention on real text: lists of values, their split, their combination.

The model writes lists of hobbies, public figures, languages and words itself; what it writes is
filtered and filled up from lists of ours. Values are drawn at random into an instruction of one or
two parts. Source: arXiv 2307.09288, Section 3.3 (hobbies, languages and figures; lists by the
model; random combination; key and value form) and A.3.5; answer forms, filters, splits and numbers
are Source: choice.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from camelid.data.prompts import conversation
from camelid.data.records import Check, Demand, GhostDialogue, Prompt
from camelid.evaluation.judge import is_refusal
from camelid.methods.instruction_checks import authored
from camelid.seeds import derive_seed
from camelid.settings import from_json

InstructionKind = Literal["hobby", "figure", "language", "form"]
FORMS: dict[InstructionKind, tuple[str, ...]] = {
    "hobby": ("hobby",),
    "figure": ("figure",),
    "language": ("language",),
    "form": ("begins", "ends", "words", "capitals"),
}
"""The forms of each kind of instruction."""
TOGETHER: tuple[frozenset[InstructionKind], ...] = (
    frozenset({"hobby", "figure"}),
    frozenset({"hobby", "form"}),
    frozenset({"figure", "form"}),
    frozenset({"language", "form"}),
)
"""Kinds that one instruction may combine. A hobby or a figure would be named in the language asked
for, which no string check sees."""
ASKED = ("hobby", "figure", "language", "word")
"""Lists that the model writes; limits of words and capitals are ours alone."""
Split = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One way to instruct."""

    list: str
    """The list that its values come from."""
    check: Check
    texts: tuple[str, ...]
    shortened: str
    probe: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionValue:
    """One value of a list."""

    list: str
    text: str
    """As it stands in the instruction."""
    expected: str
    """What is looked for in replies; no two values of a run have the same."""
    origin: Literal["model", "authored"]
    split: Split


@dataclass(frozen=True, kw_only=True, slots=True)
class ListCounts:
    """Where the values of one list come from."""

    list: str
    by_model: int
    authored: int
    replies: int
    """How often the model was asked."""
    dropped: dict[str, int]
    """Lines of its replies that are no value, by reason."""


@cache
def form_of(name: str) -> Form:
    """Return a form of `instructions.toml`."""
    return from_json(authored("forms")[name], Form, f"instructions.toml, forms.{name}")


def lines_of(reply: str, *, cut: bool) -> list[str]:
    """Return the items of a list as a model writes one: by lines, else by commas.

    Numbers, bullets, marks of emphasis and explanations after a colon, a dash or in brackets are
    removed.

    Args:
        reply: The reply.
        cut: Whether it was cut by the length limit; its last item is then left out.
    """
    lines = [line for line in reply.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].rstrip().endswith(":"):
        # What leads to the list.
        del lines[0]
    if len(lines) == 1:
        lines = re.split(r"[,;]| and ", lines[0].rpartition(":")[2])
    found = []
    for line in lines[: len(lines) - cut]:
        item = re.sub(r"^\W*(\d+\s*[.):-])?\W*", "", line)
        item = re.split(r"\s[-–—]+\s|[:(*_]|\.\s", item, maxsplit=1)[0]
        found.append(re.sub(r"\s+", " ", item).strip(" .,;!?\"'"))
    return found


def _fault(name: str, item: str) -> str | None:
    """Return why an item of a model's list is no value, None where it is one."""
    words = item.split()
    low = [word.casefold() for word in words]
    left_out = authored("left_out")
    if any(word.startswith(tuple(left_out["beginnings"])) for word in low):
        return "harmful"
    if name == "language":
        return None if item.title() in authored("languages") else "no language that is checked"
    most = 1 if name == "word" else 3
    plain = re.fullmatch(r"[^\W\d_]+(['-][^\W\d_]+)*( [^\W\d_]+(['-][^\W\d_]+)*)*", item)
    if not plain or len(words) > most or len(item) > 30 or not 3 < len(words[-1]) < 15:
        return "implausible"
    if low[-1] in left_out["empty"] or (name == "figure" and not words[-1][0].isupper()):
        return "implausible"
    return None


def expected_of(name: str, item: str) -> str:
    """Return what is looked for in replies: the last word of a hobby or name, a language's code."""
    if name == "language":
        return str(authored("languages")[item.title()])
    return item.rsplit(maxsplit=1)[-1]


def _written(name: str, item: str) -> str:
    """Return an item as it stands in an instruction."""
    if name == "hobby":
        return item.lower()
    return item.title() if name in ("language", "word") else item


@dataclass(slots=True)
class ListMaker:
    """Makes lists of values that share none."""

    wanted: int
    """Values a list."""
    held_out: float
    """Share of each list that only tests see."""
    seed: int
    seen: set[str] = field(default_factory=set)

    def make(
        self, name: str, replies: Sequence[tuple[str, bool]]
    ) -> tuple[list[InstructionValue], ListCounts]:
        """Return the values of one list and where they come from.

        Args:
            name: `hobby`, `figure`, `language`, `word`, `limit` or `capitals`.
            replies: What the model wrote when asked for it, and whether that was cut.
        """
        dropped: Counter[str] = Counter()
        found: dict[str, tuple[str, Literal["model", "authored"]]] = {}

        def take(item: str, origin: Literal["model", "authored"]) -> bool:
            expected = expected_of(name, item)
            key = expected.casefold()
            if key in self.seen or len(found) == self.wanted:
                return False
            self.seen.add(key)
            found[expected] = (_written(name, item), origin)
            return True

        for reply, cut in replies:
            if is_refusal(reply):
                dropped["refusal"] += 1
                continue
            for item in lines_of(reply, cut=cut):
                fault = _fault(name, item)
                if fault:
                    dropped[fault] += 1
                elif not take(item, "model"):
                    dropped["repeated or not needed"] += 1
        by_model = len(found)
        for item in authored("authored")[name]:
            take(item, "authored")
        # The order is drawn, so that both origins stand in both splits.
        order = sorted(found, key=lambda expected: derive_seed(self.seed, name, expected))
        # A list of one value has none to hold out.
        held = min(max(1, round(self.held_out * len(order))), len(order) - 1)
        values = [
            InstructionValue(
                list=name,
                text=found[expected][0],
                expected=expected,
                origin=found[expected][1],
                split="test" if place < held else "train",
            )
            for place, expected in enumerate(order)
        ]
        counts = ListCounts(
            list=name,
            by_model=by_model,
            authored=len(found) - by_model,
            replies=len(replies),
            dropped=dict(dropped),
        )
        return values, counts


def user_turns(
    prompts: Sequence[Prompt], *, train: str, test: str, longest: int
) -> tuple[dict[Split, list[str]], dict[str, int]]:
    """Return the texts that users say, by split, and how many prompts are left out, by reason.

    Each is the first message of an ordinary prompt: no attack, not borderline, one line, short. No
    two are alike but for case, marks and spacing; what both splits hold is tested on only.

    Args:
        prompts: All prompts.
        train: The split of prompts whose texts dialogues to train on have.
        test: The one for tests.
        longest: Most characters.
    """
    left_out: Counter[str] = Counter()
    found: dict[Split, list[str]] = {"train": [], "test": []}
    seen: set[str] = set()
    sides: tuple[tuple[Split, str], ...] = (("test", test), ("train", train))
    for side, split in sides:
        for prompt in prompts:
            if prompt.split != split:
                continue
            first = next((m.content for m in prompt.messages if m.role == "user"), "").strip()
            if prompt.is_safety or prompt.borderline or prompt.attack_vector is not None:
                left_out["attack or borderline"] += 1
            elif not first or len(first) > longest or "\n" in first:
                left_out["empty, too long or of several lines"] += 1
            elif conversation(first) in seen:
                left_out["repeated, or in the test split too"] += 1
            else:
                seen.add(conversation(first))
                found[side].append(first)
    return found, dict(left_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How instructions and turns become dialogues."""

    kinds: tuple[InstructionKind, ...]
    two_parts: float
    """Chance of a second part."""
    turns: int
    """Most turns of a dialogue to train on; at least 2, late ones are likelier."""
    test_turns: int
    """Turns of a dialogue for tests."""
    probes: float
    """Chance that the last turn of a dialogue to train on asks for the instruction, where one of
    its parts can be asked for."""


def _parts(
    rules: Rules, values: Mapping[str, Sequence[InstructionValue]], generator: random.Random
) -> list[tuple[Form, InstructionValue]]:
    """Draw the one or two parts of an instruction."""
    usable = {
        kind: [name for name in FORMS[kind] if values.get(form_of(name).list)]
        for kind in rules.kinds
    }
    kinds = [kind for kind in rules.kinds if usable[kind]]
    first = generator.choice(kinds)
    partners = [kind for kind in kinds if frozenset({first, kind}) in TOGETHER]
    drawn = [first]
    if partners and generator.random() < rules.two_parts:
        drawn.append(generator.choice(partners))
    if "language" in drawn and "form" in drawn:
        # Not all scripts have capitals, or spaces to count words by.
        usable["form"] = [name for name in usable["form"] if form_of(name).list == "word"]
    forms = [form_of(generator.choice(usable[kind])) for kind in drawn]
    return [(form, generator.choice(values[form.list])) for form in forms]


def make_dialogues(
    rules: Rules,
    values: Sequence[InstructionValue],
    turns: Sequence[str],
    *,
    split: Split,
    number: int,
    seed: int,
) -> Iterator[GhostDialogue]:
    """Yield so many dialogues of one split.

    User turns are dealt in turn from one drawn order, so each is used equally often; a dialogue has
    no more turns than there are.

    Args:
        rules: How.
        values: All values; those of the split are used.
        turns: What users say in this split, at least one.
        split: Which.
        number: How many.
        seed: The seed of all draws.
    """
    lists: dict[str, list[InstructionValue]] = {}
    for value in values:
        if value.split == split:
            lists.setdefault(value.list, []).append(value)
    order = sorted(turns, key=lambda turn: derive_seed(seed, split, turn))
    dealt = 0
    for index in range(number):
        generator = random.Random(derive_seed(seed, split, index))
        parts = _parts(rules, lists, generator)
        lengths = range(2, rules.turns + 1)
        count = rules.test_turns
        if split == "train":
            count = generator.choices(lengths, lengths)[0]
        count = min(count, len(order))
        said = [order[(dealt + place) % len(order)] for place in range(count)]
        dealt += count
        demands = [
            Demand(
                check=form.check, expected=value.expected, probe=form.probe, shows=not form.probe
            )
            for form, value in parts
        ]
        probes = [demand.probe for demand in demands if demand.probe]
        if split == "train" and probes and generator.random() < rules.probes:
            said[-1] = generator.choice(probes)
        first, *others = demands
        yield GhostDialogue(
            id=f"{split}-{index:05d}",
            instruction=" ".join(
                generator.choice(form.texts).format(value=value.text) for form, value in parts
            ),
            shortened=" ".join(form.shortened.format(value=value.text) for form, value in parts),
            turns=tuple(said),
            probe=first.probe,
            expected=first.expected,
            shows=first.shows,
            split=split,
            check=first.check,
            also=tuple(others),
        )
