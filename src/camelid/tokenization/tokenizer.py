"""Tokenizers, built from a vocabulary of either kind.

SentencePiece byte-pair encoding is ours and Llama 2's. The byte-level one, as GPT-2 introduced it,
is SmolLM2's, Llama 3's and Qwen2's; the three differ in how text is split before merging, and the
expressions are part of the formats.

Source: arXiv 2307.09288, Section 2.2 (tokenizer).
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import tokenizers

from camelid.errors import CheckpointError, DataError
from camelid.tokenization.vocabulary import (
    BYTE,
    BYTE_ALPHABET,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNKNOWN_SURFACE,
    UNUSED,
    USER_DEFINED,
    PreTokenizer,
    SpaceInFront,
    Vocabulary,
)

SPACE = "\u2581"
"""Stands for a space inside pieces."""


class Tokenizer(ABC):
    """What the rest of the package knows of a tokenizer; one subclass a kind of vocabulary.

    Text never becomes a special token: `</s>` or `<|im_start|>` typed by a user stays text.
    """

    opens_with_space = False
    """True where encoding adds a space in front, which decoding removes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._model = self.engine(vocabulary, for_files=False)
        _add(self._model, vocabulary, USER_DEFINED)
        self._special_ids = vocabulary.special_ids
        hidden = (CONTROL, UNUSED)
        self._bytes = [
            b"" if kind in hidden else self._to_bytes(token, kind)
            for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)
        ]

    @staticmethod
    @abstractmethod
    def engine(vocabulary: Vocabulary, *, for_files: bool) -> Any:
        """Return the vocabulary as a `tokenizers.Tokenizer`.

        Files name all tokens. Without them only those that text may become are there.
        """

    @abstractmethod
    def _to_bytes(self, token: str, kind: int) -> bytes:
        """Return the bytes of text that a token stands for."""

    @property
    def vocabulary_size(self) -> int:
        """Number of ids."""
        return len(self.vocabulary.tokens)

    @property
    def bos_id(self) -> int | None:
        """Id that opens a text, None where the vocabulary has none in use."""
        return self.vocabulary.bos_id

    @property
    def eos_id(self) -> int:
        """Id that ends a text."""
        return self.vocabulary.eos_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a text: `eos_id` and what else the files state."""
        return (self.vocabulary.eos_id, *self.vocabulary.end_ids)

    @property
    def unused_ids(self) -> list[int]:
        """Ids that stand for nothing, such as rows of the embedding table beyond the tokens."""
        types = self.vocabulary.types
        return [index for index, kind in enumerate(types) if kind == UNUSED]

    @property
    def pad_id(self) -> int:
        """Id that fills rows: `eos_id`, harmless because masks are positional."""
        return self.vocabulary.eos_id

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text; no special token is added or recognised.

        Raises:
            DataError: The text holds half a surrogate pair, which is no Unicode character.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, as `encode` does and on all processors.

        Raises:
            DataError: A text holds half a surrogate pair.
        """
        listed = list(texts)
        try:
            found = self._model.encode_batch_fast(listed, add_special_tokens=False)
        except TypeError:
            for text in listed:
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    raise DataError(
                        f"the text {text[:40]!r} is no valid Unicode ({error.reason}); replace "
                        "the half surrogate pair."
                    ) from None
            raise
        return [list(encoding.ids) for encoding in found]

    def token_bytes(self, index: int) -> bytes:
        """Return the bytes of text of one id; special and unused tokens have none.

        Raises:
            DataError: There is no such id.
        """
        if not 0 <= index < len(self._bytes):
            raise DataError(f"token id {index}; it must be from 0 to {len(self._bytes) - 1}.")
        return self._bytes[index]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; bytes that are no UTF-8 give U+FFFD, special tokens no text."""
        stream = StreamingDecoder(self)
        return stream.add(*ids) + stream.finish()

    def special_id(self, name: str) -> int:
        """Return the id of a special token such as `<|im_end|>`.

        Raises:
            DataError: There is none of that name.
        """
        if name not in self._special_ids:
            known = ", ".join(sorted(self._special_ids))
            raise DataError(f"{name!r} is no special token of this tokenizer; it has: {known}.")
        return self._special_ids[name]


class StreamingDecoder:
    """Text of ids that arrive one by one, never half a UTF-8 character.

    What `add` and `finish` return makes up `Tokenizer.decode` of all ids: it is the same code.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._opening = tokenizer.opens_with_space

    def add(self, *ids: int) -> str:
        """Return the characters that these ids complete."""
        data = b"".join(map(self._tokenizer.token_bytes, ids))
        if self._opening and data:
            data, self._opening = data.removeprefix(b" "), False
        return self._utf8.decode(data)

    def finish(self) -> str:
        """Return what is left: U+FFFD for the bytes of a character that never came whole."""
        return self._utf8.decode(b"", final=True)


