"""SentencePiece's `tokenizer.model`, in and out.

It is a protocol buffer, of which few fields matter: those are read and written here, which spares
the package `protobuf` that the library's own message class needs.

Source: arXiv 2307.09288, Section 2.2 (tokenizer).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sentencepiece

from camelid.errors import CheckpointError, MissingInputError
from camelid.tokenization.tokenizer import SentencePieceTokenizer
from camelid.tokenization.vocabulary import (
    NORMAL,
    UNKNOWN,
    UNKNOWN_SURFACE,
    USER_DEFINED,
    Vocabulary,
)

PROBE = "A  full-width Ａ, the ﬁrst 1999;\n\t«é» 日本 \U0001f600 "
"""A text on which common ways to normalise and to split differ."""


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer and where it ends."""
    value = 0
    for count in range(10):
        byte = data[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError("an integer that does not end")


def _read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key & 7 == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(key & 7)
        if size is None:
            size, at = _read_varint(data, at)
        yield key >> 3, data[at : at + size]
        at += size


def _piece_types(data: bytes) -> list[int]:
    """Return the type of each piece; the library tells words (`USER_DEFINED`) from no others.

    Raises:
        ValueError: The bytes are no such message.
        CheckpointError: The model maps characters by a table.
    """
    types: list[int] = []
    for number, value in _read_fields(data):
        if number not in (1, 3) or not isinstance(value, bytes):
            continue
        inner = dict(_read_fields(value))
        if number == 1:  # a piece
            types.append(int(inner.get(3, NORMAL)))
        elif inner.get(2):  # of the normalizer
            raise CheckpointError(
                "this SentencePiece model normalises characters by a table, another way than Llama "
                "2's (identity); it is not supported."
            )
    return types


def read_sentencepiece(path: Path) -> Vocabulary:
    """Read a `tokenizer.model`; its chat format is taken to be Llama 2's.

    Raises:
        MissingInputError: There is no such file.
        CheckpointError: It is damaged, or no BPE model with byte fallback as Llama 2's is.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such tokenizer model. Name another path.")
    data = path.read_bytes()
    if re.match(rb"[A-Za-z0-9+/=]+ \d+\n", data):
        raise CheckpointError(
            f"{path}: a tiktoken file, as Meta ships Llama 3's tokenizer, is not read. Name a "
            "folder with the same tokenizer as tokenizer.json (--tokenizer)."
        )
    try:
        types = _piece_types(data)
        model: Any = sentencepiece.SentencePieceProcessor(model_proto=data)
        ids = range(model.get_piece_size())
        bos = int(model.bos_id())
        vocabulary = Vocabulary(
            kind="sentencepiece",
            tokens=tuple(model.id_to_piece(index) for index in ids),
            scores=tuple(float(model.get_score(index)) for index in ids),
            types=tuple(types),
            bos_id=bos if bos >= 0 else None,
            eos_id=int(model.eos_id()),
            chat_format="llama2",
            space_in_front="first" if USER_DEFINED in types else "stretch",
        )
        words = (vocabulary.tokens[i] for i in ids if types[i] == USER_DEFINED)
        probe = PROBE + "".join(f"a{word} b" for word in words)
        if SentencePieceTokenizer(vocabulary).encode(probe) != list(model.encode(probe)):
            raise CheckpointError(
                "this SentencePiece model splits or normalises text in another way than Llama 2's "
                "(BPE, identity, a space in front); it is not supported."
            )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path}: no readable SentencePiece model ({error}).") from None
    return vocabulary


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
