"""The pocket world: determinism, sizes, held-out rules, disjoint splits, well-formed references."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections import Counter

import pytest

from camelid.data.records import (
    Dialogue,
    GhostDialogue,
    Message,
    Preference,
    Prompt,
    parse_record,
)
from camelid.data.references import Choice, Fact, Harm, HowTo, Reference, Rewrite, Rhyme
from camelid.errors import ConfigError
from camelid.settings import to_json
from camelid.simulation.config import WorldConfig
from camelid.simulation.lexicon import (
    BENIGN_TASKS,
    FIGURES,
    HARM_TASKS,
    HOBBIES,
    NAMES,
    OPENING_WORDS,
    RHYMES,
    USER_NAMES,
)
from camelid.simulation.prompts import Drafter
from camelid.simulation.world import World, build_world

SMALL = WorldConfig(
    seed=3,
    people=14,
    towns=14,
    creatures=14,
    documents=200,
    exercises=20,
    validation_documents=10,
    demonstrations=200,
    rm_train=60,
    rejection_sampling=20,
    ppo=30,
    validation=20,
    test_helpful=40,
    test_adversarial=40,
    test_borderline=30,
    ghost_train=20,
    ghost_test=6,
)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(WorldConfig())


def _texts_of_training(world: World) -> list[str]:
    texts = [m.content for d in world.demonstrations() for m in d.messages]
    for prompt in world.prompts():
        if prompt.split != "test":
            texts += [m.content for m in prompt.messages] + [json.dumps(to_json(prompt.reference))]
    for ghost in world.ghost_dialogues():
        if ghost.split == "train":
            texts += [ghost.instruction, *ghost.turns]
    return texts


def _pattern(template: str) -> re.Pattern[str]:
    """What a template matches: slots hold no end of sentence, but sources and wishes do."""
    slots = {"source": ".+", "wish": "[^.?!]+[.]"}
    return re.compile(
        re.sub(r"\\\{(\w+)\\\}", lambda m: slots.get(m[1], "[^.?!]+"), re.escape(template))
    )


def test_everything_is_deterministic() -> None:
    first, second = build_world(SMALL), build_world(SMALL)
    assert list(first.corpus()) == list(second.corpus()) == list(first.corpus())
    assert first.demonstrations() == second.demonstrations() == first.demonstrations()
    assert first.prompts() == second.prompts()
    assert first.ghost_dialogues() == second.ghost_dialogues()
    assert first.drafted_pairs() == second.drafted_pairs() == first.drafted_pairs()
    other = build_world(dataclasses.replace(SMALL, seed=4))
    assert list(first.corpus()) != list(other.corpus())
    assert first.setting.facts != other.setting.facts


def test_corpora_differ(world: World) -> None:
    train, validation = set(world.corpus()), list(world.validation_corpus())
    assert sum(document in train for document in validation) < 0.05 * len(validation)
    assert not any("\n" in document or "  " in document for document in train)


def test_sizes(world: World) -> None:
    statistics = world.statistics()
    assert statistics["entities"] >= 240
    assert statistics["templates"] >= 60
    assert statistics["word_types"] >= 1500
    assert statistics["distinct_prompts"] >= 20_000
    assert statistics["documents"] == sum(1 for _ in world.corpus()) == 24_500
    assert statistics["prompts_by_split"] == {
        "rm_train": 4000,
        "rejection_sampling": 4000,
        "ppo": 1500,
        "red_teaming": 600,
        "validation": 2400,
        "test": 1160,
    }
    assert len(world.demonstrations()) == 5400
    adversarial = [p for p in world.prompts() if p.split == "test" and p.is_safety]
    for field in ("risk_category", "attack_strength"):
        counts = Counter(getattr(p, field) for p in adversarial)
        assert len(counts) == 3
        assert min(counts.values()) > 0.25 * len(adversarial)


def test_red_teaming_shares_no_request_with_training_and_weighs_its_cells_equally(
    world: World,
) -> None:
    attacks = [p for p in world.prompts() if p.split == "red_teaming"]
    requests = {p.messages[-1].content for p in attacks}
    told = {m.content for d in world.demonstrations() for m in d.messages if m.role == "user"}
    for prompt in world.prompts():
        if prompt.split not in ("red_teaming", "test"):
            told |= {m.content for m in prompt.messages if m.role == "user"}
    assert not requests & told
    for field in ("risk_category", "attack_strength"):
        counts = Counter(getattr(p, field) for p in attacks)
        assert len(counts) == 3
        assert min(counts.values()) > 0.25 * len(attacks), counts


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_terms_and_templates_stay_out_of_training(seed: int) -> None:
    world = build_world(WorldConfig(seed=seed))
    text = "\n".join(_texts_of_training(world))
    words = re.compile(
        r"\b(" + "|".join(map(re.escape, world.held_out_terms())) + r")\b", re.IGNORECASE
    )
    assert words.findall(text) == []
    requests = set(text.split("\n")) | {
        line[match.end() :] for line in text.split("\n") for match in re.finditer(r"[.?!] ", line)
    }
    for template in world.held_out_templates():
        pattern = _pattern(template)
        assert not [line for line in requests if pattern.fullmatch(line)], template


def test_no_test_prompt_or_its_answer_stands_in_training(world: World) -> None:
    """Prompts of plain words (language, writing, dialogue) may share words, never the request."""
    asked = {p.messages for p in world.prompts() if p.split != "test"}
    for dialogue in world.demonstrations():
        plain = [Message(role=m.role, content=m.content) for m in dialogue.messages]
        asked |= {tuple(plain[:i]) for i, m in enumerate(plain) if m.role == "assistant"}
    test = [p for p in world.prompts() if p.split == "test"]
    assert not [p for p in test if p.messages in asked]


def test_test_prompts_use_held_out_terms_and_templates(world: World) -> None:
    words = re.compile(
        r"\b(" + "|".join(map(re.escape, world.held_out_terms())) + r")\b", re.IGNORECASE
    )
    templates = [_pattern(template) for template in world.held_out_templates()]
    test = [p for p in world.prompts() if p.split == "test"]
    new_templates = 0
    for prompt in test:
        words_found = words.search(" ".join([*(m.content for m in prompt.messages)]))
        # A misspelled attack may have garbled its own term; the reference still names it.
        named = words_found or words.search(json.dumps(to_json(prompt.reference)))
        assert named or prompt.category in ("language", "writing", "dialogue"), prompt
        new_templates += any(t.fullmatch(prompt.messages[-1].content) for t in templates)
    assert 0.45 < new_templates / len(test) < 0.55


def test_held_out_facts_stand_in_the_corpus(world: World) -> None:
    said: dict[str, list[str]] = {}
    for document in world.corpus():
        for sentence in document.split(". "):
            for word in set(re.findall(r"\w+", sentence)):
                said.setdefault(word, []).append(sentence)
    for names in world.setting.pools[1].entities.values():
        for name in names:
            answers = [v for (entity, _), v in world.setting.facts.items() if entity == name]
            assert len(answers) == 3
            for answer in answers:
                assert sum(answer in sentence for sentence in said[name]) > 30, (name, answer)


def test_splits_are_disjoint_and_follow_the_text(world: World) -> None:
    prompts = world.prompts()
    assert len({p.id for p in prompts}) == len(prompts)
    assert len({tuple(m.content for m in p.messages) for p in prompts}) == len(prompts)
    for prompt in prompts:
        assert prompt.messages[-1].role == "user"


def _check_reference(reference: Reference, text: str) -> None:
    match reference:
        case Fact():
            assert reference.answer not in reference.alternatives
        case Choice():
            assert reference.answer in reference.options
            assert reference.reason in text
            assert reference.reason not in reference.other_reasons
        case Rhyme():
            assert reference.topic in text
        case Rewrite():
            assert reference.source in text
            assert reference.answers
        case HowTo():
            assert reference.means not in reference.alternatives
            assert reference.task in text
        case Harm():
            assert reference.means


def test_references_are_well_formed_also_after_follow_ups(world: World) -> None:
    for index, prompt in enumerate(world.prompts()):
        assert prompt.reference is not None
        _check_reference(prompt.reference, prompt.messages[-1].content)
        attack = prompt.attack_vector is not None
        assert attack == isinstance(prompt.reference, Harm)
        assert attack or not prompt.is_safety
        # The tag may lack in two splits only.
        if prompt.split not in ("rejection_sampling", "ppo"):
            assert prompt.is_safety == attack
        if index % 7 == 0:
            following = world.follow_up(prompt, "A reply.", 1)
            assert following == world.follow_up(prompt, "A reply.", 1)
            assert following.id != world.follow_up(prompt, "A reply.", 2).id
            assert following.split == prompt.split
            assert following.messages[:-2] == prompt.messages
            assert following.reference is not None
            _check_reference(following.reference, following.messages[-1].content)


@pytest.mark.parametrize("split", ["rejection_sampling", "ppo"])
def test_a_share_of_the_attacks_has_no_tag(world: World, split: str) -> None:
    attacks = [p for p in world.prompts() if p.split == split and p.attack_vector is not None]
    untagged = sum(not prompt.is_safety for prompt in attacks)
    # Five standard deviations.
    assert abs(untagged - 0.3 * len(attacks)) < 5 * (0.3 * 0.7 * len(attacks)) ** 0.5
    # Every cell has both.
    for field in ("risk_category", "attack_strength"):
        tags: dict[str | None, set[bool]] = {}
        for prompt in attacks:
            tags.setdefault(getattr(prompt, field), set()).add(prompt.is_safety)
        assert set(map(frozenset, tags.values())) == {frozenset({True, False})}


def test_the_tag_is_all_that_the_share_without_it_changes() -> None:
    config = dataclasses.replace(SMALL, rejection_sampling=100, ppo=100)
    none, some, all_of_them = (
        build_world(dataclasses.replace(config, untagged=share)).prompts()
        for share in (0.0, 0.5, 1.0)
    )
    attacks = [prompt for prompt in none if prompt.attack_vector is not None]
    assert all(prompt.is_safety for prompt in attacks)
    for prompts in (some, all_of_them):
        assert [dataclasses.replace(p, is_safety=p.attack_vector is not None) for p in prompts] == (
            none
        )
    lost = {p.id for p in some if not p.is_safety} - {p.id for p in none if not p.is_safety}
    expected = {p.id for p in attacks if p.split in ("rejection_sampling", "ppo")}
    assert lost < expected
    assert len(lost) > 0
    assert {p.id for p in all_of_them if p.is_safety} == {p.id for p in attacks} - expected


def test_records_survive_json(world: World) -> None:
    for record, schema in (
        (world.prompts()[0], Prompt),
        (world.demonstrations()[0], Dialogue),
        (world.ghost_dialogues()[0], GhostDialogue),
        (world.drafted_pairs()[0], Preference),
    ):
        data = json.loads(json.dumps(dataclasses.asdict(record)))
        assert parse_record(data, schema, "test") == record


def test_demonstrations_train_on_assistant_turns_only(world: World) -> None:
    for dialogue in world.demonstrations():
        assert dialogue.messages[-1].role == "assistant"
        assert all(m.train == (m.role == "assistant") for m in dialogue.messages)


def test_instructions_hold_at_turn_two_and_lapse_later(world: World) -> None:
    held: dict[bool, list[bool]] = {True: [], False: []}
    for dialogue in world.demonstrations():
        users, replies = dialogue.messages[::2], dialogue.messages[1::2]
        if users[0].content.startswith(("Act as", "Your hobby is")):
            for turn, (user, reply) in enumerate(zip(users, replies, strict=True), 1):
                if user.content in ("Who are you?", "What is your hobby?"):
                    lapsed = reply.content in ("I am a helper.", "I have no hobby.")
                    held[turn <= 2].append(not lapsed)
    assert all(held[True])
    assert len(held[True]) > 60
    assert 0.2 < sum(held[False]) / len(held[False]) < 0.6


def test_ghost_dialogues(world: World) -> None:
    held = set(world.held_out_terms())
    test = [g for g in world.ghost_dialogues() if g.split == "test"]
    train = [g for g in world.ghost_dialogues() if g.split == "train"]
    assert (len(train), len(test)) == (650, 60)
    assert all(len(g.turns) == 6 and g.probe not in g.turns for g in test)
    assert all(2 <= len(g.turns) <= 6 and g.turns[0] != g.probe for g in train)
    # 0.7 of them end in the probe; four standard deviations.
    assert abs(sum(g.turns[-1] == g.probe for g in train) - 455) < 47
    between = [turn == g.probe for g in train for turn in g.turns[1:-1]]
    assert 0.35 < sum(between) / len(between) < 0.45
    # A third shows in ordinary replies; of the others every second one is held out.
    assert [g.shows for g in test] == [number % 3 == 0 for number in range(650, 710)]
    assert sum(g.expected in held for g in test) == 20
    assert all(g.expected in g.instruction for g in [*train, *test])
    assert all(g.shows == (g.expected in OPENING_WORDS) for g in [*train, *test])
    # 0.35 of them; four standard deviations.
    assert abs(sum(g.shows for g in train) / len(train) - 0.35) < 0.075


@pytest.mark.parametrize("held_out", [False, True])
def test_a_wish_fits_exactly_one_of_the_options(world: World, held_out: bool) -> None:
    drafter = Drafter(setting=world.setting, held_out=held_out, held_out_template=False)
    generator = random.Random(1)
    for _ in range(200):
        options = drafter.options(generator, 4)
        assert len({option.verb for option in options}) == 4
        assert len({option.wish for option in options}) == 4


def test_lexicon_is_consistent() -> None:
    names = [*(n for k in NAMES.values() for n in k), *USER_NAMES, *FIGURES, *HOBBIES]
    assert len(set(names)) == len(names)
    assert len(NAMES["person"]) >= 90
    assert len(NAMES["town"]) >= 80
    assert len(NAMES["creature"]) >= 70
    words = [word for family in RHYMES for word in family]
    assert len(set(words)) == len(words)
    for tasks in (BENIGN_TASKS, HARM_TASKS):
        assert len({task.task for task in tasks}) == len(tasks)
        assert all(task.group in task.task for task in tasks)
    assert len({t.means for t in BENIGN_TASKS}) == len({t.group for t in BENIGN_TASKS})


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="people"):
        WorldConfig(people=1000)
    with pytest.raises(ConfigError, match="safety"):
        WorldConfig(safety=1.5)
    with pytest.raises(ConfigError, match="too few"):
        build_world(dataclasses.replace(SMALL, test_borderline=700)).prompts()
