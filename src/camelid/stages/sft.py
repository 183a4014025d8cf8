"""Supervised fine-tuning (Section 3.1).

The base model learns to answer: prompts and answers of the whole set are packed to fill rows, the
loss counts answer tokens (and the end token) only, two epochs, cosine learning rate. The model
after epoch 1 is kept as the second variant that answers in the first preference collection.
`fine_tune` also serves rejection sampling, context distillation and Ghost Attention, which only
write dialogues.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from camelid.data.chat import ChatFormat, FitPolicy, Rendered, fit_ids, load_chat_format
from camelid.data.loader import batch_indices, steps_per_epoch
from camelid.data.packing import pack
from camelid.data.records import Dialogue, read_records
from camelid.errors import DataError
from camelid.model.precision import Precision, default_device
from camelid.model.transformer import Transformer
from camelid.model.weights import load_transformer, save_model
from camelid.runs import StageContext
from camelid.train.fitting import fit
from camelid.train.loop import StepResult
from camelid.train.objectives import NextToken, TokenBatch
from camelid.train.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of a fine-tuning on dialogues."""

    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 2e-5."""
    batch_rows: int = 64
    """Packed rows per optimizer step (Section 3.1)."""
    row_tokens: int = 4096
    """Tokens a packed row (Section 3.1)."""
    epochs: int = 2
    """Passes over the dialogues (Section 3.1); ignored where `steps` is given."""
    steps: int | None = None
    """Constant number of steps (Section 3.2.3, rejection sampling), or null for `epochs`."""
    train_embeddings: bool = True
    """False keeps the token embeddings fixed. A small tied table would otherwise unlearn every word
    that the fine-tuning data do not name (Source: choice)."""
    micro_rows: int = 8
    """Rows in memory at once; cannot change the result."""
    too_long: FitPolicy = "drop"
    """What happens to a dialogue longer than a row; counted in the result."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the stage reads, relative to the run."""

    tokenizer: str
    base: str
    demonstrations: str

    def paths(self) -> tuple[str, ...]:
        """All of them."""
        return (self.tokenizer, self.base, self.demonstrations)


@dataclass(frozen=True, slots=True)
class FineTuning:
    """Size of one fine-tuning."""

    steps: int
    steps_per_epoch: int
    rows: int
    tokens: int
    target_tokens: int
    dialogues: int
    too_long: int


def fine_tune(
    model: Transformer,
    chat: ChatFormat,
    dialogues: Sequence[Dialogue],
    config: Config,
    context: StageContext,
    *,
    precision: Precision,
) -> tuple[FineTuning, Iterator[StepResult]]:
    """Prepare a fine-tuning; iterating over the second result trains the model.

    Raises:
        DataError: No dialogue fits a row.
    """
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
            f"{context.name}: none of {len(dialogues)} dialogues fits {config.row_tokens} tokens."
        )
    model.tok_embeddings.requires_grad_(config.train_embeddings)
    rows = pack(rendered, config.row_tokens, chat.tokenizer.pad_id)
    per_epoch = steps_per_epoch(len(rows), config.batch_rows)
    steps = config.steps if config.steps is not None else config.epochs * per_epoch
    device = model.device

    def batches_from(start: int) -> Iterator[list[TokenBatch]]:
        for chosen in batch_indices(len(rows), config.batch_rows, context.seed, start):
            yield [
                TokenBatch.from_rows(rows, chosen[i : i + config.micro_rows], device)
                for i in range(0, len(chosen), config.micro_rows)
            ]

    size = FineTuning(
        steps,
        per_epoch,
        len(rows),
        rows.token_count,
        int(rows.train.sum()),
        len(rendered),
        too_long,
    )
    results = fit(
        model,
        NextToken(),
        batches_from,
        config.optimizer,
        steps=steps,
        context=context,
        precision=precision,
    )
    return size, results


def summarise(size: FineTuning, losses: list[float]) -> dict[str, Any]:
    """Return the entries of `result.json` that every fine-tuning writes."""
    tail = losses[-max(1, len(losses) // 10) :]
    return {
        "steps": size.steps,
        "rows": size.rows,
        "tokens": size.tokens,
        "target_tokens": size.target_tokens,
        "dialogues": size.dialogues,
        "dialogues_too_long": size.too_long,
        "final_loss": sum(tail) / len(tail) if tail else math.nan,
    }


def run(
    config: Config, context: StageContext, inputs: Inputs, precision: Precision
) -> dict[str, Any]:
    """Fine-tune the base model on the demonstrations; writes `model/` and `epoch1/`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    dialogues = read_records(context.input(inputs.demonstrations), Dialogue)
    model = load_transformer(context.input(inputs.base), default_device())
    size, results = fine_tune(model, chat, dialogues, config, context, precision=precision)
    first = context.work / "epoch1"
    losses = []
    for result in results:
        losses.append(result.loss)
        if result.step == min(size.steps_per_epoch, size.steps):
            save_model(model, first)
    shutil.copytree(first, context.out / "epoch1")
    save_model(model, context.out / "model")
    safety = sum(dialogue.is_safety for dialogue in dialogues)
    return {**summarise(size, losses), "safety_dialogues": safety}
