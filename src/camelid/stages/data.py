"""The pocket world's data: texts, demonstrations, prompts and Ghost dialogues.

Written once for a run. Everything is made by `camelid.simulation` from a seed; nothing here is real
or comes from people.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from camelid.data.prompts import check_disjoint
from camelid.data.records import write_records
from camelid.run.files import atomic_write_text
from camelid.run.stage import StageContext
from camelid.simulation.world import WorldConfig, build_world


def run(config: WorldConfig, context: StageContext) -> dict[str, Any]:
    """Write the files of the simulated world."""
    world = build_world(config)
    texts = {"corpus.txt": world.corpus(), "corpus_validation.txt": world.validation_corpus()}
    for name, documents in texts.items():
        with (context.out / name).open("w", encoding="utf-8") as file:
            file.writelines(itertools.chain.from_iterable(zip(documents, itertools.repeat("\n"))))
    prompts = world.prompts()
    check_disjoint(prompts)
    write_records(context.out / "demonstrations.jsonl", world.demonstrations())
    write_records(context.out / "prompts.jsonl", prompts)
    write_records(context.out / "ghost_dialogues.jsonl", world.ghost_dialogues())
    held_out = {"terms": world.held_out_terms(), "templates": world.held_out_templates()}
    atomic_write_text(context.out / "held_out.json", json.dumps(held_out, indent=1))
    return world.statistics()
