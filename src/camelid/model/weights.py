"""Model folders: `config.json` with the shape and checksum, `model.safetensors` with the weights.

Nothing is unpickled. A damaged or unfitting file is refused with one message.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from camelid.config import from_json
from camelid.errors import CheckpointError, MissingInputError
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import ModelConfig, Transformer
from camelid.runs import atomic_write_text, hash_file

_KINDS: dict[str, type[Transformer | RewardModel]] = {
    "transformer": Transformer,
    "reward_model": RewardModel,
}


def save_model(model: Transformer | RewardModel, directory: Path) -> None:
    """Write a model folder; the weights first, the description with their checksum last."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = directory / "model.safetensors"
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    save_file(state, weights)
    kind = "reward_model" if isinstance(model, RewardModel) else "transformer"
    description = {
        "kind": kind,
        "sha256": hash_file(weights),
        "model": dataclasses.asdict(model.config),
    }
    atomic_write_text(directory / "config.json", json.dumps(description, indent=2) + "\n")


def _describe(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.is_file():
        raise MissingInputError(f"{directory}: no model here (config.json is missing).")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: damaged ({error}). Redo the stage that wrote it.") from None
    if not isinstance(description, dict) or description.get("kind") not in _KINDS:
        raise CheckpointError(f"{path}: 'kind' must be one of {sorted(_KINDS)}.")
    return description


def _load(directory: Path, kind: str) -> Transformer | RewardModel:
    description = _describe(directory)
    if description["kind"] != kind:
        raise CheckpointError(f"{directory}: found a {description['kind']}, needed a {kind}.")
    weights = directory / "model.safetensors"
    if not weights.is_file() or hash_file(weights) != description.get("sha256"):
        raise CheckpointError(
            f"{weights}: missing or its checksum differs from config.json. "
            "Redo the stage that wrote it."
        )
    config = from_json(description["model"], ModelConfig, f"{directory}/config.json")
    with torch.device("meta"):
        model = _KINDS[kind](config)
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights}: damaged ({error}).") from None
    filled: Transformer | RewardModel = fill(model, state, str(weights))
    return filled


def fill(model: Any, state: dict[str, torch.Tensor], where: str) -> Any:
    """Give a model built on the meta device its weights, or list what does not fit.

    Raises:
        CheckpointError: Tensors are missing, superfluous, of another shape or not finite.
    """
    expected: nn.Module = model
    shapes = {name: tuple(t.shape) for name, t in expected.state_dict().items()}
    problems = [f"missing {name}" for name in shapes if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in shapes]
    for name, tensor in state.items():
        if name in shapes and tuple(tensor.shape) != shapes[name]:
            problems.append(f"{name} has shape {tuple(tensor.shape)}, needed {shapes[name]}")
        elif not torch.isfinite(tensor).all():
            problems.append(f"{name} holds values that are not finite")
    if problems:
        shown = "; ".join(problems[:10]) + ("; ..." if len(problems) > 10 else "")
        raise CheckpointError(f"{where}: {shown}.")
    expected.load_state_dict(state, assign=True)
    for module in expected.modules():
        if isinstance(module, Transformer):
            module.reset_rotary()
    for parameter in expected.parameters():
        parameter.requires_grad_(True)
    return expected


def load_transformer(directory: Path, device: torch.device | None = None) -> Transformer:
    """Load a language model folder.

    Raises:
        MissingInputError: There is no model.
        CheckpointError: The files are damaged or hold another kind of model.
    """
    model = _load(directory, "transformer")
    if not isinstance(model, Transformer):
        raise CheckpointError(f"{directory}: not a language model.")
    return model.to(device) if device else model


def load_reward_model(directory: Path, device: torch.device | None = None) -> RewardModel:
    """Load a reward model folder (errors as `load_transformer`)."""
    model = _load(directory, "reward_model")
    if not isinstance(model, RewardModel):
        raise CheckpointError(f"{directory}: not a reward model.")
    return model.to(device) if device else model
