"""The chat formats as Jinja templates, which transformers, vLLM and llama.cpp read.

A template gives the ids of `chat.py` for every dialogue without special tokens in its text:
there they stay text, while a template cannot tell them from its own.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from camelid.errors import CheckpointError
from camelid.tokenization.vocabulary import ChatFormatName

LLAMA2_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
"""The tags of the Llama 2 chat format; plain text, not special tokens."""
HARMLESS_TAGS = tuple(tag.translate(str.maketrans("[]<>", "()()")) for tag in LLAMA2_TAGS)
"""What `neutralise` makes of the tags."""

_MARKS: dict[ChatFormatName, str] = {
    "chatml": "<|im_start|>",
    "llama3": "<|start_header_id|>",
    "llama2": "<<SYS>>",
}


def chat_template(chat_format: ChatFormatName) -> str:
    """Return the Jinja template of a chat format."""
    folder = Path(__file__).parent / "templates"
    return (folder / f"{chat_format}.jinja").read_text(encoding="utf-8")


def detect_chat_format(template: str | None, special_tokens: Collection[str]) -> ChatFormatName:
    """Return the chat format of a template, or, without one, that of the special tokens.

    Vocabularies without tokens for chat have Llama 2's format, whose tags are plain text.

    Raises:
        CheckpointError: The template has another format.
    """
    found = special_tokens if template is None else template
    for name, mark in _MARKS.items():
        if mark in found:
            return name
    if template is None:
        return "llama2"
    raise CheckpointError(
        f"the chat template is of an unknown format (it starts {template[:60]!r}); known are "
        f"{', '.join(_MARKS)}. Name the one to use instead (--chat-format)."
    )
