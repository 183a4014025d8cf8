"""Reward models (Section 3.2.2).

Two models, helpfulness and safety, each started from the latest chat model, learn from comparisons
by a ranking loss with graded margins; the safety model also by the auxiliary loss of A.3.4. Their
data are mixed as in the paper: helpfulness with as many others, safety 90 to 10. On held-out
comparisons the accuracy by strength is measured and the threshold of the gate of Section 3.2.3 is
tuned. In the last round a guard model is trained on comparisons that the two never saw, to watch
for over-optimisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from camelid.data.records import MetricsRow, Preference, Strength, TestScore
from camelid.evaluation.gate import Gate, RewardModels
from camelid.run.place import (
    Json,
    ModelFolder,
    RewardModelFolder,
    Rows,
    StageInputs,
    StageOutputs,
    TokenizerFolder,
    place,
)
from camelid.run.stage import StageKind
from camelid.settings import (
    BatchSize,
    Factor,
    PaperValue,
    Range,
    Share,
    SomeShare,
    Steps,
    Tokens,
    bounded,
)
from camelid.train.config import Margin, OptimizerConfig, paper_optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of the reward models."""

    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 1e-5 (5e-6 at 70B)."""
    batch_pairs: BatchSize = 512
    """Comparisons per optimizer step (Section 3.2.2)."""
    micro_pairs: BatchSize = 32
    """Comparisons in memory at once; cannot change the result."""
    epochs: Steps = 1
    """Passes over the comparisons (Section 3.2.2: more overfits)."""
    margin: Margin = "small"
    """Margins of Table 27; which one the final models use is not specified."""
    safety_auxiliary: Factor = 1.0
    """Weight of the auxiliary loss of the safety model (A.3.4; value: Source: choice)."""
    weakest: Strength | None = None
    """Weakest strength that is trained on; None for all, as in the paper. Most comparisons called
    negligibly better are coin flips; weaker ones stay among the held-out comparisons."""
    helpful_is_safe: bool = False
    """Whether the safety model's auxiliary loss takes both replies of a helpfulness comparison for
    safe (Source: choice). Else its score says nothing about replies to ordinary prompts, on which
    the gate decides."""
    newest_factor: Annotated[int, Range(1, 100)] = 2
    """How often the newest round's comparisons are repeated (Source: choice)."""
    helpfulness_share: SomeShare = 0.5
    """Share of helpfulness comparisons in the helpfulness model's mix (Section 3.2.2); more of them
    where there are not enough others."""
    safety_share: SomeShare = 0.9
    """Share of safety comparisons in the safety model's mix (Section 3.2.2)."""
    safety_model: bool = True
    """Whether a safety model is trained; it needs comparisons of safety. Without it there is no
    gate, and helpfulness alone is the reward."""
    gate_precision: Share = 0.89
    """Precision wanted of the gate on unsafe replies (Section 3.2.3)."""
    longest: Tokens = 512
    """Most tokens of prompt and reply; longer comparisons are dropped and counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    chat_model: ModelFolder
    preferences: tuple[Rows[Preference], ...]
    test_preferences: tuple[Rows[Preference], ...]
    guard_preferences: tuple[Rows[Preference], ...] = ()
    """Empty in all rounds but the last: no guard model is trained."""
    drafted_pairs: Rows[Preference] | None = None
    """Pairs of which the fault of the rejected reply is known; tested on, never trained on."""


class Outputs(StageOutputs):
    """What the stage writes."""

    helpfulness_rm: RewardModelFolder = place("helpfulness_rm")
    safety_rm: RewardModelFolder = place("safety_rm", optional=True)
    guard_rm: RewardModelFolder = place("guard_rm", optional=True)
    gate: Json[Gate] = place("gate.json", optional=True)
    test_scores: Rows[TestScore] = place("test_scores.jsonl")
    drafted_scores: Rows[TestScore] = place("drafted_scores.jsonl", optional=True)
    metrics_helpfulness: Rows[MetricsRow] = place("metrics_helpfulness_rm.jsonl")
    metrics_safety: Rows[MetricsRow] = place("metrics_safety_rm.jsonl", optional=True)
    metrics_guard: Rows[MetricsRow] = place("metrics_guard_rm.jsonl", optional=True)

    @property
    def models(self) -> RewardModels:
        """The two reward models with their gate."""
        return RewardModels(helpfulness=self.helpfulness_rm, safety=self.safety_rm, gate=self.gate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What one reward model learned from."""

    pairs: int
    kinds: dict[str, int]
    too_long: int
    too_weak: int
    """Comparisons left out for their strength."""
    steps: int
    equal: int = 0
    """Comparisons left out because both replies are the same tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What each model learned from; the guard only in the last round; null: not trained."""

    helpfulness_rm: Trained
    safety_rm: Trained | None
    guard_rm: Trained | None
    test_too_long: int
    """Held-out comparisons left out, also because both replies are the same tokens."""


_RM = "Section 3.2.2"
REWARD_MODELING = StageKind(
    name="reward_modeling",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.reward_modeling.stage:run",
    report="camelid.stages.reward_modeling.report:REPORT",
    paper={
        **paper_optimizer("1e-5 (70B: 5e-6)", _RM),
        "optimizer.schedule": PaperValue("cosine", _RM),
        "optimizer.final_fraction": PaperValue("0.1", _RM),
        "optimizer.warmup_fraction": PaperValue("0.03", _RM),
        "optimizer.warmup_minimum": PaperValue("5 steps", _RM),
        "batch_pairs": PaperValue("512 (1,024 rows)", _RM),
        "epochs": PaperValue("1", _RM),
        "margin": PaperValue("small 1, 2/3, 1/3, 0 or large 3, 2, 1, 0", "Table 27"),
        "helpfulness_share": PaperValue("0.5", _RM),
        "safety_share": PaperValue("0.9", _RM),
        "gate_precision": PaperValue("0.89 (threshold 0.15, recall 0.55)", "Section 3.2.3"),
    },
)
