"""The reward models of a round, loaded."""

from __future__ import annotations

from camelid.evaluation.gate import RewardModels
from camelid.formats.folder import load_reward_model
from camelid.inference.rewards import RewardPair
from camelid.runtime import Runtime


def load_rewards(models: RewardModels, runtime: Runtime) -> RewardPair:
    """Load the two reward models of a round and the threshold tuned for them."""
    return RewardPair(
        load_reward_model(models.helpfulness.path, runtime),
        load_reward_model(models.safety.path, runtime),
        models.gate.read().threshold,
    )
