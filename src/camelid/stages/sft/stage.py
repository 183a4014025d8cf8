"""Fine-tunes on dialogues."""

from __future__ import annotations

import shutil

from camelid.formats.folder import load_transformer
from camelid.methods.fine_tuning import answer_loss, fine_tune
from camelid.run.stage import StageContext
from camelid.stages.sft import HeldOutLoss, Inputs, Outputs, Result
from camelid.tokenization.chat import load_chat_format
from camelid.train.config import FineTuningConfig


def run(
    config: FineTuningConfig, inputs: Inputs, outputs: Outputs, context: StageContext
) -> Result:
    """Fine-tune the base model on the demonstrations; measure it on those held out."""
    chat = load_chat_format(inputs.tokenizer.path)
    dialogues = inputs.demonstrations.read_some()
    model = load_transformer(inputs.base.path, context.runtime)
    place = inputs.held_out_demonstrations
    held_out = None if place is None else place.read_some()
    longest = config.row_tokens
    before = None if held_out is None else answer_loss(model, chat, held_out, longest)
    # Kept in the work folder: a resumed process may begin after the first epoch.
    first = context.work / outputs.epoch1.name
    tuned = fine_tune(model, chat, dialogues, config, context, outputs=outputs, first_epoch=first)
    shutil.copytree(first, outputs.epoch1.path)
    safety = sum(dialogue.is_safety for dialogue in dialogues)
    measured = None
    if held_out is not None and before is not None:
        after, tokens, too_long = answer_loss(model, chat, held_out, longest)
        measured = HeldOutLoss(before=before[0], after=after, tokens=tokens, too_long=too_long)
    return Result(fine_tuning=tuned, safety_dialogues=safety, held_out=measured)
