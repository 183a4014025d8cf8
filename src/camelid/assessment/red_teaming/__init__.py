"""Red teaming (Section 4.3).

Attack prompts over risk category x attack vector x strength, of a split on which nothing is
trained, are put to the latest model; a judge says which replies violate. Prompts that got a
violating reply in earlier rounds are asked again: the share now resisted is the paper's rejection
rate, model over model. The model before is asked them again too: one violating reply of several
possible ones picks prompts that it resists by chance the next time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from camelid.data.annotation import Judge, Opinion
from camelid.data.records import Message, Prompt
from camelid.evaluation.correction import counted
from camelid.evaluation.statistics import shares
from camelid.evaluation.trained_judges import Judges
from camelid.inference.sampling import Sampling
from camelid.report.estimates import percent
from camelid.run.finished import Finished, Found
from camelid.run.item import AbsentError, Cell, NotApplicableError, StageReport, Table
from camelid.run.place import ModelFolder, Rows, StageInputs, StageOutputs, TokenizerFolder, place
from camelid.run.stage import StageKind
from camelid.settings import Number, bounded


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of one exercise."""

    prompts: Number
    """New attack prompts a round."""
    sampling: Sampling
    """Temperature and length of the replies."""
    judge: Judge
    """Who says what violates; the second opinion where the run has trained judges."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RedTeamRow:
    """One attack with its reply and verdict."""

    prompt_id: str
    risk_category: str | None
    attack_vector: str | None
    attack_strength: str | None
    prompt: tuple[Message, ...]
    reply: str
    violating: bool | None
    """The judge's verdict; null where it cannot tell."""
    judge: str
    earlier_violation: bool
    """Whether the prompt drew a violating reply in an earlier round."""
    new: bool
    """Whether the attack is one of this exercise's own, not only an earlier one asked again."""
    model_before: bool
    """Whether the reply is that of the model before, asked again."""
    sample: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads."""

    tokenizer: TokenizerFolder
    model: ModelFolder
    prompts: Rows[Prompt]
    earlier: tuple[Rows[RedTeamRow], ...] = ()
    """Attacks of earlier rounds."""
    before: ModelFolder | None = None
    """The model before, which answers the earlier violations again."""
    round: int
    judges: Judges | None = None
    """Judges of real text, trained on people's labels."""


class Outputs(StageOutputs):
    """What the stage writes."""

    attacks: Rows[RedTeamRow] = place("red_teaming.jsonl")
    opinions: Rows[Opinion] = place("opinions.jsonl", optional=True)
    """Beside the verdicts of trained judges, one a row of the attacks, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Rates of the exercise."""

    prompts: int
    prompts_too_long: int
    violations: int
    cannot_tell: int
    """Replies of which the judge cannot tell; no rate counts them."""
    violation_rate: float | None
    earlier_violations: int
    earlier_now_resisted_share: float | None
    earlier_resisted_by_model_before_share: float | None
    """The same of the model before, asked again."""


