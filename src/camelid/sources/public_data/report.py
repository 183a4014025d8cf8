"""What the report shows of public data: two demonstrations, counts, and what was left out."""

from __future__ import annotations

from collections import Counter

from camelid.data.public import PublicDataConfig
from camelid.report.texts import demonstrations, statistics
from camelid.run.finished import Found
from camelid.run.item import Example, StageReport, Table
from camelid.run.stage import NoInputs
from camelid.sources.public_data import NOTE, Outputs, Result

Seen = Found[PublicDataConfig, NoInputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item("data", "Two demonstrations", "Of those that are trained on.", "Table 5")
def _demonstrations(seen: Seen) -> list[Example]:
    return demonstrations(seen.last.rows(seen.last.outputs.demonstrations))


@REPORT.item(
    "data",
    "The public data",
    "Rows used and left out, and the hash of each file.",
    card="Training Data",
    anchor="public-data",
    folded=True,
)
def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result, without=("excluded",))


@REPORT.item(
    "data",
    "Preferences",
    "Labels of the public data, by people.",
    "Table 6",
    "Table 26",
    card="Training Data",
)
def _preferences(seen: Seen) -> Table:
    kinds = Counter(row.kind for row in seen.last.rows(seen.last.outputs.preferences))
    return Table(columns=("comparisons", "number"), rows=[(k, n) for k, n in kinds.items()])


REPORT.limits(lambda _: [NOTE])
