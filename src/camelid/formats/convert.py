"""Weights of any supported format in, and models out: `camelid convert SRC DST --to hf|meta|gguf`.

Source: choice (formats are not in the paper; they are what people bring and take away).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from camelid.errors import CheckpointError, ConfigError, MissingInputError
from camelid.formats.folder import (
    Checkpoint,
    advice_of,
    check_shapes,
    read_folder,
    read_object,
)
from camelid.formats.gguf import open_gguf, read_gguf, write_gguf
from camelid.formats.huggingface import read_huggingface, write_huggingface
from camelid.formats.meta import PARAMETERS, read_meta, write_meta
from camelid.run.directory import MANIFEST
from camelid.run.files import (
    explain_full_disk,
    fsync_directory,
    fsync_tree,
    make_folder,
    write_json,
)
from camelid.tokenization.chat import ChatFormat, chat_format_of
from camelid.tokenization.gguf_vocabulary import read_gguf_vocabulary
from camelid.tokenization.huggingface import (
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    read_huggingface_tokenizer,
    write_huggingface_tokenizer,
)
from camelid.tokenization.tokenizer import Tokenizer, tokenizer_from_vocabulary
from camelid.tokenization.vocabulary import CONTROL, UNKNOWN, ChatFormatName

Format = Literal["hf", "meta", "gguf"]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a model of any format: a GGUF file, or a folder of Hugging Face, of Meta or of ours.

    Raises:
        MissingInputError: There is no model.
        CheckpointError: It is damaged or of an unsupported kind.
    """
    if path.is_file():
        return read_gguf(open_gguf(path))
    if (path / PARAMETERS).is_file():
        return read_meta(path)
    if not (path / "config.json").is_file():
        if models := _models_below(path):
            raise MissingInputError(
                f"{path} is no model itself, but the folder of some: {', '.join(models)}. Name "
                f"one of them, such as {models[0].partition(' ')[0]}."
            )
        raise MissingInputError(
            f"{path}: no model here. Needed a GGUF file, or a folder with config.json (Hugging "
            f"Face, or a model of a run) or {PARAMETERS} (Meta)."
        )
    return read_folder(path) if _is_ours(path) else read_huggingface(path)


def _models_below(path: Path) -> list[str]:
    """Return the models of a run or of one of its stages, language models first."""
    files = (file for depth in ("*", "*/*", "*/*/*") for file in path.glob(f"{depth}/config.json"))
    found = {
        file.parent: read_object(file, advice_of(file.parent)).get("kind")
        for file in sorted(files)
        if (file.parent / "model.safetensors").is_file()
    }
    rewards = [folder for folder, kind in found.items() if kind == "reward_model"]
    return [
        *(str(folder) for folder in found if folder not in rewards),
        *(f"{folder} (a reward model)" for folder in rewards),
    ]


def _is_ours(path: Path) -> bool:
    """Tell a folder of a run from one of Hugging Face; both have a `config.json`."""
    file = path / "config.json"
    return file.is_file() and "kind" in read_object(file, advice_of(path))


def read_tokenizer(path: Path, chat_format: ChatFormatName | None = None) -> Tokenizer:
    """Read the tokenizer that belongs to a model of any format.

    Args:
        path: As for `read_checkpoint`, or the tokenizer's folder or `tokenizer.model`. A model of a
            run has its tokenizer in the run's folder, one of Meta's often beside its own folder.
        chat_format: Stands in for the one that the chat template has.

    Raises:
        MissingInputError: There is none.
        CheckpointError: It is damaged or of an unsupported kind.
    """
    if path.name == MODEL_FILE:
        path = path.parent
    if path.is_file():
        try:
            vocabulary = read_gguf_vocabulary(open_gguf(path).fields, chat_format)
            return tokenizer_from_vocabulary(vocabulary)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
    above = path.absolute().parents[:4] if _is_ours(path) else []
    # A run has one tokenizer, in a folder of the stage that made it.
    runs = [up for up in above if (up / MANIFEST).is_file()]
    inside_run = [file.parent for up in runs for file in sorted(up.glob(f"*/*/{TOKENIZER_FILE}"))]
    beside = [path.absolute().parent] if (path / PARAMETERS).is_file() else []
    for folder in (path, *inside_run, *beside):
        if (folder / MODEL_FILE).is_file() or (folder / TOKENIZER_FILE).is_file():
            return read_huggingface_tokenizer(folder, chat_format)
    raise MissingInputError(
        f"{path}: no tokenizer here or in its run. Put tokenizer.json or tokenizer.model beside "
        "the "
        "weights, or name it: --tokenizer PATH of `camelid convert`, --weights.tokenizer PATH of "
        "`camelid run`."
    )


