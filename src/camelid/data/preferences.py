"""Mixtures of comparisons for the two reward models.

Source: arXiv 2307.09288, Section 3.2.2 (data composition).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camelid.data.records import Kind, Preference
from camelid.seeds import derive_seed


def oversample_newest(preferences: Sequence[Preference], factor: int) -> list[Preference]:
    """Repeat the comparisons of the newest round `factor` times.

    Source: choice; the paper keeps the reward model on the distribution of the latest model by
    fresh data.
    """
    newest = max(p.round for p in preferences)
    return [p for p in preferences for _ in range(factor if p.round == newest else 1)]


def _mix(
    preferences: Sequence[Preference], kind: Kind, share: float, seed: int
) -> list[Preference]:
    own = [p for p in preferences if p.kind == kind]
    others = [p for p in preferences if p.kind != kind]
    count = round(len(own) * (1 - share) / share)
    generator = np.random.default_rng(derive_seed(seed, f"{kind}_mix"))
    drawn = generator.permutation(len(others))[:count].tolist()
    return own + [others[index] for index in sorted(drawn)]


def helpfulness_mix(
    preferences: Sequence[Preference], seed: int, share: float = 0.5
) -> list[Preference]:
    """Return all helpfulness comparisons, mixed `share` to 1 - `share` with others (equal parts).

    Where there are not enough others, all of them are taken.
    """
    return _mix(preferences, "helpfulness", share, seed)


def safety_mix(
    preferences: Sequence[Preference], seed: int, share: float = 0.9
) -> list[Preference]:
    """Return all safety comparisons, mixed `share` to 1 - `share` with helpfulness ones (90/10)."""
    return _mix(preferences, "safety", share, seed)
