"""Mixtures of comparisons for the two reward models.

Source: arXiv 2307.09288, Section 3.2.2 (data composition).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camelid.data.records import Preference
from camelid.runs import derive_seed


def oversample_newest(preferences: Sequence[Preference], factor: int) -> list[Preference]:
    """Repeat the comparisons of the newest round `factor` times.

    Source: choice; the paper keeps the reward model on the distribution of the latest model by
    fresh data.
    """
    newest = max(p.round for p in preferences)
    return [p for p in preferences for _ in range(factor if p.round == newest else 1)]


def _sample(items: Sequence[Preference], count: int, seed: int) -> list[Preference]:
    chosen = np.random.default_rng(seed).permutation(len(items))[:count]
    return [items[index] for index in sorted(chosen.tolist())]


def helpfulness_mix(preferences: Sequence[Preference], seed: int) -> list[Preference]:
    """Return all helpfulness comparisons and as many others (fewer where there are not enough)."""
    own = [p for p in preferences if p.kind == "helpfulness"]
    others = [p for p in preferences if p.kind != "helpfulness"]
    return own + _sample(others, len(own), derive_seed(seed, "helpfulness_mix"))


def safety_mix(
    preferences: Sequence[Preference], seed: int, share: float = 0.9
) -> list[Preference]:
    """Return all safety comparisons, mixed `share` to 1 - `share` with helpfulness ones (90/10)."""
    own = [p for p in preferences if p.kind == "safety"]
    others = [p for p in preferences if p.kind != "safety"]
    count = round(len(own) * (1 - share) / share)
    return own + _sample(others, count, derive_seed(seed, "safety_mix"))
