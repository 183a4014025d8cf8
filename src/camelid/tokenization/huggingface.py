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
from typing import Any

import tokenizers

from camelid.errors import CheckpointError, MissingInputError
from camelid.tokenization.library import compare, library_tokenizer, pre_tokenizer_of, space_of
from camelid.tokenization.model_file import model_proto, read_sentencepiece
from camelid.tokenization.tokenizer import (
    Tokenizer,
    for_files,
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
    Vocabulary,
    chat_template,
    detect_chat_format,
)

CONFIG_FILE = "tokenizer_config.json"
MODEL_FILE = "tokenizer.model"
TOKENIZER_FILE = "tokenizer.json"
_REFUSED = (
    *("do_lower_case", "sp_model_kwargs", "do_normalize"),
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
)
"""Settings that act on texts. `clean_up_tokenization_spaces` alone does not on those of BPE, as in
transformers 5; ids are compared with the library."""


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


def _read_templates(directory: Path, config: dict[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """Return the chat template, and the names of those for other purposes."""
    found = config.get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}
    named = dict(found) if isinstance(found, dict) else {"default": found}
    file = directory / "chat_template.jinja"
    if file.is_file():
        named["default"] = file.read_text(encoding="utf-8")
    others = {f.stem for f in (directory / "additional_chat_templates").glob("*.jinja")}
    template = named.pop("default", None)
    if not isinstance(template, str | None):
        raise TypeError("the chat template is no text")
    return template, tuple(sorted(others | named.keys()))


def _require_names(special: dict[str, Any]) -> None:
    """Check that the file of special tokens holds no switches: the library opens texts by them."""
    for name in special:
        if name.startswith("add_"):
            raise CheckpointError(
                f"not supported: {name} in special_tokens_map.json; needed in {CONFIG_FILE}."
            )


def _token_name(config: dict[str, Any], key: str) -> str | None:
    found = config.get(key)
    return found["content"] if isinstance(found, dict) else found


def _special_names(names: dict[str, Any]) -> set[str]:
    """Return the tokens that the files name as special ones."""
    keys = [key for key in names if key.endswith("_token")]
    found = {_token_name(names, key) for key in keys}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = names.get(key) or []
        for entry in listed.values() if isinstance(listed, dict) else listed:
            found.add(entry["content"] if isinstance(entry, dict) else entry)
    return {name for name in found if isinstance(name, str)}


def _id_of(tokens: tuple[str, ...], name: str) -> int:
    if name not in tokens:
        raise CheckpointError(f"{name!r}, named in {CONFIG_FILE}, is not among the tokens.")
    return tokens.index(name)


def _added_tokens(
    data: dict[str, Any], config: dict[str, Any], by_name: dict[str, Any], special: set[str]
) -> dict[int, tuple[str, bool]]:
    """Return id -> (token, is special) of the tokens beside the model's own.

    `by_name` is `added_tokens.json` (name to id, of old slow tokenizers), which says of no token
    whether it is special; those are that `special` names.
    """
    listed = [(index, {"content": token}) for token, index in by_name.items()]
    listed += [(entry["id"], entry) for entry in data.get("added_tokens") or []]
    listed += (config.get("added_tokens_decoder") or {}).items()
    found: dict[int, tuple[str, bool]] = {}
    for index, entry in ((int(index), entry) for index, entry in listed):
        token = str(entry["content"])
        if found.get(index, (token,))[0] != token:
            raise CheckpointError(
                f"id {index} is {found[index][0]!r} and {token!r} at once; needed one of them."
            )
        found[index] = (token, bool(entry.get("special")) or token in special)
        flags = [flag for flag in ("lstrip", "rstrip", "single_word") if entry.get(flag)]
        if flags and not found[index][1]:
            raise CheckpointError(f"the added word {token!r} has {flags[0]}; not supported.")
    return found


def _from_model_file(
    path: Path, added: dict[int, tuple[str, bool]], config: dict[str, Any]
) -> Vocabulary:
    """Read `tokenizer.model` and lay the added tokens behind its pieces."""
    base = read_sentencepiece(path)
    size = len(base.tokens)
    more = [added[index][0] for index in sorted(added) if index >= size]
    if sorted(index for index in added if index >= size) != list(range(size, size + len(more))):
        raise CheckpointError("the ids of the added tokens must follow those of the model.")
    types = [*base.types, *[NORMAL] * len(more)]
    for index, (token, is_special) in added.items():
        if index < size and base.tokens[index] != token:
            raise CheckpointError(
                f"the added token {token!r} has the id {index} of {base.tokens[index]!r}; each "
                "needs one of its own."
            )
        if types[index] == NORMAL:
            types[index] = CONTROL if is_special else USER_DEFINED
    space = base.space_in_front
    if USER_DEFINED in types:
        # As transformers 5 reads such a folder.
        space = "always" if config.get("legacy") else "first"
    return replace(
        base,
        tokens=(*base.tokens, *more),
        types=tuple(types),
        scores=(*(base.scores or ()), *[0.0] * len(more)),
        space_in_front=space,
    )


def _from_json(
    data: dict[str, Any], added: dict[int, tuple[str, bool]], eos: str | None, reference: Any
) -> Vocabulary:
    """Read `tokenizer.json`."""
    model = data["model"]
    names = {index: token for token, index in model["vocab"].items()}
    for index, (token, _) in added.items():
        if names.setdefault(index, token) != token:
            raise CheckpointError(
                f"the added token {token!r} has the id of {names[index]!r}; each needs one."
            )
    if sorted(names) != list(range(len(names))):
        raise CheckpointError(
            f"the ids of {len(names)} tokens must be 0 to {len(names) - 1}, each once."
        )
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
            pre_tokenizer=pre_tokenizer_of(reference),
            bos_id=None,
            eos_id=_id_of(tokens, eos),
            chat_format="chatml",
        )
    # Scores only order the merges: the first merge that makes a piece stands for its score.
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    for index, token in enumerate(tokens):
        if token == model["unk_token"]:
            types[index] = UNKNOWN
        elif re.fullmatch("<0x[0-9A-F]{2}>", token):
            types[index] = BYTE
    return Vocabulary(
        kind="sentencepiece",
        tokens=tokens,
        types=tuple(types),
        scores=tuple(-float(ranks.get(token, 0)) for token in tokens),
        bos_id=None,
        eos_id=_id_of(tokens, eos),
        chat_format="llama2",
        space_in_front=space_of(reference),
    )


