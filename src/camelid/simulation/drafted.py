"""Pairs of drafted replies, one good and one poor: some to test reward models, some to train on.

Comparisons of sampled replies are mostly told apart by style. Drafted ones say by fault which
differences a reward model notices: a well-formed reply with wrong content is the hard one. Those to
test on stand on held-out terms. Those to train on stand in for the open-source comparisons that the
paper mixes with its own (Section 3.2.1, Table 6). Source: choice.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator

from camelid.data.annotation import Comparer, Pair
from camelid.data.records import Fault, Preference, Prompt
from camelid.simulation.dialogues import SOURCE, identifier
from camelid.simulation.prompts import HELPFUL, Draft, Drafter, assistant, cells
from camelid.simulation.setting import Setting, random_for

WRITER = "the world's writer"
FAULTS: dict[str, tuple[Fault, ...]] = {
    "fact": ("incomplete", "evasive", "wrong", "evasive", "rambling"),
    "how_to": ("incomplete", "evasive", "wrong", "evasive"),
    "choice": ("incomplete", "incomplete", "wrong", "evasive", "evasive"),
    "rhyme": ("wrong", "wrong", "incomplete", "evasive"),
    "rewrite": ("wrong", "wrong", "rambling", "evasive", "evasive"),
    "harm": ("incomplete", "incomplete", "violating"),
}
"""What is wrong with the poor replies of a draft, in their order, by kind of reference."""
REFUSED = 0.7
"""Share of needless refusals among the poor replies to a how-to that are not wrong."""


def broken(text: str, generator: random.Random) -> str:
    """Return a text with its words in another order, cut short, or with a stutter."""
    words = text.split()
    return generator.choice(
        (
            " ".join(generator.sample(words, len(words))),
            " ".join(words[: max(2, 2 * len(words) // 3)]),
            " ".join([*words[:-2], *words[-3:-1], *words[-3:]]),
        )
    )


def _pairs(draft: Draft, generator: random.Random) -> Iterator[Preference]:
    """Yield one pair a fault."""
    good = generator.choice(draft.good)
    poor: dict[Fault, str] = {}
    for fault, text in zip(FAULTS[draft.reference.kind], draft.poor, strict=True):
        if fault not in poor or generator.random() < 0.5:
            poor[fault] = text
    if draft.refusals:
        poor["refusing"] = generator.choice(draft.refusals)
    if (spoiled := broken(good, generator)) != good:
        poor["broken"] = spoiled
    for fault, text in poor.items():
        messages = (*draft.messages, assistant(good), assistant(text))
        yield Preference(
            id=identifier("drafted", messages),
            kind="safety" if draft.is_safety else "helpfulness",
            round=0,
            batch=0,
            category=draft.category,
            prompt=draft.messages,
            chosen=good,
            rejected=text,
            strength=None,
            annotator=WRITER,
            simulated=True,
            fault=fault,
        )


def open_comparisons(
    setting: Setting, annotator: Comparer
) -> tuple[list[Preference], list[Preference]]:
    """Comparisons by an annotator of drafted replies to new prompts, open terms only.

    The second list is for the guard model.

    In half of them the poor reply has wrong content. Of the other half, where the prompt looks
    harmful but is not, most of the poor replies refuse: models that seldom do so give no such
    comparison, and PPO would find that nothing speaks against it.
    """
    generator = random_for("pocket_open_comparisons", setting.config.seed)
    drafter = Drafter(setting=setting)
    found: dict[str, Pair] = {}
    count, guards = setting.config.open_comparisons, setting.config.guard_comparisons
    while len(found) < count + guards:
        draft = drafter.draft(generator.choice((*HELPFUL, "borderline", "borderline")), generator)
        faults = FAULTS[draft.reference.kind]
        wrong = generator.random() < 0.5
        poor = [t for f, t in zip(faults, draft.poor, strict=True) if (f == "wrong") == wrong]
        if draft.refusals and not wrong and generator.random() < REFUSED:
            poor = list(draft.refusals)
        replies = [generator.choice(draft.good), generator.choice(poor)]
        generator.shuffle(replies)
        name = identifier("prompt", draft.messages)
        prompt = Prompt(
            id=name, messages=draft.messages, source=SOURCE, split="rm_train", **draft.labels()
        )
        found[name] = Pair(
            prompt=prompt,
            reply_a=replies[0],
            reply_b=replies[1],
            model_a=WRITER,
            model_b=WRITER,
            temperature_a=0.0,
            temperature_b=0.0,
            kind="helpfulness",
            round=0,
            batch=0,
        )
    comparisons = [made for made in annotator.compare(list(found.values())) if made is not None]
    return comparisons[:count], comparisons[count:]


def drafted_pairs(setting: Setting, taken: Container[str]) -> list[Preference]:
    """Drafted pairs of every category, on held-out terms, half of them with held-out templates.

    Plain words are not held out, so no prompt is used whose id is `taken` by what is trained on.
    """
    generator = random_for("pocket_drafted", setting.config.seed)
    attacks = cells()
    found: dict[str, Preference] = {}
    for category in (*HELPFUL, "borderline", "harm"):
        index = 0
        for tries in range(60 * setting.config.drafted):
            if index == setting.config.drafted:
                break
            drafter = Drafter(setting=setting, held_out=True, held_out_template=index % 2 == 0)
            if category == "harm":
                draft = drafter.attack(*attacks[tries % len(attacks)], generator)
            else:
                draft = drafter.draft(category, generator)
            if identifier("prompt", draft.messages) not in taken:
                found |= {pair.id: pair for pair in _pairs(draft, generator)}
                index += 1
    return list(found.values())
