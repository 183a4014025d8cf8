"""Writes the files of the simulated world."""

from __future__ import annotations

from camelid.data.prompts import HeldOut, check_disjoint
from camelid.run.stage import NoInputs, StageContext
from camelid.simulation.config import WorldConfig
from camelid.simulation.world import build_world
from camelid.sources.world_data import Outputs, Result


def run(config: WorldConfig, _: NoInputs, outputs: Outputs, __: StageContext) -> Result:
    """Write texts, demonstrations, prompts and Ghost dialogues."""
    world = build_world(config)
    outputs.world.write(config)
    outputs.corpus.write(world.corpus())
    outputs.validation.write(world.validation_corpus())
    prompts = world.prompts()
    check_disjoint(prompts)
    outputs.demonstrations.write(world.demonstrations())
    outputs.prompts.write(prompts)
    outputs.ghost_dialogues.write(world.ghost_dialogues())
    outputs.held_out.write(
        HeldOut(terms=tuple(world.held_out_terms()), templates=tuple(world.held_out_templates()))
    )
    return Result(**world.statistics())
