"""`own`: the recipe on anybody's weights, text, dialogues, comparisons and prompts.

The stages for which there is an input take part; the others are named with the reason. Sizes are
for models of some hundred million parameters on two CPU cores; every one is a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from camelid.assessment import evaluating
from camelid.errors import ConfigError
from camelid.evaluation.judge import StandInJudge
from camelid.inference.sampling import Sampling
from camelid.methods.sizes import check_sizes
from camelid.model.config import ModelConfig
from camelid.plan import Plan
from camelid.recipes.rounds import Rounds, Settings, Start, add_end, add_rounds, add_sft
from camelid.run.place import ModelFolder, TokenizerFolder
from camelid.run.stage import NoInputs
from camelid.settings import Range
from camelid.sources import own_data, tokenizer_training
from camelid.sources import weights as weights_stage
from camelid.stages import ppo, pretraining, rejection_sampling, reward_modeling
from camelid.stages.reporting import add_report
from camelid.train.config import FineTuningConfig, OptimizerConfig

Length = Annotated[int, Range(32, 2**17)]
"""Tokens of a row of fine-tuning, and of a comparison."""
BATCH_TOKENS = 4_096
"""Of a step of fine-tuning; at such sizes the number of steps decides (Source: choice)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Given:
    """What a user has; of a recipe that is only shown, everything."""

    weights: Path | None
    text: Path | None
    demonstrations: Path | None
    comparisons: Path | None
    safety_comparisons: Path | None
    prompts: Path | None

    @property
    def nothing(self) -> bool:
        """Whether the recipe is only to be shown."""
        return not any(getattr(self, field.name) for field in fields(self))

    def has(self, name: str) -> bool:
        """Tell whether a kind of data takes part."""
        return self.nothing or getattr(self, name) is not None

    def left_out(self) -> dict[str, str]:
        """Return the parts of the recipe that have no input, with the reason."""
        without: dict[str, str] = {}
        if self.weights is not None:
            without["tokenizer training and pretraining"] = "weights are given"
        if not self.has("demonstrations"):
            without["supervised fine-tuning"] = "no --demonstrations"
        if not self.has("comparisons"):
            without["reward models, rejection sampling, PPO and evaluation"] = "no --comparisons"
        elif not self.has("safety_comparisons"):
            without["safety reward model and its gate"] = "no --safety-comparisons"
        return without

    def check(self, _: Plan) -> None:
        """Check that there is one start, and something to train.

        Raises:
            ConfigError: There is not.
        """
        if self.nothing:
            return
        if (self.weights is None) == (self.text is None):
            state = "both are given" if self.weights else "neither is given"
            raise ConfigError(
                f"own starts from --weights or from --text; {state}. Name the one to start from."
            )
        if self.safety_comparisons is not None and self.comparisons is None:
            raise ConfigError(
                f"--safety-comparisons {self.safety_comparisons} needs --comparisons beside it."
            )
        if self.weights is not None and not (self.demonstrations or self.comparisons):
            raise ConfigError(
                f"--weights {self.weights}: nothing to train them on. Give --demonstrations or "
                "--comparisons."
            )


def own(
    *,
    weights: Path | None = None,
    text: Path | None = None,
    demonstrations: Path | None = None,
    comparisons: Path | None = None,
    safety_comparisons: Path | None = None,
    prompts: Path | None = None,
    rounds: Rounds = 1,
    length: Length = 512,
) -> Plan:
    """Your weights or text, your dialogues, your comparisons: what there is an input for.

    Args:
        weights: Llama-type model to start from: folder of Hugging Face or Meta, GGUF file, or a
            model folder of a run.
        text: File or folder of text (`.txt`, `.jsonl` with a field `text`) to pretrain on, in
            place of weights.
        demonstrations: File or folder of dialogues for supervised fine-tuning.
        comparisons: File or folder of comparisons of helpfulness for the reward models.
        safety_comparisons: The same of safety; with it there is a safety reward model.
        prompts: File or folder of prompts; without it a part of the comparisons' serve.
        rounds: Rounds of reward models and rejection sampling.
        length: Most tokens of a dialogue and of a comparison with its reply; replies are at most a
            quarter as long.
    """
    given = _Given(
        weights=weights,
        text=text,
        demonstrations=demonstrations,
        comparisons=comparisons,
        safety_comparisons=safety_comparisons,
        prompts=prompts,
    )
    plan = Plan("own")
    plan.require(given.check)
    plan.left_out = given.left_out()
    found = plan.add(own_data.OWN_DATA, _own_data(given, plan), own_data.Inputs())
    tokenizer, base = _start(plan, given, found)
    tuned, compared = given.has("demonstrations"), given.has("comparisons")
    start = Start(
        tokenizer=tokenizer,
        base=base,
        prompts=found.prompts,
        demonstrations=found.demonstrations if tuned else None,
        held_out_demonstrations=found.held_out_demonstrations if tuned else None,
        comparisons=found if compared else None,
    )
    use = _settings(given, length)
    if compared:
        add_end(plan, start, add_rounds(plan, start, use, rounds), use)
        return plan
    if tuned:
        add_sft(plan, start, use.sft)
    else:
        plan.tokenizer, plan.models["base"] = tokenizer, base
    add_report(plan)
    plan.require(check_sizes)
    return plan


