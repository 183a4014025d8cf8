"""Checkpoints inside a stage: weights, optimizer moments and a little state, exact to the bit.

Written to a temporary folder, synced, renamed; a damaged one is skipped for the one before it with
a warning. Nothing is unpickled.
"""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from camelid.errors import CamelidError
from camelid.formats.folder import save_tensors
from camelid.run.files import hash_file, read_json_as, write_json
from camelid.settings import to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class _Description:
    """`checkpoint.json`."""

    step: int
    sha256: str
    """Of the tensors."""
    state: dict[str, Any]
    """What the stage keeps beside the weights."""


class Checkpoints:
    """The newest two checkpoints of one training session."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
    ) -> None:
        """Write the checkpoint of a step and remove all but the newest two."""
        self._directory.mkdir(parents=True, exist_ok=True)
        temporary = self._directory / f"tmp-{step:08d}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        tensors = {f"model.{k}": v.detach().contiguous() for k, v in model.state_dict().items()}
        for index, moments in optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimizer.{index}.{name}"] = value.detach().contiguous()
        file = temporary / "tensors.safetensors"
        save_tensors(tensors, file)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        description = _Description(step=step, sha256=hash_file(file), state=state)
        write_json(temporary / "checkpoint.json", to_json(description))
        final = self._directory / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        for old in sorted(self._directory.glob("step-*"))[:-2]:
            shutil.rmtree(old)

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[int, dict[str, Any]]:
        """Load the newest sound checkpoint into model and optimizer.

        Returns:
            Its step and state; (0, {}) when there is none.
        """
        for folder in sorted(self._directory.glob("step-*"), reverse=True):
            try:
                found = read_json_as(folder / "checkpoint.json", _Description, "")
                file = folder / "tensors.safetensors"
                if hash_file(file) != found.sha256:
                    raise ValueError("checksum differs")
                tensors = load_file(file)
            except (OSError, ValueError, CamelidError, SafetensorError) as error:
                warnings.warn(f"{folder}: damaged checkpoint skipped ({error}).", stacklevel=2)
                continue
            model.load_state_dict(
                {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
            )
            saved = optimizer.state_dict()
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("optimizer."):
                    _, index, name = key.split(".", 2)
                    moments.setdefault(int(index), {})[name] = value
            saved["state"] = moments
            optimizer.load_state_dict(saved)
            return found.step, found.state
        return 0, {}
