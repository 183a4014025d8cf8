"""The objectives: masks by position, packs, margins, PPO at its start, weights on the device."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from camelid.data.loader import PackedRows, pack, split_long
from camelid.data.rendered import Rendered
from camelid.losses import MARGINS
from camelid.model.actor_critic import ActorCritic
from camelid.model.attention import SHARED
from camelid.model.config import ModelConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.train.config import OptimizerConfig
from camelid.train.loop import train
from camelid.train.objectives import (
    ClippedPolicyAndValue,
    NextToken,
    PreferenceRanking,
    RankedPair,
    RolloutBatch,
    TokenBatch,
    make_pair_batch,
)
from camelid.train.optimizer import make_optimizer, make_schedule

CPU = torch.device("cpu")
CONFIG = ModelConfig(
    dim=32, layers=2, heads=4, kv_heads=2, ffn_dim=48, vocabulary_size=50, context=64
)


def make_model(seed: int = 0) -> Transformer:
    model = Transformer(CONFIG)
    model.initialise(seed)
    return model


def make_documents() -> list[Rendered]:
    generator = torch.Generator().manual_seed(0)
    documents = []
    for length in (9, 20, 5, 14, 11):
        ids = torch.randint(1, 50, (length,), generator=generator).tolist()
        train_mask = (torch.rand(length, generator=generator) < 0.5).tolist()
        documents.append(Rendered(ids=ids, train=train_mask))
    return documents


def batch_of(rows: PackedRows) -> TokenBatch:
    return TokenBatch.from_rows(rows, list(range(len(rows))), CPU)


@torch.no_grad()
def test_b12_loss_of_a_pack_is_the_sum_over_its_documents() -> None:
    model, documents = make_model().double(), make_documents()
    total, count = 0.0, 0
    for document in documents:
        logits = model.logits(model(torch.tensor([document.ids])))[0].log_softmax(-1)
        for position in range(1, len(document.ids)):
            if document.train[position]:
                total -= float(logits[position - 1, document.ids[position]])
                count += 1
    for length in (20, 32, 64):
        batch = batch_of(pack(documents, length, pad_id=2))
        loss, _ = NextToken().loss_sum(model, batch)
        assert NextToken().weight(batch) == count
        assert loss.item() == pytest.approx(total, rel=1e-10)
        chunked, _ = NextToken(chunk=7).loss_sum(model, batch)
        assert chunked.item() == pytest.approx(total, rel=1e-10)
    assert batch.token_count == sum(len(d.ids) for d in documents)


def test_chunked_loss_has_the_same_gradient() -> None:
    batch = batch_of(pack(make_documents(), 32, pad_id=0))
    gradients = []
    for chunk in (4096, 7):
        model = make_model().double()
        loss, _ = NextToken(chunk=chunk).loss_sum(model, batch)
        loss.backward()
        gradients.append(model.layers[0].attention.wq.weight.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-10, rtol=0)


def test_pad_may_be_any_token_and_long_documents_are_kept() -> None:
    model, documents = make_model().double(), make_documents()
    losses = {
        NextToken().loss_sum(model, batch_of(pack(documents, 32, pad_id=pad)))[0].item()
        for pad in (0, 2, 49)
    }
    assert max(losses) - min(losses) < 1e-10
    pieces = split_long(documents, 8)
    assert [i for p in pieces for i in p.ids] == [i for d in documents for i in d.ids]
    with pytest.raises(ValueError, match="does not fit"):
        pack(documents, 8, pad_id=0)


PAIRS = [
    RankedPair([3, 4, 5, 6], [3, 4, 7], "significantly_better", "chosen_safe"),
    RankedPair([8, 9], [8, 10, 11, 12, 13], None, None),
    RankedPair([14, 15, 16], [14, 17, 18], "slightly_better", "both_unsafe"),
]


def test_b1_ranking_starts_at_the_softplus_of_the_margins() -> None:
    model = RewardModel(make_model().config)
    for margin, table in MARGINS.items():
        batch = make_pair_batch(PAIRS, margin, 0, CPU, longest=64)
        loss, metrics = PreferenceRanking(0.0).loss_sum(model, batch)
        margins = [table[p.strength] if p.strength else 0.0 for p in PAIRS]
        assert loss.item() == pytest.approx(sum(math.log1p(math.exp(m)) for m in margins))
        assert metrics["accuracy"].item() == 0.0
    batch = make_pair_batch(PAIRS, "none", 0, CPU, longest=64)
    both, _ = PreferenceRanking(1.0).loss_sum(model, batch)
    # Two labelled pairs, each the mean of two binary cross entropies of ln 2.
    assert both.item() == pytest.approx(5 * math.log(2), rel=1e-6)


def test_each_pair_carries_its_own_margin_and_safety_labels() -> None:
    labels = ("chosen_safe", "both_safe", "both_unsafe", None, "chosen_safe")
    strengths = ("better", None, "negligibly_better", "significantly_better", "slightly_better")
    pairs = [
        RankedPair([3 + row, 9], [3 + row, 8, 7], strength, label)
        for row, (strength, label) in enumerate(zip(strengths, labels, strict=True))
    ]
    batch = make_pair_batch(pairs, "large", 0, CPU, longest=64)
    assert batch.labelled_B.tolist() == [True, True, True, False, True]
    assert batch.chosen_safe_B[batch.labelled_B].tolist() == [1, 1, 0, 1]
    assert batch.rejected_safe_B[batch.labelled_B].tolist() == [0, 1, 0, 0]
    table = MARGINS["large"]
    assert batch.margin_B.tolist() == [table[s] if s else 0.0 for s in strengths]
    # What both begin with stands once, then the rest of the chosen reply and of the rejected one.
    assert batch.rows.tokens_BL[:, :4].tolist() == [[3 + row, 9, 8, 7] for row in range(5)]
    assert batch.rows.positions_BL[:, :4].tolist() == [[0, 1, 1, 2]] * 5
    assert batch.rows.documents_BL[:, :5].tolist() == [[SHARED, 0, 1, 1, -1]] * 5
    assert batch.rows.ends_B2.tolist() == [[1, 3]] * 5
    assert batch.token_count == 20


def test_a_row_a_pair_learns_what_two_rows_learn() -> None:
    """Loss and gradients are those of each sequence in a row of its own."""
    alike = RankedPair([5, 6, 7, 9], [5, 6, 7, 8, 9], "better", "both_safe")
    inside = RankedPair([5, 9], [5, 9, 9], "better", None)
    pairs = [*PAIRS, alike, inside]
    model = RewardModel.from_chat_model(make_model()).double()
    batch = make_pair_batch(pairs, "large", 0, CPU, longest=64)
    loss, _ = PreferenceRanking(0.5).loss_sum(model, batch)
    loss.backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    expected = torch.zeros((), dtype=torch.float64)
    safe = {"chosen_safe": (1, 0), "both_safe": (1, 1), "both_unsafe": (0, 0)}
    for pair in pairs:
        chosen, rejected = (
            model.values(torch.tensor([ids]))[0, -1] for ids in (pair.chosen, pair.rejected)
        )
        margin = MARGINS["large"][pair.strength] if pair.strength else 0.0
        expected = expected - F.logsigmoid(chosen - rejected - margin)
        if pair.safety:
            labels = torch.tensor(safe[pair.safety], dtype=torch.float64)
            scores = torch.stack((chosen, rejected))
            expected = expected + 0.5 * F.binary_cross_entropy_with_logits(scores, labels)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
    expected.backward()
    for mine, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, atol=1e-10, rtol=1e-8)


def test_b1_reward_model_fits_pairs_it_sees() -> None:
    generator = torch.Generator().manual_seed(3)
    pairs = [
        RankedPair(
            torch.randint(1, 50, (6,), generator=generator).tolist(),
            torch.randint(1, 50, (9,), generator=generator).tolist(),
            "better",
            None,
        )
        for _ in range(32)
    ]
    model = RewardModel.from_chat_model(make_model())
    config = OptimizerConfig(learning_rate=5e-3, schedule="constant")
    optimizer = make_optimizer({"model": (model, 1.0)}, config)
    batch = make_pair_batch(pairs, "small", 0, CPU, longest=64)
    results = list(
        train(
            model,
            PreferenceRanking(0.0),
            iter([[batch]] * 40),
            optimizer,
            make_schedule(config, 40),
            steps=40,
        )
    )
    assert results[-1].metrics["accuracy"] == 1.0


def make_rollout_batch(model: ActorCritic) -> RolloutBatch:
    tokens = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 0, 0]])
    actions = torch.tensor([[False, False, True, True, True], [False, True, True, False, False]])
    with torch.no_grad():
        logits, values = model(tokens, actions)
        logp = logits.log_softmax(-1).gather(1, tokens[actions][:, None]).squeeze(1)
    return RolloutBatch(
        tokens_BL=tokens,
        actions_BL=actions,
        old_logp_N=logp,
        advantages_N=torch.tensor([1.0, -1.0, 0.5, 2.0, -0.5]),
        returns_N=values + 1.0,
        old_values_N=values,
        token_count=8,
    )


def test_b4_ppo_starts_with_ratio_one() -> None:
    model = ActorCritic(make_model(), RewardModel.from_chat_model(make_model(1))).double()
    batch = make_rollout_batch(model)
    objective = ClippedPolicyAndValue(
        clip=0.2, value_clip=0.2, value_coefficient=2.0, temperature=1.0
    )
    assert objective.weight(batch) == 5
    loss, metrics = objective.loss_sum(model, batch)
    assert metrics["clip_fraction"].item() == 0
    assert metrics["policy_loss"].item() == pytest.approx(-2.0, abs=1e-10)
    assert metrics["value_loss"].item() == pytest.approx(0.5 * 5, abs=1e-10)
    assert loss.item() == pytest.approx(-2.0 + 2.0 * 2.5, abs=1e-10)


def make_case(name: str):
    """Return a model with an objective and a batch of it."""
    if name == "next token":
        return make_model(), NextToken(), batch_of(pack(make_documents(), 32, pad_id=0))
    if name == "ranking":
        batch = make_pair_batch(PAIRS, "large", 0, CPU, longest=64)
        return RewardModel.from_chat_model(make_model()), PreferenceRanking(0.5), batch
    model = ActorCritic(make_model(), RewardModel.from_chat_model(make_model(1)))
    objective = ClippedPolicyAndValue(
        clip=0.2, value_clip=0.2, value_coefficient=2.0, temperature=1.0
    )
    return model, objective, make_rollout_batch(model)


CASES = ["next token", "ranking", "policy and value"]


@pytest.mark.parametrize("name", CASES)
def test_weights_are_whole_numbers_that_stay_on_the_device(name: str) -> None:
    _, objective, batch = make_case(name)
    weight = objective.weight(batch)
    assert weight.shape == ()
    assert not weight.is_floating_point()
    # The meta device holds no values: whoever asks it for one gets an error.
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
    moved = {n: t.to("meta") for n, t in tensors.items() if isinstance(t, torch.Tensor)}
    assert objective.weight(replace(batch, **moved)).device.type == "meta"


@pytest.mark.parametrize("name", CASES)
def test_the_host_waits_for_the_device_once_a_step(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[str] = []

    class Watch(TorchDispatchMode):
        """Sees what `item`, `float`, `int` and `bool` of a tensor become, here and in torch."""

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._local_scalar_dense.default:
                waits.append("item")
            return func(*args, **(kwargs or {}))

    for way in ("tolist", "numpy", "cpu"):
        original = getattr(torch.Tensor, way)

        def counted(self, *args, way=way, original=original, **kwargs):
            waits.append(way)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, way, counted)
    model, objective, batch = make_case(name)
    config = OptimizerConfig(learning_rate=1e-3, schedule="constant")
    optimizer = make_optimizer({"model": (model, 1.0)}, config)
    steps = train(
        model,
        objective,
        iter([[batch, batch]] * 3),
        optimizer,
        make_schedule(config, 3),
        steps=3,
    )
    with Watch():
        waits.clear()
        for number, _ in enumerate(steps, 1):
            assert waits == ["tolist"] * number