def _own_data(given: _Given, plan: Plan) -> own_data.Config:
    def absolute(path: Path | None) -> str | None:
        return None if path is None else str(path.resolve())

    return own_data.Config(
        text=absolute(given.text),
        demonstrations=absolute(given.demonstrations),
        comparisons=absolute(given.comparisons),
        safety_comparisons=absolute(given.safety_comparisons),
        prompts=absolute(given.prompts),
        left_out=tuple(f"{what}: {why}" for what, why in plan.left_out.items()),
    )


def _start(
    plan: Plan, given: _Given, found: own_data.Outputs
) -> tuple[TokenizerFolder, ModelFolder]:
    """Add what makes the model to start from."""
    if given.weights is not None:
        taken = plan.add(
            weights_stage.WEIGHTS,
            weights_stage.Config(path=str(given.weights.resolve())),
            NoInputs(),
        )
        return taken.tokenizer, taken.model
    tokenizer = plan.add(
        tokenizer_training.TOKENIZER_TRAINING,
        tokenizer_training.Config(vocabulary_size=_PRETRAINING.model.vocabulary_size),
        tokenizer_training.Inputs(corpus=found.corpus),
    ).tokenizer
    base = plan.add(
        pretraining.PRETRAINING,
        _PRETRAINING,
        pretraining.Inputs(tokenizer=tokenizer, corpus=found.corpus, validation=found.validation),
    )
    return tokenizer, base.model


_PRETRAINING = pretraining.Config(
    model=ModelConfig(
        dim=256,
        layers=4,
        heads=4,
        kv_heads=4,
        ffn_dim=704,
        vocabulary_size=4_096,
        context=1_024,
        tied_embeddings=True,
    ),
    optimizer=OptimizerConfig(learning_rate=2e-3),
    batch_rows=8,
    row_tokens=512,
    tokens=8_000_000,
    micro_rows=8,
)


def _tuning(
    learning_rate: float, length: int, *, epochs: int, steps: int | None = None
) -> FineTuningConfig:
    rows = max(1, BATCH_TOKENS // length)
    return FineTuningConfig(
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        batch_rows=rows,
        row_tokens=length,
        epochs=epochs,
        steps=steps,
        micro_rows=min(rows, 4),
    )


def _settings(given: _Given, length: int) -> Settings:
    """Return sizes; a small model from scratch takes higher rates than given weights."""
    scratch = given.weights is None
    rate = 5e-4 if scratch else 5e-5
    new_tokens = length // 4
    reply = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=new_tokens)
    return Settings(
        sft=_tuning(rate, length, epochs=2),
        reward_modeling=reward_modeling.Config(
            optimizer=OptimizerConfig(learning_rate=2 * rate),
            batch_pairs=16,
            micro_pairs=4,
            longest=length,
            safety_model=given.has("safety_comparisons"),
        ),
        rejection_sampling=rejection_sampling.Config(
            prompts=128,
            samples=4,
            temperatures=(0.8, 1.0),
            tuning_prompts=8,
            max_new_tokens=new_tokens,
            demonstrations=300,
            fine_tuning=_tuning(rate, length, epochs=1),
        ),
        red_teaming=None,
        ppo=ppo.Config(
            optimizer=OptimizerConfig(learning_rate=rate / 2, schedule="constant"),
            iterations=12,
            batch_rows=32,
            minibatch_rows=16,
            micro_rows=4,
            critic_warmup=1,
            lam=1.0,
            missing_end_penalty=1.0,
            kl_coefficient=0.1,
            sampling=Sampling(max_new_tokens=new_tokens),
            validation_prompts=32,
            validate_every=4,
            largest_kl=20.0,
        ),
        evaluating=evaluating.Config(sampling=reply, dialogue=200, judge=StandInJudge()),
    )
