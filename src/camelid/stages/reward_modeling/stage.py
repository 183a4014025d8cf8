"""Trains and tests the reward models of one round."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence

from camelid.data.loader import (
    helpfulness_mix,
    length_grouped_indices,
    oversample_newest,
    safety_mix,
    steps_per_epoch,
)
from camelid.data.records import STRENGTHS, MetricsRow, Preference, Strength, TestScore
from camelid.errors import DataError, counted
from camelid.evaluation.gate import tune_gate
from camelid.formats.folder import load_reward_model, load_transformer, save_model
from camelid.inference.scoring import score_pairs
from camelid.methods.reward_pairs import tokenise
from camelid.model.padding import common_beginning
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.place import RewardModelFolder, Rows
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed
from camelid.stages.reward_modeling import Config, Inputs, Outputs, Result, Trained
from camelid.tokenization.chat import ChatFormat, load_chat_format
from camelid.train.fitting import fit
from camelid.train.objectives import PairBatch, PreferenceRanking, RankedPair, make_pair_batch


def _labelled(preference: Preference) -> Preference:
    known = preference.kind == "safety" or preference.safety is not None
    return preference if known else dataclasses.replace(preference, safety="both_safe")


def strong_enough(mix: Sequence[Preference], weakest: Strength | None) -> Sequence[Preference]:
    """Return the comparisons of at least a strength; one without a strength counts as strong."""
    if weakest is None:
        return mix
    allowed = {*STRENGTHS[: STRENGTHS.index(weakest) + 1], None}
    return [preference for preference in mix if preference.strength in allowed]


class Trainer:
    """Trains reward models from the same chat model, which stays as it is."""

    def __init__(
        self, config: Config, chat: ChatFormat, chat_model: Transformer, context: StageContext
    ) -> None:
        self.config, self.context = config, context
        self.chat, self.chat_model = chat, chat_model
        chat_model.config.require_vocabulary(chat.tokenizer.vocabulary_size, context.name)
        chat_model.config.require_context(config.longest, f"{context.name}: longest")

    def train(
        self,
        mix: Sequence[Preference],
        auxiliary: float,
        *,
        to: RewardModelFolder,
        metrics: Rows[MetricsRow],
    ) -> Trained:
        """Train one reward model unless an earlier, interrupted process already did."""
        config, context = self.config, self.context
        strong = strong_enough(mix, config.weakest)
        pairs, kept, too_long, equal = tokenise(strong, self.chat, config.longest)
        if not pairs:
            weak = (
                f"{len(mix) - len(strong)} weaker than {config.weakest}, " if config.weakest else ""
            )
            raise DataError(
                f"{context.name}: no comparison for {to.name} fits {config.longest} tokens "
                f"(found {len(mix)}: {weak}{too_long} too long, {equal} with equal replies)."
            )
        steps = config.epochs * steps_per_epoch(len(pairs), config.batch_pairs)
        done = dataclasses.replace(to, folder=context.work)
        if not done.exists:
            self._fit(pairs, steps, auxiliary, to=done, metrics=metrics)
        if not metrics.exists:
            shutil.copy(context.work / metrics.name, metrics.path)
        shutil.copytree(done.path, to.path)
        kinds = Counter(preference.kind for preference in kept)
        return Trained(
            pairs=len(pairs),
            kinds={str(kind): count for kind, count in kinds.items()},
            too_long=too_long,
            equal=equal,
            too_weak=len(mix) - len(strong),
            steps=steps,
        )

    def _fit(
        self,
        pairs: Sequence[RankedPair],
        steps: int,
        auxiliary: float,
        *,
        to: RewardModelFolder,
        metrics: Rows[MetricsRow],
    ) -> None:
        config = self.config
        seed = derive_seed(self.context.seed, to.name)
        model = RewardModel.from_chat_model(self.chat_model, seed)
        pad, device = self.chat.tokenizer.pad_id, model.device
        lengths = [
            len(pair.chosen) + len(pair.rejected) - common_beginning(pair.chosen, pair.rejected)
            for pair in pairs
        ]

        def batches_from(start: int) -> Iterator[list[PairBatch]]:
            for chosen in length_grouped_indices(lengths, config.batch_pairs, seed, start):
                yield [
                    make_pair_batch(
                        [pairs[i] for i in chosen[at : at + config.micro_pairs]],
                        config.margin,
                        pad,
                        device,
                        longest=model.config.context,
                    )
                    for at in range(0, len(chosen), config.micro_pairs)
                ]

        for _ in fit(
            model,
            PreferenceRanking(auxiliary),
            batches_from,
            config.optimizer,
            steps=steps,
            context=self.context,
            metrics=metrics,
        ):
            pass
        # Written whole or not at all: its presence says that this model is done.
        partial = to.path.with_suffix(".partial")
        save_model(model, partial)
        partial.rename(to.path)


def _read(sources: tuple[Rows[Preference], ...]) -> list[Preference]:
    return [preference for rows in sources for preference in rows.read_some()]


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Train and test the reward models of one round."""
    chat_model = load_transformer(inputs.chat_model.path, context.runtime)
    trainer = Trainer(config, load_chat_format(inputs.tokenizer.path), chat_model, context)
    preferences = _read(inputs.preferences)
    several_rounds = len({p.round for p in preferences}) > 1
    factor = config.newest_factor if several_rounds else 1
    training = oversample_newest(preferences, factor)
    helpful = helpfulness_mix(training, context.seed, config.helpfulness_share)
    tasks = [(outputs.helpfulness_rm, outputs.metrics_helpfulness, helpful, 0.0)]
    if config.safety_model:
        safe = safety_mix(training, context.seed, config.safety_share)
        if config.helpful_is_safe:
            safe = [_labelled(preference) for preference in safe]
        tasks.append((outputs.safety_rm, outputs.metrics_safety, safe, config.safety_auxiliary))
    if inputs.guard_preferences:
        own = _read(inputs.guard_preferences)
        tasks.append((outputs.guard_rm, outputs.metrics_guard, own, 0.0))
    trained = {
        to.name: trainer.train(mix, extra, to=to, metrics=metrics)
        for to, metrics, mix, extra in tasks
    }
    models = [to for to, *_ in tasks]
    scores, too_long = _test(trainer, _read(inputs.test_preferences), models)
    outputs.test_scores.write(scores)
    if inputs.drafted_pairs is not None:
        drafted, left_out = _test(trainer, inputs.drafted_pairs.read_some(), models)
        outputs.drafted_scores.write(drafted)
        too_long += left_out
    if config.safety_model:
        outputs.gate.write(tune_gate(scores, config.gate_precision))
    return Result(
        helpfulness_rm=trained[outputs.helpfulness_rm.name],
        safety_rm=trained.get(outputs.safety_rm.name),
        guard_rm=trained.get(outputs.guard_rm.name),
        test_too_long=too_long,
    )


