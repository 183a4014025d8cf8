"""A `tokenizer.json` as the library `tokenizers` reads it, and whether ours does the same.

Fields that are neither read here nor known to be empty are refused by name; normalizer and
pre-tokenizer must be among those that are known; then ids and texts are compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import tokenizers

from camelid.errors import CheckpointError
from camelid.tokenization.model_file import PROBE
from camelid.tokenization.tokenizer import Tokenizer, pre_tokenizer_model, space_rules
from camelid.tokenization.vocabulary import NORMAL, USER_DEFINED, PreTokenizer, SpaceInFront

T = TypeVar("T", bound=str)

_MODEL_FIELDS = (
    *("type", "vocab", "merges", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges"),
)
"""Fields of the model in `tokenizer.json` that may say something."""


def _state(part: Any) -> Any:
    """Return a normalizer or pre-tokenizer of the library as JSON."""
    # `trim_offsets` acts on positions in the text only.
    text = "null" if part is None else part.__getstate__().decode()
    return json.loads(text.replace('"trim_offsets":false', '"trim_offsets":true'))


def _rule(reference: Any, known: Mapping[T, tuple[Any, Any]]) -> T:
    """Return the name of a tokenizer's normalizer and pre-tokenizer among those that are known."""
    found = [_state(reference.normalizer), _state(reference.pre_tokenizer)]
    for name, parts in known.items():
        if found == [_state(part) for part in parts]:
            return name
    raise CheckpointError(
        f"its pre-tokenizer or normalizer is not one of {', '.join(map(str, known))} (found "
        f"{json.dumps(found)[:200]}); others are not supported."
    )


def pre_tokenizer_of(reference: Any) -> PreTokenizer:
    """Return how text is split before merging."""
    names: tuple[PreTokenizer, ...] = get_args(PreTokenizer)
    nfc = tokenizers.normalizers.NFC()
    return _rule(
        reference, {n: (nfc if n == "qwen2" else None, pre_tokenizer_model(n)) for n in names}
    )


def space_of(reference: Any) -> SpaceInFront:
    """Return where a space is put in front."""
    names: tuple[SpaceInFront, ...] = get_args(SpaceInFront)
    return _rule(reference, {name: space_rules(name) for name in names})


def library_tokenizer(data: dict[str, Any], added: dict[int, tuple[str, bool]]) -> Any:
    """Return a `tokenizer.json` as the library reads it, whose ids ours must be.

    Raises:
        CheckpointError: The library cannot read it, or something in it is not supported.
    """
    model = data["model"]
    if model.get("type") not in ("BPE", None):
        raise CheckpointError(f"a tokenizer of type {model['type']!r}; only BPE is supported.")
    strange = [name for name in model if name not in _MODEL_FIELDS and model[name]]
    if strange:
        raise CheckpointError(
            f"not supported: {strange[0]} {model[strange[0]]!r} in the model of tokenizer.json."
        )
    try:
        reference: Any = tokenizers.Tokenizer.from_str(json.dumps(data))
    except Exception as error:  # noqa: BLE001  the library raises nothing narrower
        raise CheckpointError(f"tokenizer.json is damaged ({error}).") from None
    reference.no_truncation()
    reference.no_padding()
    normalised = _state(reference.normalizer)
    for entry in data.get("added_tokens") or []:
        index, token = entry["id"], entry["content"]
        if reference.token_to_id(token) != index:
            raise CheckpointError(
                f"the added token {token!r} states id {index}, which the library `tokenizers` "
                f"gives to {reference.id_to_token(index)!r}; needed one id for each."
            )
        plain = normalised is None or (normalised == {"type": "NFC"} and token.isascii())
        if entry.get("normalized") and not added[index][1] and not plain:
            raise CheckpointError(
                f"the added word {token!r} is looked for behind the normalizer; not supported. "
                "Save the tokenizer with normalized=False."
            )
    return reference


def compare(ours: Tokenizer, reference: Any, *, each_token: bool) -> None:
    """Compare ids and decoded texts with those of the library, on texts that are stated here.

    Args:
        ours: The tokenizer as it was understood.
        reference: The same files in the library.
        each_token: Whether each token's own text is compared too: a token that no merge makes may
            be taken whole or not.

    Raises:
        CheckpointError: They differ.
    """
    vocabulary = ours.vocabulary
    kinds = list(zip(vocabulary.tokens, vocabulary.types, strict=True))
    texts = [PROBE, "", " a", "I'LL it's e\u0301 1234567 \r\n\n  x"]
    texts += [f"a {word}{word} {word}b" for word, kind in kinds if kind == USER_DEFINED]
    if each_token:
        texts += [ours.decode([i]) for i, (_, kind) in enumerate(kinds) if kind == NORMAL]
    theirs = reference.encode_batch(texts, add_special_tokens=False)
    known = ours.encode_batch(texts)
    for text, found, other in zip(texts, known, theirs, strict=True):
        if found != other.ids:
            raise CheckpointError(
                f"{text[:40]!r} has the ids {other.ids[:12]} in the library `tokenizers` and "
                f"{found[:12]} as it was understood here; a tokenizer of this kind is not "
                "supported."
            )
    for ids in known[:4]:
        text, decoded = ours.decode(ids), reference.decode(ids)
        if text != decoded:
            raise CheckpointError(
                f"its decoder gives {decoded[:40]!r} for the ids {ids[:12]}, what was understood "
                f"here {text[:40]!r}; a tokenizer of this kind is not supported."
            )
