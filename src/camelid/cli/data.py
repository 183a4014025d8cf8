"""`camelid data check`: what files of people's data hold, before a recipe is run on them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from camelid.cli import plans
from camelid.data.checking import Checked, Units, check, share_to_measure, words
from camelid.data.own_files import OwnFile, find_files
from camelid.data.records import Message
from camelid.run.digits import duration
from camelid.settings import to_json

if TYPE_CHECKING:
    from camelid.formats.convert import GivenModel
    from camelid.methods.estimate import Estimate


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Read files once and print what they hold."""
    files = find_files(known.paths)
    units: Units = words
    unit, context, row = "words", known.context, None
    estimate: Callable[[Checked], Estimate] | None = None
    if known.weights is not None:
        from camelid.formats.convert import read_model

        model = read_model(plans.find_model(known.weights).path, chat_format=known.chat_format)
        unit, units = "tokens", _tokens(model)
        context = context or model.checkpoint.config.context
        estimate, row = _estimator(model, context)
    seen: set[int] = set()
    found: list[dict[str, Any]] = []
    for path in files:
        share = 1.0 if unit == "words" else share_to_measure(path)
        checked = check(OwnFile(path, known.use), units, unit, context, seen, share=share, row=row)
        cost = None if estimate is None else estimate(checked)
        found.append({**to_json(checked), "estimate": cost and to_json(cost)})
        if not known.json:
            print(f"{checked.path}: {checked.format}, read as {checked.use}")
            rows = [*_rows(checked), *([] if cost is None else _costs(cost))]
            plans.print_rows([(f"  {what}", text) for what, text in rows])
    if known.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))


def _tokens(model: GivenModel) -> Units:
    """Return the tokens of messages in a model's chat format."""
    from camelid.tokenization.chat import chat_format_of

    chat = chat_format_of(model.tokenizer)

    def tokens(messages: Sequence[Message]) -> list[int]:
        if messages[-1].role == "user":
            return chat.render_prompt(messages)
        return chat.render(messages).ids

    return tokens


SAMPLES = 10
"""Replies to a prompt of which the best is picked (the paper plots 10 to 100)."""


def _estimator(model: GivenModel, context: int) -> tuple[Callable[[Checked], Estimate], int]:
    """Return what estimates the stage that a file serves, by its default settings, and a row."""
    from camelid.allocator import keep_freed_memory, return_freed_memory

    # As a run does, and before torch takes its first memory: it decides the speed.
    keep_freed_memory()
    from camelid.methods.estimate import estimate_sampling, estimate_training, measure_speed
    from camelid.runtime import open_runtime
    from camelid.stages import rejection_sampling, reward_modeling
    from camelid.train.config import FineTuningConfig, OptimizerConfig

    config = model.checkpoint.config
    runtime = open_runtime("auto", None)
    optimizer = OptimizerConfig(learning_rate=1e-5)
    tuning = FineTuningConfig(optimizer=optimizer)
    pairs = reward_modeling.Config(optimizer=optimizer)
    replies = rejection_sampling.Config(prompts=24, samples=SAMPLES, fine_tuning=tuning)
    row = min(context, tuning.row_tokens)
    speed = measure_speed(config, runtime, row)
    return_freed_memory()

    def estimate(found: Checked) -> Estimate:
        if found.use == "prompts":
            return estimate_sampling(
                config,
                speed,
                stage="sampling of rejection sampling",
                prompts=found.records,
                prompt_tokens=found.mean_read,
                samples=replies.samples,
                max_new_tokens=replies.max_new_tokens,
            )
        compares = found.use == "comparisons"
        filled = row * (found.packed_rows or 0) / found.measured
        return estimate_training(
            config,
            speed,
            stage="reward modeling" if compares else "fine-tuning",
            # Every token of a packed row is computed, whether a dialogue fills it or not.
            tokens=int(found.records * (found.mean_read if compares else filled)),
            epochs=pairs.epochs if compares else tuning.epochs,
            # A comparison is a row of its own; dialogues share rows.
            row_tokens=int(found.mean_read) if compares else row,
            micro_rows=pairs.micro_pairs if compares else tuning.micro_rows,
            reward_model=compares,
        )

    return estimate, row


def _costs(cost: Estimate) -> list[tuple[str, str]]:
    """Return what is said of an estimate."""
    work = f"{cost.work} (default settings): {cost.tokens:,} tokens"
    memory = f"{cost.memory_bytes / 2**30:.1f} GiB"
    return [
        ("estimate", f"{cost.stage}, about {duration(cost.seconds)} and {memory}"),
        ("  of time", f"{work}, {cost.flop:.1e} FLOP at the speed that this machine had just now"),
        ("  of memory", cost.counted),
    ]


def _rows(found: Checked) -> list[tuple[str, str]]:
    """Return what is said of a file."""
    unit, records = found.unit, found.records
    of_all = _exactly if found.measured == records else _about(found)
    rows = [("rows read", f"{found.rows:,}"), (f"{found.use} used", f"{records:,}")]
    for name, tally in (("left out", found.left_out), ("changed", found.changed)):
        rows += [(name, f"{h.count:,} x {w} (first in {h.first})") for w, h in tally.items()]
    for name, values in (("user turns", found.user_turns), (unit, found.lengths)):
        rows.append((name, ", ".join(f"{part} {value:,}" for part, value in values.items())))
    if unit == "words":
        rows.append(("tokens", "not counted: name a model with --weights"))
    if found.measured < records:
        drawn = f"of {found.measured:,} {found.use} drawn at random; 'about' is estimated from them"
        rows.append((unit, drawn))
    if found.longer_than_context is not None:
        longer = f"{of_all(found.longer_than_context)} longer than {found.context:,} {unit}"
        rows.append(("context", f"{longer}: used here, left out by the stages that train on them"))
    if found.equal_within_context:
        equal = f"{of_all(found.equal_within_context)} of them equal up to there"
        rows.append(("context", equal))
    if found.equal_replies:
        rows.append(("same", f"{of_all(found.equal_replies)}: both replies of the same {unit}"))
    rows.append(("duplicates", f"{found.duplicates:,} exactly as one before; used"))
    rows.append(("system message", f"{found.system_messages / records:.1%} have one"))
    if found.use == "comparisons":
        for name, count, without in (
            ("strengths", found.strengths, "no margin in the loss"),
            ("safety labels", found.safety_labels, "no auxiliary loss"),
        ):
            rows.append((name, f"{count:,}; null in {records - count:,}, for them {without}"))
    return rows


def _exactly(count: int) -> str:
    return f"{count:,}"


def _about(found: Checked) -> Callable[[int], str]:
    """Return how a count among the measured records is said of all: with its 95 % interval."""
    from camelid.evaluation.statistics import proportion

    def about(count: int) -> str:
        share, records = proportion(count, found.measured), found.records
        low, high = int(share.low * records), math.ceil(share.high * records)
        return f"about {round(share.value * records):,} ({low:,} to {high:,})"

    return about
