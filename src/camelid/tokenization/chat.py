"""Chat formats: dialogues to token ids, with the loss mask built while rendering.

The prompt and each reply are encoded apart, so the ids of a finished dialogue are exactly those of
its prompt, its reply and the end token. No mask is found by searching, so pad = eos and special
strings in the text are harmless: every id with a meaning in the format is placed by this module.

Source: arXiv 2307.09288, Section 3.1 (loss on answer tokens); the released reference code (tags).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from camelid.data.records import Message
from camelid.data.rendered import FitPolicy, Rendered
from camelid.errors import DataError
from camelid.tokenization.huggingface import read_huggingface_tokenizer
from camelid.tokenization.tokenizer import Tokenizer
from camelid.tokenization.vocabulary import HARMLESS_TAGS, LLAMA2_TAGS, ChatFormatName


class ChatFormat(ABC):
    """How dialogues become tokens.

    Always: `render(m + [reply]).ids == render_prompt(m) + encode_reply(reply) + [end_id]`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    @property
    @abstractmethod
    def end_id(self) -> int:
        """Id that ends a reply."""

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a reply: the format's, a text's end, and what else the files state."""
        return tuple(dict.fromkeys([self.end_id, *self.tokenizer.end_ids]))

    @abstractmethod
    def _write(self, messages: Sequence[Message]) -> Rendered:
        """Render messages whose roles are checked."""

    def _reply_opening(self) -> list[int]:
        """Return the ids between a prompt and its reply."""
        return []

    def encode_reply(self, text: str) -> list[int]:
        """Encode a reply without its end token; white space around it is removed."""
        return self.tokenizer.encode(text.strip())

    def render(self, messages: Sequence[Message]) -> Rendered:
        """Render a dialogue that ends in an assistant turn; replies with `train` carry loss."""
        check_turns(messages, last="assistant")
        return self._write(messages)

    def render_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Render a dialogue that ends in a user turn, up to where the reply starts."""
        check_turns(messages, last="user")
        return [*self._write(messages).ids, *self._reply_opening()]


def check_turns(messages: Sequence[Message], *, last: Literal["user", "assistant"]) -> None:
    """Check that a dialogue is (system,) user, assistant, user, ... and ends as wanted.

    Raises:
        DataError: The roles do not alternate or end in another role.
    """
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    for index, message in enumerate(turns):
        needed = "assistant" if index % 2 else "user"
        if message.role != needed:
            raise DataError(
                f"dialogue: turn {index + 1} has role {message.role!r}, needed {needed!r}; roles "
                "are an optional system message, then user and assistant in turn."
            )
    if not turns or turns[-1].role != last:
        found = repr(turns[-1].role) if turns else "no turn"
        raise DataError(f"dialogue: it ends with {found}, needed {last!r}.")


def neutralise(text: str) -> str:
    """Replace the tags of the Llama 2 format in a message by harmless look-alikes.

    `[INST]` becomes `(INST)`, `<</SYS>>` becomes `((/SYS))` and so on: the tags are plain text, so
    a message that held them could otherwise forge a turn or a system message. The released code
    refuses such messages instead; stripping the tags is what its notes recommend.
    """
    for tag, harmless in zip(LLAMA2_TAGS, HARMLESS_TAGS, strict=True):
        text = text.replace(tag, harmless)
    return text


class Llama2ChatFormat(ChatFormat):
    """`<s>[INST] <<SYS>>..system..<</SYS>>  user [/INST] answer </s>`, one BOS and EOS per pair.

    The system message is folded into the first user turn; the space before the end token is the
    reference's and belongs to the reply. Tags in messages are neutralised.
    """

    @property
    def end_id(self) -> int:
        """The end-of-text id."""
        return self.tokenizer.eos_id

    def encode_reply(self, text: str) -> list[int]:
        """Encode a reply, stripped, with one space before the end token."""
        return self.tokenizer.encode(neutralise(text).strip() + " ")

    def _write(self, messages: Sequence[Message]) -> Rendered:
        written = Rendered([], [])
        system = None
        bos = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        for message in messages:
            content = neutralise(message.content)
            if message.role == "system":
                system = content
            elif message.role == "user":
                if system is not None:
                    content, system = f"<<SYS>>\n{system}\n<</SYS>>\n\n{content}", None
                written.add([*bos, *self.tokenizer.encode(f"[INST] {content.strip()} [/INST]")])
            else:
                reply = self.encode_reply(message.content)
                written.add([*reply, self.end_id], train=message.train)
        return written


