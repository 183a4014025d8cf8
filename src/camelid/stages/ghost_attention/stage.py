"""Samples dialogues under an instruction, trains on them and measures what is recalled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from camelid.data.prompts import mentions
from camelid.data.records import Dialogue, GhostDialogue, RecallRow, When
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
from camelid.stages.ghost_attention import (
    WHEN,
    Config,
    Dropped,
    Inputs,
    Outputs,
    Result,
    Unmeasured,
)


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
            dialogues.append(training_dialogue(ghost, messages, config.place))
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


def _unmeasured(
    recall: Sequence[RecallRow], test: Sequence[GhostDialogue], config: Config
) -> tuple[Unmeasured, ...]:
    """Count what was to be measured and gave no row, because the dialogue lost its start."""
    there = Counter((row.turn, row.when) for row in recall)
    wanted = sum(len(ghost.demands) for ghost in test)
    return tuple(
        Unmeasured(turn=turn, when=when, replies=wanted - there[turn, when])
        for turn in config.probed_turns
        for when in WHEN
        if there[turn, when] < wanted
    )


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

    def measure(when: When) -> list[RecallRow]:
        return measure_recall(talker, test, when, config.probed_turns, config.place)

    # What is in the work folder outlives an interruption; the counts are written last.
    work = Outputs(context.name, context.work)
    kept = Json(context.name, "dropped.json", context.work, kind=Dropped)
    if not kept.exists:
        work.recall.write(measure("before"))
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
    recall = [*work.recall.read(), *measure("after")]
    if not recall:
        raise DataError(
            f"{context.name}: every dialogue lost its instruction before turn "
            f"{min(config.probed_turns)}, the first of probed_turns: the model's context of "
            f"{latest.model.config.context} tokens is too short. Set a smaller max_new_tokens."
        )
    outputs.recall.write(recall)
    return Result(
        fine_tuning=tuned,
        ghost_dialogues=len(dialogues),
        bests_mixed_in=len(mixed_in),
        prompts_cut=dropped.prompts_cut + talker.cut,
        dropped=dropped,
        unmeasured=_unmeasured(recall, test, config),
    )
