"""SentencePiece byte-pair encoding: ours and Llama 2's.

Source: arXiv 2307.09288, Section 2.2 (tokenizer). The model file is a protocol buffer; the few
fields that matter are written here, which spares the package `protobuf`.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers

from camelid.errors import CheckpointError, MissingInputError
from camelid.tokenization.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    Tokenizer,
    Vocabulary,
)

SPACE = "\u2581"
"""Stands for a space inside pieces."""
UNKNOWN_SURFACE = " \u2047 "
"""Text of the unknown token."""


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


def read_sentencepiece(path: Path) -> Vocabulary:
    """Read a `tokenizer.model`; its chat format is taken to be Llama 2's.

    Raises:
        MissingInputError: There is no such file.
        CheckpointError: It is damaged, or no BPE model with byte fallback as Llama 2's is.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such tokenizer model.")
    data = path.read_bytes()
    if re.match(rb"[A-Za-z0-9+/=]+ \d+\n", data):
        raise CheckpointError(
            f"{path}: a tiktoken file, as Meta ships Llama 3's tokenizer, is not read. Name a "
            "folder with the same tokenizer as tokenizer.json (--tokenizer)."
        )
    try:
        model: Any = sentencepiece.SentencePieceProcessor(model_proto=data)
        ids = range(model.get_piece_size())
        tests = (
            (UNKNOWN, model.is_unknown),
            (CONTROL, model.is_control),
            (BYTE, model.is_byte),
            (UNUSED, model.is_unused),
        )
        bos = int(model.bos_id())
        vocabulary = Vocabulary(
            kind="sentencepiece",
            tokens=tuple(model.id_to_piece(index) for index in ids),
            scores=tuple(float(model.get_score(index)) for index in ids),
            types=tuple(next((kind for kind, is_kind in tests if is_kind(i)), NORMAL) for i in ids),
            bos_id=bos if bos >= 0 else None,
            eos_id=int(model.eos_id()),
            chat_format="llama2",
        )
        probe = "A  full-width Ａ, the ﬁrst 1999;\n\t«é» 日本 \U0001f600 "
        if SentencePieceTokenizer(vocabulary).encode(probe) != list(model.encode(probe)):
            raise CheckpointError(
                "this SentencePiece model splits or normalises text in another way than Llama 2's "
                "(BPE, identity, a space in front); it is not supported."
            )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (RuntimeError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: no readable SentencePiece model ({error}).") from None
    return vocabulary


def sentencepiece_model(vocabulary: Vocabulary) -> Any:
    """Return the vocabulary as a `tokenizers.Tokenizer`, which other software reads.

    A piece can be made of every pair of pieces that spells it; the pair's rank is the piece's
    score.
    """
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    kinds, scores = vocabulary.types, vocabulary.scores or ()
    normal = {token for token, index in ids.items() if kinds[index] == NORMAL}
    pairs = [
        (-scores[ids[piece]], ids[piece[:cut]], ids[piece[cut:]])
        for piece in normal
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    ]
    model = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=ids,
            merges=[(vocabulary.tokens[a], vocabulary.tokens[b]) for _, a, b in sorted(pairs)],
            unk_token=vocabulary.tokens[kinds.index(UNKNOWN)],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    model.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend(SPACE), tokenizers.normalizers.Replace(" ", SPACE)]
    )
    model.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace(SPACE, " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    return model


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece BPE model with byte fallback.

    `decode(encode(text)) == text` for all text. U+2581 stands for the space inside, and
    SentencePiece alone reads it as one; here its three bytes are encoded (Source: choice).
    """

    opens_with_space = True

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary)
        proto = model_proto(vocabulary)
        try:
            self._model: Any = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise CheckpointError(f"vocabulary: refused by SentencePiece ({error}).") from None
        self._threads = os.cpu_count() or 1

    def _to_bytes(self, token: str, kind: int) -> bytes:
        if kind == BYTE:
            return bytes([int(token[3:5], 16)])
        if kind == UNKNOWN:
            return UNKNOWN_SURFACE.encode()
        return token.replace(SPACE, " ").encode()

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if len(texts) == 1:
            return [self._encode_one(texts[0])]
        found: list[list[int]] = self._model.encode(texts, num_threads=self._threads)
        for index, text in enumerate(texts):
            if SPACE in text:
                found[index] = self._encode_one(text)
        return found

    def _encode_one(self, text: str) -> list[int]:
        if SPACE not in text:
            return list(self._model.encode(text))
        # A private character that occurs nowhere falls back to its bytes, wherever it stands.
        used = (text, self.vocabulary.tokens)
        private = next(
            c for c in map(chr, range(0x10FFFD, 0, -1)) if not any(c in place for place in used)
        )
        ids = self._model.encode(text.replace(SPACE, private))
        found, needed = self._byte_ids(private), self._byte_ids(SPACE)
        result: list[int] = []
        for index in ids:
            result.append(index)
            if result[-len(found) :] == found:
                result[-len(found) :] = needed
        return result

    def _byte_ids(self, character: str) -> list[int]:
        return [self.vocabulary.tokens.index(f"<0x{byte:02X}>") for byte in character.encode()]
