"""Collects comparisons."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from camelid.annotators.opening import Accountable, open_annotator
from camelid.annotators.people import PeopleAnnotator, Sampled, SampledPair
from camelid.data.annotation import Lineage, digest
from camelid.data.records import Kind, Preference, Prompt
from camelid.errors import DataError
from camelid.inference.pairs import Variant
from camelid.inference.replies import ModelResponder
from camelid.methods.preferences import Collector, describe
from camelid.methods.prompts import terms_of
from camelid.run.files import hash_path
from camelid.run.stage import StageContext
from camelid.settings import to_json
from camelid.simulation.world import build_world
from camelid.stages.preference_collection import Config, Inputs, Outputs, Result


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Collect one round: comparisons to train on, to test with and for the guard."""
    prompts = inputs.prompts.read_some()
    older, newer = (
        ModelResponder.load(folder.path, inputs.tokenizer.path, context.runtime)
        for folder in (inputs.older, inputs.newer)
    )
    annotator = open_annotator(
        config.annotator,
        context,
        tokenizer=inputs.tokenizer,
        imitation=inputs.imitation,
        answers=outputs.preferences.name,
    )
    collector = Collector(
        temperatures=config.temperatures,
        max_new_tokens=config.max_new_tokens,
        continued_share=config.continued_share,
        seed=context.seed,
        variants=(Variant(inputs.older.label, older), Variant(inputs.newer.label, newer)),
        annotator=annotator,
        world=build_world(inputs.world.read()) if inputs.world else None,
        forbidden=terms_of(inputs.held_out),
        round_number=inputs.round,
    )
    kinds: dict[Kind, int] = {
        "helpfulness": config.helpfulness_pairs,
        "safety": config.safety_pairs,
    }
    kinds = {kind: pairs for kind, pairs in kinds.items() if pairs}
    uses = (
        ("train", outputs.preferences),
        ("test", outputs.test_preferences),
        ("guard", outputs.guard_preferences),
    )
    others = {"test": config.test_pairs, "guard": config.guard_pairs}
    wanted = {
        use: {kind: others.get(use, pairs) for kind, pairs in kinds.items()} for use, _ in uses
    }
    if isinstance(annotator, PeopleAnnotator):
        key = _decides_sampling(config, inputs, context)
        collected = _by_people(annotator, collector, prompts, wanted, key=key, stage=context.name)
    else:
        collected = {}
        for use, numbers in wanted.items():
            found = collected.setdefault(use, [])
            for kind, number in numbers.items():
                found += collector.collect(prompts, kind, number, use)
                context.progress.update(len(found), sum(numbers.values()))
    for use, rows in uses:
        if sum(wanted[use].values()) and not collected[use]:
            left_out = ", ".join(f"{why} {n}" for why, n in collector.counts.items() if n)
            raise DataError(
                f"{context.name}: no comparison to {use} with ({left_out}). Give more prompts, a "
                "larger max_new_tokens where replies are cut, or other temperatures."
            )
        rows.write(collected[use])
    lineage = Lineage(annotator=annotator.name)
    if isinstance(annotator, Accountable):
        lineage = annotator.lineage()
        collector.counts.update(annotator.left_out)
    by = Counter(preference.annotator for found in collected.values() for preference in found)
    return Result(
        statistics=describe(collected["train"], newer.chat),
        counts=dict(collector.counts),
        lineage=replace(
            lineage,
            asked=collector.put["asked"],
            compared=collector.put["compared"],
            by=dict(sorted(by.items())),
        ),
    )


def _decides_sampling(config: Config, inputs: Inputs, context: StageContext) -> str:
    """Return the hash of all that decides which pairs are sampled: not who compares them."""
    settings = {name: value for name, value in to_json(config).items() if name != "annotator"}
    files = {place.label: hash_path(place.path) for place in inputs.places()}
    return digest(settings, files, inputs.round, context.seed)


def _by_people(
    annotator: PeopleAnnotator,
    collector: Collector,
    prompts: list[Prompt],
    wanted: dict[str, dict[Kind, int]],
    *,
    key: str,
    stage: str,
) -> dict[str, list[Preference]]:
    """Ask people for all comparisons at once; return them by use once they are answered.

    What they leave out is not made up for by others: they would be asked again and again.
    """

    def sample() -> Sampled:
        pairs = [
            SampledPair(use=use, pair=pair)
            for use, numbers in wanted.items()
            for kind, number in numbers.items()
            for pair in collector.sample(prompts, kind, number, use)
        ]
        return Sampled(key=key, counts=dict(collector.counts), pairs=tuple(pairs))

    sampled = annotator.sampled(key, sample)
    annotator.ask(sampled, stage)
    collector.counts.clear()
    collector.counts.update(sampled.counts)
    collected: dict[str, list[Preference]] = {use: [] for use in wanted}
    for use, numbers in wanted.items():
        for kind in numbers:
            pairs = [one.pair for one in sampled.pairs if (one.use, one.pair.kind) == (use, kind)]
            judged = collector.judge(pairs)
            collector.counts[f"{use}_{kind}"] = len(judged)
            collected[use] += [preference for _, preference in judged]
    return collected