class GivenModel(NamedTuple):
    """Weights and the tokenizer that fits them."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer


def read_model(
    path: Path, *, tokenizer: Path | None = None, chat_format: ChatFormatName | None = None
) -> GivenModel:
    """Read a model of any format with its tokenizer: the one way in for people's weights.

    Ids and rows of the embedding table are compared: rows without a token become unused ids. End
    tokens that the model's own files state are added to the tokenizer's. No weights are read yet.

    Args:
        path: As for `read_checkpoint`.
        tokenizer: Where the tokenizer is, if not beside the model.
        chat_format: As for `read_tokenizer`.

    Raises:
        MissingInputError: There is no model or no tokenizer.
        CheckpointError: One is damaged, unsupported, or they do not fit each other.
    """
    checkpoint = read_checkpoint(path)
    # Before memory is taken for as many ids as the description claims.
    check_shapes(checkpoint)
    read = read_tokenizer(tokenizer or path, chat_format)
    try:
        vocabulary = read.vocabulary.padded(checkpoint.config.vocabulary_size)
        ends = dict.fromkeys((*vocabulary.end_ids, *checkpoint.end_ids))
        ends.pop(vocabulary.eos_id, None)
        vocabulary = dataclasses.replace(vocabulary, end_ids=tuple(ends)).settled()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    same = vocabulary == read.vocabulary
    return GivenModel(checkpoint, read if same else tokenizer_from_vocabulary(vocabulary))


def convert(
    source: Path,
    destination: Path,
    *,
    to: Format,
    dtype: torch.dtype = torch.float32,
    shards: int | None = None,
    tokenizer: Path | None = None,
    chat_format: ChatFormatName | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Checkpoint:
    """Write a model in another format, whole or not at all.

    Args:
        source: As for `read_checkpoint`.
        destination: Folder, or GGUF file, that must not exist yet.
        to: The format.
        dtype: Number type of the weights.
        shards: Number of files of a Hugging Face folder, of model-parallel processes of Meta's.
        tokenizer: Where the tokenizer is, if not beside the model.
        chat_format: Stands in for the one of the model's chat template, which is else kept.
        note: Called with what the new files do not hold.

    Returns:
        What was read.

    Raises:
        ConfigError: The destination exists, or `shards` makes no sense.
        MissingInputError: There is no model or no tokenizer.
        CheckpointError: The model is damaged, or the format has no place for something of it.
    """
    if shards is not None and (shards < 1 or to == "gguf"):
        raise ConfigError(
            f"--shards {shards}: needed a number above 0, for the formats hf and meta."
        )
    with appearing(destination) as folder:
        checkpoint, whole = read_model(source, tokenizer=tokenizer, chat_format=chat_format)
        chat = chat_format_of(whole)
        ends = [index for index in chat.end_ids if index != chat.tokenizer.eos_id]
        vocabulary = dataclasses.replace(whole.vocabulary, end_ids=tuple(ends))
        if chat_format is not None:
            note(f"the chat template is that of {chat_format}, whatever the source's was")
        if others := ", ".join(vocabulary.other_templates):
            note(f"the chat templates {others} beside the default one are left out")
        if to != "hf" and checkpoint.generation:
            note(f"{to} has no place for {', '.join(sorted(checkpoint.generation))}: left out")
        if to == "gguf":
            name = source.stem if source.is_file() else source.absolute().name
            file = folder / "model.gguf"
            write_gguf(checkpoint, file, dtype=dtype, vocabulary=vocabulary, name=name)
        elif to == "meta":
            write_meta(checkpoint, folder, dtype=dtype, shards=shards or 1)
            write_huggingface_tokenizer(tokenizer_from_vocabulary(vocabulary), folder)
        else:
            ids = _special_ids(chat, checkpoint)
            write_huggingface(checkpoint, folder, dtype=dtype, files=shards, special_ids=ids)
            write_huggingface_tokenizer(whole, folder)
            settings = read_object(folder / CONFIG_FILE, "This is an internal error.")
            padding = {"pad_token": vocabulary.tokens[ids["pad_token_id"]]}
            write_json(folder / CONFIG_FILE, settings | padding)
    return checkpoint


def _special_ids(chat: ChatFormat, checkpoint: Checkpoint) -> dict[str, Any]:
    vocabulary = chat.tokenizer.vocabulary
    pad, ends = chat.end_id, list(chat.end_ids)
    if checkpoint.kind == "reward_model":
        # Transformers scores the last token that is not padding: no end of a text may be padding.
        free = [
            (index == vocabulary.bos_id, index)
            for index, kind in enumerate(vocabulary.types)
            if kind in (CONTROL, UNKNOWN) and index not in ends
        ]
        if not free:
            raise CheckpointError(
                "a reward model's vocabulary needs a special token that ends no text, for padding."
            )
        pad = min(free)[1]
    eos = ends if len(ends) > 1 else ends[0]
    return {"bos_token_id": vocabulary.bos_id, "eos_token_id": eos, "pad_token_id": pad}


@contextlib.contextmanager
def appearing(destination: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes the destination, or its only `model.gguf` does.

    Raises:
        ConfigError: The destination exists.
    """
    if destination.exists():
        raise ConfigError(f"{destination} exists already; choose another destination.")
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    with explain_full_disk(destination):
        make_folder(temporary)
        try:
            yield temporary
            fsync_tree(temporary)
            file = temporary / "model.gguf"
            (file if file.is_file() else temporary).rename(destination)
            fsync_directory(destination.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
