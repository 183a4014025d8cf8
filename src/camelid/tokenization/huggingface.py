"""Tokenizer folders in Hugging Face's layout, which is also the layout of a run's tokenizers.

`tokenizer.json` (both kinds), `tokenizer.model` (SentencePiece) and `tokenizer_config.json`, which
holds the special tokens and the chat template.

Source: arXiv 2307.09288, Section 2.2 (tokenizer).
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import sentencepiece
import tokenizers

from camelid.errors import CheckpointError, MissingInputError
from camelid.tokenization.tokenizer import (
    SentencePieceTokenizer,
    Tokenizer,
    pre_tokenizer_model,
    tokenizer_from_vocabulary,
)
from camelid.tokenization.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    ChatFormatName,
    PreTokenizer,
    Vocabulary,
    chat_template,
    detect_chat_format,
    model_proto,
)

CONFIG_FILE = "tokenizer_config.json"
MODEL_FILE = "tokenizer.model"
TOKENIZER_FILE = "tokenizer.json"


def read_sentencepiece(path: Path) -> Vocabulary:
    """Read a `tokenizer.model`; its chat format is taken to be Llama 2's.

    Raises:
        MissingInputError: There is no such file.
        CheckpointError: It is damaged, or no BPE model with byte fallback as Llama 2's is.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such tokenizer model.")
    data = path.read_bytes()
    if re.match(rb"[A-Za-z0-9+/=]+ \d+\n", data):
        raise CheckpointError(
            f"{path}: a tiktoken file, as Meta ships Llama 3's tokenizer, is not read. Name a "
            "folder with the same tokenizer as tokenizer.json (--tokenizer)."
        )
    try:
        model: Any = sentencepiece.SentencePieceProcessor(model_proto=data)
        ids = range(model.get_piece_size())
        tests = (
            (UNKNOWN, model.is_unknown),
            (CONTROL, model.is_control),
            (BYTE, model.is_byte),
            (UNUSED, model.is_unused),
        )
        bos = int(model.bos_id())
        vocabulary = Vocabulary(
            kind="sentencepiece",
            tokens=tuple(model.id_to_piece(index) for index in ids),
            scores=tuple(float(model.get_score(index)) for index in ids),
            types=tuple(next((kind for kind, is_kind in tests if is_kind(i)), NORMAL) for i in ids),
            bos_id=bos if bos >= 0 else None,
            eos_id=int(model.eos_id()),
            chat_format="llama2",
        )
        probe = "A  full-width Ａ, the ﬁrst 1999;\n\t«é» 日本 \U0001f600 "
        if SentencePieceTokenizer(vocabulary).encode(probe) != list(model.encode(probe)):
            raise CheckpointError(
                "this SentencePiece model splits or normalises text in another way than Llama 2's "
                "(BPE, identity, a space in front); it is not supported."
            )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (RuntimeError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: no readable SentencePiece model ({error}).") from None
    return vocabulary


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file gives an empty one."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({error}).") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: a JSON {type(found).__name__}, needed an object.")
    return found


def _read_template(directory: Path, config: dict[str, Any]) -> str | None:
    file = directory / "chat_template.jinja"
    found = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    if not isinstance(found, str | None):
        raise TypeError("the chat template is no text")
    return found


def _token_name(config: dict[str, Any], key: str) -> str | None:
    found = config.get(key)
    return found["content"] if isinstance(found, dict) else found


def _id_of(tokens: tuple[str, ...], name: str) -> int:
    if name not in tokens:
        raise CheckpointError(f"{name!r}, named in {CONFIG_FILE}, is not among the tokens.")
    return tokens.index(name)


def _added_tokens(
    data: dict[str, Any], config: dict[str, Any], by_name: dict[str, Any]
) -> dict[int, tuple[str, bool]]:
    """Return id -> (token, is special) of the tokens beside the model's own.

    Those of `added_tokens.json` (name to id, of old slow tokenizers) count as special.
    """
    listed = [(entry["id"], entry) for entry in data.get("added_tokens") or []]
    listed += (config.get("added_tokens_decoder") or {}).items()
    found = {int(index): (str(token), True) for token, index in by_name.items()}
    found |= {int(index): (entry["content"], bool(entry["special"])) for index, entry in listed}
    return found


