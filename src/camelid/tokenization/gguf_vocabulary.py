"""A vocabulary in the header of a GGUF file.

Source: the GGUF specification of the ggml project.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from camelid.errors import CheckpointError
from camelid.tokenization.vocabulary import (
    CHAT_TOKENS,
    CONTROL,
    UNKNOWN,
    ChatFormatName,
    PreTokenizer,
    SpaceInFront,
    Vocabulary,
    VocabularyKind,
    chat_template,
    detect_chat_format,
)

_GGUF_PREFIX = "tokenizer.ggml."
_GGUF_TEMPLATE = "tokenizer.chat_template"
_OTHERS = re.compile(r"tokenizer\.(chat_template(s|\..*)?|huggingface\.json)")
"""The template, further ones, and the same tokenizer in another format."""
_READ = (
    *("model", "pre", "tokens", "token_type", "scores", "merges", "add_space_prefix"),
    *("add_bos_token", "bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id"),
)
_WITHOUT_EFFECT = (
    *("unknown_token_id", "padding_token_id", "seperator_token_id", "mask_token_id"),
    *("cls_token_id", "prefix_token_id", "suffix_token_id", "middle_token_id", "token_type_count"),
    *("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id"),
    *("fim_rep_token_id", "fim_sep_token_id", "add_eos_token", "add_sep_token"),
)
"""Fields that say nothing of the ids of a text (an end token is never put behind one here)."""
_ENDS = "camelid.end_token_ids"
_SPACE = "camelid.space_in_front"
"""Our own fields: the format has places for three ends, and one rule for spaces."""
_GGUF_MODELS: dict[str, VocabularyKind] = {"llama": "sentencepiece", "gpt2": "byte_level_bpe"}


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
        found = fields.get(_GGUF_PREFIX + key)
        if not isinstance(found, kind) or (
            isinstance(found, list) and not all(isinstance(item, items) for item in found)
        ):
            raise CheckpointError(
                f"{_GGUF_PREFIX}{key} must be a {kind.__name__} of {items.__name__}."
            )
        return found

    unread = [
        name
        for name, value in fields.items()
        if name.startswith("tokenizer.")
        and name.removeprefix(_GGUF_PREFIX) not in (*_READ, *_WITHOUT_EFFECT)
        and value is not False
        and not _OTHERS.fullmatch(name)
    ]
    if unread:
        raise CheckpointError(
            f"not supported: {', '.join(sorted(unread))} (what these do to a text is not known)."
        )
    model, split = fields.get(_GGUF_PREFIX + "model"), fields.get(_GGUF_PREFIX + "pre")
    kind = _GGUF_MODELS.get(str(model))
    if kind is None or (kind == "byte_level_bpe" and split not in get_args(PreTokenizer)):
        raise CheckpointError(
            f"tokenizer {model!r} with pre-tokenizer {split!r}; needed 'llama' (SentencePiece), or "
            f"'gpt2' (byte-level BPE) with one of {', '.join(get_args(PreTokenizer))}."
        )
    switches = [f"{_GGUF_PREFIX}{name}" for name in ("add_bos_token", "add_space_prefix")]
    for name in switches:
        if type(fields.get(name, False)) is not bool:
            raise CheckpointError(f"{name} is {fields[name]!r}; needed true or false.")
    pieces = kind == "sentencepiece"
    tokens, types = need("tokens", list, str), need("token_type", list, int)
    if pieces and fields.get(_GGUF_PREFIX + "add_space_prefix") is False:
        raise CheckpointError(
            "a SentencePiece tokenizer without a space in front is not supported."
        )
    special = {
        token
        for token, type_ in zip(tokens, types, strict=False)
        if type_ == CONTROL or token in CHAT_TOKENS
    }
    template = fields.get(_GGUF_TEMPLATE)
    if not isinstance(template, str | None):
        raise CheckpointError(f"{_GGUF_TEMPLATE} must be a text.")
    eos = need("eos_token_id", int)
    if template is not None and chat_format is None:
        end = tokens[eos] if 0 <= eos < len(tokens) else ""
        chat_format = detect_chat_format(template, special, end)
        template = None if template == chat_template(chat_format) else template
    elif chat_format is not None:
        template = None
    space = fields.get(_SPACE, "stretch")
    if space not in get_args(SpaceInFront):
        raise CheckpointError(f"{_SPACE} is {space!r}; needed one of {get_args(SpaceInFront)}.")
    opened = fields.get(_GGUF_PREFIX + "add_bos_token", pieces or split == "llama-bpe")
    ends = fields.get(_ENDS, [])
    ends = [*(ends if isinstance(ends, list) else [ends])]
    for key in ("eot_token_id", "eom_token_id"):
        ends += [need(key, int)] if _GGUF_PREFIX + key in fields else []
    if not all(type(index) is int for index in ends):
        raise CheckpointError(f"{_ENDS} must be a list of ids.")
    return Vocabulary(
        kind=kind,
        tokens=tuple(tokens),
        types=tuple(types),
        scores=tuple(need("scores", list, float)) if pieces else None,
        merges=None if pieces else tuple(need("merges", list, str)),
        pre_tokenizer=None if pieces else split,
        bos_id=need("bos_token_id", int) if opened else None,
        eos_id=eos,
        chat_format=chat_format or detect_chat_format(None, special),
        end_ids=tuple(index for index in dict.fromkeys(ends) if index != eos),
        space_in_front=space,
        template=template,
        other_templates=tuple(
            name.removeprefix(f"{_GGUF_TEMPLATE}.")
            for name in sorted(fields)
            if name.startswith(f"{_GGUF_TEMPLATE}.")
        ),
    ).settled()


def write_gguf_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    """Add a vocabulary and its chat template to a `gguf.GGUFWriter`."""
    writer.add_tokenizer_model({kind: name for name, kind in _GGUF_MODELS.items()}[vocabulary.kind])
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
    places = (writer.add_eot_token_id, writer.add_eom_token_id)
    for add, index in zip(places, vocabulary.end_ids, strict=False):
        add(index)
    if len(vocabulary.end_ids) > 2:
        writer.add_array(_ENDS, list(vocabulary.end_ids))
    if vocabulary.space_in_front != "stretch":
        writer.add_string(_SPACE, vocabulary.space_in_front)
    writer.add_add_bos_token(vocabulary.bos_id is not None)
    writer.add_add_eos_token(False)
    writer.add_chat_template(vocabulary.template or chat_template(vocabulary.chat_format))
