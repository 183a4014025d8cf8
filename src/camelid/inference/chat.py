"""Talk to the models of a run in the terminal, one or two side by side."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from camelid.data.records import Message, Prompt
from camelid.errors import MissingInputError
from camelid.formats.folder import load_transformer
from camelid.inference.replies import sample_replies
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.runtime import default_device
from camelid.settings import suggestion
from camelid.tokenization.chat import ChatFormat, load_chat_format
from camelid.tokenization.vocabulary import StreamingDecoder

SAMPLING = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=256)
"""Settings of the released reference code."""
COMMANDS = "Commands: /new starts over, /undo takes the last turn back, /exit ends."


def models_of(run: Path) -> dict[str, Path]:
    """Return name -> folder of every language model of a run, in the order of training."""
    found: dict[str, Path] = {}
    fixed = {"base": ("pretraining/model", "weights/model"), "sft": ("sft/model",)}
    for name, places in fixed.items():
        for place in places:
            if (run / place).is_dir():
                found[name] = run / place
    for folder in sorted(run.glob("v*/rejection_sampling/model")):
        found[folder.parent.parent.name] = folder
    for name in ("context_distillation", "ghost_attention", "ppo"):
        if (run / name / "model").is_dir():
            found[name] = run / name / "model"
    if "ppo" in found:
        found["final"] = found["ppo"]
    return found


def pick_model(run: Path, name: str) -> Path:
    """Return the folder of one model; `final` is the latest there is.

    Raises:
        MissingInputError: The run has no such model yet; the message lists what it has.
    """
    models = models_of(run)
    if not models:
        raise MissingInputError(f"{run}: no model yet. Run `camelid run` first.")
    if name == "final":
        return list(models.values())[-1]
    if name not in models:
        hint = suggestion(name, models)
        raise MissingInputError(f"{run}: no model '{name}'.{hint} There are: {', '.join(models)}.")
    return models[name]


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
        room = self.model.config.context - min(
            SAMPLING.max_new_tokens, self.model.config.context // 4
        )
        while len(self.chat.render_prompt(self.messages)) > room and len(self.messages) > 2:
            del self.messages[:2]
        prompt = Prompt(
            id="chat",
            messages=tuple(self.messages),
            category="chat",
            is_safety=False,
            source="terminal",
            split="test",
        )
        # The dialogue itself is the seed: the same words get the same answer.
        words = "\n".join(message.content for message in self.messages)
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "big")
        longest = self.model.config.context - room
        stream = StreamingDecoder(self.chat.tokenizer)
        [reply] = sample_replies(
            self.model,
            self.chat,
            [prompt],
            replace(SAMPLING, max_new_tokens=longest),
            seed=seed,
            on_token=lambda token: show(stream.add(token)),
        )
        show(stream.finish())
        self.messages.append(Message(role="assistant", content=reply.text))


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def chat_loop(
    run: Path,
    names: Sequence[str],
    *,
    read: Callable[[str], str] = input,
    write: Callable[[str], None] = _show,
) -> None:
    """Talk until the end of input or `/exit`.

    Args:
        run: Run directory.
        names: One model, or several that answer side by side.
        read: Source of user lines.
        write: Sink of text, in pieces: replies show while they are sampled.

    Raises:
        MissingInputError: A model or the tokenizer is missing.
    """
    places = ("tokenizer_training/tokenizer", "weights/tokenizer")
    tokenizers = [run / place for place in places if (run / place).is_dir()]
    if not tokenizers:
        raise MissingInputError(f"{run}: no tokenizer yet. Run `camelid run` first.")
    chat = load_chat_format(tokenizers[0])
    device = default_device()
    speakers = [
        _Speaker(name, load_transformer(pick_model(run, name), device), chat, []) for name in names
    ]
    write(f"{run.name}: {', '.join(names)}. {COMMANDS}\n")
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
