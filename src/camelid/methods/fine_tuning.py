"""Fine-tuning on dialogues; also serves those methods that only write dialogues.

Source: arXiv 2307.09288, Section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from camelid.data.loader import batch_indices, pack, steps_per_epoch
from camelid.data.records import Dialogue, MetricsRow
from camelid.data.rendered import Rendered
from camelid.errors import DataError, counted
from camelid.formats.folder import save_model
from camelid.model.transformer import Transformer
from camelid.run.place import ModelFolder, Rows
from camelid.run.stage import StageContext
from camelid.tokenization.chat import ChatFormat, fit_ids
from camelid.train.config import FineTuned, FineTuningConfig
from camelid.train.corpus import validation_loss
from camelid.train.fitting import fit
from camelid.train.objectives import NextToken, TokenBatch, token_batches


class Tuning(Protocol):
    """What a stage that fine-tunes writes, among other files."""

    model: ModelFolder
    metrics: Rows[MetricsRow]


def answer_loss(
    model: Transformer, chat: ChatFormat, dialogues: Sequence[Dialogue], longest: int
) -> tuple[float, int, int]:
    """Return cross entropy in nats a token of the answers, those tokens, and dialogues too long.

    Args:
        model: Measured as it is.
        chat: Renders the dialogues.
        dialogues: What to measure on; only messages marked for training count.
        longest: Most tokens of a dialogue; longer ones are left out.

    Raises:
        DataError: No dialogue fits.
    """
    rendered = [chat.render(dialogue.messages) for dialogue in dialogues]
    fitting = [one for one in rendered if len(one.ids) <= longest]
    if not fitting:
        raise DataError(
            f"none of {counted(len(dialogues), 'held-out dialogue')} fits {longest} tokens; set "
            "longer rows, or hold out more."
        )
    loss, tokens = validation_loss(model, pack(fitting, longest, chat.tokenizer.pad_id))
    return loss, tokens, len(rendered) - len(fitting)


def fine_tune(
    model: Transformer,
    chat: ChatFormat,
    dialogues: Sequence[Dialogue],
    config: FineTuningConfig,
    context: StageContext,
    *,
    outputs: Tuning,
    first_epoch: Path | None = None,
) -> FineTuned:
    """Train a model on dialogues and write it.

    Args:
        model: Trained in place.
        chat: Renders the dialogues.
        dialogues: What to learn; only messages marked for training count.
        config: Settings.
        context: The stage.
        outputs: Where model and metrics are written.
        first_epoch: Where to keep the model after its first epoch.

    Returns:
        What every fine-tuning says of itself.

    Raises:
        ConfigError: A row is longer than the model's context.
        CheckpointError: Chat format and model differ in their number of ids.
        DataError: No dialogue fits a row.
    """
    model.config.require_context(config.row_tokens, f"{context.name}: row_tokens")
    model.config.require_vocabulary(chat.tokenizer.vocabulary_size, context.name)
    rendered: list[Rendered] = []
    too_long = 0
    for dialogue in dialogues:
        whole = chat.render(dialogue.messages)
        fitted = fit_ids(whole, config.row_tokens, config.too_long, f"dialogue {dialogue.id!r}")
        too_long += len(whole.ids) > config.row_tokens
        if fitted is not None:
            rendered.append(fitted)
    if not rendered:
        raise DataError(
            f"{context.name}: none of {counted(len(dialogues), 'dialogue')} fits "
            f"{config.row_tokens} tokens."
        )
    model.tok_embeddings.requires_grad_(config.train_embeddings)
    rows = pack(rendered, config.row_tokens, chat.tokenizer.pad_id, config.packing)
    per_epoch = steps_per_epoch(len(rows), config.batch_rows)
    steps = config.steps if config.steps is not None else config.epochs * per_epoch

    def batches_from(start: int) -> Iterator[list[TokenBatch]]:
        order = batch_indices(len(rows), config.batch_rows, context.seed, start)
        return token_batches(rows, order, config.micro_rows, model.device)

    for result in fit(
        model,
        NextToken(),
        batches_from,
        config.optimizer,
        steps=steps,
        context=context,
        metrics=outputs.metrics,
    ):
        if first_epoch is not None and result.step == min(per_epoch, steps):
            save_model(model, first_epoch)
    save_model(model, outputs.model.path)
    # From the file, not from memory: a resumed process saw only the last steps.
    tail = [row.loss for row in outputs.metrics.read()[-max(1, steps // 10) :]]
    return FineTuned(
        steps=steps,
        rows=len(rows),
        tokens=rows.token_count,
        target_tokens=int(rows.train.sum()),
        packing=config.packing,
        dialogues=len(rendered),
        too_long_policy=config.too_long,
        dialogues_too_long=too_long,
        dialogues_dropped=len(dialogues) - len(rendered),
        final_loss=sum(tail) / len(tail),
    )
