"""Samples dialogues under an instruction, trains on them and measures what is recalled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from camelid.data.prompts import mentions
from camelid.data.records import Dialogue, GhostDialogue
from camelid.errors import DataError, counted
from camelid.inference.replies import ModelResponder
from camelid.methods.fine_tuning import fine_tune
from camelid.methods.ghost_attention import (
    Talker,
    holds,
    measure_recall,
    sample_dialogues,
    training_dialogue,
)
from camelid.methods.prompts import terms_of
from camelid.run.place import Json
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed
from camelid.stages.ghost_attention import Config, Dropped, Inputs, Outputs, Result


def _sample(
    talker: Talker,
    train: Sequence[GhostDialogue],
    config: Config,
    forbidden: Sequence[str],
    stage: str,
) -> tuple[list[Dialogue], Dropped]:
    """Sample the training dialogues and count those that are dropped, by reason."""
    spoken = sample_dialogues(talker, train)
    counts: Counter[str] = Counter()
    cut, talker.cut = talker.cut, 0
    dialogues = []
    for ghost, messages in zip(train, spoken, strict=True):
        if not all(message.content for message in messages):
            counts["empty_or_cut"] += 1
        elif config.require_expected and not holds(ghost, messages[-1].content):
            counts["without_expected"] += 1
        elif any(mentions(message.content, forbidden) for message in messages):
            counts["held_out"] += 1
        else:
            dialogues.append(training_dialogue(ghost, messages))
    if not dialogues:
        raise DataError(
            f"{stage}: no sampled dialogue holds its instruction; raise the number of samples."
        )
    dropped = Dropped(
        without_expected=counts["without_expected"],
        held_out=counts["held_out"],
        empty_or_cut=counts["empty_or_cut"],
        prompts_cut=cut,
    )
    return dialogues, dropped


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Measure recall, sample, train, measure again."""
    ghosts = inputs.ghost_dialogues.read_some()
    train = [ghost for ghost in ghosts if ghost.split == "train"][: config.dialogues]
    test = [ghost for ghost in ghosts if ghost.split == "test"][: config.test_dialogues]
    if not train or not test:
        raise DataError(
            f"{inputs.ghost_dialogues.path}: Ghost dialogues of both splits are needed."
        )
    latest = ModelResponder.load(inputs.model.path, inputs.tokenizer.path, context.runtime)
    talker = Talker(latest, config.sampling, context.seed)
    # What is in the work folder outlives an interruption; the counts are written last.
    work = Outputs(context.name, context.work)
    kept = Json(context.name, "dropped.json", context.work, kind=Dropped)
    if not kept.exists:
        work.recall.write(measure_recall(talker, test, "before"))
        context.progress.note(f"sampling {counted(len(train), 'dialogue')} under their instruction")
        dialogues, dropped = _sample(talker, train, config, terms_of(inputs.held_out), context.name)
        work.dialogues.write(dialogues)
        kept.write(dropped)
    dropped, dialogues = kept.read(), work.dialogues.read_some()
    outputs.dialogues.write(dialogues)
    bests = inputs.bests.read_some()
    bests.sort(key=lambda d: derive_seed(context.seed, d.id))
    mixed_in = bests[: round(config.bests_per_dialogue * len(dialogues))]
    tuned = fine_tune(
        latest.model,
        latest.chat,
        dialogues + mixed_in,
        config.fine_tuning,
        context,
        outputs=outputs,
    )
    outputs.recall.write([*work.recall.read_some(), *measure_recall(talker, test, "after")])
    return Result(
        fine_tuning=tuned,
        ghost_dialogues=len(dialogues),
        bests_mixed_in=len(mixed_in),
        prompts_cut=dropped.prompts_cut + talker.cut,
        dropped=dropped,
    )
