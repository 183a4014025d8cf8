"""Reporting: the run's results as a page, a model card, a safety report and machine-read figures.

Source: arXiv 2307.09288 as a whole; Table 52 for the model card. It reads only files of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from camelid.errors import ConfigError
from camelid.report import write_report, write_study_report
from camelid.run.stage import StageContext


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the report."""

    sample_prompts: int = 20
    """Prompts shown with their replies before and after. Source: choice."""

    def __post_init__(self) -> None:
        if self.sample_prompts < 1:
            raise ConfigError(
                f"reporting.sample_prompts is {self.sample_prompts}, needed at least 1."
            )


def run(config: Config, context: StageContext) -> dict[str, Any]:
    """Write the report of the run into the stage's directory.

    Args:
        config: Settings of the report.
        context: The stage's directories.

    Returns:
        Counts of figures and of the paper's artefacts by status.
    """
    return write_report(context.root, context.out, sample_prompts=config.sample_prompts)


def run_study(_: None, context: StageContext) -> dict[str, Any]:
    """Write the report of a study into the stage's directory; counts as `run`."""
    return write_study_report(context.root, context.out)
