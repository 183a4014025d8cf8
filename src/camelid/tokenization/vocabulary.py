"""A vocabulary as plain data, its chat format, and how GGUF files and `tokenizer.model` hold it.

A vocabulary is all that a tokenizer is built from and all that a file format has to carry, so each
reader (Hugging Face folder, GGUF, SentencePiece) ends in one and each writer starts from one. Chat
formats are written as Jinja templates, which transformers, vLLM and llama.cpp read. A template
gives the ids of `chat.py` for every dialogue without special tokens in its text: there they stay
text, while a template cannot tell them from its own.

A `tokenizer.model` is a protocol buffer; the few fields that matter are written here, which spares
the package `protobuf`.

Source: the GGUF specification of the ggml project.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from camelid.errors import CheckpointError

ChatFormatName = Literal["llama2", "llama3", "chatml"]
VocabularyKind = Literal["sentencepiece", "byte_level_bpe"]
PreTokenizer = Literal["smollm", "llama-bpe", "qwen2"]

UNKNOWN_SURFACE = " \u2047 "
"""Text of the unknown token."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Token types, with the numbers of GGUF and of SentencePiece (they are the same)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Tokens in the order of their ids and the rules that join them."""

    kind: VocabularyKind
    tokens: tuple[str, ...]
    """SentencePiece pieces, or byte-level tokens in GPT-2's byte alphabet."""
    types: tuple[int, ...]
    """One of `NORMAL` .. `BYTE` for each token; special tokens are `CONTROL`."""
    scores: tuple[float, ...] | None = None
    """SentencePiece: the highest score merges first."""
    merges: tuple[str, ...] | None = None
    """Byte-level BPE: `left right`, first merges first."""
    pre_tokenizer: PreTokenizer | None = None
    """Byte-level BPE: how text is split before merging, by GGUF's name."""
    bos_id: int | None
    """Id that opens a text; None where texts are not opened by one."""
    eos_id: int
    """Id that ends a text."""
    chat_format: ChatFormatName

    def __post_init__(self) -> None:
        """Check that the parts belong together.

        Raises:
            CheckpointError: They do not; the caller adds the file.
        """
        size = len(self.tokens)
        known = set(self.tokens)
        if len(known) != size or len(self.types) != size or "" in known:
            raise CheckpointError(
                f"vocabulary: {size} tokens, {len(known)} of them distinct, {len(self.types)} "
                "types; needed as many types as tokens, each token once and none empty."
            )
        for name, index in (("BOS", self.bos_id), ("EOS", self.eos_id)):
            if index is not None and not 0 <= index < size:
                raise CheckpointError(f"vocabulary: {name} has id {index} of {size} tokens.")
        if not all(NORMAL <= kind <= BYTE for kind in self.types):
            raise CheckpointError("vocabulary: a token type is not one of 1 to 6.")
        try:
            "".join(self.tokens).encode()
        except UnicodeEncodeError as error:
            raise CheckpointError(f"vocabulary: a token is no Unicode text ({error}).") from None
        if self.kind == "sentencepiece":
            self._check_sentencepiece()
        else:
            self._check_merges(known)

    def _check_sentencepiece(self) -> None:
        if self.scores is None or len(self.scores) != len(self.tokens):
            raise CheckpointError("vocabulary: SentencePiece needs a score for each token.")
        if self.types.count(UNKNOWN) != 1:
            raise CheckpointError("vocabulary: SentencePiece needs exactly one unknown token.")
        found = {token for token, kind in zip(self.tokens, self.types, strict=True) if kind == BYTE}
        if found != {f"<0x{byte:02X}>" for byte in range(256)}:
            raise CheckpointError(
                f"vocabulary: {len(found)} byte tokens, needed 256 (`<0x00>` .. `<0xFF>`): other "
                "SentencePiece models cannot write every text and are not supported."
            )

    def _check_merges(self, known: set[str]) -> None:
        if self.merges is None or self.pre_tokenizer is None:
            raise CheckpointError("vocabulary: byte-level BPE needs merges and a pre-tokenizer.")
        if self.chat_format == "llama2":
            raise CheckpointError(
                "vocabulary: byte-level BPE without special tokens for chat; Llama 2's format "
                "needs SentencePiece."
            )
        known -= self.special_ids.keys()
        for merge in self.merges:
            left, space, right = merge.partition(" ")
            if not space or not {left, right, left + right} <= known:
                raise CheckpointError(f"vocabulary: the merge {merge!r} names an unknown token.")

    @property
    def special_ids(self) -> dict[str, int]:
        """Name to id of the special tokens."""
        return {
            token: index
            for index, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind == CONTROL
        }

    def padded(self, size: int) -> Vocabulary:
        """Return it with unused tokens up to `size` ids.

        Models whose embedding table has more rows than there are tokens (Qwen2.5) need it.

        Raises:
            CheckpointError: There are more tokens than `size`.
        """
        missing = size - len(self.tokens)
        if missing < 0:
            raise CheckpointError(
                f"the tokenizer has {len(self.tokens)} ids, the embedding table {size} rows; "
                "each id needs a row."
            )
        added = tuple(f"[PAD{index}]" for index in range(len(self.tokens), size))
        return replace(
            self,
            tokens=self.tokens + added,
            types=self.types + (UNUSED,) * missing,
            scores=None if self.scores is None else self.scores + (0.0,) * missing,
        )


