"""Wires of pretraining: what is trained on, in which order, and what the loss is measured on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from camelid.data.loader import pack
from camelid.data.rendered import Rendered
from camelid.formats.folder import load_transformer, save_model
from camelid.model.config import ModelConfig
from camelid.run.place import Corpus, TokenizerFolder
from camelid.stages.pretraining import PRETRAINING, Config, Inputs, stage
from camelid.train.config import OptimizerConfig
from camelid.train.corpus import validation_loss

CONFIG = Config(
    model=ModelConfig(
        dim=16, layers=1, heads=2, kv_heads=1, ffn_dim=24, vocabulary_size=40, context=16
    ),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_minimum=1),
    batch_rows=2,
    row_tokens=8,
    tokens=70,
    validate_every=2,
)


def rows(start, number):
    """Documents that fill a row each; the first token numbers them."""
    documents = [
        Rendered(ids=[start + n, *range(1, 8)], train=[True] * 8) for n in range(number)
    ]  # fmt: skip
    return pack(documents, 8, pad_id=0)


CORPORA = {"corpus.txt": rows(10, 6), "validation.txt": rows(30, 3)}


@pytest.fixture
def pretrain(workshop, monkeypatch):
    chat = SimpleNamespace(tokenizer=SimpleNamespace(vocabulary_size=40))
    seen = []
    batches = stage.token_batches

    def watched(packed, order, micro_rows, device):
        def noted():
            for chosen in order:
                seen.append([int(packed.tokens[row, 0]) for row in chosen])
                yield chosen

        return batches(packed, noted(), micro_rows, device)

    monkeypatch.setattr(stage, "load_chat_format", lambda path: chat)
    monkeypatch.setattr(stage, "read_corpus", lambda corpus, *_: CORPORA[corpus.name])
    monkeypatch.setattr(stage, "token_batches", watched)

    def run(**changes):
        seen.clear()
        inputs = Inputs(
            tokenizer=TokenizerFolder("t", "tokenizer"),
            corpus=Corpus("data", "corpus.txt"),
            validation=Corpus("data", "validation.txt"),
        )
        work = workshop.context("pretraining").work
        work.rename(work.with_name(f"old {len(list(work.parent.iterdir()))}"))
        result, outputs = workshop.run(PRETRAINING, replace(CONFIG, **changes), inputs)
        return result, outputs, list(seen)

    return run


def test_the_corpus_is_trained_on_and_the_validation_measured(pretrain):
    result, outputs, seen = pretrain()
    # 70 tokens by 16 a step.
    assert result.steps == len(seen) == len(outputs.metrics.read()) == 5
    assert sorted(number for batch in seen[:3] for number in batch) == list(range(10, 16))
    assert result.corpus_tokens == 48
    checked = outputs.validation.read()
    assert [row.step for row in checked] == [2, 4, 5]
    loss, count = validation_loss(load_transformer(outputs.model.path), CORPORA["validation.txt"])
    assert checked[-1].loss == pytest.approx(loss, rel=1e-6)
    assert result.validation_tokens == count == 21
    assert result.validation_perplexity == pytest.approx(torch.tensor(loss).exp().item(), rel=1e-5)


def test_the_order_is_the_setting(pretrain):
    _, _, shuffled = pretrain(order="shuffled")
    _, _, written = pretrain(order="as_written")
    assert written == [[10, 11], [12, 13], [14, 15], [10, 11], [12, 13]]
    assert shuffled != written


def test_the_shape_and_start_are_the_settings(pretrain):
    result, outputs, _ = pretrain(model=replace(CONFIG.model, ffn_dim=32))
    model = load_transformer(outputs.model.path)
    assert model.config.ffn_dim == 32
    assert result.parameters == sum(p.numel() for p in model.parameters())


def test_case_half_line_validation_is_cut(pretrain, workshop, monkeypatch):
    """What an interruption after the last step left half-written is no part of the result."""

    def fail(*_):
        raise KeyboardInterrupt

    pretrain()  # Its fixture stands in for tokenizer and corpora from here on.
    inputs = Inputs(
        tokenizer=TokenizerFolder("t", "tokenizer"),
        corpus=Corpus("data", "corpus.txt"),
        validation=Corpus("data", "validation.txt"),
    )
    monkeypatch.setattr(stage, "save_model", fail)
    with pytest.raises(KeyboardInterrupt):
        workshop.run(PRETRAINING, CONFIG, inputs, "again")
    monkeypatch.setattr(stage, "save_model", save_model)
    log = workshop.context("again").work / "validation.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 20, "valida')
    _, outputs = workshop.run(PRETRAINING, CONFIG, inputs, "again")
    assert outputs.validation.path.read_text() == whole
    assert [row.step for row in outputs.validation.read()] == [2, 4, 5]
