"""`camelid chat`: talk to models, of a run or of any weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camelid.cli import plans
from camelid.data.records import Message
from camelid.errors import MissingInputError
from camelid.inference.sampling import CHAT
from camelid.options import with_options
from camelid.run.stage import RunSettings

if TYPE_CHECKING:
    from camelid.inference.models import NamedModel


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Talk to one model, or to two side by side."""
    sampling = CHAT
    if known.temperature is not None:
        sampling = with_options(CHAT, {"temperature": ("--temperature", [known.temperature])})
    prepare_input()
    where = known.model_of
    models = [_find(where, name) for name in known.compare or ()]
    models = models or [plans.find_model(where, known.model)]
    run = models[0].run
    settings = RunSettings() if run is None else plans.plan_of(run).settings
    from camelid.inference.chat import Speaker, chat_loop
    from camelid.runtime import open_runtime
    from camelid.tokenization.chat import chat_format_of

    runtime = open_runtime(settings.precision, settings.threads)
    system = (Message(role="system", content=known.system),) if known.system else ()
    speakers = {}
    for model in models:
        weights, tokenizer = model.load(runtime, known.chat_format)
        # Weights of two folders may share a name.
        name = str(model.path) if model.name in speakers else model.name
        speakers[name] = Speaker(weights, chat_format_of(tokenizer), system)
    chat_loop(where, speakers, sampling)


def _find(where: str, name: str) -> NamedModel:
    """Find one of two models to compare: of the run, or weights by their path."""
    folder = Path(where)
    if Path(name).exists() and not (plans.is_run(folder) and name in plans.plan_of(folder).models):
        return plans.find_model(name)
    return plans.find_model(where, name)


def prepare_input() -> None:
    """Check that there is something to read from, and let no invalid byte of it end the chat.

    Raises:
        MissingInputError: Standard input is closed.
    """
    if sys.stdin is None:
        raise MissingInputError("chat: standard input is closed; give it a terminal or a file.")
    for stream in (sys.stdin, sys.stdout):
        # Not there where something else stands in for them.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")
