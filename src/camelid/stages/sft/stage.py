"""Fine-tunes on dialogues."""

from __future__ import annotations

import shutil

from camelid.formats.folder import load_transformer
from camelid.methods.fine_tuning import fine_tune
from camelid.run.stage import StageContext
from camelid.stages.sft import Inputs, Outputs, Result
from camelid.tokenization.chat import load_chat_format
from camelid.train.config import FineTuningConfig


def run(
    config: FineTuningConfig, inputs: Inputs, outputs: Outputs, context: StageContext
) -> Result:
    """Fine-tune the base model on the demonstrations."""
    chat = load_chat_format(inputs.tokenizer.path)
    dialogues = inputs.demonstrations.read_some()
    model = load_transformer(inputs.base.path, context.runtime)
    # Kept in the work folder: a resumed process may begin after the first epoch.
    first = context.work / outputs.epoch1.name
    tuned = fine_tune(model, chat, dialogues, config, context, outputs=outputs, first_epoch=first)
    shutil.copytree(first, outputs.epoch1.path)
    safety = sum(dialogue.is_safety for dialogue in dialogues)
    return Result(fine_tuning=tuned, safety_dialogues=safety)
