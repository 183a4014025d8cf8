"""Pretraining (Section 2).

A transformer learns to predict every token of the corpus: AdamW, cosine learning rate with warm-up
to 10 % of the peak, weight decay 0.1, clipping 1.0. Documents are packed in rows, each isolated
from its neighbours (masking within a row is not specified in the paper: Source: choice).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from camelid.data.loader import Order, batch_indices, steps_per_epoch
from camelid.data.packing import PackedRows, pack, split_long
from camelid.data.rendered import Rendered
from camelid.errors import ConfigError, DataError
from camelid.formats.folder import save_model
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.run.files import append_jsonl
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, compute, default_device
from camelid.tokenization.chat import load_chat_format
from camelid.tokenization.tokenizer import Tokenizer
from camelid.train.config import OptimizerConfig
from camelid.train.fitting import fit
from camelid.train.objectives import NextToken, TokenBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of pretraining."""

    model: ModelConfig
    """Shape of the transformer."""
    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 3e-4 (7B, 13B) or 1.5e-4 (34B, 70B)."""
    batch_rows: int
    """Rows per optimizer step; the paper's batch is 4M tokens."""
    row_tokens: int
    """Tokens a row; the paper's context is 4096."""
    tokens: int
    """Tokens to train on, rounded up to whole steps; the paper's models saw 2.0T."""
    order: Order = "shuffled"
    """Order of the documents; `as_written` follows the corpus file (Source: choice)."""
    micro_rows: int = 8
    """Rows in memory at once; cannot change the result."""
    validate_every: int = 200
    """Steps between validation losses."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    corpus: str
    validation: str


def read_corpus(path: Path, tokenizer: Tokenizer, row_tokens: int) -> PackedRows:
    """Tokenise a corpus of one document a line and pack it; BOS before, EOS after each document."""
    documents = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            text = line.strip()
            if text:
                bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
                ids = [*bos, *tokenizer.encode(text), tokenizer.eos_id]
                documents.append(Rendered(ids=ids, train=[True] * len(ids)))
    if not documents:
        raise DataError(f"{path}: the corpus is empty; one document a line is needed.")
    return pack(split_long(documents, row_tokens), row_tokens, tokenizer.pad_id)


@torch.no_grad()
def validation_loss(
    model: Transformer, rows: PackedRows, *, precision: Precision
) -> tuple[float, int]:
    """Return (mean cross entropy in nats, tokens) over packed rows."""
    objective = NextToken()
    total, count = 0.0, 0.0
    for start in range(0, len(rows), 16):
        indices = list(range(start, min(start + 16, len(rows))))
        batch = TokenBatch.from_rows(rows, indices, model.device)
        with compute(model.device, precision):
            loss, _ = objective.loss_sum(model, batch)
        total += float(loss)
        count += objective.weight(batch)
    return total / count, int(count)


def run(
    config: Config,
    context: StageContext,
    inputs: Inputs,
    precision: Precision,
) -> dict[str, Any]:
    """Pretrain from random weights; writes `model/` and validation losses in `metrics.jsonl`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    if chat.tokenizer.vocabulary_size != config.model.vocabulary_size:
        raise ConfigError(
            f"pretraining.model.vocabulary_size is {config.model.vocabulary_size}, "
            f"the tokenizer has {chat.tokenizer.vocabulary_size} ids; make them equal."
        )
    rows = read_corpus(context.input(inputs.corpus), chat.tokenizer, config.row_tokens)
    held_out = read_corpus(context.input(inputs.validation), chat.tokenizer, config.row_tokens)
    model = Transformer(config.model).to(default_device())
    model.initialise(context.seed)
    fill = rows.token_count / (len(rows) * config.row_tokens)
    steps = math.ceil(config.tokens / (config.batch_rows * config.row_tokens * fill))

    def batches_from(start: int) -> Iterator[list[TokenBatch]]:
        for chosen in batch_indices(
            len(rows), config.batch_rows, context.seed, start, config.order
        ):
            yield [
                TokenBatch.from_rows(rows, chosen[i : i + config.micro_rows], model.device)
                for i in range(0, len(chosen), config.micro_rows)
            ]

    log = context.work / "validation.jsonl"
    results = fit(
        model,
        NextToken(),
        batches_from,
        config.optimizer,
        steps=steps,
        context=context,
        precision=precision,
    )
    for result in results:
        if result.step % config.validate_every == 0 or result.step == steps:
            loss, _ = validation_loss(model, held_out, precision=precision)
            append_jsonl(log, {"step": result.step, "validation_loss": loss})
    _merge_validation(context.out / "metrics.jsonl", log)
    loss, count = validation_loss(model, held_out, precision=precision)
    save_model(model, context.out / "model")
    return {
        "validation_perplexity": math.exp(loss),
        "validation_tokens": count,
        "parameters": config.model.parameter_count,
        "steps": steps,
        "tokens": round(steps * config.batch_rows * config.row_tokens * fill),
        "corpus_tokens": rows.token_count,
        "epochs": steps / steps_per_epoch(len(rows), config.batch_rows),
        "padding_share": 1 - fill,
    }


def _merge_validation(metrics: Path, log: Path) -> None:
    """Add `validation_loss` to the rows of the steps where it was measured."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["step"]] = row["validation_loss"]
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if row["step"] in found:
            row["validation_loss"] = found[row["step"]]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
