"""The three objectives of the recipe: next token, preference ranking, clipped policy with value.

Each returns sums; the loop divides by the weight of the whole step.

Shape suffixes: B rows, L length, N counted tokens or actions, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from camelid.data.loader import PackedRows
from camelid.losses import (
    MARGINS,
    cross_entropy_sum,
    entropy,
    log_probabilities,
    policy_loss_sum,
    ranking_loss_sum,
    safety_auxiliary_sum,
    value_loss_sum,
)
from camelid.model.actor_critic import ActorCritic
from camelid.model.padding import PairRows, pad_pairs, select_padded
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.train.config import Margin


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Packed rows for next-token training."""

    tokens_BL: Tensor
    predicts_BL: Tensor
    """True at positions whose next token is a target in the same document."""
    positions_BL: Tensor
    documents_BL: Tensor
    token_count: int

    @classmethod
    def from_rows(cls, rows: PackedRows, indices: list[int], device: torch.device) -> TokenBatch:
        """Take some packed rows."""
        tokens = torch.from_numpy(rows.tokens[indices])
        train = torch.from_numpy(rows.train[indices])
        documents = torch.from_numpy(rows.documents[indices])
        predicts = torch.zeros_like(train)
        predicts[:, :-1] = train[:, 1:] & (documents[:, 1:] == documents[:, :-1])
        return cls(
            tokens_BL=tokens.to(device),
            predicts_BL=predicts.to(device),
            positions_BL=torch.from_numpy(rows.positions[indices]).to(device),
            documents_BL=documents.to(device),
            token_count=int((documents >= 0).sum()),
        )


def token_batches(
    rows: PackedRows, order: Iterable[Sequence[int]], micro_rows: int, device: torch.device
) -> Iterator[list[TokenBatch]]:
    """Yield the micro-batches of each step, whose rows `order` names."""
    for chosen in order:
        yield [
            TokenBatch.from_rows(rows, list(chosen[i : i + micro_rows]), device)
            for i in range(0, len(chosen), micro_rows)
        ]


