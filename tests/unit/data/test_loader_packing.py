"""Packing against plain loops: where each token stands, who sees whom, what counts."""

import numpy as np
import pytest
import torch

from camelid.data.loader import pack
from camelid.data.rendered import Rendered
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.train.objectives import NextToken, TokenBatch

CONFIG = ModelConfig(
    dim=32, layers=2, heads=4, kv_heads=2, ffn_dim=48, vocabulary_size=50, context=32
)


@pytest.fixture(scope="module")
def model():
    found = Transformer(CONFIG)
    found.initialise(0)
    return found.double()


def documents(seed=0):
    """Every token is a target: pretraining, the harder case."""
    generator = np.random.default_rng(seed)
    lengths = [7, 12, 3, 9, 20, 1, 5]
    return [
        Rendered(ids=generator.integers(3, 50, length).tolist(), train=[True] * length)
        for length in lengths
    ]


def batch_of(rows):
    return TokenBatch.from_rows(rows, list(range(len(rows))), torch.device("cpu"))


def logits_of(model, rows):
    batch = batch_of(rows)
    with torch.no_grad():
        hidden = model(
            batch.tokens_BL, positions_BL=batch.positions_BL, documents_BL=batch.documents_BL
        )
        return model.logits(hidden)


@pytest.mark.parametrize("packing", ["isolated", "crossing"])
def test_nothing_is_lost_and_nothing_forged(packing):
    found = documents()
    rows = pack(found, 32, pad_id=2, packing=packing)
    kept = [rows.tokens[r][rows.documents[r] >= 0].tolist() for r in range(len(rows))]
    # First fit: each document lies whole in one row, the rows together hold each once.
    assert sum(map(len, kept)) == rows.token_count == sum(len(d.ids) for d in found)
    for document in found:
        text = ",".join(map(str, document.ids))
        assert any(f",{text}," in f",{','.join(map(str, row))}," for row in kept)
    # No document's first token is a target, padding never is.
    assert rows.train.sum() == sum(len(d.ids) - 1 for d in found)
    assert not rows.train[rows.documents < 0].any()
    assert (rows.tokens[rows.documents < 0] == 2).all()


def test_b12_isolated_documents_do_not_see_each_other(model):
    found = documents()
    before = logits_of(model, pack(found, 32, 0))
    rows = pack(found, 32, 0)
    found[0].ids[3] = 49 if found[0].ids[3] != 49 else 48
    changed = (before != logits_of(model, pack(found, 32, 0))).any(-1).numpy()
    first = (rows.documents == 0) & (np.arange(len(rows))[:, None] == 0)
    # Bitwise: a changed token moves its own document from its place on, and nothing else.
    assert changed[first].sum() == 4
    assert not changed[~first & (rows.documents >= 0)].any()


def test_crossing_is_one_document_a_row(model):
    found = documents()
    rows = pack(found, 32, 0, packing="crossing")
    packed = logits_of(model, rows)
    for index in range(len(rows)):
        length = int((rows.documents[index] >= 0).sum())
        with torch.no_grad():
            alone = model.logits(model(torch.from_numpy(rows.tokens[index, :length])[None]))[0]
        torch.testing.assert_close(packed[index, :length], alone, rtol=0, atol=1e-12)


def test_losses_of_both_ways_against_a_plain_loop(model):
    found = documents()
    for packing in ("isolated", "crossing"):
        rows = pack(found, 32, 0, packing=packing)
        batch = batch_of(rows)
        loss, _ = NextToken().loss_sum(model, batch)
        total, count = 0.0, 0
        crossed = packing == "crossing"
        for row in range(len(rows)):
            # Documents of the row by their length, from the isolated packing.
            numbers = pack(found, 32, 0).documents[row]
            for number in range(numbers.max() + 1):
                places = np.flatnonzero(numbers == number)
                start = 0 if crossed else places[0]
                ids = torch.from_numpy(rows.tokens[row, start : places[-1] + 1])[None]
                with torch.no_grad():
                    logp = model.logits(model(ids))[0].log_softmax(-1)
                for place in places[1:]:
                    total -= logp[place - start - 1, rows.tokens[row, place]].item()
                    count += 1
        assert NextToken().weight(batch) == count
        assert loss.item() == pytest.approx(total, rel=1e-6)
