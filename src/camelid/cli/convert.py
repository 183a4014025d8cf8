"""`camelid convert`: a model in another format."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Read a model in any format and write it in another."""
    import torch

    from camelid.formats.convert import convert
    from camelid.sources.weights import packaged_weights

    source = known.source
    if not source.exists():
        source = packaged_weights(str(source)) or source
    checkpoint = convert(
        source,
        known.destination,
        to=known.to,
        dtype=getattr(torch, known.dtype),
        shards=known.shards,
        tokenizer=known.tokenizer,
        chat_format=known.chat_format,
        note=lambda text: print(f"Note: {text}."),
    )
    count = sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values())
    print(f"{known.destination}: {count:,} parameters as {known.dtype}, format {known.to}")
