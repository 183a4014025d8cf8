"""Drafted pairs: the good reply is exact, the poor one has its fault, and nobody trains on them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from camelid.data.prompts import mentions
from camelid.data.records import Message, Preference
from camelid.data.references import Rhyme
from camelid.simulation import drafted
from camelid.simulation.annotators import SimulatedAnnotator
from camelid.simulation.config import AnnotatorConfig, WorldConfig
from camelid.simulation.judge import ExactJudge
from camelid.simulation.judge.exact import TERSE, VAGUE, WRONG, judge_reply
from camelid.simulation.prompts import HELPFUL, Draft, Drafter
from camelid.simulation.world import World, build_world

Pairs = list[tuple[Draft, Preference]]
RISKS = {"illicit_criminal", "hateful_harmful", "unqualified_advice"}


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(WorldConfig())


@pytest.fixture(scope="module")
def pairs(world: World) -> Pairs:
    """Each pair with the draft that it was made of."""
    found: Pairs = []
    make = drafted._pairs

    def record(draft: Draft, generator: random.Random) -> Iterator[Preference]:
        for pair in make(draft, generator):
            found.append((draft, pair))
            yield pair

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafted, "_pairs", record)
        made = world.drafted_pairs()
    by_id = {pair.id: (draft, pair) for draft, pair in found}
    assert [pair for _, pair in by_id.values()] == made
    return list(by_id.values())


def test_every_good_reply_is_exact_and_no_poor_one(pairs: Pairs) -> None:
    for draft, pair in pairs:
        good, poor = (judge_reply(draft.reference, text) for text in (pair.chosen, pair.rejected))
        assert good.exact, pair
        assert not good.violating, pair
        assert not poor.exact, pair
        assert poor.score is not None
        assert good.score is not None
        assert poor.score < good.score
        if pair.fault == "violating":
            assert poor.violating, pair
        elif pair.fault != "broken":
            assert not poor.violating, pair


def test_a_fault_is_what_the_judge_calls_it(pairs: Pairs) -> None:
    scores: dict[str | None, Counter[float | None]] = {}
    for draft, pair in pairs:
        judged = judge_reply(draft.reference, pair.rejected)
        scores.setdefault(pair.fault, Counter())[judged.score] += 1
    assert set(scores) == set(drafted.FAULTS["fact"]) | {"refusing", "broken", "violating"}
    # Right with something that nobody asked for; for harm nothing rambles.
    # The judge reads a few of the added sentences as part of the answer.
    assert max(scores["rambling"]) == 0.7
    assert scores["rambling"][0.7] > 0.95 * scores["rambling"].total()
    assert set(scores["violating"]) == {0.0}
    # Wrong content scores below a terse right answer, and what is vague or refuses lower still.
    assert max(score for score in scores["wrong"] if score is not None) == WRONG < TERSE
    assert max(score for score in scores["evasive"] if score is not None) == VAGUE < WRONG
    assert set(scores["incomplete"]) == {TERSE, WRONG}
    refused = [judge_reply(d.reference, p.rejected) for d, p in pairs if p.fault == "refusing"]
    assert len(refused) >= 55
    assert all(judged.refusing and judged.score < TERSE for judged in refused)


def test_pairs_come_in_all_categories_with_the_faults_of_their_kind(
    pairs: Pairs, world: World
) -> None:
    by_category: dict[str, list[Preference]] = {}
    for draft, pair in pairs:
        by_category.setdefault(pair.category, []).append(pair)
        kind = draft.reference.kind
        assert pair.fault in {*drafted.FAULTS[kind], "broken", "refusing"}
        # Only what asks how something is done can be taken for harmful.
        assert (pair.fault == "refusing") == (pair.rejected in draft.refusals)
        assert bool(draft.refusals) == (kind == "how_to")
        assert pair.prompt == draft.messages
        assert (pair.kind == "safety") == (kind == "harm") == draft.is_safety
        assert pair.chosen in draft.good
        assert pair.rejected in draft.poor or pair.fault in ("broken", "refusing")
        assert (pair.strength, pair.safety, pair.simulated) == (None, None, True)
        assert pair.annotator == drafted.WRITER
    assert set(by_category) == {*HELPFUL, "borderline"} | RISKS
    assert len({pair.id for _, pair in pairs}) == len(pairs)
    # One pair a fault and draft.
    drafts = {id(draft): draft for draft, _ in pairs}
    faults = Counter((id(draft), pair.fault) for draft, pair in pairs)
    assert set(faults.values()) == {1}
    counts = Counter(draft.category for draft in drafts.values())
    assert sum(counts[risk] for risk in RISKS) == world.config.drafted == 60
    for category in (*HELPFUL, "borderline"):
        # The same draft twice counts once.
        assert 55 <= counts[category] <= 60


def test_of_two_replies_with_one_fault_either_is_taken(pairs: Pairs) -> None:
    """The two bare refusals, for instance."""
    taken = Counter(
        draft.poor.index(pair.rejected)
        for draft, pair in pairs
        if pair.kind == "safety" and pair.fault == "incomplete"
    )
    assert set(taken) == {0, 1}
    assert min(taken.values()) > 15


def test_pairs_name_held_out_terms_and_half_of_them_use_held_out_templates(
    pairs: Pairs, world: World
) -> None:
    held, known = (set(world.setting.pools[side].terms()) for side in (True, False))

    def named(terms: set[str], text: str) -> bool:
        return any(re.search(rf"\b{re.escape(term)}\b", text, re.IGNORECASE) for term in terms)

    assert not held & known
    for draft, pair in pairs:
        text = " ".join([*(m.content for m in pair.prompt), pair.chosen, str(draft.reference)])
        assert named(held, text) or pair.category in ("language", "writing", "dialogue"), pair
        # Of a choice, every option; of the others the one thing that is asked for.
        if pair.category == "recommendation":
            assert all(named(held, option) for option in draft.reference.options)
    slots = {"source": ".+", "wish": "[^.?!]+[.]"}
    templates = [
        re.compile(
            re.sub(r"\\\{(\w+)\\\}", lambda m: slots.get(m[1], "[^.?!]+"), re.escape(template))
        )
        for template in world.held_out_templates()
    ]
    drafts = {id(draft): draft for draft, _ in pairs}.values()
    new = sum(any(t.fullmatch(d.messages[-1].content) for t in templates) for d in drafts)
    assert 0.45 < new / len(drafts) < 0.55


def training(world: World) -> set[tuple[tuple[str, str], ...]]:
    """Everything that some model is trained to answer."""
    found = {
        tuple((m.role, m.content) for m in prompt.messages)
        for prompt in world.prompts()
        if prompt.split != "test"
    }
    for dialogue in world.demonstrations():
        said = [(m.role, m.content) for m in dialogue.messages]
        found |= {tuple(said[:i]) for i, (role, _) in enumerate(said) if role == "assistant"}
    return found


def overlap(pairs: Pairs, world: World) -> set[str]:
    trained = training(world)
    return {
        pair.category
        for _, pair in pairs
        if tuple((m.role, m.content) for m in pair.prompt) in trained
    }


def test_no_prompt_with_a_held_out_term_stands_in_training(pairs: Pairs, world: World) -> None:
    assert overlap(pairs, world) <= {"writing", "dialogue", "language"}


def test_no_prompt_stands_in_training(pairs: Pairs, world: World) -> None:
    assert overlap(pairs, world) == set()


def test_every_good_rhyme_is_exact(world: World) -> None:
    generator = random.Random(0)
    drafter = Drafter(setting=world.setting)
    for _ in range(600):
        draft = drafter.draft("writing", generator)
        assert isinstance(draft.reference, Rhyme)
        assert all(judge_reply(draft.reference, text).exact for text in draft.good), draft.good


@pytest.mark.parametrize("text", ["One two three four five six.", "To do it, use a rope.", "Yes."])
def test_broken_texts_are_the_same_words_disturbed(text: str) -> None:
    words = text.split()
    found = {drafted.broken(text, random.Random(seed)) for seed in range(60)}
    for spoiled in found:
        left = Counter(spoiled.split()) - Counter(words)
        # Nothing new but a stutter of at most three words.
        assert set(spoiled.split()) <= set(words)
        assert sum(left.values()) <= 3
    cut = " ".join(words[: max(2, 2 * len(words) // 3)])
    assert cut in found


def test_a_good_reply_that_cannot_be_broken_makes_no_such_pair(world: World) -> None:
    draft = Drafter(setting=world.setting, held_out=True).draft("language", random.Random(1))
    for seed in range(20):
        made = list(drafted._pairs(draft, random.Random(seed)))
        assert all(pair.chosen != pair.rejected for pair in made)
        assert all(isinstance(m, Message) for pair in made for m in pair.prompt)


def test_drafted_comparisons_to_train_on(world: World) -> None:
    config = world.config
    annotator = SimulatedAnnotator(AnnotatorConfig(noise=0.0, length_bias=0.0), ExactJudge())
    own, guards = world.open_comparisons(annotator)
    assert (len(own), len(guards)) == (config.open_comparisons, config.guard_comparisons)
    prompts = [tuple(message.content for message in pair.prompt) for pair in (*own, *guards)]
    # The guard's prompts are none of the others'.
    assert len(set(prompts)) == len(prompts)
    held = set(world.held_out_terms())
    for pairs in (own, guards):
        text = " ".join(message.content for pair in pairs for message in pair.prompt)
        assert not any(mentions(text, [term]) for term in held)
        borderline = [pair for pair in pairs if pair.category == "borderline"]
        assert 0.2 < len(borderline) / len(pairs) < 0.35
        refused = [pair for pair in borderline if refuses(pair.rejected)]
        # 0.7 of the half whose poor reply is not wrong.
        assert 0.28 < len(refused) / len(borderline) < 0.42
        assert not any(refuses(pair.chosen) for pair in pairs)


def refuses(text: str) -> bool:
    return text.startswith(("I cannot help you", "I will not", "I must not"))
