"""Trains an imitation of people, as reward models are trained."""

from __future__ import annotations

from collections import Counter

from camelid.annotators import Learned
from camelid.data.loader import helpfulness_mix, safety_mix
from camelid.data.records import Preference
from camelid.formats.folder import load_reward_model, load_transformer
from camelid.inference.scoring import score_pairs
from camelid.methods.reward_pairs import tokenise
from camelid.run.place import Rows
from camelid.run.stage import StageContext
from camelid.stages.imitation import Inputs, Outputs, Result
from camelid.stages.reward_modeling import Config
from camelid.stages.reward_modeling.stage import Trainer
from camelid.tokenization.chat import load_chat_format


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Train a helpfulness and a safety model, and test them on other human comparisons."""
    chat_model = load_transformer(inputs.chat_model.path, context.runtime)
    trainer = Trainer(config, load_chat_format(inputs.tokenizer.path), chat_model, context)
    preferences = _read(inputs.preferences)
    helpful = trainer.train(
        helpfulness_mix(preferences, context.seed, config.helpfulness_share),
        0.0,
        to=outputs.helpfulness_rm,
        metrics=outputs.metrics_helpfulness,
    )
    safe = None
    if any(preference.kind == "safety" for preference in preferences):
        safe = trainer.train(
            safety_mix(preferences, context.seed, config.safety_share),
            config.safety_auxiliary,
            to=outputs.safety_rm,
            metrics=outputs.metrics_safety,
        )
    right: Counter[str] = Counter()
    tested: Counter[str] = Counter()
    found = tokenise(_read(inputs.test_preferences), trainer.chat, config.longest)
    for kind, folder in (
        ("helpfulness", outputs.helpfulness_rm),
        ("safety", outputs.safety_rm),
    ):
        if not folder.exists:
            continue
        model = load_reward_model(folder.path, context.runtime)
        pairs = zip(found.pairs, found.kept, strict=True)
        own = [(pair.chosen, pair.rejected) for pair, kept in pairs if kept.kind == kind]
        tested[kind] = len(own)
        right[kind] = sum(chosen > rejected for chosen, rejected in score_pairs(model, own))
    learned = Learned(
        comparisons=len(preferences),
        safety_labels=sum(preference.safety is not None for preference in preferences),
        right=dict(right),
        tested=dict(tested),
    )
    outputs.learned.write(learned)
    return Result(helpfulness_rm=helpful, safety_rm=safe, learned=learned)


def _read(sources: tuple[Rows[Preference], ...]) -> list[Preference]:
    return [preference for rows in sources for preference in rows.read_some()]