def _pre_tokenizer_of(data: dict[str, Any]) -> PreTokenizer:
    """Return the name of a file's normalizer and pre-tokenizer."""

    def comparable(part: Any) -> str:
        # `trim_offsets` acts on positions in the text only.
        return json.dumps(part, sort_keys=True).replace(
            '"trim_offsets": false', '"trim_offsets": true'
        )

    names: tuple[PreTokenizer, ...] = get_args(PreTokenizer)
    for name in names:
        expected = json.loads(pre_tokenizer_model(name).__getstate__())
        normalizer = {"type": "NFC"} if name == "qwen2" else None
        if comparable(data.get("pre_tokenizer")) == comparable(expected) and (
            data.get("normalizer") == normalizer
        ):
            return name
    raise CheckpointError(
        f"its pre-tokenizer or normalizer is not one of {', '.join(names)} (found "
        f"{comparable([data.get('normalizer'), data.get('pre_tokenizer')])[:200]})."
    )


def _from_model_file(path: Path, added: dict[int, tuple[str, bool]]) -> Vocabulary:
    """Read `tokenizer.model` and lay the added tokens behind its pieces."""
    base = read_sentencepiece(path)
    size = len(base.tokens)
    more = [added[index][0] for index in sorted(added) if index >= size]
    if sorted(index for index in added if index >= size) != list(range(size, size + len(more))):
        raise CheckpointError("the ids of the added tokens do not follow those of the model.")
    special = {index for index, (_, is_special) in added.items() if is_special}
    types = [
        CONTROL if kind == NORMAL and index in special else kind
        for index, kind in enumerate(base.types)
    ]
    return replace(
        base,
        tokens=(*base.tokens, *more),
        types=(*types, *[CONTROL] * len(more)),
        scores=(*(base.scores or ()), *[0.0] * len(more)),
    )


def _from_json(
    data: dict[str, Any], added: dict[int, tuple[str, bool]], eos: str | None
) -> Vocabulary:
    """Read `tokenizer.json`."""
    model = data["model"]
    if model.get("type", "BPE") != "BPE":
        raise CheckpointError(f"a tokenizer of type {model['type']!r}; only BPE is supported.")
    names = {index: token for token, index in model["vocab"].items()}
    names |= {index: token for index, (token, _) in added.items()}
    if sorted(names) != list(range(len(names))):
        raise CheckpointError(f"the ids of {len(names)} tokens are not 0 to {len(names) - 1}.")
    tokens = tuple(names[index] for index in range(len(names)))
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    types = [NORMAL] * len(tokens)
    for index, (_, is_special) in added.items():
        types[index] = CONTROL if is_special else USER_DEFINED
    if eos is None:
        raise CheckpointError(f"no end-of-text token; {CONFIG_FILE} has to name an eos_token.")
    if not model.get("byte_fallback"):
        return Vocabulary(
            kind="byte_level_bpe",
            tokens=tokens,
            types=tuple(types),
            merges=tuple(merges),
            pre_tokenizer=_pre_tokenizer_of(data),
            bos_id=None,
            eos_id=_id_of(tokens, eos),
            chat_format="chatml",
        )
    shape = json.dumps([data.get("normalizer"), data.get("pre_tokenizer")])
    if ("Prepend" in shape) == ("Metaspace" in shape) or '"never"' in shape:
        raise CheckpointError("a SentencePiece tokenizer without a space in front; not supported.")
    # Scores only order the merges: the first merge that makes a piece stands for its score.
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    for index, token in enumerate(tokens):
        if token == model["unk_token"]:
            types[index] = UNKNOWN
        elif re.fullmatch("<0x[0-9A-F]{2}>", token):
            types[index] = BYTE
        elif types[index] == USER_DEFINED:
            types[index] = CONTROL
    return Vocabulary(
        kind="sentencepiece",
        tokens=tokens,
        types=tuple(types),
        scores=tuple(-float(ranks.get(token, 0)) for token in tokens),
        bos_id=None,
        eos_id=_id_of(tokens, eos),
        chat_format="llama2",
    )


def _opens_with_bos(config: dict[str, Any], data: dict[str, Any], bos: str) -> bool:
    """Return whether the tokenizer puts its BOS in front of texts (SmolLM2 names one in vain)."""
    if isinstance(config.get("add_bos_token"), bool):
        return bool(config["add_bos_token"])
    if not data or data["model"].get("byte_fallback"):
        return True
    processor = json.dumps(data.get("post_processor"))
    return "TemplateProcessing" in processor and json.dumps(bos) in processor


