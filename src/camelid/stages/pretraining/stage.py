"""Pretrains a transformer from random weights."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator

from camelid.data.loader import batch_indices, steps_per_epoch
from camelid.errors import ConfigError
from camelid.formats.folder import save_model
from camelid.model.transformer import Transformer
from camelid.run.place import Rows
from camelid.run.stage import StageContext
from camelid.stages.pretraining import Config, Inputs, Outputs, Result, ValidationRow
from camelid.tokenization.chat import load_chat_format
from camelid.train.corpus import read_corpus, validation_loss
from camelid.train.fitting import fit
from camelid.train.metrics import RowsFile
from camelid.train.objectives import NextToken, TokenBatch, token_batches


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
    # What was written before an interruption may end in half a line.
    RowsFile(log, key="step", last=steps)
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
