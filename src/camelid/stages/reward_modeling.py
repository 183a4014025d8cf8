"""Reward models (Section 3.2.2).

Two models, helpfulness and safety, each started from the latest chat model, learn from comparisons
by a ranking loss with graded margins; the safety model also by the auxiliary loss of A.3.4. Their
data are mixed as in the paper: helpfulness with as many others, safety 90 to 10. On held-out
comparisons the accuracy by strength is measured and the threshold of the gate of Section 3.2.3 is
tuned. In the last round a guard model is trained on comparisons that the two never saw, to watch
for over-optimisation.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from camelid.data.loader import length_grouped_indices, steps_per_epoch
from camelid.data.preferences import helpfulness_mix, oversample_newest, safety_mix
from camelid.data.records import Preference, read_records, write_records
from camelid.errors import ConfigError, DataError
from camelid.evaluation.gate import tune_gate
from camelid.formats.folder import load_reward_model, load_transformer, save_model
from camelid.inference.scoring import score
from camelid.model.reward_model import RewardModel
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.tokenization.chat import ChatFormat, load_chat_format
from camelid.train.config import Margin, OptimizerConfig
from camelid.train.fitting import fit
from camelid.train.objectives import PairBatch, PreferenceRanking, RankedPair, make_pair_batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the reward models."""

    optimizer: OptimizerConfig
    """AdamW and schedule; the paper's peak is 1e-5 (5e-6 at 70B)."""
    batch_pairs: int = 512
    """Comparisons per optimizer step (Section 3.2.2)."""
    micro_pairs: int = 32
    """Comparisons in memory at once; cannot change the result."""
    epochs: int = 1
    """Passes over the comparisons (Section 3.2.2: more overfits)."""
    margin: Margin = "small"
    """Margins of Table 27; which one the final models use is not specified."""
    safety_auxiliary: float = 1.0
    """Weight of the auxiliary loss of the safety model (A.3.4; value: Source: choice)."""
    newest_factor: int = 2
    """How often the newest round's comparisons are repeated (Source: choice)."""
    helpfulness_share: float = 0.5
    """Share of helpfulness comparisons in the helpfulness model's mix (Section 3.2.2); more of them
    where there are not enough others."""
    safety_share: float = 0.9
    """Share of safety comparisons in the safety model's mix (Section 3.2.2)."""
    gate_precision: float = 0.89
    """Precision wanted of the gate on unsafe replies (Section 3.2.3)."""
    longest: int = 512
    """Most tokens of prompt and reply; longer comparisons are dropped and counted."""

    def __post_init__(self) -> None:
        for name in ("helpfulness_share", "safety_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(
                    f"reward_modeling.{name} is {getattr(self, name)}; it must be above 0 and at "
                    "most 1."
                )


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    chat_model: str
    preferences: tuple[str, ...]
    test_preferences: tuple[str, ...]
    guard_preferences: tuple[str, ...]
    """Empty in all rounds but the last: no guard model is trained."""


def tokenise(
    preferences: Sequence[Preference], chat: ChatFormat, longest: int
) -> tuple[list[RankedPair], list[Preference], int]:
    """Return ranked pairs with their preferences, and how many were too long.

    Raises:
        DataError: A comparison has equal replies, from which nothing can be learned.
    """
    pairs, kept = [], []
    for preference in preferences:
        prompt = chat.render_prompt(preference.prompt)
        chosen = [*prompt, *chat.encode_reply(preference.chosen), chat.end_id]
        rejected = [*prompt, *chat.encode_reply(preference.rejected), chat.end_id]
        if chosen == rejected:
            raise DataError(f"preference {preference.id!r}: chosen and rejected are equal.")
        if max(len(chosen), len(rejected)) <= longest:
            pairs.append(RankedPair(chosen, rejected, preference.strength, preference.safety))
            kept.append(preference)
    return pairs, kept, len(preferences) - len(kept)