def _chunk_loss(model: Transformer, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    return cross_entropy_sum(model.logits(hidden_ND), targets_N)


class NextToken:
    """Sum of cross entropies of the tokens that count.

    Source: arXiv 2307.09288, Section 2 (all tokens) and 3.1 (answer tokens only).
    """

    def __init__(self, chunk: int = 4096) -> None:
        """Set the most tokens whose logits exist at once."""
        self._chunk = chunk

    def weight(self, batch: TokenBatch) -> Tensor:
        """Count the targets."""
        return batch.predicts_BL.sum()

    def loss_sum(self, model: Transformer, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the summed cross entropy."""
        hidden_BLD = model(
            batch.tokens_BL, positions_BL=batch.positions_BL, documents_BL=batch.documents_BL
        )
        hidden_ND, count = select_padded(hidden_BLD, batch.predicts_BL)
        # Padding has the target -100, which cross entropy leaves out.
        targets_N = torch.full((len(hidden_ND),), -100, device=hidden_ND.device)
        targets_N[:count] = batch.tokens_BL.roll(-1, 1)[batch.predicts_BL]
        if len(targets_N) <= self._chunk:
            return _chunk_loss(model, hidden_ND, targets_N), {}
        total = torch.zeros((), device=hidden_ND.device)
        for start in range(0, len(targets_N), self._chunk):
            part = slice(start, start + self._chunk)
            loss = checkpoint(
                _chunk_loss, model, hidden_ND[part], targets_N[part], use_reentrant=False
            )
            total = total + loss
        return total, {}


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Comparisons, one a row: the prompt once, then the chosen reply, then the rejected one."""

    rows: PairRows
    margin_B: Tensor
    chosen_safe_B: Tensor
    rejected_safe_B: Tensor
    labelled_B: Tensor
    """True where the pair has safety labels."""
    token_count: int


@dataclass(frozen=True, slots=True)
class RankedPair:
    """One tokenised comparison."""

    chosen: list[int]
    rejected: list[int]
    strength: str | None
    safety: str | None


def make_pair_batch(
    pairs: list[RankedPair], margin: Margin, pad_id: int, device: torch.device, *, longest: int
) -> PairBatch:
    """Assemble a batch; pairs without strength get no margin, without labels no auxiliary loss.

    `longest` is the model's context.
    """
    sequences = [(pair.chosen, pair.rejected) for pair in pairs]
    rows = pad_pairs(sequences, pad_id, device, longest=longest)
    table = MARGINS[margin]
    safe = {"chosen_safe": (1.0, 0.0), "both_safe": (1.0, 1.0), "both_unsafe": (0.0, 0.0)}
    labels = [safe.get(p.safety or "", (0.0, 0.0)) for p in pairs]
    return PairBatch(
        rows=rows,
        margin_B=torch.tensor(
            [table[p.strength] if p.strength else 0.0 for p in pairs], device=device
        ),
        chosen_safe_B=torch.tensor([label[0] for label in labels], device=device),
        rejected_safe_B=torch.tensor([label[1] for label in labels], device=device),
        labelled_B=torch.tensor([(p.safety or "") in safe for p in pairs], device=device),
        token_count=int((rows.documents_BL != -1).sum()),
    )


class PreferenceRanking:
    """Ranking loss with graded margins, plus the safety auxiliary loss for the safety reward model.

    Source: arXiv 2307.09288, Section 3.2.2, equation 2; A.3.3; A.3.4.
    """

    def __init__(self, auxiliary: float) -> None:
        """Set the weight lambda of the safety auxiliary loss (0: none)."""
        self._auxiliary = auxiliary

    def weight(self, batch: PairBatch) -> Tensor:
        """Count the pairs."""
        return torch.tensor(len(batch.margin_B), device=batch.margin_B.device)

    def loss_sum(self, model: RewardModel, batch: PairBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the summed loss; `accuracy` counts chosen > rejected without the margin."""
        rows = batch.rows
        chosen_B, rejected_B = model(
            rows.tokens_BL,
            rows.ends_B2,
            positions_BL=rows.positions_BL,
            documents_BL=rows.documents_BL,
        ).unbind(1)
        loss = ranking_loss_sum(chosen_B, rejected_B, batch.margin_B)
        if self._auxiliary:
            loss = loss + self._auxiliary * safety_auxiliary_sum(
                chosen_B, rejected_B, batch.chosen_safe_B, batch.rejected_safe_B, batch.labelled_B
            )
        return loss, {"accuracy": (chosen_B > rejected_B).sum()}


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """Prompts with sampled replies and what PPO keeps of the rollout; N actions in row order."""

    tokens_BL: Tensor
    actions_BL: Tensor
    """True where a token was sampled by the policy (its end token included)."""
    old_logp_N: Tensor
    advantages_N: Tensor
    returns_N: Tensor
    old_values_N: Tensor
    token_count: int


class ClippedPolicyAndValue:
    """PPO's clipped surrogate and clipped value loss.

    Source: arXiv 2307.09288, Section 3.2.3 (clip 0.2); value loss and its coefficient: Source:
    choice.
    """

    def __init__(
        self, *, clip: float, value_clip: float, value_coefficient: float, temperature: float
    ) -> None:
        """Set the clip ranges, the coefficient of the value loss and the sampling temperature."""
        self._clip = clip
        self._value_clip = value_clip
        self._value_coefficient = value_coefficient
        self._temperature = temperature

    def weight(self, batch: RolloutBatch) -> Tensor:
        """Count the actions."""
        return torch.tensor(len(batch.old_logp_N), device=batch.old_logp_N.device)

    def loss_sum(self, model: ActorCritic, batch: RolloutBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the summed policy loss plus weighted value loss."""
        logits_NV, values_N = model(batch.tokens_BL, batch.actions_BL)
        tokens_N = batch.tokens_BL[batch.actions_BL]
        new_logp_N = log_probabilities(logits_NV, tokens_N, self._temperature)
        mask_N = torch.ones_like(new_logp_N, dtype=torch.bool)
        policy, clipped = policy_loss_sum(
            new_logp_N, batch.old_logp_N, batch.advantages_N, mask_N, self._clip
        )
        value = value_loss_sum(
            values_N, batch.old_values_N, batch.returns_N, mask_N, self._value_clip
        )
        metrics = {
            "policy_loss": policy,
            "value_loss": value,
            "clip_fraction": clipped,
            "entropy": entropy(logits_NV.detach(), self._temperature).sum(),
        }
        return policy + self._value_coefficient * value, metrics
