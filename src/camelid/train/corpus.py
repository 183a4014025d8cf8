"""A corpus as packed rows, and the loss of a model on them.

Source: arXiv 2307.09288, Section 2; packing is Source: choice.
"""

from __future__ import annotations

import torch

from camelid.data.loader import PackedRows, pack, split_long
from camelid.data.rendered import Rendered
from camelid.model.transformer import Transformer
from camelid.run.place import Corpus
from camelid.runtime import compute
from camelid.tokenization.tokenizer import Tokenizer
from camelid.train.objectives import NextToken, TokenBatch


def read_corpus(corpus: Corpus, tokenizer: Tokenizer, row_tokens: int) -> PackedRows:
    """Tokenise a corpus of one document a line and pack it; BOS before, EOS after each document."""
    documents = []
    for text in corpus.documents():
        bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        ids = [*bos, *tokenizer.encode(text), tokenizer.eos_id]
        documents.append(Rendered(ids=ids, train=[True] * len(ids)))
    return pack(split_long(documents, row_tokens), row_tokens, tokenizer.pad_id)


@torch.no_grad()
def validation_loss(model: Transformer, rows: PackedRows) -> tuple[float, int]:
    """Return (mean cross entropy in nats, tokens) over packed rows."""
    objective = NextToken()
    total, count = 0.0, 0.0
    for start in range(0, len(rows), 16):
        indices = list(range(start, min(start + 16, len(rows))))
        batch = TokenBatch.from_rows(rows, indices, model.device)
        with compute(model):
            loss, _ = objective.loss_sum(model, batch)
        total += float(loss)
        count += float(objective.weight(batch))
    return total / count, int(count)
