"""`camelid chat`: talk to the models of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from camelid.cli import plans
from camelid.errors import MissingInputError


def call(known: argparse.Namespace, _: Sequence[str]) -> None:
    """Talk to one model, or to two side by side."""
    plan = plans.plan_of(known.run)
    tokenizer = plan.tokenizer.at(known.run) if plan.tokenizer else None
    if tokenizer is None or not tokenizer.exists:
        raise MissingInputError(f"{known.run}: no tokenizer yet. Run `camelid run` first.")
    folders = {
        name: plans.pick_model(plan, known.run, name) for name in known.compare or [known.model]
    }
    from camelid.inference.chat import chat_loop
    from camelid.runtime import open_runtime

    runtime = open_runtime(plan.settings.precision, plan.settings.threads)
    chat_loop(known.run.name, folders, tokenizer.path, runtime)
