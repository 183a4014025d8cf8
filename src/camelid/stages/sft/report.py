"""What the report shows of supervised fine-tuning: how many tokens of which dialogues."""

from __future__ import annotations

from camelid.report.texts import statistics
from camelid.run.finished import Found
from camelid.run.item import Item, StageReport, Table
from camelid.stages.sft import Config, Inputs, Outputs, Result

Seen = Found[Config, Inputs, Outputs, Result]


def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result)


REPORT: StageReport[Seen] = StageReport(
    items=(
        Item(
            anchor="sft",
            title="Supervised fine-tuning",
            caption="What was trained on; targets are the tokens of answers.",
            draw=_statistics,
            section="run",
            folded=True,
        ),
    ),
)
