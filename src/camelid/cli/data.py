"""`camelid data check`: what files of people's data hold, before a recipe is run on them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from camelid.cli import plans
from camelid.data.checking import Checked, Units, check, words
from camelid.data.own_files import OwnFile, find_files
from camelid.data.records import Message
from camelid.settings import to_json


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Read files once and print what they hold."""
    files = find_files(known.paths)
    units: Units = words
    context = known.context
    if known.weights is not None:
        units, context = _tokens(known)
    unit = "words" if known.weights is None else "tokens"
    seen: set[int] = set()
    found = []
    for path in files:
        checked = check(OwnFile(path, known.use), units, unit, context, seen)
        found.append(to_json(checked))
        if not known.json:
            print(f"{checked.path}: {checked.format}, read as {checked.use}")
            plans.print_rows([(f"  {what}", text) for what, text in _rows(checked)])
    if known.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))


def _tokens(known: argparse.Namespace) -> tuple[Units, int]:
    """Return the tokens of messages in a model's chat format, and its context."""
    from camelid.formats.convert import read_model
    from camelid.tokenization.chat import chat_format_of

    model = read_model(plans.find_model(known.weights).path, chat_format=known.chat_format)
    chat = chat_format_of(model.tokenizer)

    def tokens(messages: Sequence[Message]) -> list[int]:
        if messages[-1].role == "user":
            return chat.render_prompt(messages)
        return chat.render(messages).ids

    return tokens, known.context or model.checkpoint.config.context


def _rows(found: Checked) -> list[tuple[str, str]]:
    """Return what is said of a file."""
    unit, records = found.unit, found.records
    rows = [("rows read", f"{found.rows:,}"), (f"{found.use} used", f"{records:,}")]
    for name, tally in (("left out", found.left_out), ("changed", found.changed)):
        rows += [(name, f"{h.count:,} x {w} (first in {h.first})") for w, h in tally.items()]
    for name, values in (("user turns", found.user_turns), (unit, found.lengths)):
        rows.append((name, ", ".join(f"{part} {value:,}" for part, value in values.items())))
    if unit == "words":
        rows.append(("tokens", "not counted: name a model with --weights"))
    if found.longer_than_context is not None:
        longer = f"{found.longer_than_context:,} longer than {found.context:,} {unit}"
        rows.append(("context", f"{longer}: used here, left out by the stages that train on them"))
    if found.equal_within_context:
        rows.append(("context", f"{found.equal_within_context:,} of them equal up to there"))
    if found.equal_replies:
        rows.append(("same", f"{found.equal_replies:,} with replies of the same {unit}"))
    rows.append(("duplicates", f"{found.duplicates:,} exactly as one before; used"))
    rows.append(("system message", f"{found.system_messages / records:.1%} have one"))
    if found.use == "comparisons":
        for name, count, without in (
            ("strengths", found.strengths, "no margin in the loss"),
            ("safety labels", found.safety_labels, "no auxiliary loss"),
        ):
            rows.append((name, f"{count:,}; null in {records - count:,}, for them {without}"))
    return rows
