"""Table 1: a model's attributes beside the paper's smallest and largest.

Source: arXiv 2307.09288, Table 1.
"""

from __future__ import annotations

from camelid.model.config import ModelConfig
from camelid.run.item import Cell, Table


def model_table(
    shape: ModelConfig, *, tokens: int | None = None, learning_rate: float | None = None
) -> Table:
    """Return the table.

    Args:
        shape: Of the model.
        tokens: That it was pretrained on; None where a run starts from weights.
        learning_rate: Peak of its pretraining.
    """
    heads, groups = shape.heads, shape.kv_heads
    rows: list[tuple[Cell, ...]] = [
        ("parameters", shape.parameter_count, "6.7 billion", "69 billion"),
        ("training tokens", tokens, "2.0 trillion", "2.0 trillion"),
        ("context (tokens)", shape.context, 4096, 4096),
        ("vocabulary", shape.vocabulary_size, 32000, 32000),
        ("grouped-query attention", "yes" if groups != heads else "no", "no", "yes"),
        ("width", shape.dim, 4096, 8192),
        ("blocks", shape.layers, 32, 80),
        ("query / key-value heads", f"{heads} / {groups}", "32 / 32", "64 / 8"),
        ("peak learning rate", learning_rate, "3.0e-4", "1.5e-4"),
    ]
    return Table(columns=("", "this run", "Llama 2 7B", "Llama 2 70B"), rows=rows)
