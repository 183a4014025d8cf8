"""The tokenizer and chat template in the fields of a GGUF file.

Source: the GGUF specification of the ggml project.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from camelid.errors import CheckpointError
from camelid.tokenization.chat_templates import chat_template, detect_chat_format
from camelid.tokenization.vocabulary import (
    CONTROL,
    UNKNOWN,
    USER_DEFINED,
    ChatFormatName,
    PreTokenizer,
    Vocabulary,
    VocabularyKind,
)

_PREFIX = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_MODELS: dict[str, VocabularyKind] = {"llama": "sentencepiece", "gpt2": "byte_level_bpe"}


def read_gguf_vocabulary(
    fields: Mapping[str, Any], chat_format: ChatFormatName | None = None
) -> Vocabulary:
    """Return the vocabulary of a file.

    Args:
        fields: Name to value.
        chat_format: Stands in for the one that the file's chat template has.

    Raises:
        CheckpointError: A field is missing, damaged or of an unsupported kind.
    """

    def need(key: str, kind: type[Any], items: type[Any] = object) -> Any:
        found = fields.get(_PREFIX + key)
        if not isinstance(found, kind) or (
            isinstance(found, list) and not all(isinstance(item, items) for item in found)
        ):
            raise CheckpointError(f"{_PREFIX}{key} must be a {kind.__name__} of {items.__name__}.")
        return found

    model, split = fields.get(_PREFIX + "model"), fields.get(_PREFIX + "pre")
    kind = _MODELS.get(str(model))
    if kind is None or (kind == "byte_level_bpe" and split not in get_args(PreTokenizer)):
        raise CheckpointError(
            f"tokenizer {model!r} with pre-tokenizer {split!r}; needed 'llama' (SentencePiece), or "
            f"'gpt2' (byte-level BPE) with one of {', '.join(get_args(PreTokenizer))}."
        )
    pieces = kind == "sentencepiece"
    tokens, types = need("tokens", list, str), need("token_type", list, int)
    if pieces:
        if fields.get(_PREFIX + "add_space_prefix") is False:
            raise CheckpointError("a SentencePiece tokenizer without a space in front.")
        # SentencePiece finds user-defined pieces in any text, where special strings stay text.
        types = [CONTROL if type_ == USER_DEFINED else type_ for type_ in types]
    special = {token for token, type_ in zip(tokens, types, strict=False) if type_ == CONTROL}
    template = fields.get(_TEMPLATE)
    if not isinstance(template, str | None):
        raise CheckpointError(f"{_TEMPLATE} must be a text.")
    opened = fields.get(_PREFIX + "add_bos_token", pieces or split == "llama-bpe")
    return Vocabulary(
        kind=kind,
        tokens=tuple(tokens),
        types=tuple(types),
        scores=tuple(need("scores", list, float)) if pieces else None,
        merges=None if pieces else tuple(need("merges", list, str)),
        pre_tokenizer=None if pieces else split,
        bos_id=need("bos_token_id", int) if opened else None,
        eos_id=need("eos_token_id", int),
        chat_format=chat_format or detect_chat_format(template, special),
    )


def write_gguf_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    """Add a vocabulary and its chat template to a `gguf.GGUFWriter`."""
    writer.add_tokenizer_model({kind: name for name, kind in _MODELS.items()}[vocabulary.kind])
    writer.add_tokenizer_pre(vocabulary.pre_tokenizer or "default")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
        writer.add_unk_token_id(vocabulary.types.index(UNKNOWN))
    if vocabulary.merges is not None:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.bos_id is not None:
        writer.add_bos_token_id(vocabulary.bos_id)
    writer.add_eos_token_id(vocabulary.eos_id)
    writer.add_add_bos_token(vocabulary.bos_id is not None)
    writer.add_add_eos_token(False)
    writer.add_chat_template(chat_template(vocabulary.chat_format))
