"""What studies share: variants of one model on the pocket world, trained alike and compared.

Source: arXiv 2307.09288, A.2.1.
"""

from __future__ import annotations

from camelid.errors import ConfigError
from camelid.methods.sizes import check_sizes
from camelid.model.config import ModelConfig
from camelid.plan import Plan
from camelid.run.place import ModelFolder
from camelid.run.stage import NoInputs, NoSettings
from camelid.sources import tokenizer_training
from camelid.stages import pretraining
from camelid.studies import comparing, study_data
from camelid.train.config import OptimizerConfig

MATCHED = 0.01
"""Largest difference of the variants' parameter counts, as a share."""
AGAIN = "_again"
"""Ends the name of a variant of the first one's shape: what another seed alone changes."""


def model(*, context: int) -> ModelConfig:
    """Return the shape that the variants start from."""
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


def training(shape: ModelConfig, *, tokens: int, batch_rows: int) -> pretraining.Config:
    """Return how a variant is trained."""
    return pretraining.Config(
        model=shape,
        optimizer=OptimizerConfig(learning_rate=3e-3),
        batch_rows=batch_rows,
        row_tokens=shape.context,
        tokens=tokens,
        order="as_written",
        micro_rows=batch_rows,
    )


def add_variants(
    plan: Plan, data: study_data.Config, variants: dict[str, pretraining.Config]
) -> dict[str, ModelFolder]:
    """Add data, tokenizer, the pretraining of every variant and their comparison.

    Args:
        plan: Where to add.
        data: Text and questions.
        variants: Settings by name; the first is the one that others are compared with.

    Returns:
        The variants' models by name.
    """
    if len(variants) < 2:
        raise ConfigError(f"study {plan.name}: two variants needed, found {len(variants)}.")
    text = plan.add(study_data.STUDY_DATA, data, NoInputs())
    trained = plan.add(
        tokenizer_training.TOKENIZER_TRAINING,
        tokenizer_training.Config(vocabulary_size=2048),
        tokenizer_training.Inputs(corpus=text.corpus),
    )
    plan.tokenizer = trained.tokenizer
    for name, config in variants.items():
        learned = plan.add(
            pretraining.PRETRAINING,
            config,
            pretraining.Inputs(
                tokenizer=trained.tokenizer, corpus=text.corpus, validation=text.validation
            ),
            within=name,
        )
        plan.models[name] = learned.model
    plan.require(check_sizes)
    plan.require(_matched)
    plan.add(
        comparing.COMPARING,
        NoSettings(),
        comparing.Inputs(
            tokenizer=trained.tokenizer,
            validation=text.validation,
            questions=text.questions,
            models=tuple(plan.models.items()),
        ),
    )
    return plan.models


def _matched(plan: Plan) -> None:
    """Check that the variants have as many parameters.

    Raises:
        ConfigError: They have not.
    """
    counts = {
        stage.name: stage.config.model.parameter_count
        for stage in plan.stages
        if isinstance(stage.config, pretraining.Config)
    }
    if max(counts.values()) > (1 + MATCHED) * min(counts.values()):
        raise ConfigError(
            f"study {plan.name}: the variants have {counts} parameters; these must be within "
            f"{MATCHED:.0%} of each other. Change ffn_dim (`matched_ffn_dim`)."
        )
