"""Vectors of replies: a language model's hidden states, averaged over the reply's tokens.

Source: choice (a judge of real text reads them; the paper describes none).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camelid.data.records import Message
from camelid.inference.scoring import length_batches
from camelid.model.padding import pad_right
from camelid.model.transformer import Transformer
from camelid.runtime import compute
from camelid.tokenization.chat import ChatFormat


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of some replies, in their order."""

    states_ND: NDArray[np.float64]
    """Mean of a layer's states over the tokens of each reply, its end token included."""
    cut_N: list[bool]
    """Whether a prompt or reply lost tokens to fit."""


@torch.no_grad()
def embed_replies(
    model: Transformer,
    chat: ChatFormat,
    prompts: Sequence[Sequence[Message]],
    replies: Sequence[str],
    *,
    layer: int,
    longest: int,
    batch_tokens: int = 2048,
) -> Embedded:
    """Read each reply after its prompt, many at once, and average the states of its tokens.

    Of a prompt longer than half of `longest` the end is kept, of a reply longer than what is left
    its beginning.

    Args:
        model: Whose hidden states.
        chat: Its chat format.
        prompts: Dialogues that end in a user turn.
        replies: One reply each.
        layer: After which layer the states are read, from 1 on.
        longest: Most tokens of prompt and reply; the model's context where that is less.
        batch_tokens: Most tokens (padding included) in one forward pass.
    """
    longest = min(longest, model.config.context)
    starts, sequences, cut_N = [], [], []
    for messages, text in zip(prompts, replies, strict=True):
        prompt = chat.render_prompt(messages)
        kept = prompt[-(longest // 2) :]
        reply = [*chat.encode_reply(text), chat.end_id]
        room = longest - len(kept)
        cut_N.append(len(kept) < len(prompt) or len(reply) > room)
        starts.append(len(kept))
        sequences.append([*kept, *reply[:room]])
    states_ND = np.zeros((len(sequences), model.config.dim))
    after: list[Tensor] = []
    hook = model.layers[layer - 1].register_forward_hook(lambda _, __, out: after.append(out))
    for indices in length_batches([len(ids) for ids in sequences], batch_tokens):
        rows = [sequences[index] for index in indices]
        tokens_BL, _ = pad_right(rows, 0, model.device, longest=model.config.context)
        with compute(model):
            model(tokens_BL)
        hidden_BLD = after.pop().float()
        for row, index in enumerate(indices):
            of_reply = hidden_BLD[row, starts[index] : len(sequences[index])]
            states_ND[index] = of_reply.mean(0).cpu().numpy()
    hook.remove()
    return Embedded(states_ND, cut_N)
