"""Pairs to compare."""

from __future__ import annotations

import pytest

from camelid.data.annotation import Pair
from camelid.data.records import Message, Prompt


def _pair(number, *, kind="helpfulness", a="a reply", b="another reply, longer"):
    prompt = Prompt(
        id=f"p{number}",
        messages=(
            Message(role="user", content="Who are you?"),
            Message(role="assistant", content="A llama."),
            Message(role="user", content=f"Question {number}?"),
        ),
        category="facts",
        is_safety=kind == "safety",
        source="test",
        split="rm_train",
    )
    return Pair(
        prompt=prompt,
        reply_a=a,
        reply_b=b,
        model_a="sft/epoch1",
        model_b="sft/model",
        temperature_a=0.5,
        temperature_b=1.0,
        kind=kind,
        round=1,
        batch=1,
    )


@pytest.fixture(scope="session")
def make_pair():
    """Makes pairs."""
    return _pair
