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
    from camelid.runs import Plan, Run, own, run_plan

__version__ = "0.1.0"
__all__ = [
    "Accuracy",
    "CamelidError",
    "Estimate",
    "Message",
    "Plan",
    "Preference",
    "Reply",
    "Run",
    "accuracy_by_strength",
    "load_model",
    "load_reward_model",
    "own",
    "read_pairs",
    "run_plan",
    "sample_replies",
    "score_replies",
    "split_pairs",
    "train_reward_model",
]

_RUNS = ("Plan", "Run", "own", "run_plan")
"""Names of `camelid.runs`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'camelid' has no attribute {name!r}")
    module = "runs" if name in _RUNS else "api"
    return getattr(importlib.import_module(f"camelid.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
