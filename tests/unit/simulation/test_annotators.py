from __future__ import annotations

import dataclasses
import random
from collections import Counter, defaultdict

import pytest

from camelid.data.annotation import Comparer, Pair
from camelid.data.records import Prompt
from camelid.data.references import Fact
from camelid.errors import ConfigError
from camelid.simulation.annotators import SimulatedAnnotator
from camelid.simulation.config import AnnotatorConfig, WorldConfig
from camelid.simulation.judge import ExactJudge
from camelid.simulation.prompts import HELPFUL, Drafter, cells
from camelid.simulation.setting import build_setting

SETTING = build_setting(WorldConfig())
JUDGE = ExactJudge()


def _pair(number, kind):
    generator = random.Random(number)
    drafter = Drafter(setting=SETTING, held_out=False, held_out_template=False)
    if kind == "safety":
        draft = drafter.attack(*generator.choice(cells()), generator)
    else:
        draft = drafter.draft(generator.choice(HELPFUL), generator)
    prompt = Prompt(
        id=f"p{number}",
        messages=draft.messages,
        category=draft.category,
        is_safety=draft.is_safety,
        source="test",
        split="rm_train",
        reference=draft.reference,
    )
    a, b = generator.sample(sorted({*draft.good, *draft.poor}), 2)
    return Pair(
        prompt=prompt,
        reply_a=a,
        reply_b=b,
        model_a="old",
        model_b="new",
        temperature_a=0.7,
        temperature_b=1.0,
        kind=kind,
        round=1,
        batch=1,
    )


PAIRS = [_pair(i, "helpfulness") for i in range(1500)] + [_pair(i, "safety") for i in range(1500)]


def _annotator(**changes):
    return SimulatedAnnotator(AnnotatorConfig(**changes), JUDGE)


def test_accuracy_falls_with_strength():
    annotator: Comparer = _annotator()
    right = defaultdict(list)
    for pair in PAIRS:
        a, b = (JUDGE.judge(pair.prompt, r).score for r in (pair.reply_a, pair.reply_b))
        if a != b:
            [preference] = annotator.compare([pair])
            right[preference.strength].append(
                preference.chosen == (pair.reply_a if a > b else pair.reply_b)
            )
    accuracy = {name: sum(found) / len(found) for name, found in right.items()}
    assert min(map(len, right.values())) > 50
    assert accuracy["significantly_better"] > 0.95
    assert 0.75 < accuracy["negligibly_better"] < 0.9
    order = ("significantly_better", "better", "slightly_better", "negligibly_better")
    values = [accuracy[name] for name in order]
    assert values == sorted(values, reverse=True)


def test_order_and_sides_change_nothing():
    annotator = _annotator()
    forward = annotator.compare(PAIRS[:50])
    backward = [annotator.compare([pair])[0] for pair in reversed(PAIRS[:50])][::-1]
    assert forward == backward
    for pair, preference in zip(PAIRS[:50], forward, strict=True):
        swapped = dataclasses.replace(
            pair,
            reply_a=pair.reply_b,
            reply_b=pair.reply_a,
            model_a=pair.model_b,
            model_b=pair.model_a,
            temperature_a=pair.temperature_b,
            temperature_b=pair.temperature_a,
        )
        assert annotator.compare([swapped]) == [preference]
    assert _annotator(seed=1).compare(PAIRS[:1])[0].id != forward[0].id
    assert len({p.id for p in forward}) == len({pair.prompt.messages for pair in PAIRS[:50]})


def test_without_error_the_labels_are_the_truth():
    annotator = _annotator(noise=0.0, length_bias=0.0, safety_label_error=0.0)
    bins = Counter()
    for pair in PAIRS[1500:]:
        [preference] = annotator.compare([pair])
        unsafe = {r: JUDGE.judge(pair.prompt, r).violating for r in (pair.reply_a, pair.reply_b)}
        truth = {
            (False, True): "chosen_safe",
            (False, False): "both_safe",
            (True, True): "both_unsafe",
        }[unsafe[preference.chosen], unsafe[preference.rejected]]
        assert preference.safety == truth
        assert preference.simulated
        bins[truth] += 1
    assert bins["chosen_safe"] > 50
    assert annotator.compare(PAIRS[:1])[0].safety is None


def test_label_errors_occur_at_their_rate():
    annotator = _annotator(noise=0.0, safety_label_error=0.1)
    found = Counter(made.safety for made in annotator.compare(PAIRS[1500:]))
    assert 0.02 < found["chosen_unsafe"] / 1500 < 0.2


def test_length_bias_prefers_the_longer_of_equals():
    pair = PAIRS[0]
    reference = Fact(subject="Brindle", attribute="trade", answer="baker", alternatives=("miller",))
    prompt = dataclasses.replace(pair.prompt, reference=reference)
    short, long = "Brindle is a baker.", "You told me that Brindle earns a living as a baker."
    annotator = _annotator(noise=0.0, length_bias=0.01)
    pair = dataclasses.replace(pair, prompt=prompt, reply_a=short, reply_b=long)
    [preference] = annotator.compare([pair])
    assert preference.chosen == long
    assert preference.strength == "negligibly_better"


def test_ratings_follow_the_truth():
    annotator = _annotator(noise=0.0, safety_label_error=0.0)
    for pair in PAIRS[1500:1600]:
        judgement = JUDGE.judge(pair.prompt, pair.reply_a)
        rating = annotator.rate(pair.prompt, pair.reply_a, "safety5")
        assert (rating.value <= 2) == judgement.violating
        assert rating.simulated
    good = [annotator.rate(p.prompt, p.reply_a, "helpfulness7").value for p in PAIRS[:200]]
    assert min(good) >= 1
    assert max(good) == 7
    assert rating == annotator.rate(pair.prompt, pair.reply_a, "safety5")


def test_wrong_settings_are_errors():
    with pytest.raises(ConfigError, match="rise"):
        AnnotatorConfig(better=0.9)
    with pytest.raises(ConfigError, match="noise"):
        AnnotatorConfig(noise=-1.0)
    with pytest.raises(ConfigError, match="safety_label_error"):
        AnnotatorConfig(safety_label_error=1.5)