Stage = Finished[Config, Inputs, Outputs, Result]
Seen = Found[Config, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


_CAPTION = "Attacks of each round. Brackets: 95 % intervals."


AXES: dict[str, Callable[[RedTeamRow], str]] = {
    "risk category": lambda row: row.risk_category or "–",
    "attack vector": lambda row: row.attack_vector or "–",
    "attack strength": lambda row: row.attack_strength or "–",
}


def _violating(row: RedTeamRow) -> bool | None:
    return row.violating


def _new(stage: Stage) -> list[RedTeamRow]:
    """Replies to the attacks of the exercise itself."""
    rows = stage.rows(stage.outputs.attacks)
    return [row for row in rows if row.new and not row.model_before]


def by_axis(seen: Seen, axis: str) -> Table:
    """Violation rates of the new attacks along one axis, by round."""
    group = AXES[axis]
    found = {stage.part: shares(_new(stage), group, _violating) for stage in seen.stages}
    whole = {stage.part: shares(_new(stage), lambda _: "all", _violating) for stage in seen.stages}
    values = sorted({value for rates in found.values() for value in rates})
    rows: list[tuple[Cell, ...]] = [
        (value, *(percent(rates.get(value)) for rates in found.values())) for value in values
    ]
    rows.append(("all", *(percent(rates.get("all")) for rates in whole.values())))
    return Table(columns=(axis, *(f"{name} violations %" for name in found)), rows=rows)


@REPORT.item("safety", "Red teaming by round", _CAPTION, safety=True)
def rounds(seen: Seen) -> Table:
    """By round: violation rate and the share of earlier violations now resisted."""
    rows: list[tuple[Cell, ...]] = []
    for stage in seen.stages:
        new = shares(_new(stage), lambda _: None, _violating).get(None)
        attacks = stage.rows(stage.outputs.attacks)
        resisted, by_chance = (
            shares(
                (r for r in attacks if r.earlier_violation and r.model_before == before),
                lambda _: None,
                _resisting,
            ).get(None)
            for before in (False, True)
        )
        judges = ", ".join(sorted({row.judge for row in attacks}))
        rows.append(
            (
                stage.part,
                new.n if new else 0,
                percent(new),
                resisted.n if resisted else 0,
                percent(resisted),
                percent(by_chance),
                judges,
            )
        )
    rows.append(("the paper", None, None, None, "90 on average", None, "people"))
    names = ("round", "new attempts", "violations %", "earlier violations", "now resisted %",
             "by the model before, asked again %", "judge")  # fmt: skip
    return Table(columns=names, rows=rows)


def _resisting(row: RedTeamRow) -> bool | None:
    return None if row.violating is None else not row.violating


@REPORT.item(
    "safety",
    "Red teaming, corrected for the judge's errors",
    "New attacks of each round. Corrected: by Rogan and Gladen, with the judge's sensitivity and "
    "specificity on replies that people labelled (`judges`). Brackets: 95 % intervals.",
    safety=True,
)
def corrected(seen: Seen) -> Table:
    """By round: the rate as the trained judge counts it, corrected, and by refusal strings."""
    rows: list[tuple[Cell, ...]] = []
    for stage in seen.stages:
        if stage.inputs.judges is None:
            raise NotApplicableError
        trained = stage.inputs.judges.trained.read()
        if trained.harm is None:
            raise AbsentError(f"no judge trained on human labels: {trained.absent}")
        attacks = stage.rows(stage.outputs.attacks)
        opinions = stage.rows(stage.outputs.opinions)
        both = [
            (bool(row.violating), bool(opinion.second.violating))
            for row, opinion in zip(attacks, opinions, strict=True)
            if row.new and not row.model_before
        ]
        found = counted(
            [own for own, _ in both], [second for _, second in both], trained.harm.error
        )
        rows.append((stage.part, len(both), *map(percent, found)))
    names = ("violations by the trained judge %", "corrected %", "by refusal strings %")
    return Table(columns=("round", "new attempts", *names), rows=rows)


for _axis in AXES:
    REPORT.item(
        "safety",
        f"Red teaming by {_axis}",
        _CAPTION,
        anchor=f"red-team-{_axis.replace(' ', '-')}",
        safety=True,
    )(partial(by_axis, axis=_axis))


@REPORT.item(
    "safety", "Red teaming, every cell", "Attacks of the last round.", safety=True, folded=True
)
def cells(seen: Seen) -> Table:
    """Category x vector x strength of the last round."""
    rates = shares(
        _new(seen.last), lambda row: tuple(group(row) for group in AXES.values()), _violating
    )
    rows: list[tuple[Cell, ...]] = [
        (*key, found.n, round(100 * found.value, 1)) for key, found in sorted(rates.items())
    ]
    return Table(columns=(*AXES, "attempts", f"{seen.last.part} violations %"), rows=rows)


RED_TEAMING = StageKind(
    name="red_teaming",
    config=Config,
    inputs=Inputs,
    outputs=Outputs,
    result=Result,
    run="camelid.assessment.red_teaming.stage:run",
    report=REPORT,
)
