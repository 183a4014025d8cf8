"""Talk to the models of a run in the terminal, one or two side by side."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from camelid.data.records import Message
from camelid.formats.folder import load_transformer
from camelid.inference.generation import Request, generate
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.runtime import Runtime
from camelid.tokenization.chat import ChatFormat, load_chat_format
from camelid.tokenization.tokenizer import StreamingDecoder

SAMPLING = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=256)
"""Settings of the released reference code."""
COMMANDS = "Commands: /new starts over, /undo takes the last turn back, /exit ends."


@dataclass(slots=True)
class _Speaker:
    """One model with its own memory of the dialogue."""

    name: str
    model: Transformer
    chat: ChatFormat
    messages: list[Message]

    def answer(self, text: str, show: Callable[[str], None]) -> None:
        """Answer one user message, forgetting the oldest turns that do not fit.

        `show` receives the reply in pieces of whole characters while it is sampled.
        """
        self.messages.append(Message(role="user", content=text))
        context = self.model.config.context
        longest = min(SAMPLING.max_new_tokens, context // 4)
        room = context - longest
        while len(self.chat.render_prompt(self.messages)) > room and len(self.messages) > 2:
            del self.messages[:2]
        prompt = tuple(self.chat.render_prompt(self.messages)[-room:])
        # The dialogue itself is the seed: the same words get the same answer.
        words = "\n".join(message.content for message in self.messages)
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "big")
        stream = StreamingDecoder(self.chat.tokenizer)
        [reply] = generate(
            self.model,
            [Request("0/chat", prompt)],
            replace(SAMPLING, max_new_tokens=longest),
            end_ids=self.chat.end_ids,
            never=self.chat.tokenizer.unused_ids,
            seed=seed,
            on_token=lambda token: show(stream.add(token)),
        )
        show(stream.finish())
        text = self.chat.tokenizer.decode(reply.words).strip()
        self.messages.append(Message(role="assistant", content=text))


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def chat_loop(
    title: str,
    folders: Mapping[str, Path],
    tokenizer: Path,
    runtime: Runtime,
    *,
    read: Callable[[str], str] = input,
    write: Callable[[str], None] = _show,
) -> None:
    """Talk until the end of input or `/exit`.

    Args:
        title: What is talked to.
        folders: Name and weights of one model, or of several that answer side by side.
        tokenizer: Folder of their tokenizer.
        runtime: What to compute with.
        read: Source of user lines.
        write: Sink of text, in pieces: replies show while they are sampled.
    """
    chat = load_chat_format(tokenizer)
    speakers = [
        _Speaker(name, load_transformer(folder, runtime), chat, [])
        for name, folder in folders.items()
    ]
    write(f"{title}: {', '.join(folders)}. {COMMANDS}\n")
    interactive = sys.stdin.isatty() and os.environ.get("TERM") != "dumb"
    while True:
        try:
            text = read("you: " if interactive else "").strip()
        except EOFError:
            return
        if text == "/exit":
            return
        if text == "/new":
            for speaker in speakers:
                speaker.messages.clear()
            write("(a new dialogue)\n")
        elif text == "/undo":
            for speaker in speakers:
                del speaker.messages[-2:]
            write("(the last turn is taken back)\n")
        elif text.startswith("/"):
            write(f"{COMMANDS}\n")
        elif text:
            for speaker in speakers:
                write(f"{speaker.name}: " if len(speakers) > 1 else "")
                speaker.answer(text, write)
                write("\n")
