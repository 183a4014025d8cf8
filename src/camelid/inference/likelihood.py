"""Log-likelihoods of continuations of given contexts, as benchmarks of multiple choice need them.

Sequences that begin alike (the choices of one item, the items behind one set of examples) go
through the model in one row: their common tokens once, then the rest of each as a document of its
own. Attention is exact: a document sees the common tokens and itself. Only the states that predict
a continuation are projected to the vocabulary.

Shape suffixes: B rows, L length, N states, V vocabulary.

Source: choice (the paper's evaluation library is not public; Section 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from camelid.inference.scoring import length_batches
from camelid.model.attention import SHARED
from camelid.model.padding import pad_right
from camelid.model.transformer import Transformer
from camelid.runtime import compute

ROW_TOKENS = 1024
"""Longest row made by joining sequences: attention inside a row costs its length squared."""
BATCH_TOKENS = 2048
"""Most tokens, padding included, in one forward pass."""
STATES = 512
"""States projected to the vocabulary at once (98 MB of logits at 49,152 tokens in fp32)."""


class Pair(NamedTuple):
    """A context and its continuation, each at least one token.

    Without the last token, which predicts nothing that is asked, they fit the model's context.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class Likelihood(NamedTuple):
    """What the model says of a continuation."""

    log_probability: float
    """Sum over the tokens, in nats."""
    greedy: bool
    """Whether each token is the most probable one."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Sequences that share their first `shared` tokens."""

    sequences: list[tuple[int, ...]]
    shared: int

    @property
    def length(self) -> int:
        return self.shared + sum(len(sequence) - self.shared for sequence in self.sequences)

    def starts(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield each sequence with the place in the row of its first own token."""
        start = self.shared
        for sequence in self.sequences:
            yield sequence, start
            start += len(sequence) - self.shared


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    limit = min(len(a), len(b))
    return next((index for index in range(limit) if a[index] != b[index]), limit)


def _join(sequences: Sequence[tuple[int, ...]], row_tokens: int) -> list[_Row]:
    """Group sequences wherever that saves tokens. In sorted order those that begin alike meet."""
    rows: list[_Row] = []
    for sequence in sorted(sequences):
        if rows:
            row = rows[-1]
            joined = _Row(
                [*row.sequences, sequence], min(row.shared, _common(row.sequences[-1], sequence))
            )
            if joined.length < row.length + len(sequence) and joined.length <= row_tokens:
                rows[-1] = joined
                continue
        rows.append(_Row([sequence], len(sequence)))
    return rows


@torch.no_grad()
def continuation_likelihoods(
    model: Transformer,
    pairs: Sequence[Pair],
    *,
    batch_tokens: int = BATCH_TOKENS,
    row_tokens: int = ROW_TOKENS,
) -> list[Likelihood]:
    """Return the log-likelihood of each continuation given its context, in the given order.

    Args:
        model: The language model.
        pairs: What to score.
        batch_tokens: Most tokens (padding included) in one forward pass.
        row_tokens: Longest row made by joining sequences.
    """
    inputs = [(*pair.context, *pair.continuation[:-1]) for pair in pairs]
    asked: dict[tuple[int, ...], list[int]] = {}
    for index, sequence in enumerate(inputs):
        asked.setdefault(sequence, []).append(index)
    rows = _join(list(asked), row_tokens)
    sums, greedy = [0.0] * len(pairs), [True] * len(pairs)
    for batch in length_batches([row.length for row in rows], batch_tokens):
        chosen = [rows[index] for index in batch]
        with compute(model):
            hidden_BLD = _hidden(model, chosen)
        # One entry a token of a continuation: the state that predicts it, in the flattened batch.
        owners: list[int] = []
        states: list[int] = []
        targets: list[int] = []
        for number, row in enumerate(chosen):
            for sequence, start in row.starts():
                for index in asked[sequence]:
                    context, continuation = pairs[index]
                    for offset, target in enumerate(continuation, len(context) - 1):
                        place = offset if offset < row.shared else start + offset - row.shared
                        states.append(number * hidden_BLD.shape[1] + place)
                        targets.append(target)
                        owners.append(index)
        with compute(model):
            scored = _score(model, hidden_BLD.flatten(0, 1), states, targets)
        for index, (log_probability, best) in zip(owners, scored, strict=True):
            sums[index] += log_probability
            greedy[index] &= best
    return list(map(Likelihood, sums, greedy))


def _hidden(model: Transformer, rows: Sequence[_Row]) -> Tensor:
    tokens: list[list[int]] = []
    positions: list[list[int]] = []
    documents: list[list[int]] = []
    for row in rows:
        tokens.append(list(row.sequences[0][: row.shared]))
        positions.append(list(range(row.shared)))
        documents.append([SHARED] * row.shared)
        for number, sequence in enumerate(row.sequences):
            tokens[-1] += sequence[row.shared :]
            positions[-1] += range(row.shared, len(sequence))
            documents[-1] += [number] * (len(sequence) - row.shared)
    # A row of several sequences may be longer than the context, its positions are not. Padding
    # stands at position 0.
    plain = all(len(row.sequences) == 1 for row in rows)
    hidden_BLD: Tensor = model(
        pad_right(tokens, 0, model.device, longest=None)[0],
        positions_BL=pad_right(positions, 0, model.device, longest=None)[0],
        documents_BL=None if plain else pad_right(documents, -1, model.device, longest=None)[0],
    )
    return hidden_BLD


def _score(
    model: Transformer, hidden_MD: Tensor, states: Sequence[int], targets: Sequence[int]
) -> list[tuple[float, bool]]:
    """Log-probability of each target, and whether it is the most probable token of its state.

    A state that several targets share (the letters of a question) is projected once.
    """
    unique = sorted(set(states))
    number = {state: index for index, state in enumerate(unique)}
    rows = torch.tensor([number[state] for state in states], device=hidden_MD.device)
    wanted = torch.tensor(targets, device=hidden_MD.device)
    found_N = torch.empty(len(states), dtype=torch.float32, device=hidden_MD.device)
    greedy_N = torch.empty(len(states), dtype=torch.bool, device=hidden_MD.device)
    for start in range(0, len(unique), STATES):
        chosen = torch.tensor(unique[start : start + STATES], device=hidden_MD.device)
        logits = model.logits(hidden_MD[chosen])
        logits_NV = logits if logits.dtype == torch.float64 else logits.float()
        mine = (rows >= start) & (rows < start + STATES)
        own, tokens = rows[mine] - start, wanted[mine]
        normaliser_N = logits_NV.logsumexp(-1)
        found_N[mine] = (logits_NV[own, tokens] - normaliser_N[own]).float()
        greedy_N[mine] = logits_NV.argmax(-1)[own] == tokens
    return list(zip(found_N.tolist(), greedy_N.tolist(), strict=True))
