"""Model folders: `config.json` with the shape and checksum, `model.safetensors` with the weights.

Every format is read through `Checkpoint`: tensors under our names that are read some rows at a time
straight into their place, so loading needs little more memory than the model. Nothing is unpickled.
A damaged or unfitting file is refused with one message.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from camelid.errors import CheckpointError, MissingInputError, counted
from camelid.model.config import ModelConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.directory import MANIFEST
from camelid.run.files import hash_file, read_json, write_json
from camelid.runtime import Runtime
from camelid.settings import from_json

_KINDS: dict[str, type[Transformer | RewardModel]] = {
    "transformer": Transformer,
    "reward_model": RewardModel,
}
ModelKind = Literal["transformer", "reward_model"]

BLOCK = 1 << 20
"""Numbers that are read at a time."""
MOST_ROTARY = 1 << 26
"""Longest context times head size: half a million tokens of 128 numbers (0.5 GiB of tables)."""
READABLE = (
    *("F64", "F32", "F16", "BF16"),
    *("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"),
)
"""Types of stored numbers, by the names of safetensors and GGUF."""
DOWNLOAD_AGAIN = "Get the directory again from where it came."
"""Advice where a file of others is damaged."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file, of which some rows are read at a time."""

    shape: tuple[int, ...]
    type: str
    """How the numbers are stored, one of `READABLE` or a type that is refused."""
    read: Callable[[int, int], Tensor]
    """Returns the rows from one index to another, in our layout, of any number type."""
    unit: int = 1
    """Reads start at a multiple of this (the head size, where rows change places in a head)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A model in files of any format, under our names."""

    where: Path
    """For messages."""
    config: ModelConfig
    tensors: Mapping[str, StoredTensor]
    kind: ModelKind = "transformer"
    metadata: Mapping[str, str] = field(default_factory=dict)
    """`name` and `license`, as far as the files state them."""
    end_ids: tuple[int, ...] = ()
    """Ids that end a reply, as the model's own files state them."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of generation (temperature, ...), for exports: none of them is used here."""


def save_model(model: Transformer | RewardModel, directory: Path) -> None:
    """Write a model folder; the weights first, the description with their checksum last."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = directory / "model.safetensors"
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    save_tensors(state, weights)
    kind = "reward_model" if isinstance(model, RewardModel) else "transformer"
    shape = dataclasses.asdict(model.config)
    description = {"kind": kind, "sha256": hash_file(weights), "model": shape}
    write_json(directory / "config.json", description)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file with the permissions that the user's new files have."""
    path.touch()
    mode = path.stat().st_mode
    # The library's own file is readable for its owner alone.
    save_file(tensors, path, {"format": "pt"})
    path.chmod(mode)


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON file that must hold an object (else CheckpointError; errors as `read_json`)."""
    data = read_json(path, advice)
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: must hold an object. {advice}")
    return data


def advice_of(directory: Path) -> str:
    """Say how to get one of our model folders again: by its stage where it lies in a run."""
    here = directory.absolute()
    for up in here.parents:
        if (up / MANIFEST).is_file():
            stage = here.relative_to(up).parent
            return f"Make that stage and all after it again with --redo {stage}"
    return DOWNLOAD_AGAIN


def read_folder(directory: Path) -> Checkpoint:
    """Read one of our model folders, whose checksum must agree.

    Raises:
        MissingInputError: There is no model.
        CheckpointError: The files are damaged.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise MissingInputError(
            f"{directory}: no model here (config.json is missing). Name another."
        )
    advice = advice_of(directory)
    description = read_object(path, advice)
    if description.get("kind") not in list(_KINDS):
        raise CheckpointError(f"{path}: 'kind' must be one of {sorted(_KINDS)}. {advice}")
    weights = directory / "model.safetensors"
    if not weights.is_file() or hash_file(weights) != description.get("sha256"):
        raise CheckpointError(
            f"{weights}: missing or its checksum differs from config.json. {advice}"
        )
    config = from_json(description.get("model"), ModelConfig, str(path))
    return Checkpoint(
        where=weights, config=config, kind=description["kind"], tensors=read_safetensors(weights)
    )


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """List the tensors of a safetensors file; their values are read when they are needed.

    Raises:
        CheckpointError: The file is damaged.
    """

    def reader(name: str) -> Callable[[int, int], Tensor]:
        def read(start: int, stop: int) -> Tensor:
            # Opened anew each time: the pages of a mapping that stays count as used memory.
            with _open(path) as file:
                rows: Tensor = file.get_slice(name)[start:stop]
                return rows

        return read

    with _open(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return {
            name: StoredTensor(tuple(s.get_shape()), s.get_dtype(), reader(name))
            for name, s in slices.items()
        }


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}). {DOWNLOAD_AGAIN}") from None