_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {"llama-bpe": _SPLIT.format(digits="{1,3}"), "qwen2": _SPLIT.format(digits="")}
"""Llama 3 takes up to three digits together, Qwen2 one."""


def pre_tokenizer_model(name: PreTokenizer) -> Any:
    """Return the pre-tokenizer of the library `tokenizers`."""
    parts: Any = tokenizers.pre_tokenizers
    if name == "smollm":
        first, regex = parts.Digits(individual_digits=True), True
    else:
        first, regex = parts.Split(tokenizers.Regex(SPLITS[name]), behavior="isolated"), False
    return parts.Sequence([first, parts.ByteLevel(add_prefix_space=False, use_regex=regex)])


class ByteLevelBPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding.

    `decode(encode(text)) == text` for all text; Qwen2's kind normalises to NFC first, as the
    models were trained. Control characters without a token are left out, as by the library.
    """

    @staticmethod
    def engine(vocabulary: Vocabulary, *, for_files: bool) -> Any:
        """Return the merges after the split of the vocabulary's kind.

        Llama 3 takes a word that is a token as it is, without merging; a special token that lies
        in the table could then be reached from text.
        """
        kinds = zip(vocabulary.tokens, vocabulary.types, strict=True)
        merges = vocabulary.merges or ()
        model: Any = tokenizers.Tokenizer(
            tokenizers.models.BPE(
                vocab={
                    token: index
                    for index, (token, kind) in enumerate(kinds)
                    if for_files or kind not in (CONTROL, UNUSED)
                },
                merges=[(left, right) for left, _, right in (m.partition(" ") for m in merges)],
                ignore_merges=vocabulary.pre_tokenizer == "llama-bpe",
            )
        )
        if vocabulary.pre_tokenizer is None:
            raise CheckpointError(
                f"a vocabulary of the kind {vocabulary.kind!r} names no pre-tokenizer; byte-level "
                "BPE needs one."
            )
        if vocabulary.pre_tokenizer == "qwen2":
            model.normalizer = tokenizers.normalizers.NFC()
        model.pre_tokenizer = pre_tokenizer_model(vocabulary.pre_tokenizer)
        model.decoder = tokenizers.decoders.ByteLevel()
        return model

    def _to_bytes(self, token: str, kind: int) -> bytes:
        if kind == USER_DEFINED or not BYTE_ALPHABET.keys() >= set(token):
            return token.encode()
        return bytes(BYTE_ALPHABET[character] for character in token)


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


def space_rules(name: SpaceInFront, space: str = SPACE) -> tuple[Any, Any]:
    """Return normalizer and pre-tokenizer of the library, one of them None.

    Args:
        name: As in `Vocabulary`.
        space: What spaces become.
    """
    parts: Any = tokenizers
    if name == "stretch":
        prepend = parts.normalizers.Prepend(space)
        replace = parts.normalizers.Replace(" ", space)
        return prepend if space == " " else parts.normalizers.Sequence([prepend, replace]), None
    metaspace = parts.pre_tokenizers.Metaspace
    return None, metaspace(replacement=space, prepend_scheme=name, split=False)


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece BPE model with byte fallback.

    `decode(encode(text)) == text` for all text where a space is put in front of each stretch and no
    word was added. U+2581 stands for the space inside, and
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
            token.replace(SPACE, space) if kind == NORMAL else token: index
            for index, (token, kind) in enumerate(zip(vocabulary.tokens, kinds, strict=True))
            if for_files or kind in (BYTE, USER_DEFINED) or (kind == NORMAL and " " not in token)
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
        normalizer, pre_tokenizer = space_rules(vocabulary.space_in_front, space)
        if normalizer is not None:
            model.normalizer = normalizer
        if pre_tokenizer is not None:
            model.pre_tokenizer = pre_tokenizer
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


def _add(model: Any, vocabulary: Vocabulary, *added: int) -> None:
    """Let a `tokenizers.Tokenizer` find the tokens of some types anywhere in a text."""
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        if kind in added:
            special = kind != USER_DEFINED
            model.add_tokens([tokenizers.AddedToken(token, normalized=False, special=special)])


def for_files(tokenizer: Tokenizer, vocabulary: Vocabulary) -> Any:
    """Return a vocabulary as a `tokenizers.Tokenizer` that names all tokens."""
    model = tokenizer.engine(vocabulary, for_files=True)
    _add(model, vocabulary, CONTROL, UNKNOWN, USER_DEFINED)
    return model


def tokenizer_from_vocabulary(vocabulary: Vocabulary) -> Tokenizer:
    """Return the tokenizer of a vocabulary."""
    if vocabulary.kind == "sentencepiece":
        return SentencePieceTokenizer(vocabulary)
    return ByteLevelBPETokenizer(vocabulary)
