"""Byte-level byte-pair encoding as GPT-2 introduced it: SmolLM2's, Llama 3's and Qwen2's kinds.

The three differ in how text is split before merging; the expressions are part of the formats.
"""

from __future__ import annotations

from typing import Any

import tokenizers

from camelid.errors import CheckpointError
from camelid.tokenization.vocabulary import (
    CONTROL,
    USER_DEFINED,
    PreTokenizer,
    Tokenizer,
    Vocabulary,
)

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {"llama-bpe": _SPLIT.format(digits="{1,3}"), "qwen2": _SPLIT.format(digits="")}
"""Llama 3 takes up to three digits together, Qwen2 one."""


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's printable character of each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    characters = {chr(byte): byte for byte in shown}
    return characters | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTES = _byte_alphabet()


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
    models were trained.
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
                    if for_files or kind != CONTROL
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
        if kind == USER_DEFINED or not _BYTES.keys() >= set(token):
            return token.encode()
        return bytes(_BYTES[character] for character in token)
