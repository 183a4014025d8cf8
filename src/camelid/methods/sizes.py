"""Whether what stages ask for is there: prompts in each split, room in the model's context.

Checked before anything runs, as far as settings tell; stages check what only files tell.
Source: choice.
"""

from __future__ import annotations

from camelid.data.public import PROMPT_USES, PublicDataConfig
from camelid.errors import ConfigError
from camelid.options import option_name
from camelid.plan import Plan
from camelid.settings import flatten
from camelid.simulation.config import WorldConfig

ASKED = {
    "rejection_sampling.prompts": "rejection_sampling",
    "rejection_sampling.demonstrations": "demonstrations",
    "context_distillation.prompts": "rejection_sampling",
    "red_teaming.prompts": "red_teaming",
    "ppo.batch_rows": "ppo",
    "ppo.validation_prompts": "validation",
    "ghost_attention.dialogues": "ghost_train",
    "ghost_attention.test_dialogues": "ghost_test",
    "evaluating.helpful": "test_helpful",
    "evaluating.adversarial": "test_adversarial",
    "evaluating.borderline": "test_borderline",
    "evaluating.dialogue": "test_dialogue",
}
"""Settings that ask for so many texts, and which ones."""
MADE = {"ghost_instructions.train": "ghost_train", "ghost_instructions.test": "ghost_test"}
"""Settings that make so many texts of a use."""
MIXED = (
    *("rejection_sampling", "ppo", "red_teaming", "validation"),
    *("test_adversarial", "test_borderline"),
)
"""Uses to which the safety data add prompts."""
WHOLE = ("row_tokens", "longest")
"""Settings that must not be above the context."""
REPLIES = ("max_new_tokens",)
"""Settings that must leave half of the context to the prompt."""


def check_sizes(plan: Plan) -> None:
    """Check the sizes that stages ask for against those of data and model.

    Raises:
        ConfigError: A stage asks for more than there is; names both settings.
    """
    there: dict[str, tuple[str, int]] = {}
    context = vocabulary = None
    for stage in plan.stages:
        if isinstance(stage.config, WorldConfig | PublicDataConfig):
            there = _available(stage.config, stage.dotted)
        if stage.kind.name == "safety_data":
            # Its prompts come from files that are not read yet.
            for use in MIXED:
                there.pop(use, None)
        for field, value in flatten(stage.config).items():
            setting, asked = f"{stage.kind.name}.{field}", option_name(f"{stage.dotted}.{field}")
            if setting in MADE:
                there[MADE[setting]] = (f"{stage.dotted}.{field}", value)
            source, most = there.get(ASKED.get(setting, ""), ("", 0))
            if source and value is not None and value > most:
                raise ConfigError(
                    f"{asked} is {value:,}, but there are {most:,} ({option_name(source)}). Ask "
                    "for fewer, or make more."
                )
            if setting == "pretraining.model.context":
                context = value
            elif setting == "tokenizer_training.vocabulary_size":
                vocabulary = value
            elif setting == "pretraining.model.vocabulary_size" and vocabulary not in (None, value):
                raise ConfigError(
                    f"{asked} is {value:,}, the tokenizer's is {vocabulary:,}; set both, "
                    "--tokenizer-training.vocabulary-size too, to one number."
                )
            name = field.rpartition(".")[2]
            if context is None or name not in (*WHOLE, *REPLIES):
                continue
            room = context if name in WHOLE else context // 2
            if value > room:
                raise ConfigError(
                    f"{asked} is {value:,} tokens, but at most {room:,} fit the model "
                    f"(--pretraining.model.context {context:,}; a prompt needs half of it). Ask "
                    "for fewer, or set a longer context."
                )


def _available(config: WorldConfig | PublicDataConfig, stage: str) -> dict[str, tuple[str, int]]:
    """Return the setting and the number of the texts of each use."""
    if isinstance(config, WorldConfig):
        uses = {use: (use, getattr(config, use, 0)) for use in {*ASKED.values()}}
    else:
        splits = {use: getattr(config, use) for use in PROMPT_USES}
        uses = {u: (u, n.helpfulness + n.safety + n.attacks) for u, n in splits.items()}
        test = config.test
        uses["test_adversarial"] = ("test.attacks", test.attacks)
        uses["test_dialogue"] = ("test.helpfulness", test.helpfulness + test.safety)
        uses |= dict.fromkeys(("test_helpful", "test_borderline"), ("test", 0))
        uses["demonstrations"] = ("demonstrations", config.demonstrations)
    return {use: (f"{stage}.{setting}", number) for use, (setting, number) in uses.items()}
