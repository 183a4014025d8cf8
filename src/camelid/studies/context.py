"""A short and a long context.

Source: arXiv 2307.09288, A.2.1 (Tables 16 and 17).
"""

from __future__ import annotations

from camelid.plan import Plan
from camelid.simulation.config import WorldConfig
from camelid.stages.reporting import add_report
from camelid.studies import study_data
from camelid.studies.variants import AGAIN, add_variants, model, training


def context() -> Plan:
    """A short and a long context (Tables 16 and 17)."""
    plan = Plan("context")
    add_variants(
        plan,
        study_data.Config(world=WorldConfig(), long_share=0.3),
        {
            f"context_{length}{again}": training(
                model(context=length), tokens=2_400_000, batch_rows=rows
            )
            # Short rows hold more padding: nine of 128 have the tokens of two of 512.
            for length, rows, again in ((128, 9, ""), (512, 2, ""), (128, 9, AGAIN))
        },
    )
    add_report(plan)
    return plan
