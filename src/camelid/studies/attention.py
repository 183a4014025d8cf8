"""Multi-head, multi-query and grouped-query attention with matched parameters.

Source: arXiv 2307.09288, A.2.1 (Table 18, Figure 24).
"""

from __future__ import annotations

from dataclasses import replace

from camelid.model.config import ModelConfig
from camelid.plan import Plan
from camelid.simulation.config import WorldConfig
from camelid.stages.reporting import add_report
from camelid.studies import study_data, throughput
from camelid.studies.variants import AGAIN, add_variants, model, training


def matched_ffn_dim(shape: ModelConfig, kv_heads: int, *, multiple_of: int = 8) -> int:
    """Return the feed-forward width that keeps the parameters when key-value heads are dropped.

    The paper multiplies its widths by 1.33 (multi-query) and 1.3 (grouped-query) to the same end
    (arXiv 2307.09288, A.2.1). The factor that matches depends on the shape, so it is computed; an
    uneven width would slow the kernels of what is timed.
    """
    freed = 2 * shape.dim * (shape.kv_heads - kv_heads) * shape.head_dim
    return multiple_of * round((shape.ffn_dim + freed / (3 * shape.dim)) / multiple_of)


def attention() -> Plan:
    """Multi-head, multi-query and grouped-query attention (Table 18, Figure 24)."""
    plan = Plan("attention")
    full = model(context=256)
    # Two groups of four heads; the paper has eight groups of eight.
    shapes = {
        name: replace(full, kv_heads=heads, ffn_dim=matched_ffn_dim(full, heads))
        for name, heads in (("mha", 8), ("mqa", 1), ("gqa", 2), (f"mha{AGAIN}", 8))
    }
    models = add_variants(
        plan,
        study_data.Config(world=WorldConfig()),
        {name: training(shape, tokens=1_800_000, batch_rows=4) for name, shape in shapes.items()},
    )
    timed = tuple((name, folder) for name, folder in models.items() if not name.endswith(AGAIN))
    plan.add(throughput.THROUGHPUT, throughput.Config(), throughput.Inputs(models=timed))
    add_report(plan)
    return plan
