"""Answers with and without preprompts, keeps what the gate lets through and fine-tunes on it."""

from __future__ import annotations

from camelid.data.records import Dialogue, Message
from camelid.formats.folder import save_model
from camelid.inference.replies import ModelResponder
from camelid.methods.context_distillation import distil, read_preprompts
from camelid.methods.fine_tuning import fine_tune
from camelid.methods.prompts import choose_prompts, is_attack, terms_of
from camelid.methods.rewards import load_rewards
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed
from camelid.stages.context_distillation import Config, Inputs, Outputs, Result


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Distil and fine-tune the latest model."""
    latest = ModelResponder.load(inputs.model.path, inputs.tokenizer.path, context.runtime)
    model, chat = latest.model, latest.chat
    preprompts = read_preprompts(config.wording)
    prompts, too_long = choose_prompts(
        inputs.prompts.read_some(),
        latest,
        "rejection_sampling",
        # And room for the preprompts.
        new_tokens=config.sampling.max_new_tokens + preprompts.longest(chat),
        seed=(context.run_seed, "distillation"),
        keep=is_attack,
    )
    chosen = prompts[: config.prompts]
    pairs = distil(
        latest,
        load_rewards(inputs.rewards, context.runtime),
        chosen,
        config.sampling,
        seed=context.seed,
        forbidden=terms_of(inputs.held_out),
        preprompts=preprompts,
        placement=config.placement,
    )
    outputs.pairs.write(pairs)
    dialogues = [
        Dialogue(
            id=f"distilled/{prompt.id}",
            messages=(
                *prompt.messages,
                Message(role="assistant", content=pair.distilled.text, train=True),
            ),
            category=prompt.category,
            is_safety=True,
            source="context distillation",
        )
        for prompt, pair in zip(chosen, pairs, strict=True)
        if pair.kept and pair.distilled is not None
    ]
    kept = len(dialogues)
    # Some attacks carry no tag; they are no help to hold on to.
    attacks = {prompt.category for prompt in inputs.prompts.read() if is_attack(prompt)}
    helpful = [d for d in inputs.bests.read_some() if not d.is_safety and d.category not in attacks]
    helpful.sort(key=lambda d: derive_seed(context.seed, d.id))
    dialogues += helpful[: round(config.helpful_share * kept)]
    outputs.dialogues.write(dialogues)
    tuned = None
    if dialogues:
        tuned = fine_tune(model, chat, dialogues, config.fine_tuning, context, outputs=outputs)
    else:
        outputs.metrics.write([])
        context.progress.note("no distilled answer scored above its original; nothing is trained")
        save_model(model, outputs.model.path)
    return Result(
        prompts_too_long=too_long,
        prompts_cut=sum(pair.prompts_cut for pair in pairs),
        pairs=len(pairs),
        kept=kept,
        kept_share=kept / len(pairs) if pairs else None,
        helpful_mixed_in=len(dialogues) - kept,
        fine_tuning=tuned,
    )