def _opening(reference: Any) -> str | None:
    """Return the token that the library puts in front of a text."""
    with_it, without = (reference.encode("a", add_special_tokens=add) for add in (True, False))
    return with_it.tokens[0] if with_it.ids[:1] != without.ids[:1] else None


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
            f"{directory}: no tokenizer here; needed {MODEL_FILE} or {TOKENIZER_FILE}."
        )
    special = _read_object(directory / "special_tokens_map.json")
    names = special | config
    try:
        _require_names(special)
        for name in _REFUSED:
            if config.get(name):
                raise CheckpointError(f"not supported: {name} {config[name]!r} in {CONFIG_FILE}.")
        bos, eos = _token_name(names, "bos_token"), _token_name(names, "eos_token")
        by_name = _read_object(directory / "added_tokens.json")
        added = _added_tokens(data, config, by_name, _special_names(names))
        pieces = model_file.is_file() and (not data or bool(data["model"].get("byte_fallback")))
        reference = library_tokenizer(data, added) if data else None
        if pieces:
            vocabulary = _from_model_file(model_file, added, config)
            if data:
                vocabulary = replace(vocabulary, space_in_front=space_of(reference))
        else:
            vocabulary = _from_json(data, added, eos, reference)
        tokens = vocabulary.tokens
        # What fills rows is never looked for.
        named = _special_names({key: name for key, name in names.items() if key != "pad_token"})
        ordinary = {t for t, kind in zip(tokens, vocabulary.types, strict=True) if kind == NORMAL}
        if named & ordinary:
            raise CheckpointError(
                f"{min(named & ordinary)!r} is named as a special token and an ordinary one of the "
                "vocabulary; needed a token that text cannot be made of."
            )
        # Of byte-level BPE `true` would put a space in front, of the other kind `false` none.
        if config.get("add_prefix_space", vocabulary.scores) is (vocabulary.scores is None):
            raise CheckpointError(f"add_prefix_space in {CONFIG_FILE} is not supported.")
        bos_id = vocabulary.bos_id if bos is None else _id_of(tokens, bos)
        if bos_id is None and reference is not None and _opening(reference):
            raise CheckpointError(
                f"{TOKENIZER_FILE} opens texts with {_opening(reference)!r}, and {CONFIG_FILE} has "
                "no bos_token; name that token there."
            )
        if bos_id is not None and not _opens_with_bos(config, data, tokens[bos_id]):
            bos_id = None
        vocabulary = replace(
            vocabulary,
            bos_id=bos_id,
            eos_id=vocabulary.eos_id if eos is None else _id_of(tokens, eos),
            end_ids=tuple(config.get("end_token_ids", ())),
        ).settled()
        template, others = _read_templates(directory, config) if chat_format is None else (None, ())
        if chat_format is None:
            end = tokens[vocabulary.eos_id]
            chat_format = detect_chat_format(template, vocabulary.special_ids, end)
            template = None if template == chat_template(chat_format) else template
        vocabulary = replace(
            vocabulary, chat_format=chat_format, template=template, other_templates=others
        )
        size = config.get("vocabulary_size", len(tokens))
        if not len(tokens) <= size <= 2 * len(tokens):
            raise CheckpointError(
                f"vocabulary_size is {size} and must be from {len(tokens)}, the number of tokens, "
                "to twice as many."
            )
        found = tokenizer_from_vocabulary(vocabulary.padded(size))
        if reference is not None:
            usual = vocabulary.pre_tokenizer == "llama-bpe"
            each_token = bool(data["model"].get("ignore_merges")) != usual
            compare(found, reference, each_token=each_token)
        return found
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
    model = for_files(tokenizer, vocabulary)
    if vocabulary.kind == "sentencepiece":
        (directory / MODEL_FILE).write_bytes(model_proto(vocabulary))
    bos = None if vocabulary.bos_id is None else tokens[vocabulary.bos_id]
    if bos is not None:
        model.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos} $B",
            special_tokens=[(bos, vocabulary.bos_id)],
        )
    (directory / TOKENIZER_FILE).write_text(model.to_str(), encoding="utf-8")
    eos = tokens[vocabulary.eos_id]
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": eos,
        "add_bos_token": bos is not None,
        "clean_up_tokenization_spaces": False,
        "vocabulary_size": len(whole.tokens),
        "chat_template": vocabulary.template or chat_template(vocabulary.chat_format),
    }
    if vocabulary.end_ids:
        config |= {"end_token_ids": list(vocabulary.end_ids)}
    if UNKNOWN in vocabulary.types:
        config["unk_token"] = tokens[vocabulary.types.index(UNKNOWN)]
    text = json.dumps(config, indent=1, ensure_ascii=False)
    (directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
