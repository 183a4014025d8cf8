"""What the report shows of the pocket world's data: two demonstrations and its counts."""

from __future__ import annotations

from camelid.report.texts import demonstrations, statistics
from camelid.run.finished import Found
from camelid.run.item import Example, Item, StageReport, Table
from camelid.run.stage import NoInputs
from camelid.simulation.config import WorldConfig
from camelid.stages.world_data import Outputs, Result

Seen = Found[WorldConfig, NoInputs, Outputs, Result]


def _demonstrations(seen: Seen) -> list[Example]:
    return demonstrations(seen.last.rows(seen.last.outputs.demonstrations))


def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result)


def _limits(_: Seen) -> list[str]:
    return ["A program wrote all texts for this run; they say nothing of the real world."]


REPORT: StageReport[Seen] = StageReport(
    items=(
        Item(
            anchor="demonstrations",
            title="Two demonstrations",
            caption="Of those that the world wrote.",
            draw=_demonstrations,
            section="data",
            paper=("Table 5",),
        ),
        Item(
            anchor="world",
            title="The pocket world",
            caption="Counted in what was written; a program wrote all of it.",
            draw=_statistics,
            section="data",
            card="Training Data",
            folded=True,
        ),
    ),
    limits=_limits,
)
