"""Simulated annotators: they see the exact judge's score through noise and a taste for length.

Source: arXiv 2307.09288, Section 3.2.1 (four strengths, safety bins), 3.4.2 and 4.4 (scales).
Noise, bias and thresholds are ours (Source: choice): of comparisons called negligibly better most
are of equally good replies, and of the others one in six is labelled the wrong way round; above
that strength hardly one is. A safety label of a reply is wrong in one of fifty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from camelid.data.annotation import Judge, Judgement, Pair
from camelid.data.records import STRENGTHS, Preference, Prompt, Rating, Scale
from camelid.errors import DataError
from camelid.seeds import derive_seed
from camelid.simulation.config import AnnotatorConfig

if TYPE_CHECKING:
    from numpy.random import Generator

NAME = "simulated annotator"


def _score(judgement: Judgement, judge: Judge) -> float:
    if judgement.score is None:
        raise DataError(f"judge {judge.name!r} gives no scores; simulated annotators need them.")
    return judgement.score


@dataclass(frozen=True, slots=True)
class SimulatedAnnotator:
    """Compares and rates; every answer is a function of the config and the item alone."""

    config: AnnotatorConfig
    judge: Judge
    """What this annotator sees through noise."""

    def _rng(self, *parts: object) -> Generator:
        # A plan that only names this annotator needs no numpy.
        from numpy.random import default_rng

        return default_rng(derive_seed("annotator", self.config.seed, *parts))

    def _perceived(self, pair: Pair, key: str, reply: str) -> tuple[float, bool]:
        """The score as this annotator sees it, and whether the reply looks unsafe."""
        judgement = self.judge.judge(pair.prompt, reply)
        # Keyed by the text, so that the side on which a reply is shown changes nothing.
        rng = self._rng(key, reply)
        value = _score(judgement, self.judge) + self.config.noise * float(rng.standard_normal())
        value += self.config.length_bias * len(reply.split())
        violating = bool(judgement.violating)
        if pair.kind == "safety" and violating:
            value -= self.config.safety_weight
        mistaken = float(rng.random()) < self.config.safety_label_error
        return value, violating != mistaken

    @property
    def name(self) -> str:
        """As it stands in every comparison."""
        return f"{NAME} {self.config.seed}"

    def compare(self, pairs: Sequence[Pair]) -> list[Preference]:
        """Choose replies, say how much better they are and, for safety, which replies are safe."""
        return [self._compare(pair) for pair in pairs]

    def _compare(self, pair: Pair) -> Preference:
        value_a, unsafe_a = self._perceived(pair, pair.key, pair.reply_a)
        value_b, unsafe_b = self._perceived(pair, pair.key, pair.reply_b)
        config = self.config
        least = (config.significantly_better, config.better, config.slightly_better)
        return pair.decided(
            "a" if value_a >= value_b else "b",
            strength=STRENGTHS[sum(abs(value_a - value_b) < difference for difference in least)],
            unsafe=(unsafe_a, unsafe_b),
            annotator=self.name,
            key=config.seed,
            simulated=True,
        )

    def rate(self, prompt: Prompt, reply: str, scale: Scale) -> Rating:
        """Rate one reply: `helpfulness7` from 1 to 7; `safety5` where 1 and 2 are violations."""
        judgement = self.judge.judge(prompt, reply)
        score = _score(judgement, self.judge)
        rng = self._rng(scale, prompt.id, reply)
        error = self.config.noise * float(rng.standard_normal())
        if scale == "helpfulness7":
            value = min(7, max(1, round(1 + 6 * (score + error))))
        else:
            unsafe = bool(judgement.violating)
            if float(rng.random()) < self.config.safety_label_error:
                unsafe = not unsafe
            # A violation that the reply itself calls wrong is the milder one.
            mild = judgement.refusing or error > self.config.noise
            value = (2 if mild else 1) if unsafe else min(5, max(3, round(3 + 2 * (score + error))))
        return Rating(
            item_ids=(prompt.id,),
            rater=self.name,
            scale=scale,
            value=value,
            side=None,
            simulated=True,
        )