def empty_model(checkpoint: Checkpoint) -> Transformer | RewardModel:
    """Return the model that a checkpoint describes, without memory for its weights.

    Raises:
        CheckpointError: Its sizes are impossible for a file of so many tensors.
    """
    config, where = checkpoint.config, checkpoint.where
    # Before anything is built: a damaged description may claim any size.
    if config.layers > len(checkpoint.tensors) or config.context * config.head_dim > MOST_ROTARY:
        raise CheckpointError(
            f"{where}: {counted(config.layers, 'layer')} and a context of {config.context} tokens "
            "do not fit "
            f"a file of {counted(len(checkpoint.tensors), 'tensor')}."
        )
    try:
        with torch.device("meta"):
            return _KINDS[checkpoint.kind](config)
    except (RuntimeError, OverflowError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{where}: sizes that no tensor can have ({reason}).") from None


def check_shapes(checkpoint: Checkpoint) -> Transformer | RewardModel:
    """Return the described model, without memory for its weights, if the tensors fit it.

    Raises:
        CheckpointError: Tensors are missing, superfluous, of another shape or unreadable.
    """
    model, tensors = empty_model(checkpoint), checkpoint.tensors
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    problems = [f"missing {name}" for name in shapes if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in shapes]
    for name, tensor in tensors.items():
        if name in shapes and tensor.shape != shapes[name]:
            problems.append(f"{name} has shape {tensor.shape}, needed {shapes[name]}")
        elif tensor.type not in READABLE:
            problems.append(f"{name} is stored as {tensor.type}")
    raise_problems(checkpoint.where, problems)
    return model


def raise_problems(where: Path, problems: Sequence[str]) -> None:
    """Raise CheckpointError with the first problems of a list, if there are any."""
    if problems:
        shown = "; ".join(problems[:10]) + ("; ..." if len(problems) > 10 else "")
        raise CheckpointError(f"{where}: {shown}.")


def stream(
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    vectors: torch.dtype | None = None,
    *,
    kept: bool = False,
) -> Iterator[tuple[str, Tensor]]:
    """Yield name and values of every tensor, one at a time.

    Args:
        checkpoint: Where the tensors are.
        dtype: Number type of what is yielded.
        vectors: Number type of norms and biases where it is another.
        kept: Whether all are kept. Their memory is then taken first: blocks that are read between
            two of them would leave holes.

    Raises:
        CheckpointError: At the start if tensors are missing, superfluous, of another shape or of an
            unreadable type; at the end if some were not finite in their new type.
    """
    model = check_shapes(checkpoint)

    def empty(name: str) -> Tensor:
        shape = checkpoint.tensors[name].shape
        return torch.empty(shape, dtype=vectors if vectors and len(shape) == 1 else dtype)

    names, problems = list(model.state_dict()), []
    tensors = {name: empty(name) for name in names} if kept else {}
    for name in names:
        stored, finite = checkpoint.tensors[name], True
        tensor = tensors[name] if kept else empty(name)
        width = max(1, tensor[:1].numel())
        step = max(1, BLOCK // width // stored.unit) * stored.unit
        for start in range(0, stored.shape[0], step):
            rows = tensor[start : start + step]
            rows.copy_(stored.read(start, start + len(rows)))
            finite = finite and bool(torch.isfinite(rows).all())
        if not finite:
            problems.append(f"{name} holds values that are not finite in {tensor.dtype}")
        yield name, tensor
    raise_problems(checkpoint.where, problems)


def build(checkpoint: Checkpoint) -> Transformer | RewardModel:
    """Return the model with its weights in fp32 (errors as `stream`)."""
    model = empty_model(checkpoint)
    model.load_state_dict(dict(stream(checkpoint, torch.float32, kept=True)), assign=True)
    (model.trunk if isinstance(model, RewardModel) else model).reset_rotary()
    return model.requires_grad_(True)


def load_transformer(directory: Path, runtime: Runtime | None = None) -> Transformer:
    """Load a language model folder; without a runtime, to compute in fp32 on the CPU.

    Raises:
        MissingInputError: There is no model.
        CheckpointError: The files are damaged or hold another kind of model.
    """
    model = build(read_folder(directory))
    if not isinstance(model, Transformer):
        raise CheckpointError(f"{directory}: found a reward model, needed a transformer.")
    return runtime.place(model) if runtime else model


def load_reward_model(directory: Path, runtime: Runtime | None = None) -> RewardModel:
    """Load a reward model folder (errors as `load_transformer`)."""
    model = build(read_folder(directory))
    if not isinstance(model, RewardModel):
        raise CheckpointError(f"{directory}: found a transformer, needed a reward model.")
    return runtime.place(model) if runtime else model
