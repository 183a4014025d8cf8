"""Tokenizers: one class, built from a vocabulary of either kind."""

from __future__ import annotations

from camelid.tokenization.byte_level_bpe import ByteLevelBPETokenizer
from camelid.tokenization.sentencepiece_bpe import SentencePieceTokenizer
from camelid.tokenization.vocabulary import StreamingDecoder, Tokenizer, Vocabulary

__all__ = ["StreamingDecoder", "Tokenizer", "Vocabulary", "tokenizer_from_vocabulary"]


def tokenizer_from_vocabulary(vocabulary: Vocabulary) -> Tokenizer:
    """Return the tokenizer of a vocabulary."""
    if vocabulary.kind == "sentencepiece":
        return SentencePieceTokenizer(vocabulary)
    return ByteLevelBPETokenizer(vocabulary)
