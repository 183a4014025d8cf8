"""Collects comparisons."""

from __future__ import annotations

from camelid.data.records import Kind, Preference
from camelid.inference.pairs import Variant
from camelid.inference.replies import ModelResponder
from camelid.methods.preferences import Collector, describe
from camelid.methods.prompts import terms_of
from camelid.run.stage import StageContext
from camelid.simulation.world import build_world
from camelid.stages.preference_collection import Config, Inputs, Outputs, Result


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Collect one round: comparisons to train on, to test with and for the guard."""
    prompts = inputs.prompts.read_some()
    older, newer = (
        ModelResponder.load(folder.path, inputs.tokenizer.path, context.runtime)
        for folder in (inputs.older, inputs.newer)
    )
    collector = Collector(
        temperatures=config.temperatures,
        max_new_tokens=config.max_new_tokens,
        continued_share=config.continued_share,
        seed=context.seed,
        variants=(Variant(inputs.older.label, older), Variant(inputs.newer.label, newer)),
        annotator=config.annotator,
        world=build_world(inputs.world.read()) if inputs.world else None,
        forbidden=terms_of(inputs.held_out),
        round_number=inputs.round,
    )
    kinds: dict[Kind, int] = {
        "helpfulness": config.helpfulness_pairs,
        "safety": config.safety_pairs,
    }
    collected: dict[str, list[Preference]] = {}
    for use, rows in (
        ("train", outputs.preferences),
        ("test", outputs.test_preferences),
        ("guard", outputs.guard_preferences),
    ):
        others = {"test": config.test_pairs, "guard": config.guard_pairs}
        wanted = {kind: others.get(use, pairs) for kind, pairs in kinds.items()}
        found = collected.setdefault(use, [])
        for kind, count in wanted.items():
            found += collector.collect(prompts, kind, count, use)
            context.progress.update(len(found), sum(wanted.values()))
        rows.write(found)
    return Result(
        statistics=describe(collected["train"], newer.chat), counts=dict(collector.counts)
    )
