r"""One stated policy for each oddity of people's dialogues; what happened is counted.

- Roles: `ROLES` says which names stand for which role; another name is an error.
- System message: kept if it comes first; an empty one is dropped, a later one leaves the row out.
- Consecutive turns of one role: merged with a blank line between them.
- Empty turn of user or assistant: the row is left out.
- Assistant turns before the first user turn: cut, as FastChat does with ShareGPT's.
- A dialogue that ends with the user: the unanswered turn is cut; a prompt loses its last reply.

Source: choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from camelid.data.records import Message, Role
from camelid.errors import DataError

_NAMES: dict[Role, tuple[str, ...]] = {
    "system": ("system",),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "chatbot"),
}
ROLES: dict[str, Role] = {name: role for role, names in _NAMES.items() for name in names}
"""Names of roles, in any case, and what they stand for."""
HALF_PAIR = re.compile("[\ud800-\udfff]")
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
BLANK = "\n\n"


class Turn(NamedTuple):
    """A turn as a file has it."""

    role: str
    content: str
    train: bool = True
    """Whether it carries loss, if it is the assistant's."""


@dataclass(slots=True)
class Happened:
    """How often something happened, and where first."""

    count: int
    first: str


class Tally(dict[str, Happened]):
    """What happened to rows."""

    def add(self, what: str, where: str) -> None:
        """Count something that happened at a place."""
        self.setdefault(what, Happened(0, where)).count += 1

    def __str__(self) -> str:
        most = sorted(self.items(), key=lambda item: -item[1].count)[:3]
        shown = [f"{seen.count} x {what} (first in {seen.first})" for what, seen in most]
        total = sum(seen.count for seen in self.values())
        return f"{total} read and excluded{': ' if shown else ''}{', '.join(shown)}"


def split_transcript(text: str) -> list[Turn]:
    r"""Split `\n\nHuman: .. \n\nAssistant: ..` into its turns.

    Raises:
        ValueError: The text is not of this form; the message is the reason.
    """
    before, *parts = _SPEAKER.split(text)
    if before.strip() or not parts:
        raise ValueError("does not begin with a Human turn")
    return [Turn(*found) for found in zip(parts[::2], parts[1::2], strict=True)]


def tidy(turns: Iterable[Turn], changes: list[str]) -> list[Message]:
    """Return turns as messages that alternate: (system,) user, assistant, user, ...

    Args:
        turns: As a file has them.
        changes: Takes what was changed.

    Raises:
        DataError: A role is unknown.
        ValueError: The dialogue cannot be used; the message is the reason.
    """
    messages: list[Message] = []
    for turn in turns:
        role = ROLES.get(turn.role) or ROLES.get(turn.role.casefold())
        if role is None:
            raise DataError(f"the role {turn.role!r} is unknown; needed one of {', '.join(ROLES)}.")
        content = turn.content.strip()
        # JSON can write half of a pair; no file and no tokenizer takes it.
        if not content.isascii() and HALF_PAIR.search(content):
            raise ValueError("holds half a surrogate pair")
        if not content and role == "system":
            changes.append("empty system message: dropped")
            continue
        if not content:
            raise ValueError("empty turn")
        last = messages[-1] if messages else None
        train = role == "assistant" and turn.train
        if last is not None and last.role == role:
            changes.append("consecutive turns of one role: merged with a blank line")
            merged = f"{last.content}{BLANK}{content}"
            messages[-1] = Message(role=role, content=merged, train=train or last.train)
        elif role == "system" and last is not None:
            raise ValueError("a system message after the first turn")
        elif role == "assistant" and (last is None or last.role == "system"):
            changes.append("assistant turn before the first user turn: cut")
        else:
            messages.append(Message(role=role, content=content, train=train))
    return messages


def as_dialogue(messages: Sequence[Message], changes: list[str]) -> tuple[Message, ...]:
    """Return messages up to the last reply.

    Raises:
        ValueError: There is none.
    """
    if messages and messages[-1].role == "user":
        messages = messages[:-1]
        changes.append("last user turn without a reply: cut")
    if not messages or messages[-1].role != "assistant":
        raise ValueError("no reply")
    return tuple(messages)


def as_prompt(messages: Sequence[Message], changes: list[str]) -> tuple[Message, ...]:
    """Return messages up to the last user turn.

    Raises:
        ValueError: There is none.
    """
    if messages and messages[-1].role == "assistant":
        messages = messages[:-1]
        changes.append("last reply: cut, what stands before it is the prompt")
    if not messages or messages[-1].role != "user":
        raise ValueError("no user turn")
    return _without_loss(messages)


def _without_loss(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(Message(role=m.role, content=m.content) if m.train else m for m in messages)


class Compared(NamedTuple):
    """A prompt with its chosen and its rejected reply, both kept whole."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


def as_comparison(chosen: Sequence[Message], rejected: Sequence[Message]) -> Compared:
    """Return two dialogues that are equal up to the last reply as a comparison.

    Raises:
        ValueError: They are not of this form; the message is the reason.
    """
    if any(not side or side[-1].role != "assistant" for side in (chosen, rejected)):
        raise ValueError("chosen or rejected does not end in a reply")
    prompt = _without_loss(chosen[:-1])
    if prompt != _without_loss(rejected[:-1]):
        raise ValueError("chosen and rejected have different prompts")
    if chosen[-1].content == rejected[-1].content:
        raise ValueError("chosen and rejected are identical")
    return Compared(prompt, chosen[-1].content, rejected[-1].content)
