"""What the report shows of supervised fine-tuning: how many tokens of which dialogues."""

from __future__ import annotations

from camelid.report.texts import statistics
from camelid.run.finished import Found
from camelid.run.item import StageReport, Table
from camelid.stages.sft import Inputs, Outputs, Result
from camelid.train.config import FineTuningConfig

Seen = Found[FineTuningConfig, Inputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item(
    "run",
    "Supervised fine-tuning",
    "What was trained on; targets are the tokens of answers.",
    anchor="supervised-fine-tuning",
    folded=True,
)
def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result)