class _Trainer:
    """Trains the reward models of one round from the same chat model."""

    def __init__(
        self, config: Config, context: StageContext, inputs: Inputs, precision: Precision
    ) -> None:
        self.config, self.context, self.precision = config, context, precision
        self.chat = load_chat_format(context.input(inputs.tokenizer))
        self.chat_model = load_transformer(context.input(inputs.chat_model), default_device())

    def train(self, name: str, mix: Sequence[Preference], auxiliary: float) -> dict[str, Any]:
        """Train one reward model unless an earlier, interrupted process already did."""
        config, context = self.config, self.context
        pairs, kept, too_long = tokenise(mix, self.chat, config.longest)
        if not pairs:
            raise DataError(
                f"{context.name}: no comparison for {name} fits {config.longest} tokens."
            )
        steps = config.epochs * steps_per_epoch(len(pairs), config.batch_pairs)
        done = context.work / name
        if not (done / "config.json").is_file():
            seed = derive_seed(context.seed, name)
            model = RewardModel.from_chat_model(self.chat_model, seed)
            pad, device = self.chat.tokenizer.pad_id, model.device
            lengths = [max(len(pair.chosen), len(pair.rejected)) for pair in pairs]

            def batches_from(start: int) -> Iterator[list[PairBatch]]:
                for chosen in length_grouped_indices(lengths, config.batch_pairs, seed, start):
                    yield [
                        make_pair_batch(
                            [pairs[i] for i in chosen[at : at + config.micro_pairs]],
                            config.margin,
                            pad,
                            device,
                        )
                        for at in range(0, len(chosen), config.micro_pairs)
                    ]

            objective = PreferenceRanking(auxiliary)
            for _ in fit(
                model,
                objective,
                batches_from,
                config.optimizer,
                steps=steps,
                context=context,
                name=f"metrics_{name}",
                precision=self.precision,
            ):
                pass
            save_model(model, done)
        metrics = f"metrics_{name}.jsonl"
        if not (context.out / metrics).is_file():
            shutil.copy(context.work / metrics, context.out / metrics)
        shutil.copytree(done, context.out / name)
        kinds = Counter(preference.kind for preference in kept)
        return {"pairs": len(pairs), "kinds": kinds, "too_long": too_long, "steps": steps}


def _read(context: StageContext, paths: tuple[str, ...]) -> list[Preference]:
    return [p for path in paths for p in read_records(context.input(path), Preference)]


def run(
    config: Config, context: StageContext, inputs: Inputs, precision: Precision
) -> dict[str, Any]:
    """Train and test the reward models of one round."""
    trainer = _Trainer(config, context, inputs, precision)
    preferences = _read(context, inputs.preferences)
    several_rounds = len({p.round for p in preferences}) > 1
    factor = config.newest_factor if several_rounds else 1
    training = oversample_newest(preferences, factor)
    helpful = helpfulness_mix(training, context.seed, config.helpfulness_share)
    safe = safety_mix(training, context.seed, config.safety_share)
    result: dict[str, Any] = {
        "helpfulness_rm": trainer.train("helpfulness_rm", helpful, 0.0),
        "safety_rm": trainer.train("safety_rm", safe, config.safety_auxiliary),
    }
    if inputs.guard_preferences:
        guard = _read(context, inputs.guard_preferences)
        result["guard_rm"] = trainer.train("guard_rm", guard, 0.0)
    rows = _test(trainer, context, _read(context, inputs.test_preferences), list(result), precision)
    write_records(context.out / "test_scores.jsonl", rows)
    result["gate"] = tune_gate(rows, config.gate_precision)
    return result


def _test(
    trainer: _Trainer,
    context: StageContext,
    held_out: list[Preference],
    names: list[str],
    precision: Precision,
) -> list[dict[str, Any]]:
    """Score both replies of every held-out comparison with every reward model."""
    pairs, kept, too_long = tokenise(held_out, trainer.chat, trainer.config.longest)
    if too_long:
        context.progress.note(f"{too_long} held-out comparisons are too long and left out")
    rows: list[dict[str, Any]] = [
        {
            "id": preference.id,
            "kind": preference.kind,
            "round": preference.round,
            "strength": preference.strength,
            "safety": preference.safety,
            "category": preference.category,
            "prompt": preference.prompt[-1].content,
            "prompt_key": derive_seed(*(message.content for message in preference.prompt)),
            "chosen": preference.chosen,
            "rejected": preference.rejected,
            "chosen_scores": {},
            "rejected_scores": {},
        }
        for preference in kept
    ]
    for name in names:
        model = load_reward_model(context.out / name, default_device())
        chosen = score(model, [pair.chosen for pair in pairs], precision=precision)
        rejected = score(model, [pair.rejected for pair in pairs], precision=precision)
        for row, high, low in zip(rows, chosen, rejected, strict=True):
            row["chosen_scores"][name] = high
            row["rejected_scores"][name] = low
    return rows
