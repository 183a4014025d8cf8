"""SentencePiece byte-pair encoding: ours and Llama 2's.

Source: arXiv 2307.09288, Section 2.2 (tokenizer). The model file is a protocol buffer; the few
fields that matter are written here, which spares the package `protobuf`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from itertools import groupby
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


def _merges(pieces: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Return the pairs that spell each piece, the pieces of the highest score first.

    Of pieces with one score SentencePiece makes the leftmost in the text, which a list of merges
    cannot say. Runs of spaces alone, tied in every model, come out the same: they grow from the
    left, so that the pair with the longest left half is the leftmost.
    """
    pairs = [
        (piece, cut)
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in pieces and piece[cut:] in pieces
    ]

    def score(pair: tuple[str, int]) -> float:
        return scores[pieces[pair[0]]]

    pairs.sort(key=lambda pair: (-score(pair), -pair[1], -len(pair[0])))
    for value, group in groupby(pairs, key=score):
        tied = {piece for piece, _ in group if piece.strip(f"{SPACE} ")}
        starts = {piece[:cut] for piece in tied for cut in range(1, len(piece))}
        ends = {piece[cut:] for piece in tied for cut in range(1, len(piece))}
        if len(tied) > 1 and starts & ends:
            raise CheckpointError(
                f"vocabulary: {len(tied)} pieces that can overlap ({sorted(tied)[:3]} ..) have the "
                f"same score {value}; which one is made is then SentencePiece's own rule, which is "
                "not supported."
            )
    return [(piece[:cut], piece[cut:]) for piece, cut in pairs]


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece BPE model with byte fallback.

    `decode(encode(text)) == text` for all text. U+2581 stands for the space inside, and
    SentencePiece alone reads it as one; here its three bytes are encoded (Source: choice).
    """

    opens_with_space = True

    @staticmethod
    def engine(vocabulary: Vocabulary, *, for_files: bool) -> Any:
        """Return the merges of SentencePiece's scores.

        Files hold U+2581 for spaces, as Llama 2's do. Without them pieces hold the spaces
        themselves, and U+2581 in a text is a character like any other.
        """
        kinds, scores = vocabulary.types, vocabulary.scores or ()
        space = SPACE if for_files else " "
        ids = {
            token.replace(SPACE, space): index
            for index, (token, kind) in enumerate(zip(vocabulary.tokens, kinds, strict=True))
            if for_files or kind == BYTE or (kind == NORMAL and " " not in token)
        }
        pieces = {token: index for token, index in ids.items() if kinds[index] == NORMAL}
        model: Any = tokenizers.Tokenizer(
            tokenizers.models.BPE(
                vocab=ids,
                merges=_merges(pieces, scores),
                unk_token=vocabulary.tokens[kinds.index(UNKNOWN)],
                fuse_unk=True,
                byte_fallback=True,
            )
        )
        normalizers = tokenizers.normalizers
        model.normalizer = normalizers.Prepend(space)
        if for_files:
            model.normalizer = normalizers.Sequence(
                [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
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

    def _to_bytes(self, token: str, kind: int) -> bytes:
        if kind == BYTE:
            return bytes([int(token[3:5], 16)])
        if kind == UNKNOWN:
            return UNKNOWN_SURFACE.encode()
        return token.replace(SPACE, " ").encode()
