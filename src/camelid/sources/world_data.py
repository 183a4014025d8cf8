"""The pocket world's data: texts, demonstrations, prompts and Ghost dialogues.

Written once for a run. Everything is made by `camelid.simulation` from a seed; nothing here is real
or comes from people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from camelid.data.prompts import HeldOut, check_disjoint
from camelid.data.records import Dialogue, GhostDialogue, Preference, Prompt
from camelid.errors import counted
from camelid.report.texts import demonstrations, statistics
from camelid.run.finished import Found
from camelid.run.item import CardField, Example, Line, StageReport, Table
from camelid.run.place import Corpus, Json, Rows, StageOutputs, place
from camelid.run.stage import NoInputs, StageContext, StageKind
from camelid.simulation.annotators import SimulatedAnnotator
from camelid.simulation.config import AnnotatorConfig, WorldConfig
from camelid.simulation.judge import ExactJudge

TINY = 5_000
"""Documents below which a model learns next to nothing (Source: choice)."""


class Outputs(StageOutputs):
    """What the stage writes."""

    world: Json[WorldConfig] = place("world.json")
    corpus: Corpus = place("corpus.txt")
    validation: Corpus = place("corpus_validation.txt")
    demonstrations: Rows[Dialogue] = place("demonstrations.jsonl")
    prompts: Rows[Prompt] = place("prompts.jsonl")
    ghost_dialogues: Rows[GhostDialogue] = place("ghost_dialogues.jsonl")
    drafted_pairs: Rows[Preference] = place("drafted.jsonl")
    open_comparisons: Rows[Preference] = place("open_comparisons.jsonl")
    guard_comparisons: Rows[Preference] = place("guard_comparisons.jsonl")
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


def run(config: WorldConfig, _: NoInputs, outputs: Outputs, __: StageContext) -> Result:
    """Write texts, demonstrations, prompts and Ghost dialogues."""
    # The words of the world are read only where it is made: recipes are listed without them.
    from camelid.simulation.world import build_world

    world = build_world(config)
    outputs.world.write(config)
    outputs.corpus.write(world.corpus())
    outputs.validation.write(world.validation_corpus())
    prompts = world.prompts()
    check_disjoint(prompts)
    outputs.demonstrations.write(world.demonstrations())
    outputs.prompts.write(prompts)
    outputs.ghost_dialogues.write(world.ghost_dialogues())
    outputs.drafted_pairs.write(world.drafted_pairs())
    annotator = SimulatedAnnotator(AnnotatorConfig(), ExactJudge())
    comparisons, guards = world.open_comparisons(annotator)
    outputs.open_comparisons.write(comparisons)
    outputs.guard_comparisons.write(guards)
    outputs.held_out.write(
        HeldOut(terms=tuple(world.held_out_terms()), templates=tuple(world.held_out_templates()))
    )
    return Result(**world.statistics())


Seen = Found[WorldConfig, NoInputs, Outputs, Result]
REPORT: StageReport[Seen] = StageReport()


@REPORT.item("data", "Two demonstrations", "Of those that the world wrote.", "Table 5")
def _demonstrations(seen: Seen) -> list[Example]:
    return demonstrations(seen.last.rows(seen.last.outputs.demonstrations))


@REPORT.item(
    "data",
    "The pocket world",
    "Counted in what was written; a program wrote all of it.",
    card="Training Data",
    anchor="pocket-world",
    folded=True,
)
def _statistics(seen: Seen) -> Table:
    return statistics(seen.last.result)


def _tiny(seen: Seen) -> Iterator[str]:
    """Say that nothing can have been learned, where that is so."""
    if seen.last.config.documents < TINY:
        yield (
            "This run only tests the plumbing: its model learned next to nothing from "
            f"{counted(seen.last.config.documents, 'document')}, and its figures mean nothing."
        )


@REPORT.card
def _card(_: Seen) -> Iterable[tuple[CardField, str]]:
    yield "license", "apache-2.0"
    yield "language", "en"
    yield (
        "about",
        (
            "Everything that this model was trained on was written by a program of Camelid "
            "(Apache-2.0): it starts from no other weights and has read no other text."
        ),
    )


@REPORT.lines
def _lines(seen: Seen) -> Iterable[Line]:
    for text in _tiny(seen):
        yield Line(tile="trained", text=text, warning=True)
    yield Line(tile="doubt", text="Anything about real text or people: a program wrote the world.")


@REPORT.limits
def _limits(seen: Seen) -> list[str]:
    world = seen.last.config
    return [
        *_tiny(seen),
        "A program wrote all texts for this run; they say nothing of the real world.",
        (
            "Planted, so that the methods have something to mend: of the helpful demonstrations "
            f"{world.imperfect:.0%} are poor, and {world.reasonless:.0%} of the recommendations "
            f"leave out their reason; of the safety demonstrations {world.complies:.0%} "
            f"comply with a plain attack and {world.complies_disguised:.0%} with a disguised one; "
            "demonstrations under an instruction forget it from turn 3 on with a chance of "
            f"{world.lapse:.0%} at each probe; {world.untagged:.0%} of the attacks of rejection "
            "sampling and PPO carry no safety tag."
        ),
    ]


WORLD_DATA = StageKind(
    name="world_data",
    config=WorldConfig,
    inputs=NoInputs,
    outputs=Outputs,
    result=Result,
    run=run,
    report=REPORT,
)
