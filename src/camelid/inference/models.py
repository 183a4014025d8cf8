"""A model that a user has named, and where its weights are.

Source: choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from camelid.errors import CheckpointError
from camelid.formats.convert import read_model
from camelid.formats.folder import build
from camelid.model.transformer import Transformer
from camelid.run.files import hash_path
from camelid.runtime import Runtime
from camelid.tokenization.tokenizer import Tokenizer
from camelid.tokenization.vocabulary import ChatFormatName


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """Where a model is; `load` reads it."""

    name: str
    """As it stands in tables: name in its run, else that of the file or folder."""
    path: Path
    """Weights of any format that `read_checkpoint` reads."""
    run: Path | None = None
    """Run directory, where the model was named by it."""

    def digest(self) -> str:
        """Return a hash of the files."""
        return hash_path(self.path)

    def load(
        self, runtime: Runtime, chat_format: ChatFormatName | None = "chatml"
    ) -> tuple[Transformer, Tokenizer]:
        """Read weights and tokenizer.

        Args:
            runtime: Where to compute.
            chat_format: Stands in for that of the chat template; None for the template's. Where no
                dialogue is rendered, one that any vocabulary can have does no harm.

        Raises:
            MissingInputError: One of them is missing.
            CheckpointError: They are damaged, or of a reward model.
        """
        checkpoint, tokenizer = read_model(self.path, chat_format=chat_format)
        model = build(checkpoint)
        if not isinstance(model, Transformer):
            raise CheckpointError(f"{self.path}: found a reward model, needed a language model.")
        return runtime.place(model).eval(), tokenizer
