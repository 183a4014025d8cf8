"""Proximal policy optimisation (Section 3.2.3).

The reward is the whitened logit of the gated reward minus beta times the divergence from the
policy's start; one gradient step per mini-batch, clip 0.2, AdamW at a constant rate. The value
function, GAE and the estimator of the divergence are not specified in the paper (Source: choice): a
critic of its own started from the helpfulness reward model with a zero head, GAE with gamma 1 and
lambda 0.95, the signed k1 estimator per token. A guard reward model trained on other comparisons
watches. The weights with the best reward on validation prompts are kept, among those whose guard
reward is no worse than before training and whose divergence is within a budget (the paper stops
early on held-out prompts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from camelid.data.annotation import Judge
from camelid.data.records import Dialogue, MetricsRow, Prompt, RolloutSummary
from camelid.errors import ConfigError, counted
from camelid.evaluation.gate import RewardModels
from camelid.inference.sampling import Sampling
from camelid.report import figure
from camelid.report.estimates import measure
from camelid.run.finished import Found
from camelid.run.item import AbsentError, Drawing, Measure, NotApplicableError, StageReport
from camelid.run.place import (
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
    Count,
    Factor,
    Number,
    PaperValue,
    Range,
    Share,
    SomeShare,
    Steps,
    bounded,
)
from camelid.train.config import OptimizerConfig, paper_optimizer

LARGEST_SAMPLER_GAP = 0.05
"""In nats a token; beyond it the sampler draws from another policy than the one that is trained.
Source: choice (rounding makes 1e-6 in fp32, 1e-2 in bf16)."""


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of PPO."""

    optimizer: OptimizerConfig
    """AdamW; the paper's rate is constant at 1e-6."""
    iterations: Steps = 200
    """Rollout batches (the paper runs 200 to 400)."""
    batch_rows: BatchSize = 512
    """Prompts per iteration (Section 3.2.3)."""
    minibatch_rows: BatchSize = 64
    """Rows per optimizer step (Section 3.2.3)."""
    micro_rows: BatchSize = 16
    """Rows in memory at once; cannot change the result."""
    clip: SomeShare = 0.2
    """Clip of the probability ratio (Section 3.2.3)."""
    value_clip: Annotated[float, Range(0, 10_000, above=True)] = 0.2
    """Clip of the value (Source: choice)."""
    value_coefficient: Factor = 1.0
    """Factor on the value loss; the critic shares no weights (Source: choice)."""
    critic_rate_factor: Factor = 5.0
    """Learning rate of the critic over the policy's (Source: choice)."""
    critic_warmup: Count = 2
    """First iterations in which only the critic learns (Source: choice)."""
    kl_coefficient: Factor = 0.01
    """Beta (Section 3.2.3: 0.01 for 7B and 13B, 0.005 for 34B and 70B)."""
    gamma: Share = 1.0
    """Discount (Source: choice)."""
    lam: Share = 0.95
    """Lambda of GAE (Source: choice)."""
    missing_end_penalty: Factor = 0.0
    """Taken off the whitened reward of a reply cut by the length limit (Source: choice)."""
    sampling: Sampling
    """Temperature and length of rollouts; top-p must be 1."""
    ghost_share: Share = 0.1
    """Share of Ghost dialogues among the prompts where there are any (Source: choice)."""
    validation_prompts: Number = 64
    """Held-out prompts on which weights are compared."""
    validate_every: Steps = 5
    """Iterations between validations."""
    judge: Judge | None = None
    """Judges the replies to the validation prompts, to show what the rewards miss; it chooses and
    trains nothing."""
    kept_kl: Factor | None = None
    """Largest divergence from the start, in nats a reply to the validation prompts, of weights that
    may be kept; None for any. Beyond it training goes on to show what the reward model misses."""
    largest_kl: Annotated[float, Range(0, 10_000, above=True)] = 40.0
    """Stop when the mean sequence divergence exceeds this many nats."""

    def __post_init__(self) -> None:
        if self.sampling.top_p != 1 or self.sampling.temperature <= 0:
            raise ConfigError(
                f"ppo.sampling: top_p is {self.sampling.top_p} and the temperature "
                f"{self.sampling.temperature}; top_p must be 1 and the temperature positive, so "
                "that the sampled distribution is the one whose log-probabilities are trained. "
                "Set --ppo.sampling.top-p 1, or another temperature."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    policy: ModelFolder
    rewards: RewardModels
    guard: RewardModelFolder
    """Watches only."""
    prompts: Rows[Prompt]
    ghost: Rows[Dialogue] | None = None
    """Dialogues of Ghost Attention, where the recipe has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """One iteration; 0 is the policy before training, of which only the validation is known."""

    iteration: int
    rollout: RolloutSummary | None = None
    clip_fraction: float | None = None
    seconds: float | None = None
    validation_reward: float | None = None
    """Mean reward on the validation prompts, where it was measured."""
    validation_guard_reward: float | None = None
    validation_kl: float | None = None
    """Divergence from the start in nats a reply, on the same replies."""
    validation_score: float | None = None
    """Mean of the judge's scores of the same replies, from 0 to 1."""


class Outputs(StageOutputs):
    """What the stage writes."""

    model: ModelFolder = place("model")
    iterations: Rows[Iteration] = place("iterations.jsonl")
    metrics: Rows[MetricsRow] = place("metrics.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How training ended and which weights were kept."""

    stopped: str
    best_iteration: int
    best_validation_reward: float
    validation_prompts: int
    prompts: int
    prompts_too_long: int
    ghost_prompts: int
    ghost_prompts_too_long: int


Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()
Curve = Callable[[RolloutSummary], float]

CURVES: tuple[tuple[str, Curve], ...] = (
    ("reward R_c\n(logit)", lambda rollout: rollout.reward),
    ("guard reward\n(logit)", lambda rollout: rollout.guard_reward),
    ("KL to the start\n(nats a reply)", lambda rollout: rollout.kl),
    ("entropy\n(nats a token)", lambda rollout: rollout.entropy),
    ("reply length\n(tokens)", lambda rollout: rollout.reply_length),
    ("replies that\nend (%)", lambda rollout: 100 * rollout.eos_share),
)
VALIDATED: dict[str, Callable[[Iteration], float | None]] = {
    "reward (logit)": lambda row: row.validation_reward,
    "guard reward (logit)": lambda row: row.validation_guard_reward,
    "judge's score": lambda row: row.validation_score,
}
"""What is measured on validation prompts: the first two curves, and the judge's score."""


def _iterations(seen: Seen) -> list[Iteration]:
    return seen.last.rows(seen.last.outputs.iterations)


@REPORT.item(
    "rlhf",
    "PPO",
    "Reward: the optimised reward models; guard: a reward model of disjoint pairs "
    "that PPO never sees.",
)
def curves(seen: Seen) -> Drawing:
    """Reward, guard reward, KL, entropy, length and end-of-reply share by iteration."""
    rows = _iterations(seen)
    with figure.figure(len(CURVES), 1.3, shared=True) as (axes, out):
        for index, (panel, (label, curve)) in enumerate(zip(axes, CURVES, strict=True)):
            drawn = [(row.iteration, curve(row.rollout)) for row in rows if row.rollout]
            panel.plot(*zip(*drawn, strict=True), label="training prompts", color=figure.colour(0))
            if index < 2:
                validated = list(VALIDATED.values())[index]
                points = [
                    (row.iteration, value) for row in rows if (value := validated(row)) is not None
                ]
                panel.plot(
                    *zip(*points, strict=True),
                    "o",
                    label="validation prompts",
                    color=figure.colour(1),
                )
            panel.set(ylabel=label)
        figure.legend(axes[0])
        axes[-1].set(xlabel="PPO iteration")
    return out[0]


@REPORT.item(
    "rlhf",
    "Reward, guard and truth against the divergence",
    "On validation prompts, each less its value before training. Where the reward goes on rising "
    "and the judge's score falls, the reward model is being exploited. The dashed line is where "
    "the weights stand that were kept.",
)
def over_optimisation(seen: Seen) -> Drawing:
    """Rewards and the judge's score on validation prompts against KL to the start."""
    if seen.last.config.judge is None:
        raise NotApplicableError
    rows = [row for row in _iterations(seen) if row.validation_score is not None]
    if len(rows) < 2:
        raise AbsentError("no judge watched PPO")
    best = seen.last.result.best_iteration
    divergence = [row.validation_kl or 0.0 for row in rows]
    with figure.figure(len(VALIDATED), 1.6, shared=True) as (axes, out):
        for panel, (label, value) in zip(axes, VALIDATED.items(), strict=True):
            points = [value(row) or 0.0 for row in rows]
            panel.plot(divergence, [p - points[0] for p in points], "o-", color=figure.colour(0))
            for row, kl in zip(rows, divergence, strict=True):
                if row.iteration == best:
                    panel.axvline(kl, color="#888888", linestyle="--", linewidth=1)
            panel.set(ylabel=f"change of\n{label}")
        axes[-1].set(xlabel="KL to the start (nats a reply)")
    return out[0]


def _kept(seen: Seen) -> list[Iteration]:
    """Iterations up to the one whose weights were kept."""
    best = seen.last.result.best_iteration
    rows = _iterations(seen)
    return [row for row in rows if row.iteration <= best] or rows


def _validated(seen: Seen, value: Callable[[Iteration], float | None]) -> tuple[float | None, str]:
    """A figure of the kept policy on validation prompts, and where it stands."""
    checked = [(row.iteration, found) for row in _kept(seen) if (found := value(row)) is not None]
    iteration, found = checked[-1]
    return found, f", validation prompts, iteration {iteration}"


def _divergence(seen: Seen) -> tuple[float, str]:
    """The divergence from the start over the last iterations before the kept one."""
    rollouts = [(row.iteration, row.rollout.kl) for row in _kept(seen) if row.rollout][-3:]
    if not rollouts:
        raise AbsentError("the weights before training were kept")
    mean = sum(kl for _, kl in rollouts) / len(rollouts)
    return mean, f", mean of {counted(len(rollouts), 'iteration')} up to {rollouts[-1][0]}"


@REPORT.notices
def _notices(seen: Seen) -> Iterable[str]:
    gaps = [row.rollout.sampler_gap or 0.0 for row in _iterations(seen) if row.rollout]
    if max(gaps, default=0.0) > LARGEST_SAMPLER_GAP:
        yield f"PPO sampled up to {max(gaps):.2f} nats a token off the policy that it trained."


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    reward, guard, _ = VALIDATED.values()
    for name, judge, value in (
        ("reward", "the optimised reward models", reward),
        ("guard_reward", "guard reward model", guard),
    ):
        found, place = _validated(seen, value)
        yield measure(f"ppo.{name}", f"logit{place}", lambda f=found: f, judge=judge)  # type: ignore[misc]
    try:
        _, place = _divergence(seen)
    except AbsentError:
        place = ""
    yield measure("ppo.kl", f"nats a reply{place}", lambda: _divergence(seen)[0])


_SECTION = "Section 3.2.3"
PPO = StageKind(
    name="ppo",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.stages.ppo.stage:run",
    report=REPORT,
    paper={
        **paper_optimizer("1e-6", _SECTION),
        "optimizer.schedule": PaperValue("constant", _SECTION),
        "clip": PaperValue("0.2", _SECTION),
        "kl_coefficient": PaperValue("0.01 (7B, 13B), 0.005 (34B, 70B)", _SECTION),
        "batch_rows": PaperValue("512", _SECTION),
        "minibatch_rows": PaperValue("64", _SECTION),
        "iterations": PaperValue("200 to 400, early stop", _SECTION),
    },
)