def _test(
    trainer: Trainer, held_out: list[Preference], models: Sequence[RewardModelFolder]
) -> tuple[list[TestScore], int]:
    """Score both replies of held-out comparisons with every reward model; count the left out."""
    pairs, kept, too_long, equal = tokenise(held_out, trainer.chat, trainer.config.longest)
    if too_long or equal:
        trainer.context.progress.note(
            f"left out: {counted(too_long, 'held-out comparison')} too long, {equal} with equal "
            "replies"
        )
    chosen: dict[str, list[float]] = {}
    rejected: dict[str, list[float]] = {}
    for folder in models:
        model = load_reward_model(folder.path, trainer.context.runtime)
        found = score_pairs(model, [(pair.chosen, pair.rejected) for pair in pairs])
        chosen[folder.name] = [first for first, _ in found]
        rejected[folder.name] = [second for _, second in found]
    rows = [
        TestScore(
            id=preference.id,
            kind=preference.kind,
            round=preference.round,
            strength=preference.strength,
            safety=preference.safety,
            category=preference.category,
            prompt=preference.prompt[-1].content,
            prompt_key=derive_seed(*(message.content for message in preference.prompt)),
            chosen=preference.chosen,
            rejected=preference.rejected,
            fault=preference.fault,
            chosen_scores={name: scores[index] for name, scores in chosen.items()},
            rejected_scores={name: scores[index] for name, scores in rejected.items()},
        )
        for index, preference in enumerate(kept)
    ]
    return rows, too_long + equal
