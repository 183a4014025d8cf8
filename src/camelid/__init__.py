"""Camelid: the whole Llama 2 system (arXiv 2307.09288) as one package.

The names below are the public API (docs/api.md). They are imported when they are first used, so
that `import camelid`, and a command that needs no model, loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camelid.api import (
        Accuracy,
        CamelidError,
        Estimate,
        Message,
        Preference,
        Reply,
        accuracy_by_strength,
        load_model,
        load_reward_model,
        read_pairs,
        sample_replies,
        score_replies,
        split_pairs,
        train_reward_model,
    )

__version__ = "0.1.0"
__all__ = [
    "Accuracy",
    "CamelidError",
    "Estimate",
    "Message",
    "Preference",
    "Reply",
    "accuracy_by_strength",
    "load_model",
    "load_reward_model",
    "read_pairs",
    "sample_replies",
    "score_replies",
    "split_pairs",
    "train_reward_model",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'camelid' has no attribute {name!r}")
    return getattr(importlib.import_module("camelid.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
