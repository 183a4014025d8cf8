"""The paper's values of our settings.

Source: arXiv 2307.09288, sections as given.
"""

from __future__ import annotations

from typing import NamedTuple


class PaperValue(NamedTuple):
    """What the paper says about one field."""

    value: str
    section: str


def paper_values() -> dict[str, str]:
    """Return dotted recipe field -> the paper's value with its section, as text."""
    return {path: f"{value} ({section})" for path, (value, section) in PAPER.items()}


def _optimizer(stage: str, learning_rate: str, section: str) -> dict[str, PaperValue]:
    return {
        f"{stage}.optimizer.learning_rate": PaperValue(learning_rate, section),
        f"{stage}.optimizer.beta1": PaperValue("0.9", section),
        f"{stage}.optimizer.beta2": PaperValue("0.95", section),
        f"{stage}.optimizer.eps": PaperValue("1e-5", section),
        f"{stage}.optimizer.weight_decay": PaperValue("0.1", section),
        f"{stage}.optimizer.clip": PaperValue("1.0", section),
    }


_BASE = "Section 2.2"
_SFT = "Section 3.1"
_RM = "Section 3.2.2"
_PPO = "Section 3.2.3"

PAPER: dict[str, PaperValue] = {
    "from_text.tokenizer_training.vocabulary_size": PaperValue("32,000", _BASE),
    **_optimizer("from_text.pretraining", "3e-4 (7B, 13B), 1.5e-4 (34B, 70B)", _BASE),
    "from_text.pretraining.optimizer.schedule": PaperValue("cosine", _BASE),
    "from_text.pretraining.optimizer.warmup_minimum": PaperValue("2,000 steps", _BASE),
    "from_text.pretraining.optimizer.final_fraction": PaperValue("0.1", _BASE),
    "from_text.pretraining.row_tokens": PaperValue("4,096", "Table 1"),
    "from_text.pretraining.batch_rows": PaperValue("4M tokens", "Table 1"),
    "from_text.pretraining.tokens": PaperValue("2.0T", "Table 1"),
    "sft.optimizer.learning_rate": PaperValue("2e-5", _SFT),
    "sft.optimizer.schedule": PaperValue("cosine", _SFT),
    "sft.optimizer.weight_decay": PaperValue("0.1", _SFT),
    "sft.batch_rows": PaperValue("64", _SFT),
    "sft.row_tokens": PaperValue("4,096", _SFT),
    "sft.epochs": PaperValue("2", _SFT),
    **_optimizer("reward_modeling", "1e-5 (70B: 5e-6)", _RM),
    "reward_modeling.optimizer.schedule": PaperValue("cosine", _RM),
    "reward_modeling.optimizer.final_fraction": PaperValue("0.1", _RM),
    "reward_modeling.optimizer.warmup_fraction": PaperValue("0.03", _RM),
    "reward_modeling.optimizer.warmup_minimum": PaperValue("5 steps", _RM),
    "reward_modeling.batch_pairs": PaperValue("512 (1,024 rows)", _RM),
    "reward_modeling.epochs": PaperValue("1", _RM),
    "reward_modeling.margin": PaperValue("small 1, 2/3, 1/3, 0 or large 3, 2, 1, 0", "Table 27"),
    "reward_modeling.helpfulness_share": PaperValue("0.5", _RM),
    "reward_modeling.safety_share": PaperValue("0.9", _RM),
    "reward_modeling.gate_precision": PaperValue("0.89 (threshold 0.15, recall 0.55)", _PPO),
    "rejection_sampling.samples": PaperValue("10 to 100 explored, K not stated", _PPO),
    "rejection_sampling.temperatures": PaperValue("1.2 to 1.3 best, re-tuned", _PPO),
    **_optimizer("ppo", "1e-6", _PPO),
    "ppo.optimizer.schedule": PaperValue("constant", _PPO),
    "ppo.clip": PaperValue("0.2", _PPO),
    "ppo.kl_coefficient": PaperValue("0.01 (7B, 13B), 0.005 (34B, 70B)", _PPO),
    "ppo.batch_rows": PaperValue("512", _PPO),
    "ppo.minibatch_rows": PaperValue("64", _PPO),
    "ppo.iterations": PaperValue("200 to 400, early stop", _PPO),
}
"""Dotted recipe field -> what arXiv 2307.09288 says; it does not state the fields left out here."""
