"""Pretrains a transformer from random weights."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator

import torch

from camelid.data.loader import batch_indices, steps_per_epoch
from camelid.data.packing import PackedRows, pack, split_long
from camelid.data.rendered import Rendered
from camelid.errors import ConfigError
from camelid.formats.folder import save_model
from camelid.model.transformer import Transformer
from camelid.run.place import Corpus, Rows
from camelid.run.stage import StageContext
from camelid.runtime import compute
from camelid.stages.pretraining import Config, Inputs, Outputs, Result, ValidationRow
from camelid.tokenization.chat import load_chat_format
from camelid.tokenization.tokenizer import Tokenizer
from camelid.train.fitting import fit
from camelid.train.metrics import RowsFile
from camelid.train.objectives import NextToken, TokenBatch, token_batches


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


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Pretrain on the corpus and measure the loss on the validation corpus."""
    chat = load_chat_format(inputs.tokenizer.path)
    if chat.tokenizer.vocabulary_size != config.model.vocabulary_size:
        raise ConfigError(
            f"pretraining.model.vocabulary_size is {config.model.vocabulary_size}, "
            f"the tokenizer has {chat.tokenizer.vocabulary_size} ids; make them equal."
        )
    rows = read_corpus(inputs.corpus, chat.tokenizer, config.row_tokens)
    held_out = read_corpus(inputs.validation, chat.tokenizer, config.row_tokens)
    model = context.runtime.place(Transformer(config.model))
    model.initialise(context.seed)
    fill = rows.token_count / (len(rows) * config.row_tokens)
    steps = math.ceil(config.tokens / (config.batch_rows * config.row_tokens * fill))

    def batches_from(start: int) -> Iterator[list[TokenBatch]]:
        order = batch_indices(len(rows), config.batch_rows, context.seed, start, config.order)
        return token_batches(rows, order, config.micro_rows, model.device)

    log = Rows(context.name, outputs.validation.name, context.work, kind=ValidationRow)
    results = fit(
        model,
        NextToken(),
        batches_from,
        config.optimizer,
        steps=steps,
        context=context,
        metrics=outputs.metrics,
    )
    for result in results:
        if result.step % config.validate_every == 0 or result.step == steps:
            loss, _ = validation_loss(model, held_out)
            RowsFile(log, key="step", last=result.step - 1).append(
                ValidationRow(step=result.step, loss=loss)
            )
    shutil.copy(log.path, outputs.validation.path)
    loss, count = validation_loss(model, held_out)
    save_model(model, outputs.model.path)
    return Result(
        validation_perplexity=math.exp(loss),
        validation_tokens=count,
        parameters=config.model.parameter_count,
        steps=steps,
        tokens=round(steps * config.batch_rows * config.row_tokens * fill),
        corpus_tokens=rows.token_count,
        epochs=steps / steps_per_epoch(len(rows), config.batch_rows),
        padding_share=1 - fill,
    )
