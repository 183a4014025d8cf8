"""What the report shows of public data: two demonstrations, counts, and what was left out."""

from __future__ import annotations

from collections import Counter

from camelid.report.texts import demonstrations, statistics
from camelid.run.finished import Found
from camelid.run.item import Example, Item, StageReport, Table
from camelid.run.stage import NoInputs
from camelid.stages.public_data import NOTE, Config, Outputs, Result

Seen = Found[Config, NoInputs, Outputs, Result]


def _demonstrations(seen: Seen) -> list[Example]:
    return demonstrations(seen.last.rows(seen.last.outputs.demonstrations))


def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result, without=("excluded",))


def _preferences(seen: Seen) -> Table:
    kinds = Counter(row.kind for row in seen.last.rows(seen.last.outputs.preferences))
    return Table(columns=("comparisons", "number"), rows=[(k, n) for k, n in kinds.items()])


REPORT: StageReport[Seen] = StageReport(
    items=(
        Item(
            anchor="demonstrations",
            title="Two demonstrations",
            caption="Of those that are trained on.",
            draw=_demonstrations,
            section="data",
            paper=("Table 5",),
        ),
        Item(
            anchor="preferences",
            title="Preferences",
            caption="Labels of the public data, by people.",
            draw=_preferences,
            section="data",
            paper=("Table 6", "Table 26"),
            card="Training Data",
        ),
        Item(
            anchor="public-data",
            title="The public data",
            caption="Rows used and left out, and the hash of each file.",
            draw=_statistics,
            section="data",
            card="Training Data",
            folded=True,
        ),
    ),
    limits=lambda _: [NOTE],
)
