"""Talk to models in the terminal, one or two side by side."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from camelid.data.records import Message
from camelid.errors import ConfigError, counted
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import CHAT, Sampling
from camelid.model.transformer import Transformer
from camelid.options import with_options
from camelid.settings import suggestion
from camelid.tokenization.chat import ChatFormat
from camelid.tokenization.tokenizer import StreamingDecoder

COMMANDS = (
    "Commands: /new starts over, /undo takes the last turn back, /system TEXT sets a system "
    "message (alone, none), /temperature T, /exit ends; Ctrl-C stops a reply."
)
_REPLACED = "\N{REPLACEMENT CHARACTER}"


@dataclass(slots=True)
class Speaker:
    """One model with its own memory of the dialogue."""

    model: Transformer
    chat: ChatFormat
    system: tuple[Message, ...] = ()
    messages: list[Message] = field(default_factory=list)

    def _prompt(self) -> list[int]:
        return self.chat.render_prompt([*self.system, *self.messages])

    def answer(self, text: str, sampling: Sampling, show: Callable[[str], None]) -> None:
        """Answer one user message, forgetting the oldest turns that do not fit, and say so.

        `show` receives the reply in pieces of whole characters while it is sampled. An interruption
        (Ctrl-C) stops the reply; what was said of it stays.
        """
        self.messages.append(Message(role="user", content=text))
        context = self.model.config.context
        longest = min(sampling.max_new_tokens, max(1, context // 4))
        room = context - longest
        forgotten = 0
        while len(prompt := self._prompt()) > room and len(self.messages) > 2:
            del self.messages[:2]
            forgotten += 1
        if forgotten:
            kept = (len(self.messages) - 1) // 2
            show(
                f"(forgotten to fit the context of {context} tokens: the oldest "
                f"{counted(forgotten, 'turn')}"
                f"; {counted(kept, 'turn')} before this one stay)\n"
            )
        if len(prompt) > room:
            self.messages.pop()
            show(
                f"(not sent: with the system message it has {len(prompt)} tokens and at most "
                f"{room} fit; shorten it)"
            )
            return
        # The dialogue itself is the seed: the same words get the same answer.
        words = "\n".join(message.content for message in (*self.system, *self.messages))
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "big")
        stream = StreamingDecoder(self.chat.tokenizer)
        said: list[str] = []

        def hear(piece: str) -> None:
            said.append(piece)
            show(piece)

        try:
            generate(
                self.model,
                [Request("0/chat", tuple(prompt))],
                replace(sampling, max_new_tokens=longest),
                end_ids=self.chat.end_ids,
                never=self.chat.tokenizer.unused_ids,
                seed=seed,
                on_token=lambda token: hear(stream.add(token)),
            )
            hear(stream.finish())
        except KeyboardInterrupt as stop:
            # Whoever ends the process does not mean the reply.
            if signal.SIGTERM in stop.args:
                raise
            show(" (stopped)")
        reply = "".join(said).strip()
        self.messages.append(Message(role="assistant", content=reply))


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _read(prompt: str) -> str:
    """Read a line of the user, prompted on a terminal; an invalid byte becomes U+FFFD."""
    return input(prompt if sys.stdin.isatty() and os.environ.get("TERM") != "dumb" else "")


def chat_loop(
    title: str,
    speakers: Mapping[str, Speaker],
    sampling: Sampling = CHAT,
    *,
    read: Callable[[str], str] = _read,
    write: Callable[[str], None] = _show,
) -> None:
    """Talk until the end of input or `/exit`.

    Args:
        title: What is talked to.
        speakers: One model, or several that answer side by side, by name.
        sampling: How replies are drawn, at first.
        read: Source of user lines, given a prompt.
        write: Sink of text, in pieces: replies show while they are sampled.
    """
    write(f"{title}: {', '.join(speakers)}. {COMMANDS}\n")
    while True:
        try:
            text = read("you: ").strip()
        except EOFError:
            return
        command, _, rest = text.partition(" ")
        if _REPLACED in text:
            write(f"(what was no valid text in your message is read as {_REPLACED})\n")
        if command == "/exit":
            return
        if text.startswith("/"):
            sampling = _obey(command, rest.strip(), list(speakers.values()), sampling, write)
        elif text:
            for name, speaker in speakers.items():
                write(f"{name}: " if len(speakers) > 1 else "")
                speaker.answer(text, sampling, write)
                write("\n")


def _obey(
    command: str,
    rest: str,
    speakers: Sequence[Speaker],
    sampling: Sampling,
    write: Callable[[str], None],
) -> Sampling:
    """Do what a command says; return how replies are drawn from now on."""
    if command == "/temperature":
        try:
            sampling = with_options(sampling, {"temperature": (command, [rest])})
            said = f"(temperature {sampling.temperature:g})"
        except ConfigError as error:
            said = f"({error})"
    elif command == "/system":
        for speaker in speakers:
            speaker.system = (Message(role="system", content=rest),) if rest else ()
        said = "(the system message is set)" if rest else "(no system message)"
    elif command == "/new":
        for speaker in speakers:
            speaker.messages.clear()
        said = "(a new dialogue)"
    elif command == "/undo":
        for speaker in speakers:
            del speaker.messages[-2:]
        said = "(the last turn is taken back)"
    else:
        hint = suggestion(command, re.findall(r"/\w+", COMMANDS))
        said = f"(not sent: there is no command {command}.{hint})\n{COMMANDS}"
    write(f"{said}\n")
    return sampling
