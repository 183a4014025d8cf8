"""Supervised fine-tuning (Section 3.1).

The base model learns to answer: prompts and answers of the whole set are packed to fill rows, the
loss counts answer tokens (and the end token) only, two epochs, cosine learning rate. The model
after epoch 1 is kept as the second variant that answers in the first preference collection.
`fine_tune` also serves rejection sampling, context distillation and Ghost Attention, which only
write dialogues.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid.data.loader import batch_indices, steps_per_epoch
from camelid.data.packing import pack
from camelid.data.records import Dialogue, read_records
from camelid.data.rendered import FitPolicy, Packing, Rendered
from camelid.errors import ConfigError, DataError
from camelid.formats.folder import load_transformer, save_model
from camelid.model.transformer import Transformer
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.tokenization.chat import ChatFormat, fit_ids, load_chat_format
from camelid.train.config import OptimizerConfig
from camelid.train.fitting import fit
from camelid.train.objectives import NextToken, TokenBatch


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
    packing: Packing = "isolated"
    """Whether attention crosses the dialogues of a row (not specified in Section 3.1)."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise ConfigError(
                f"fine-tuning: epochs {self.epochs} and steps {self.steps} must be at least 1."
            )


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    base: str
    demonstrations: str


def fine_tune(
    model: Transformer,
    chat: ChatFormat,
    dialogues: Sequence[Dialogue],
    config: Config,
    context: StageContext,
    *,
    precision: Precision,
    first_epoch: Path | None = None,
) -> dict[str, Any]:
    """Train a model on dialogues and write it to `model/`.

    Args:
        model: Trained in place.
        chat: Renders the dialogues.
        dialogues: What to learn; only messages marked for training count.
        config: Settings.
        context: The stage.
        precision: Compute type.
        first_epoch: Where to keep the model after its first epoch.

    Returns:
        What every fine-tuning writes into its `result.json`.

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
    rows = pack(rendered, config.row_tokens, chat.tokenizer.pad_id, config.packing)
    per_epoch = steps_per_epoch(len(rows), config.batch_rows)
    steps = config.steps if config.steps is not None else config.epochs * per_epoch
    device = model.device

    def batches_from(start: int) -> Iterator[list[TokenBatch]]:
        for chosen in batch_indices(len(rows), config.batch_rows, context.seed, start):
            yield [
                TokenBatch.from_rows(rows, chosen[i : i + config.micro_rows], device)
                for i in range(0, len(chosen), config.micro_rows)
            ]

    for result in fit(
        model,
        NextToken(),
        batches_from,
        config.optimizer,
        steps=steps,
        context=context,
        precision=precision,
    ):
        if first_epoch is not None and result.step == min(per_epoch, steps):
            save_model(model, first_epoch)
    save_model(model, context.out / "model")
    # From the file, not from memory: a resumed process saw only the last steps.
    metrics = (context.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    tail = [json.loads(line)["loss"] for line in metrics[-max(1, steps // 10) :]]
    return {
        "steps": steps,
        "rows": len(rows),
        "tokens": rows.token_count,
        "target_tokens": int(rows.train.sum()),
        "packing": config.packing,
        "dialogues": len(rendered),
        "too_long_policy": config.too_long,
        "dialogues_too_long": too_long,
        "dialogues_dropped": len(dialogues) - len(rendered),
        "final_loss": sum(tail) / len(tail),
    }


def run(
    config: Config, context: StageContext, inputs: Inputs, precision: Precision
) -> dict[str, Any]:
    """Fine-tune the base model on the demonstrations; writes `model/` and `epoch1/`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    dialogues = read_records(context.input(inputs.demonstrations), Dialogue)
    model = load_transformer(context.input(inputs.base), default_device())
    first = context.work / "epoch1"
    result = fine_tune(
        model, chat, dialogues, config, context, precision=precision, first_epoch=first
    )
    shutil.copytree(first, context.out / "epoch1")
    return result | {"safety_dialogues": sum(dialogue.is_safety for dialogue in dialogues)}
