"""Trains the judges of real text, and has their like judge what they never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from camelid.assessment.judge_training import Config, HeldOutReply, Inputs, Outputs, Read, Result
from camelid.data.human_scores import (
    FOLDER,
    Label,
    ScoredReply,
    find_human_scores,
    read_human_scores,
)
from camelid.data.prompts import conversation
from camelid.data.records import Message
from camelid.errors import DataError, MissingInputError
from camelid.evaluation.classifier import cross_validate, linked
from camelid.evaluation.correction import judge_error
from camelid.evaluation.judge import is_refusal
from camelid.evaluation.trained_judges import Learned, TrainedJudges
from camelid.methods.judging import PLAIN, Reader
from camelid.run.files import hash_file
from camelid.run.stage import StageContext

SHOWN = 80
"""Characters of a text that are kept: such texts are upsetting, and not ours to copy."""


def group_numbers(replies: Sequence[ScoredReply]) -> list[int]:
    """Number replies so that those which share a prompt or a text have the same number."""
    groups = linked(
        [conversation(row.prompt) or row.prompt for row in replies],
        [conversation(row.reply) or row.reply for row in replies],
    )
    numbers: dict[object, int] = {}
    return [numbers.setdefault(group, len(numbers)) for group in groups]


def learn(
    label: Label, replies: Sequence[ScoredReply], reader: Reader, folds: int
) -> tuple[Learned, list[HeldOutReply], int]:
    """Train one judge; return it, the held-out verdicts of its like, and how many texts were cut.

    Raises:
        DataError: All labels are alike, or there are fewer prompts than folds.
    """
    prompts = [(Message(role="user", content=row.prompt),) for row in replies]
    features_ND, cut_N = reader.read(prompts, [row.reply for row in replies])
    labels, groups = [row.positive for row in replies], group_numbers(replies)
    try:
        found = cross_validate(features_ND, labels, groups, folds=folds, light=PLAIN)
    except DataError as error:
        raise DataError(f"{label} judge: {error}") from None
    rows = [
        HeldOutReply(
            label=label,
            id=row.id,
            category=row.category,
            group=group,
            fold=int(fold),
            raters=row.raters,
            score=row.score,
            positive=row.positive,
            probability=float(probability),
            by_strings=is_refusal(row.reply) == (label == "refusal"),
            prompt=row.prompt[:SHOWN],
            reply=row.reply[:SHOWN],
        )
        for row, group, fold, probability in zip(
            replies, groups, found.folds_N, found.probabilities_N, strict=True
        )
    ]
    wrong = judge_error([row.verdict for row in rows], labels, groups)
    return Learned(regression=found.regression, error=wrong), rows, sum(cut_N)


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Read the labelled replies and train a judge for each label."""
    absent = None
    files = None
    if config.directory is None:
        absent = "no folder of human scores was given"
    elif not Path(config.directory).is_dir():
        raise MissingInputError(
            f"{config.directory}: no such folder. Name another with --judge_training.directory, "
            "or none to count refusal strings only."
        )
    else:
        files = find_human_scores(Path(config.directory))
        if files is None:
            absent = f"{config.directory} holds no human scores ({FOLDER})"
    trained: dict[Label, Learned] = {}
    held_out: list[HeldOutReply] = []
    read: dict[str, Read] = {}
    if files is None:
        context.progress.note(f"{absent}: violations and refusals are counted by strings only")
    else:
        reader = Reader.load(
            inputs.encoder.path,
            inputs.tokenizer.path,
            context.runtime,
            longest=config.longest,
            depth=config.depth,
        )
        for number, (label, paths) in enumerate(files.items(), 1):
            scores = read_human_scores(paths, label, harm_threshold=config.harm_threshold)
            trained[label], rows, cut = learn(label, scores.replies, reader, config.folds)
            held_out += rows
            read[label] = Read(
                replies=len(rows),
                positive=sum(row.positive for row in rows),
                prompts=len({row.group for row in rows}),
                left_out=dict(scores.left_out),
                cut=cut,
                penalty=trained[label].regression.penalty,
            )
            context.progress.update(number, len(files))
    outputs.held_out.write(held_out)
    outputs.judges.write(
        TrainedJudges(absent=absent, longest=config.longest, depth=config.depth, **trained)
    )
    paths = [path for found in (files or {}).values() for path in found]
    return Result(
        absent=absent,
        judges=read,
        files={f"{path.parent.name}/{path.name}": hash_file(path) for path in paths},
    )
