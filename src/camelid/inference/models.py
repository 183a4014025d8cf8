"""Any model by the name a user gives it: a run, one model of a run, a model folder, a weights file.

Source: choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from camelid.data.tokenizer import CONFIG_FILE, Tokenizer, load_tokenizer
from camelid.errors import MissingInputError
from camelid.inference.chat import pick_model, tokenizer_of
from camelid.model.convert import load_gguf
from camelid.model.precision import default_device
from camelid.model.transformer import Transformer
from camelid.model.weights import load_transformer
from camelid.runs import hash_file, hash_path


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """Where a model is; `load` reads it."""

    name: str
    """As it stands in tables: name in its run, else that of the file or folder."""
    path: Path
    """Model folder or GGUF file."""
    tokenizer: Path | None
    """Tokenizer folder; None where the weights file holds the tokenizer."""
    run: Path | None = None
    """Run directory that it belongs to."""

    def digest(self) -> str:
        """Return a hash of weights and tokenizer."""
        if self.path.is_file():
            return hash_file(self.path)
        # The description of a model folder holds the checksum of its weights.
        weights = hash_file(self.path / "config.json")
        return weights if self.tokenizer is None else f"{weights}/{hash_path(self.tokenizer)}"

    def load(self) -> tuple[Transformer, Tokenizer]:
        """Read weights and tokenizer (errors as `load_transformer`, `load_gguf`)."""
        if self.path.is_file() or self.tokenizer is None:
            converted = load_gguf(self.path)
            return converted.model.to(default_device()).eval(), converted.tokenizer
        return (
            load_transformer(self.path, default_device()).eval(),
            load_tokenizer(self.tokenizer),
        )


def find_model(name: str) -> NamedModel:
    """Find what a user calls RUN, RUN:NAME, a model folder, or a GGUF file.

    Raises:
        MissingInputError: There is no such model, or no tokenizer for it.
    """
    path = Path(name)
    if path.is_file():
        return NamedModel(name=path.stem, path=path, tokenizer=None)
    if (path / "config.json").is_file():
        run = next((folder for folder in path.resolve().parents if is_run(folder)), None)
        if (path / CONFIG_FILE).is_file():
            tokenizer = path
        elif run is not None:
            tokenizer = tokenizer_of(run)
        else:
            raise MissingInputError(
                f"{path}: a model without a tokenizer. Put a tokenizer's files ({CONFIG_FILE} and "
                "its model) into the folder, or name a model inside a run."
            )
        return NamedModel(name=path.name, path=path, tokenizer=tokenizer)
    folder, _, chosen = name.partition(":") if not path.is_dir() else (name, "", "")
    if not is_run(Path(folder)):
        raise MissingInputError(
            f"{name}: no model here. Name a run directory (RUN or RUN:NAME), a model folder or a "
            "GGUF file."
        )
    run = Path(folder)
    model = pick_model(run, chosen or "final")
    return NamedModel(name=chosen or "final", path=model, tokenizer=tokenizer_of(run), run=run)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory."""
    return (folder / "run.json").is_file()