def read_huggingface_tokenizer(
    directory: Path, chat_format: ChatFormatName | None = None
) -> Tokenizer:
    """Read the tokenizer of a model folder: Llama 2's, Llama 3's, SmolLM2's or Qwen2's kind.

    Args:
        directory: Holds `tokenizer.model` or `tokenizer.json`, and `tokenizer_config.json`.
        chat_format: Stands in for the one that the folder's chat template has.

    Raises:
        MissingInputError: There is no tokenizer.
        CheckpointError: A file is damaged, or of a kind that is not supported.
    """
    config = _read_object(directory / CONFIG_FILE)
    data = _read_object(directory / TOKENIZER_FILE)
    model_file = directory / MODEL_FILE
    if not data and not model_file.is_file():
        raise MissingInputError(
            f"{directory}: no tokenizer here ({MODEL_FILE} and {TOKENIZER_FILE} are missing)."
        )
    names = _read_object(directory / "special_tokens_map.json") | config
    try:
        bos, eos = _token_name(names, "bos_token"), _token_name(names, "eos_token")
        added = _added_tokens(data, config, _read_object(directory / "added_tokens.json"))
        if model_file.is_file() and (not data or data["model"].get("byte_fallback")):
            vocabulary = _from_model_file(model_file, added)
        else:
            vocabulary = _from_json(data, added, eos)
        tokens = vocabulary.tokens
        bos_id = vocabulary.bos_id if bos is None else _id_of(tokens, bos)
        if bos_id is not None and not _opens_with_bos(config, data, tokens[bos_id]):
            bos_id = None
        if chat_format is None:
            template = _read_template(directory, config)
            chat_format = detect_chat_format(template, vocabulary.special_ids)
        vocabulary = replace(
            vocabulary,
            bos_id=bos_id,
            eos_id=vocabulary.eos_id if eos is None else _id_of(tokens, eos),
            chat_format=chat_format,
        )
        size = config.get("vocabulary_size", len(tokens))
        if not len(tokens) <= size <= 2 * len(tokens):
            raise CheckpointError(f"vocabulary_size is {size}, there are {len(tokens)} tokens.")
        return tokenizer_from_vocabulary(vocabulary.padded(size))
    except CheckpointError as error:
        raise CheckpointError(f"{directory}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise CheckpointError(
            f"{directory}: the tokenizer files are damaged ({error!r})."
        ) from None


def write_huggingface_tokenizer(tokenizer: Tokenizer, directory: Path) -> None:
    """Write the folder that transformers, vLLM and `read_huggingface_tokenizer` load.

    Unused tokens at the end are left out, as Qwen2's own files do; the number of ids is kept in
    `tokenizer_config.json`.
    """
    whole = tokenizer.vocabulary
    size = len(whole.tokens)
    while whole.types[size - 1] == UNUSED:
        size -= 1
    scores = None if whole.scores is None else whole.scores[:size]
    vocabulary = replace(whole, tokens=whole.tokens[:size], types=whole.types[:size], scores=scores)
    tokens = vocabulary.tokens
    directory.mkdir(parents=True, exist_ok=True)
    model = tokenizer.engine(vocabulary, for_files=True)
    if vocabulary.kind == "sentencepiece":
        (directory / MODEL_FILE).write_bytes(model_proto(vocabulary))
    for token, kind in zip(tokens, vocabulary.types, strict=True):
        if kind in (CONTROL, UNKNOWN, USER_DEFINED):
            special = kind != USER_DEFINED
            model.add_tokens([tokenizers.AddedToken(token, normalized=False, special=special)])
    bos = None if vocabulary.bos_id is None else tokens[vocabulary.bos_id]
    if bos is not None:
        model.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos} $B",
            special_tokens=[(bos, vocabulary.bos_id)],
        )
    (directory / TOKENIZER_FILE).write_text(model.to_str(), encoding="utf-8")
    eos = tokens[vocabulary.eos_id]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": eos,
        "add_bos_token": bos is not None,
        "clean_up_tokenization_spaces": False,
        "vocabulary_size": len(whole.tokens),
        "chat_template": chat_template(vocabulary.chat_format),
    }
    if UNKNOWN in vocabulary.types:
        config["unk_token"] = tokens[vocabulary.types.index(UNKNOWN)]
    text = json.dumps(config, indent=1, ensure_ascii=False)
    (directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
