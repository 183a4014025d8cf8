"""The reward models of a round, loaded."""

from __future__ import annotations

from camelid.evaluation.gate import RewardModels
from camelid.formats.folder import load_reward_model
from camelid.inference.rewards import RewardPair
from camelid.runtime import Runtime


def load_rewards(models: RewardModels, runtime: Runtime) -> RewardPair:
    """Load the reward models of a round and the threshold tuned for them."""
    helpfulness = load_reward_model(models.helpfulness.path, runtime)
    if models.safety is None or models.gate is None:
        return RewardPair(helpfulness)
    safety = load_reward_model(models.safety.path, runtime)
    return RewardPair(helpfulness, safety, models.gate.read().threshold)
