"""Studies: several variants of one model, trained alike on the pocket world and compared.

`attention`: multi-head, multi-query and grouped-query attention with matched parameters. `context`:
a short and a long context.

Source: arXiv 2307.09288, A.2.1 (Tables 16 to 18, Figure 24).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from camelid.errors import ConfigError
from camelid.model.config import ModelConfig
from camelid.run.runner import Stage
from camelid.runtime import Precision
from camelid.simulation.world import WorldConfig
from camelid.stages import (
    comparing,
    pretraining,
    reporting,
    study_data,
    throughput,
    tokenizer_training,
)
from camelid.train.config import OptimizerConfig

MATCHED = 0.01
"""Largest difference of the variants' parameter counts, as a share."""
AGAIN = "_again"
"""Ends the name of a variant of the first one's shape: what another seed alone changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One of the models that a study compares."""

    name: str
    """Folder in the run, and its name in tables."""
    pretraining: pretraining.Config
    """Its shape and its training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Everything that decides a study."""

    name: str
    """Name of the study."""
    seed: int = 0
    """Seed of the weights; every variant draws other weights from it."""
    precision: Precision = "auto"
    """Compute type: bf16 where the hardware has it, else fp32."""
    threads: int = 2
    """Threads of the CPU kernels."""
    watts: float = 65.0
    """Power of the machine in W, for energy and CO2 (stated, not measured; Source: choice)."""
    study_data: study_data.Config
    """Text and questions."""
    tokenizer_training: tokenizer_training.Config
    """SentencePiece on the text."""
    variants: tuple[Variant, ...]
    """The models; the first is the one that others are compared with."""
    throughput: throughput.Config | None = None
    """Throughput against latency, where the study asks for it."""

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < max(2, len(names)):
            raise ConfigError(f"study: at least two variants of different names needed: {names}.")
        counts = [variant.pretraining.model.parameter_count for variant in self.variants]
        if max(counts) > (1 + MATCHED) * min(counts):
            raise ConfigError(
                f"study: the variants have {counts} parameters; these must be within "
                f"{MATCHED:.0%} of each other. Change ffn_dim (`matched_ffn_dim`)."
            )


def matched_ffn_dim(model: ModelConfig, kv_heads: int, *, multiple_of: int = 8) -> int:
    """Return the feed-forward width that keeps the parameters when key-value heads are dropped.

    The paper multiplies its widths by 1.33 (multi-query) and 1.3 (grouped-query) to the same end
    (arXiv 2307.09288, A.2.1). The factor that matches depends on the shape, so it is computed; an
    uneven width would slow the kernels of what is timed.
    """
    freed = 2 * model.dim * (model.kv_heads - kv_heads) * model.head_dim
    return multiple_of * round((model.ffn_dim + freed / (3 * model.dim)) / multiple_of)


def _pretraining(model: ModelConfig, *, tokens: int, batch_rows: int) -> pretraining.Config:
    return pretraining.Config(
        model=model,
        optimizer=OptimizerConfig(learning_rate=3e-3),
        batch_rows=batch_rows,
        row_tokens=model.context,
        tokens=tokens,
        order="as_written",
        micro_rows=batch_rows,
    )


def _model(*, context: int) -> ModelConfig:
    return ModelConfig(
        dim=256,
        layers=3,
        heads=8,
        kv_heads=8,
        ffn_dim=704,
        vocabulary_size=2048,
        context=context,
        tied_embeddings=True,
    )


def attention() -> Study:
    """Multi-head, multi-query and grouped-query attention (Table 18, Figure 24)."""
    full = _model(context=256)
    # Two groups of four heads; the paper has eight groups of eight.
    shapes = {
        name: replace(full, kv_heads=heads, ffn_dim=matched_ffn_dim(full, heads))
        for name, heads in (("mha", 8), ("mqa", 1), ("gqa", 2), (f"mha{AGAIN}", 8))
    }
    return Study(
        name="attention",
        study_data=study_data.Config(world=WorldConfig()),
        tokenizer_training=tokenizer_training.Config(vocabulary_size=2048),
        variants=tuple(
            Variant(name=name, pretraining=_pretraining(shape, tokens=1_800_000, batch_rows=4))
            for name, shape in shapes.items()
        ),
        throughput=throughput.Config(),
    )


def context() -> Study:
    """A short and a long context (Tables 16 and 17)."""
    return Study(
        name="context",
        study_data=study_data.Config(world=WorldConfig(), long_share=0.3),
        tokenizer_training=tokenizer_training.Config(vocabulary_size=2048),
        variants=tuple(
            Variant(
                name=f"context_{length}{again}",
                pretraining=_pretraining(_model(context=length), tokens=2_400_000, batch_rows=rows),
            )
            # Short rows hold more padding: nine of 128 have the tokens of two of 512.
            for length, rows, again in ((128, 9, ""), (512, 2, ""), (128, 9, AGAIN))
        ),
    )


STUDIES: dict[str, Callable[[], Study]] = {"attention": attention, "context": context}
"""What `camelid study` knows by name."""


def study_stages(study: Study) -> list[Stage]:
    """Return the stages of a study in order."""
    corpus, tokenizer = "study_data/corpus.txt", "tokenizer_training/tokenizer"
    validation = "study_data/corpus_validation.txt"
    listed = [
        Stage("study_data", study_data.run, study.study_data, ()),
        Stage(
            "tokenizer_training",
            partial(tokenizer_training.run, inputs=tokenizer_training.Inputs(corpus)),
            study.tokenizer_training,
            (corpus,),
        ),
    ]
    reading = pretraining.Inputs(tokenizer, corpus, validation)
    for variant in study.variants:
        learn = partial(pretraining.run, inputs=reading, precision=study.precision)
        name = f"{variant.name}/pretraining"
        listed.append(Stage(name, learn, variant.pretraining, reading.paths()))
    names = tuple(variant.name for variant in study.variants)
    models = tuple(f"{name}/pretraining/model" for name in names)
    asking = comparing.Inputs(tokenizer, validation, "study_data/questions.jsonl", models)
    compare = partial(comparing.run, inputs=asking, names=names, precision=study.precision)
    listed.append(Stage("comparing", compare, None, asking.paths()))
    if study.throughput is not None:
        shapes = tuple(
            (variant.name, variant.pretraining.model)
            for variant in study.variants
            if not variant.name.endswith(AGAIN)
        )
        measure = partial(throughput.run, variants=shapes, precision=study.precision)
        listed.append(Stage("throughput", measure, study.throughput, ()))
    everything = tuple(stage.name for stage in listed)
    listed.append(Stage("reporting", reporting.run_study, None, everything))
    return listed
