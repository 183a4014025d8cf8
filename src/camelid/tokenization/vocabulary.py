"""A vocabulary as plain data, and what every tokenizer makes of one.

A vocabulary is all that a tokenizer is built from and all that a file format has to carry, so each
reader (Hugging Face folder, GGUF, SentencePiece) ends in one and each writer starts from one.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from camelid.errors import CheckpointError, DataError

ChatFormatName = Literal["llama2", "llama3", "chatml"]
VocabularyKind = Literal["sentencepiece", "byte_level_bpe"]
PreTokenizer = Literal["smollm", "llama-bpe", "qwen2"]

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


class Tokenizer(ABC):
    """What the rest of the package knows of a tokenizer; one subclass a kind of vocabulary.

    Text never becomes a special token: `</s>` or `<|im_start|>` typed by a user stays text.
    """

    opens_with_space = False
    """True where encoding adds a space in front, which decoding removes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._model = self.engine(vocabulary, for_files=False)
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
            raise DataError(f"token id {index}; the vocabulary has ids 0 to {len(self._bytes) - 1}")
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
