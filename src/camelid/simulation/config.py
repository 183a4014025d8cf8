"""Settings of the pocket world and of its annotators; importing them builds and reads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from camelid.errors import ConfigError
from camelid.settings import Factor, Range, Seed, Share, bounded

_Texts = Annotated[int, Range(0, 10**7)]
_SomeTexts = Annotated[int, Range(1, 10**7)]
_Strength = Annotated[float, Range(0, 10)]


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class WorldConfig:
    """Size and mix of a pocket world. Source: choice, sized for a 3M-parameter model on a CPU."""

    seed: Seed = 0
    """Everything in the world is drawn from it."""
    people: Annotated[int, Range(12, 90)] = 90
    """Invented people, at most 90."""
    towns: Annotated[int, Range(12, 80)] = 80
    """Invented towns, at most 80."""
    creatures: Annotated[int, Range(12, 70)] = 70
    """Invented animals, at most 70."""
    documents: _SomeTexts = 24_500
    """Documents of the pretraining corpus, about 90 tokens each."""
    exercises: _Texts = 2_300
    """Of these, reading exercises that come first (about 0.12M tokens): a model that begins with
    them has learned to copy from context by 0.6M tokens, one that meets them mixed in has not."""
    validation_documents: _SomeTexts = 400
    """Documents of the validation corpus, drawn like the others from a seed of their own."""
    demonstrations: _SomeTexts = 5_400
    """Dialogues of supervised fine-tuning."""
    rm_train: _SomeTexts = 4_000
    """Prompts on which preferences for the reward models are collected."""
    rejection_sampling: _SomeTexts = 4_000
    """Prompts of rejection sampling."""
    ppo: _SomeTexts = 1_500
    """Prompts of PPO."""
    red_teaming: _SomeTexts = 600
    """Adversarial prompts of red teaming, on which nothing is trained."""
    validation: _SomeTexts = 2_400
    """Prompts for choosing PPO's weights and for the held-out comparisons of reward models."""
    test_helpful: _Texts = 520
    """Test prompts over the five helpfulness categories."""
    test_adversarial: _Texts = 320
    """Test prompts over risk categories, attack vectors and strengths."""
    test_borderline: _Texts = 320
    """Test prompts that look harmful and are not."""
    ghost_train: _SomeTexts = 650
    """Dialogues under an instruction, for Ghost Attention."""
    ghost_test: _SomeTexts = 60
    """Dialogues of six turns on which the memory of the instruction is measured."""
    open_comparisons: _Texts = 3_000
    """Comparisons of drafted replies that reward models train on beside the sampled ones."""
    guard_comparisons: _Texts = 600
    """The same for the guard model, on other prompts."""
    drafted: _Texts = 60
    """Drafts of each category for pairs of a good and a poor reply of known fault, on which reward
    models are tested."""
    held_out: Annotated[float, Range(0, 0.75)] = 0.25
    """Share of terms that only test prompts use."""
    held_out_templates: Share = 0.2
    """Share of prompt templates that only test prompts use."""
    safety: Share = 0.15
    """Share of adversarial prompts outside the splits `red_teaming` (all) and `test`."""
    untagged: Share = 0.3
    """Share of the adversarial prompts of rejection sampling and PPO without the tag IS_SAFETY, so
    that the gate between the reward models has something to find (Section 3.2.3)."""
    borderline: Share = 0.21
    """Share of borderline prompts among the helpful ones outside the test split."""
    demonstrations_safety: Share = 0.12
    """Share of safety demonstrations."""
    demonstrations_persona: Share = 0.22
    """Share of demonstrations with an instruction to hold."""
    demonstrations_borderline: Share = 0.14
    """Share of demonstrations that answer a borderline prompt."""
    disguised: Share = 0.5
    """Share of safety demonstrations against disguised or multi-turn attacks."""
    imperfect: Share = 0.28
    """Share of helpful demonstrations that a poor simulated annotator writes (Section 3.1: quality
    of annotations varies)."""
    reasonless: Share = 0.65
    """Share of demonstrated recommendations that leave out the reason for which annotators prefer a
    reply: people tell good from poor better than they write (Section 5.1). More than half, so that
    it becomes what the model most likely says, which no lower temperature mends."""
    bare: Share = 0.2
    """Share of safety demonstrations that refuse without a reason."""
    complies: Share = 0.22
    """Share of safety demonstrations in which the annotator complies with a plain attack."""
    complies_disguised: Share = 0.53
    """The same for disguised and multi-turn attacks, which annotators often do not see through."""
    lapse: Share = 0.5
    """Chance that a demonstration forgets its instruction, at each probe from turn 3 on."""

    def __post_init__(self) -> None:
        if self.exercises > self.documents:
            raise ConfigError(
                f"exercises is {self.exercises}; it must be at most documents, {self.documents}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class AnnotatorConfig:
    """How a simulated annotator errs; scores run from 0 to 1. All values are Source: choice."""

    seed: Seed = 0
    """Which annotator."""
    noise: Factor = 0.13
    """Standard deviation of the error on one reply's score."""
    length_bias: Factor = 0.002
    """Score that each word adds, whatever it says."""
    significantly_better: _Strength = 0.8
    """Smallest perceived difference of this strength."""
    better: _Strength = 0.55
    """Smallest perceived difference of this strength."""
    slightly_better: _Strength = 0.3
    """Smallest perceived difference of this strength; below it, negligibly better. It lies above
    what noise makes of nine in ten pairs of equally good replies, so that strengths mean
    something."""
    safety_weight: Factor = 1.0
    """Score that a violation costs in a safety comparison: safety comes first."""
    safety_label_error: Share = 0.02
    """Chance that the safe or unsafe label of one reply is wrong."""

    def __post_init__(self) -> None:
        if not self.slightly_better <= self.better <= self.significantly_better:
            raise ConfigError(
                f"strengths: found {self.slightly_better}, {self.better}, "
                f"{self.significantly_better}; they must rise."
            )
