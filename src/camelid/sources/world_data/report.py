"""What the report shows of the pocket world's data: two demonstrations and its counts."""

from __future__ import annotations

from camelid.report.texts import demonstrations, statistics
from camelid.run.finished import Found
from camelid.run.item import Example, StageReport, Table
from camelid.run.stage import NoInputs
from camelid.simulation.config import WorldConfig
from camelid.sources.world_data import Outputs, Result

Seen = Found[WorldConfig, NoInputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item("data", "Two demonstrations", "Of those that the world wrote.", "Table 5")
def _demonstrations(seen: Seen) -> list[Example]:
    return demonstrations(seen.last.rows(seen.last.outputs.demonstrations))


@REPORT.item(
    "data",
    "The pocket world",
    "Counted in what was written; a program wrote all of it.",
    card="Training Data",
    anchor="pocket-world",
    folded=True,
)
def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result)


@REPORT.limits
def _limits(_: Seen) -> list[str]:
    return ["A program wrote all texts for this run; they say nothing of the real world."]