class _MarkedFormat(ChatFormat):
    """Formats whose special tokens open and close each message.

    Contents are stripped. No default system message is added (Source: choice; SmolLM2's, Qwen2.5's
    and Llama 3.1's own templates add one).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self._before = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        self._between: list[int] = []

    @abstractmethod
    def _opening(self, role: str) -> list[int]:
        """Return the ids in front of a message."""

    def _reply_opening(self) -> list[int]:
        return [*self._between, *self._opening("assistant")]

    def _write(self, messages: Sequence[Message]) -> Rendered:
        written = Rendered([], [])
        for index, message in enumerate(messages):
            written.add(self._between if index else self._before)
            written.add(self._opening(message.role))
            content = [*self.encode_reply(message.content), self.end_id]
            written.add(content, train=message.role == "assistant" and message.train)
        return written


class ChatMLFormat(_MarkedFormat):
    r"""`<|im_start|>role\ncontent<|im_end|>`, a line break between messages, no BOS.

    The line break that templates write after the last message is left out: nothing follows that
    could see it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self._before, self._between = [], tokenizer.encode("\n")

    @property
    def end_id(self) -> int:
        """The id of `<|im_end|>`."""
        return self.tokenizer.special_id("<|im_end|>")

    def _opening(self, role: str) -> list[int]:
        return [self.tokenizer.special_id("<|im_start|>"), *self.tokenizer.encode(f"{role}\n")]


class Llama3ChatFormat(_MarkedFormat):
    r"""`<|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>`, one BOS a dialogue.

    Source: the model cards of Llama 3.
    """

    @property
    def end_id(self) -> int:
        """The id of `<|eot_id|>`."""
        return self.tokenizer.special_id("<|eot_id|>")

    def _opening(self, role: str) -> list[int]:
        special, encode = self.tokenizer.special_id, self.tokenizer.encode
        header = [special("<|start_header_id|>"), *encode(role), special("<|end_header_id|>")]
        return [*header, *encode("\n\n")]


def chat_format_of(tokenizer: Tokenizer) -> ChatFormat:
    """Return the chat format that the tokenizer's vocabulary names.

    Raises:
        DataError: The vocabulary lacks a special token of the format.
    """
    formats: dict[ChatFormatName, Callable[[Tokenizer], ChatFormat]] = {
        "llama2": Llama2ChatFormat,
        "llama3": Llama3ChatFormat,
        "chatml": ChatMLFormat,
    }
    chat = formats[tokenizer.vocabulary.chat_format](tokenizer)
    # A missing special token shows here and not in the middle of a run.
    chat.render_prompt([Message(role="user", content="")])
    _ = chat.end_id
    return chat


def load_chat_format(directory: Path) -> ChatFormat:
    """Load the tokenizer of a folder with its chat format.

    Raises:
        MissingInputError: There is no tokenizer.
        CheckpointError: The files are damaged or not supported.
    """
    return chat_format_of(read_huggingface_tokenizer(directory))


def fit_ids(rendered: Rendered, limit: int, policy: FitPolicy, where: str) -> Rendered | None:
    """Bring a rendered text to at most `limit` tokens, or say that it goes.

    Nothing is added: a text cut on the right ends without an end token. The caller counts what was
    longer than `limit`.

    Args:
        rendered: Ids and mask.
        limit: Most tokens.
        policy: `error`; `drop`; `truncate_left` keeps the last tokens; `truncate_answer` the first.
        where: What it is, for the error.

    Returns:
        The text, or None if it is dropped. A cut that leaves no target of a text that had some
        drops it: it would only add a loss of zero.

    Raises:
        DataError: It is too long and the policy is `error`.
    """
    length = len(rendered.ids)
    if length <= limit:
        return rendered
    if policy == "error":
        raise DataError(
            f"{where}: {length} tokens, at most {limit} fit; shorten it or choose the policy "
            "'drop', 'truncate_left' or 'truncate_answer'."
        )
    if policy == "drop" or limit < 1:
        return None
    kept = slice(length - limit, length) if policy == "truncate_left" else slice(0, limit)
    cut = Rendered(ids=rendered.ids[kept], train=rendered.train[kept])
    return cut if any(cut.train) or not any(rendered.train) else None
