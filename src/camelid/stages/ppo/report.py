"""What the report shows of PPO: its curves.

Source: arXiv 2307.09288, Section 3.2.3, which describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from camelid.data.records import RolloutSummary
from camelid.report import figure
from camelid.report.estimates import measure
from camelid.run.finished import Found
from camelid.run.item import AbsentError, Drawing, Measure, StageReport
from camelid.stages.ppo import Config, Inputs, Iteration, Outputs, Result

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
VALIDATED: tuple[Callable[[Iteration], float | None], ...] = (
    lambda row: row.validation_reward,
    lambda row: row.validation_guard_reward,
)
"""What is measured on validation prompts too: the first two curves."""


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
    with figure.figure(len(CURVES), 1.6, shared=True) as (axes, out):
        for index, (panel, (label, curve)) in enumerate(zip(axes, CURVES, strict=True)):
            drawn = [(row.iteration, curve(row.rollout)) for row in rows if row.rollout]
            panel.plot(*zip(*drawn, strict=True), label="training prompts", color=figure.colour(0))
            if index < len(VALIDATED):
                points = [
                    (row.iteration, value)
                    for row in rows
                    if (value := VALIDATED[index](row)) is not None
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
    return mean, f", mean of the {len(rollouts)} iterations up to {rollouts[-1][0]}"


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    for name, judge, value in (
        ("reward", "the optimised reward models", VALIDATED[0]),
        ("guard_reward", "guard reward model", VALIDATED[1]),
    ):
        found, place = _validated(seen, value)
        yield measure(f"ppo.{name}", f"logit{place}", lambda f=found: f, judge=judge)  # type: ignore[misc]
    try:
        _, place = _divergence(seen)
    except AbsentError:
        place = ""
    yield measure("ppo.kl", f"nats a reply{place}", lambda: _divergence(seen)[0])
