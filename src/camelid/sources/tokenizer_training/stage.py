"""Trains the tokenizer."""

from __future__ import annotations

import itertools

from camelid.run.stage import StageContext
from camelid.sources.tokenizer_training import Config, Inputs, Outputs, Result
from camelid.tokenization.chat import load_chat_format
from camelid.tokenization.training import train_sentencepiece


def run(config: Config, inputs: Inputs, outputs: Outputs, _: StageContext) -> Result:
    """Train SentencePiece on the corpus."""
    trained = train_sentencepiece(
        inputs.corpus.path, outputs.tokenizer.path, vocabulary_size=config.vocabulary_size
    )
    tokenizer = load_chat_format(outputs.tokenizer.path).tokenizer
    sample = list(itertools.islice(inputs.corpus.documents(), 2000))
    tokens = max(1, sum(map(len, tokenizer.encode_batch(sample))))
    return Result(
        **trained._asdict(),
        vocabulary_size=tokenizer.vocabulary_size,
        characters_per_token=sum(map(len, sample)) / tokens,
        words_per_token=sum(len(text.split()) for text in sample) / tokens,
    )