LLAMA2_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
"""The tags of the Llama 2 chat format; plain text, not special tokens."""
HARMLESS_TAGS = tuple(tag.translate(str.maketrans("[]<>", "()()")) for tag in LLAMA2_TAGS)
"""What `neutralise` makes of the tags."""

_MARKS: dict[ChatFormatName, str] = {
    "chatml": "<|im_start|>",
    "llama3": "<|start_header_id|>",
    "llama2": "<<SYS>>",
}


def chat_template(chat_format: ChatFormatName) -> str:
    """Return the Jinja template of a chat format."""
    folder = Path(__file__).parent / "templates"
    return (folder / f"{chat_format}.jinja").read_text(encoding="utf-8")


def detect_chat_format(template: str | None, special_tokens: Collection[str]) -> ChatFormatName:
    """Return the chat format of a template, or, without one, that of the special tokens.

    Vocabularies without tokens for chat have Llama 2's format, whose tags are plain text.

    Raises:
        CheckpointError: The template has another format.
    """
    found = special_tokens if template is None else template
    for name, mark in _MARKS.items():
        if mark in found:
            return name
    if template is None:
        return "llama2"
    raise CheckpointError(
        f"the chat template is of an unknown format (it starts {template[:60]!r}); known are "
        f"{', '.join(_MARKS)}. Name the one to use instead (--chat-format)."
    )


_GGUF_PREFIX = "tokenizer.ggml."
_GGUF_TEMPLATE = "tokenizer.chat_template"
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

    model, split = fields.get(_GGUF_PREFIX + "model"), fields.get(_GGUF_PREFIX + "pre")
    kind = _GGUF_MODELS.get(str(model))
    if kind is None or (kind == "byte_level_bpe" and split not in get_args(PreTokenizer)):
        raise CheckpointError(
            f"tokenizer {model!r} with pre-tokenizer {split!r}; needed 'llama' (SentencePiece), or "
            f"'gpt2' (byte-level BPE) with one of {', '.join(get_args(PreTokenizer))}."
        )
    pieces = kind == "sentencepiece"
    tokens, types = need("tokens", list, str), need("token_type", list, int)
    if pieces:
        if fields.get(_GGUF_PREFIX + "add_space_prefix") is False:
            raise CheckpointError("a SentencePiece tokenizer without a space in front.")
        # SentencePiece finds user-defined pieces in any text, where special strings stay text.
        types = [CONTROL if type_ == USER_DEFINED else type_ for type_ in types]
    special = {token for token, type_ in zip(tokens, types, strict=False) if type_ == CONTROL}
    template = fields.get(_GGUF_TEMPLATE)
    if not isinstance(template, str | None):
        raise CheckpointError(f"{_GGUF_TEMPLATE} must be a text.")
    opened = fields.get(_GGUF_PREFIX + "add_bos_token", pieces or split == "llama-bpe")
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
    writer.add_add_bos_token(vocabulary.bos_id is not None)
    writer.add_add_eos_token(False)
    writer.add_chat_template(chat_template(vocabulary.chat_format))


def _varint(value: int) -> bytes:
    """Return a protocol buffer integer; negative ones have 64 bits."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _field(number: int, value: float | bytes) -> bytes:
    """Return one field of a message: an integer, a single-precision number, or bytes."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def model_proto(vocabulary: Vocabulary) -> bytes:
    """Return the `tokenizer.model` of a vocabulary, with the settings of Llama 2.

    The settings that act on encoding are BPE, byte fallback, a space in front, no normalisation;
    those of training are recorded for the reader of the file.
    """
    pieces = zip(vocabulary.tokens, vocabulary.scores or (), vocabulary.types, strict=True)
    unknown = vocabulary.types.index(UNKNOWN)
    # A model without BOS names a token that is no special one, which SentencePiece takes for none.
    bos = unknown if vocabulary.bos_id is None else vocabulary.bos_id
    names = [vocabulary.tokens[index] for index in (unknown, bos, vocabulary.eos_id)]
    trainer: list[tuple[int, int | bytes]] = [
        (3, 2),  # model_type: BPE
        (4, len(vocabulary.tokens)),
        (35, 1),  # byte_fallback
        (40, unknown),
        (41, -1 if vocabulary.bos_id is None else vocabulary.bos_id),
        (42, vocabulary.eos_id),
        (43, -1),  # pad_id
        (44, UNKNOWN_SURFACE.encode()),
        *((45 + index, name.encode()) for index, name in enumerate(names)),
    ]
    normalizer: list[tuple[int, int | bytes]] = [(1, b"identity"), (3, 1), (4, 0), (5, 1)]
    return b"".join(
        [
            *(
                _field(1, _field(1, token.encode()) + _field(2, float(score)) + _field(3, kind))
                for token, score, kind in pieces
            ),
            _field(2, b"".join(_field(number, value) for number, value in trainer)),
            _field(3, b"".join(_field(number, value) for number, value in normalizer)),
        ]
    )
