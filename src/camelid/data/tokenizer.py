"""Tokenizers behind one small protocol: SentencePiece (ours and Llama's) and byte-level BPE.

A tokenizer folder holds `tokenizer_config.json` (kind, chat format) beside `tokenizer.model` or
`tokenizer.json`. Text never becomes a special token: `</s>` or `<|im_start|>` typed by a user stays
text.

Source: arXiv 2307.09288, Section 2.2 (tokenizer).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import sentencepiece
import tokenizers

from camelid.errors import CheckpointError, DataError, MissingInputError

ChatFormatName = Literal["llama2", "chatml"]

CONFIG_FILE = "tokenizer_config.json"
LONGEST_SENTENCE = 4192
"""Bytes (the trainer's default). SentencePiece skips longer sentences, so longer lines are cut."""
LLAMA2_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
"""The tags of the Llama 2 chat format; plain text, not special tokens."""


class Tokenizer(Protocol):
    """What the rest of the package knows of a tokenizer."""

    @property
    def vocabulary_size(self) -> int:
        """Number of ids."""

    @property
    def bos_id(self) -> int | None:
        """Id that opens a text, None where the vocabulary has none in use."""

    @property
    def eos_id(self) -> int:
        """Id that ends a text."""

    @property
    def pad_id(self) -> int:
        """Id that fills rows; `eos_id` where there is none of its own (masks are positional)."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text; no special token is added or recognised."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; special tokens give no text."""

    def special_id(self, name: str) -> int:
        """Return the id of a special token such as `<|im_end|>`; DataError if there is none."""


class SentencePieceTokenizer:
    """A SentencePiece model.

    `decode(encode(text)) == text` for all text without U+2581, which stands for the space inside.
    The leading space that encoding adds (`add_dummy_prefix`) is removed by decoding.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingInputError(f"{path}: no such tokenizer model.")
        self._path = path
        try:
            self._model: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise CheckpointError(f"{path}: no readable SentencePiece model ({error}).") from None
        if self._model.eos_id() < 0:
            raise CheckpointError(f"{path}: the model has no end-of-text id; one is needed.")

    @property
    def vocabulary_size(self) -> int:
        """Number of pieces."""
        return int(self._model.get_piece_size())

    @property
    def bos_id(self) -> int | None:
        """Id of `<s>`."""
        found = int(self._model.bos_id())
        return found if found >= 0 else None

    @property
    def eos_id(self) -> int:
        """Id of `</s>`."""
        return int(self._model.eos_id())

    @property
    def pad_id(self) -> int:
        """The model's own pad id (-1 in Llama's), else `eos_id`."""
        found = int(self._model.pad_id())
        return found if found >= 0 else self.eos_id

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text; the model adds a leading space."""
        return list(self._model.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return str(self._model.decode([int(i) for i in ids]))

    def special_id(self, name: str) -> int:
        """Return the id of a control piece such as `</s>`."""
        found = int(self._model.piece_to_id(name))
        if not self._model.is_control(found):
            raise DataError(f"{self._path}: {name!r} is no special token of this tokenizer.")
        return found


class ByteLevelBPETokenizer:
    """Byte-level byte-pair encoding with every digit its own piece (as SmolLM2 uses it)."""

    def __init__(
        self, model: tokenizers.Tokenizer, special_ids: Mapping[str, int], *, eos: str
    ) -> None:
        """Wrap a `tokenizers.Tokenizer` that knows no special token.

        Args:
            model: Splits and merges plain text only.
            special_ids: Name to id of the special tokens.
            eos: Name of the special token that ends a text.
        """
        self._model: Any = model
        self._special_ids = dict(special_ids)
        self._hidden = frozenset(special_ids.values())
        self._eos = eos
        self.eos_id = self.special_id(eos)

    @classmethod
    def from_merges(
        cls,
        tokens: Sequence[str],
        merges: Sequence[str],
        special_ids: Mapping[str, int],
        *,
        eos: str,
    ) -> ByteLevelBPETokenizer:
        """Build from the tokens in the order of their ids and the merges, each `left right`."""
        model = tokenizers.Tokenizer(
            tokenizers.models.BPE(
                vocab={token: index for index, token in enumerate(tokens)},
                merges=[(left, right) for left, right in (merge.split(" ") for merge in merges)],
            )
        )
        model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
            [
                tokenizers.pre_tokenizers.Digits(individual_digits=True),
                tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        model.decoder = tokenizers.decoders.ByteLevel()
        return cls(model, special_ids, eos=eos)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids."""
        return int(self._model.get_vocab_size())

    @property
    def bos_id(self) -> int | None:
        """None: ChatML models of this kind are trained without one."""
        return None

    @property
    def pad_id(self) -> int:
        """The end-of-text id."""
        return self.eos_id

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text."""
        return list(self._model.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; bytes that are no UTF-8 give U+FFFD."""
        return str(self._model.decode([int(i) for i in ids if i not in self._hidden]))

    def special_id(self, name: str) -> int:
        """Return the id of a special token such as `<|im_end|>`."""
        if name not in self._special_ids:
            known = ", ".join(sorted(self._special_ids))
            raise DataError(f"{name!r} is no special token of this tokenizer; it has: {known}.")
        return self._special_ids[name]

    def save(self, directory: Path, chat_format: ChatFormatName) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "tokenizer.json").write_text(self._model.to_str(), encoding="utf-8")
        _write_config(
            directory,
            kind="byte_level_bpe",
            chat_format=chat_format,
            eos=self._eos,
            special_ids=self._special_ids,
        )

    @classmethod
    def load(cls, directory: Path, config: Mapping[str, Any]) -> ByteLevelBPETokenizer:
        """Read what `save` wrote."""
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise MissingInputError(f"{path}: no such tokenizer.")
        try:
            model = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
            return cls(model, config["special_ids"], eos=config["eos"])
        except Exception as error:  # noqa: BLE001  the library raises bare Exception on bad JSON
            raise CheckpointError(f"{path}: damaged ({error}).") from None


def _write_config(directory: Path, **values: object) -> None:
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def read_tokenizer_config(directory: Path) -> dict[str, Any]:
    """Read `tokenizer_config.json` of a tokenizer folder.

    Raises:
        MissingInputError: There is no such file.
        CheckpointError: It is damaged.
    """
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise MissingInputError(f"{directory}: no tokenizer here ({CONFIG_FILE} is missing).")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}).") from None
    if not isinstance(config, dict) or not {"kind", "chat_format"} <= config.keys():
        raise CheckpointError(f"{path}: needs the fields 'kind' and 'chat_format'.")
    return config


def load_tokenizer(directory: Path) -> Tokenizer:
    """Load the tokenizer of a folder.

    Raises:
        MissingInputError: A file is missing.
        CheckpointError: A file is damaged or of an unknown kind.
    """
    config = read_tokenizer_config(directory)
    if config["kind"] == "sentencepiece":
        return SentencePieceTokenizer(directory / "tokenizer.model")
    if config["kind"] == "byte_level_bpe":
        return ByteLevelBPETokenizer.load(directory, config)
    raise CheckpointError(
        f"{directory / CONFIG_FILE}: kind {config['kind']!r}; "
        "needed 'sentencepiece' or 'byte_level_bpe'."
    )


class TokenizerTraining(NamedTuple):
    """What a tokenizer was trained on."""

    lines: int
    cut_lines: int
    """Lines longer than `LONGEST_SENTENCE` bytes, cut at spaces; nothing is skipped."""


def _cut(line: str) -> Iterator[str]:
    """Yield pieces of at most `LONGEST_SENTENCE` bytes, cut at spaces where there are any."""
    piece, size = "", 0
    for word in line.split(" "):
        width = len(word.encode()) + 1
        if size + width > LONGEST_SENTENCE and piece:
            yield piece
            piece, size = "", 0
        # A UTF-8 character has at most four bytes, so a quarter of the limit always fits.
        while width > LONGEST_SENTENCE:
            yield word[: LONGEST_SENTENCE // 4]
            word = word[LONGEST_SENTENCE // 4 :]
            width = len(word.encode()) + 1
        piece = f"{piece} {word}" if piece else word
        size += width
    if piece:
        yield piece


def train_sentencepiece(
    corpus_path: Path,
    directory: Path,
    *,
    vocabulary_size: int,
    chat_format: ChatFormatName = "llama2",
) -> TokenizerTraining:
    """Train a SentencePiece BPE model with the settings of Llama 2 and write a tokenizer folder.

    Numbers are split into digits, unknown characters into bytes, nothing is normalised. Training
    is a pure function of the corpus: all of it is read, nothing is sampled. One line with the tags
    of the Llama 2 chat format is added per line of the corpus, so that the tags are a few pieces
    and not a piece a character (Source: choice; Llama 2's own corpus is not specified).

    Args:
        corpus_path: Text, one document a line, UTF-8.
        directory: Receives `tokenizer.model` and `tokenizer_config.json`.
        vocabulary_size: Pieces, of which 259 are special or bytes.
        chat_format: Written to `tokenizer_config.json`.

    Raises:
        MissingInputError: There is no corpus.
        DataError: The corpus is empty, not UTF-8, or does not fit the vocabulary size.

    Source: arXiv 2307.09288, Section 2.2; flags as stored in the released `tokenizer.model`.
    """
    if not corpus_path.is_file():
        raise MissingInputError(f"{corpus_path}: no such corpus.")
    counts = {"lines": 0, "cut": 0}

    def sentences() -> Iterator[str]:
        with corpus_path.open(encoding="utf-8") as file:
            for line in file:
                text = line.strip()
                if not text:
                    continue
                counts["lines"] += 1
                if chat_format == "llama2":
                    yield " ".join(LLAMA2_TAGS)
                if len(text.encode()) <= LONGEST_SENTENCE:
                    yield text
                else:
                    counts["cut"] += 1
                    yield from _cut(text)

    model = io.BytesIO()
    try:
        if not any(True for _ in sentences()):
            raise DataError(f"{corpus_path}: the corpus is empty; one document a line is needed.")
        counts.update(lines=0, cut=0)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size,
            character_coverage=0.99995,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentencepiece_length=16,
            max_sentence_length=LONGEST_SENTENCE,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            unk_surface=" \u2047 ",
            num_threads=1,
            minloglevel=2,
        )
    except UnicodeDecodeError as error:
        raise DataError(f"{corpus_path}: not UTF-8 ({error}).") from None
    except RuntimeError as error:
        reason = str(error).rsplit("] ", 1)[-1].strip()
        raise DataError(
            f"{corpus_path}: the corpus does not fit a vocabulary of {vocabulary_size} pieces "
            f"({reason}). Use a larger corpus or another vocabulary_size."
        ) from None
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.model").write_bytes(model.getvalue())
    _write_config(directory, kind="sentencepiece", chat_format=chat_format)
    return TokenizerTraining(lines=counts["lines"], cut_lines=counts["cut"])
