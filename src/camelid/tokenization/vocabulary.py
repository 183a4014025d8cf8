"""A vocabulary as plain data, and its chat format.

A vocabulary is all that a tokenizer is built from and all that a file format has to carry, so each
reader (Hugging Face folder, GGUF, SentencePiece) ends in one and each writer starts from one. Chat
formats are written as Jinja templates, which transformers, vLLM and llama.cpp read. A template
gives the ids of `chat.py` for every dialogue without special tokens in its text: there they stay
text, while a template cannot tell them from its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from camelid.errors import CheckpointError

ChatFormatName = Literal["llama2", "llama3", "chatml"]
VocabularyKind = Literal["sentencepiece", "byte_level_bpe"]
PreTokenizer = Literal["smollm", "llama-bpe", "qwen2"]
SpaceInFront = Literal["stretch", "first", "always"]

UNKNOWN_SURFACE = " \u2047 "
"""Text of the unknown token."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Token types, with the numbers of GGUF and of SentencePiece (they are the same)."""
CHAT_TOKENS = (
    *("<|im_start|>", "<|im_end|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
"""Special tokens of the chat formats, whatever type a file gives them."""


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's printable character of each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    characters = {chr(byte): byte for byte in shown}
    return characters | {chr(256 + index): byte for index, byte in enumerate(others)}


BYTE_ALPHABET = _byte_alphabet()
"""Characters of byte-level tokens and the bytes that they stand for."""
_CONTROLS = (*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
UNWRITTEN = frozenset((*_CONTROLS, 0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100)))
"""Bytes of control characters, of planes without a character, and of no UTF-8: SmolLM2 has no token
for 21 of them, and the library leaves out of a text what has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Tokens in the order of their ids and the rules that join them."""

    kind: VocabularyKind
    tokens: tuple[str, ...]
    """SentencePiece pieces, or byte-level tokens in GPT-2's byte alphabet."""
    types: tuple[int, ...]
    """One of `NORMAL` .. `BYTE` for each token. Special tokens are `CONTROL`; words that are taken
    whole wherever they stand in a text are `USER_DEFINED`."""
    scores: tuple[float, ...] | None = None
    """SentencePiece: the highest score merges first."""
    merges: tuple[str, ...] | None = None
    """Byte-level BPE: `left right`, first merges first."""
    pre_tokenizer: PreTokenizer | None = None
    """Byte-level BPE: how text is split before merging, by GGUF's name."""
    bos_id: int | None
    """Id that opens a text; None where texts are not opened by one."""
    eos_id: int
    """Id that ends a text."""
    chat_format: ChatFormatName
    end_ids: tuple[int, ...] = ()
    """Further ids that end a reply, as the files state them."""
    space_in_front: SpaceInFront = "stretch"
    """SentencePiece: where a space is put in front. `stretch`: of each stretch of text between
    words (Llama 2); `first`: of the text unless it opens with a space or a word; `always`: of each
    stretch unless it opens with a space (transformers 5)."""
    template: str | None = None
    """The files' own chat template; None: the one of the chat format."""
    other_templates: tuple[str, ...] = ()
    """Names of further chat templates in the files (`tool_use`), which are not kept."""

    def __post_init__(self) -> None:
        """Check that the parts belong together.

        Raises:
            CheckpointError: They do not; the caller adds the file.
        """
        size = len(self.tokens)
        known = set(self.tokens)
        if len(known) != size or len(self.types) != size or "" in known:
            raise CheckpointError(
                f"vocabulary: {size} tokens, {len(known)} of them distinct, {len(self.types)} "
                "types; needed as many types as tokens, each token once and none empty."
            )
        ends = [("an end token", index) for index in self.end_ids]
        for name, index in (("BOS", self.bos_id), ("EOS", self.eos_id), *ends):
            if index is not None and not 0 <= index < size:
                raise CheckpointError(f"vocabulary: {name} has id {index} of {size} tokens.")
        if not all(NORMAL <= kind <= BYTE for kind in self.types):
            raise CheckpointError("vocabulary: each token type must be one of 1 to 6.")
        try:
            "".join(self.tokens).encode()
        except UnicodeEncodeError as error:
            raise CheckpointError(f"vocabulary: a token is no Unicode text ({error}).") from None
        if self.kind == "sentencepiece":
            self._check_sentencepiece()
        else:
            self._check_merges(known)

    def _check_sentencepiece(self) -> None:
        if self.scores is None or len(self.scores) != len(self.tokens):
            raise CheckpointError("vocabulary: SentencePiece needs a score for each token.")
        if self.types.count(UNKNOWN) != 1:
            raise CheckpointError("vocabulary: SentencePiece needs exactly one unknown token.")
        found = {token for token, kind in zip(self.tokens, self.types, strict=True) if kind == BYTE}
        if found != {f"<0x{byte:02X}>" for byte in range(256)}:
            raise CheckpointError(
                f"vocabulary: {len(found)} byte tokens, needed 256 (`<0x00>` .. `<0xFF>`): other "
                "SentencePiece models cannot write every text and are not supported."
            )

    def _check_merges(self, known: set[str]) -> None:
        if self.merges is None or self.pre_tokenizer is None:
            raise CheckpointError("vocabulary: byte-level BPE needs merges and a pre-tokenizer.")
        if self.chat_format == "llama2":
            raise CheckpointError(
                "vocabulary: byte-level BPE without special tokens for chat; Llama 2's format "
                "needs SentencePiece."
            )
        known -= self.special_ids.keys()
        kinds = zip(self.tokens, self.types, strict=True)
        written = {token for token, byte in BYTE_ALPHABET.items() if byte not in UNWRITTEN}
        missing = written - {token for token, kind in kinds if kind == NORMAL}
        if missing:
            raise CheckpointError(
                f"vocabulary: {len(missing)} of 256 byte tokens are missing or of another type "
                f"({sorted(missing)[:3]} ..): it cannot write every text and is not supported."
            )
        for merge in self.merges:
            left, space, right = merge.partition(" ")
            if not space or not {left, right, left + right} <= known:
                raise CheckpointError(
                    f"vocabulary: the merge {merge!r} names an unknown token; add it."
                )

    @property
    def special_ids(self) -> dict[str, int]:
        """Name to id of the special tokens."""
        return {
            token: index
            for index, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind == CONTROL
        }

    def settled(self) -> Vocabulary:
        """Return it with the words that open, divide or end texts as special tokens.

        Some files call `<|im_start|>` a word; a user's text would become it.
        """
        named = {self.tokens.index(token) for token in CHAT_TOKENS if token in self.tokens}
        named |= {self.eos_id, *self.end_ids, *([] if self.bos_id is None else [self.bos_id])}
        types = enumerate(self.types)
        kinds = (CONTROL if k == USER_DEFINED and i in named else k for i, k in types)
        return replace(self, types=tuple(kinds))

    def padded(self, size: int) -> Vocabulary:
        """Return it with unused tokens up to `size` ids.

        Models whose embedding table has more rows than there are tokens (Qwen2.5) need it.

        Raises:
            CheckpointError: There are more tokens than `size`.
        """
        missing = size - len(self.tokens)
        if missing < 0:
            raise CheckpointError(
                f"the tokenizer has {len(self.tokens)} ids, the embedding table {size} rows; "
                "each id needs a row."
            )
        added = tuple(f"[PAD{index}]" for index in range(len(self.tokens), size))
        return replace(
            self,
            tokens=self.tokens + added,
            types=self.types + (UNUSED,) * missing,
            scores=None if self.scores is None else self.scores + (0.0,) * missing,
        )


LLAMA2_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
"""The tags of the Llama 2 chat format; plain text, not special tokens."""
HARMLESS_TAGS = tuple(tag.translate(str.maketrans("[]<>", "()()")) for tag in LLAMA2_TAGS)
"""What `neutralise` makes of the tags."""

_MARKS: dict[ChatFormatName, str] = {
    "chatml": "<|im_start|>",
    "llama3": "<|start_header_id|>",
    "llama2": "<<SYS>>",
}

_NEEDED = {"chatml": CHAT_TOKENS[:2], "llama3": CHAT_TOKENS[2:], "llama2": ()}
"""Special tokens that a format writes."""


def chat_template(chat_format: ChatFormatName) -> str:
    """Return the Jinja template of a chat format."""
    folder = Path(__file__).parent / "templates"
    return (folder / f"{chat_format}.jinja").read_text(encoding="utf-8")


def _rendered(template: str, eos: str) -> str:
    """Return what a template makes of a dialogue, from behind its first question on."""
    # Only now: most tokenizers have a template that is known.
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    # A text times a number takes any memory.
    environment.intercepted_binops, environment.binop_table = frozenset({"*", "**"}), {}
    # Marks of transformers around what carries loss.
    template = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", template)
    roles = {"S0": "system", "Q1": "user", "A2": "assistant", "Q3": "user"}
    messages = [{"role": role, "content": text} for text, role in roles.items()]
    given = {"add_generation_prompt": True, "bos_token": "<bos>", "eos_token": eos}
    reason = None
    # Some templates take no system message.
    for part in (messages, messages[1:]):
        try:
            made = environment.from_string(template).render(
                messages=part, tools=None, documents=None, strftime_now=str, **given
            )
            return made.partition("Q1")[2]
        # A template calls what it likes.
        except Exception as error:  # noqa: BLE001
            reason = error
    raise CheckpointError(
        f"the chat template cannot be rendered ({reason}). Name the format to use instead "
        "(--chat-format)."
    )


def detect_chat_format(
    template: str | None, special_tokens: Collection[str], eos: str = ""
) -> ChatFormatName:
    """Return the chat format of a template, or, without one, that of the special tokens.

    Vocabularies without tokens for chat have Llama 2's format, whose tags are plain text. A
    template must render a dialogue as its format does, from the first question on: what stands
    before (a default system message, a date) is not written here.

    Args:
        template: Jinja.
        special_tokens: Names of the special tokens.
        eos: Text of the end token, which templates put in.

    Raises:
        CheckpointError: The template has another format, or cannot be rendered.
    """
    found = special_tokens if template is None else template
    for name, mark in _MARKS.items():
        lacking = [token for token in _NEEDED[name] if token not in special_tokens]
        if mark not in found or (lacking and template is None):
            continue
        if lacking:
            raise CheckpointError(
                f"the chat format {name} needs the special tokens {', '.join(_NEEDED[name])}; "
                f"missing: {', '.join(lacking)}. Name another format (--chat-format)."
            )
        usual = chat_template(name)
        if template not in (None, usual):
            parts = [_rendered(text, eos) for text in (str(template), usual)]
            # Templates that open no reply leave that to the model.
            asks = "add_generation_prompt" in str(template)
            theirs, ours = (part if asks else part.partition("Q3")[0] for part in parts)
            if theirs != ours:
                raise CheckpointError(
                    f"the chat template has the marks of {name} and renders a dialogue in another "
                    f"way: found {theirs[:99]!r}, needed {ours[:99]!r}. Name the format to use "
                    "instead (--chat-format)."
                )
        return name
    if template is None:
        return "llama2"
    raise CheckpointError(
        f"the chat template is of an unknown format (it starts {template[:60]!r}); known are "
        f"{', '.join(_MARKS)}. Name the one to use instead (--chat-format)."
    )
