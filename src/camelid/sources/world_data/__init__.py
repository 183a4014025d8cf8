"""The pocket world's data: texts, demonstrations, prompts and Ghost dialogues.

Written once for a run. Everything is made by `camelid.simulation` from a seed; nothing here is real
or comes from people.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.prompts import HeldOut
from camelid.data.records import Dialogue, GhostDialogue, Prompt
from camelid.run.place import Corpus, Json, Rows, StageOutputs, place
from camelid.run.stage import NoInputs, StageKind
from camelid.simulation.config import WorldConfig


class Outputs(StageOutputs):
    """What the stage writes."""

    world: Json[WorldConfig] = place("world.json")
    corpus: Corpus = place("corpus.txt")
    validation: Corpus = place("corpus_validation.txt")
    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl")
    prompts: Rows[Prompt] = place("prompts.jsonl")
    ghost_dialogues: Rows[GhostDialogue] = place("ghost_dialogues.jsonl")
    held_out: Json[HeldOut] = place("held_out.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Counts of the world as it is."""

    entities: int
    facts: int
    templates: int
    word_types: int
    distinct_prompts: int
    documents: int
    demonstrations: int
    prompts_by_split: dict[str, int]
    prompts_by_category: dict[str, int]
    held_out_terms: int
    held_out_templates: int


WORLD_DATA = StageKind(
    name="world_data",
    config=WorldConfig,
    inputs=NoInputs,
    outputs=Outputs,
    result=Result,
    run="camelid.sources.world_data.stage:run",
    report="camelid.sources.world_data.report:REPORT",
)
