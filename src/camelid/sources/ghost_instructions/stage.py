"""Asks the model for lists and combines them to instructions."""

from __future__ import annotations

from collections.abc import Iterator

from camelid.data.records import Message, Prompt
from camelid.errors import DataError, counted
from camelid.inference.replies import ModelResponder, Responder
from camelid.methods.instruction_checks import authored, require_identifier
from camelid.methods.instructions import (
    ASKED,
    FORMS,
    InstructionValue,
    ListCounts,
    ListMaker,
    Rules,
    Split,
    form_of,
    make_dialogues,
    user_turns,
)
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed
from camelid.sources.ghost_instructions import Config, Inputs, Outputs, Result

SPLITS: tuple[Split, ...] = ("train", "test")


def ask(
    responder: Responder, name: str, config: Config, seed: int
) -> list[tuple[str, bool]] | None:
    """Ask the model for a list several times.

    Returns:
        Each reply and whether it was cut; None where the question does not fit the context.
    """
    text = authored("asks")[name].format(number=config.listed)
    prompt = Prompt(
        id=f"list/{name}",
        messages=(Message(role="user", content=text),),
        category="ghost_attention",
        is_safety=False,
        source="ghost_instructions",
        split="rejection_sampling",
    )
    fitting, _ = responder.fitting([prompt], config.sampling.max_new_tokens)
    if not fitting:
        return None
    replies = responder.answer(fitting, config.sampling, seed=seed, samples=config.asks)
    return [(reply.text, reply.stop_reason == "length") for reply in replies]


def _lists(
    responder: Responder, config: Config, context: StageContext
) -> Iterator[tuple[list[InstructionValue], ListCounts, bool]]:
    """Yield values and counts of each list that is needed; whether its question was too long."""
    maker = ListMaker(
        wanted=config.listed, held_out=config.held_out, seed=derive_seed(context.seed, "values")
    )
    forms = (form_of(name) for kind in config.kinds for name in FORMS[kind])
    for name in dict.fromkeys(form.list for form in forms):
        replies: list[tuple[str, bool]] | None = []
        if name in ASKED and config.asks:
            replies = ask(responder, name, config, derive_seed(context.seed, name))
        values, counts = maker.make(name, replies or [])
        yield values, counts, replies is None


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Make the lists, then the dialogues of both splits.

    Raises:
        MissingInputError: Languages are asked for and cannot be told apart.
        DataError: A split has no ordinary prompt that is short enough.
    """
    if "language" in config.kinds:
        require_identifier()
    turns, left_out = user_turns(
        inputs.prompts.read_some(),
        train=config.train_split,
        test=config.test_split,
        longest=config.longest,
    )
    for split, wanted in zip(SPLITS, (config.train_split, config.test_split), strict=True):
        if not turns[split]:
            raise DataError(
                f"{inputs.prompts.path}: no ordinary prompt of the split {wanted!r} has a first "
                f"message of one line and at most {config.longest} characters, but Ghost Attention "
                f"needs some as user turns. Set another {split}_split or a larger `longest`."
            )
    responder = ModelResponder.load(inputs.model.path, inputs.tokenizer.path, context.runtime)
    found = list(_lists(responder, config, context))
    values = [value for mine, _, _ in found for value in mine]
    lists = tuple(counts for _, counts, _ in found)
    for counts in lists:
        context.progress.note(
            f"{counts.list}: {counts.by_model} values by the model, {counts.authored} authored, "
            f"of {config.listed} wanted"
        )
    rules = Rules(
        kinds=config.kinds,
        two_parts=config.two_parts,
        turns=config.turns,
        test_turns=config.test_turns,
        probes=config.probes,
    )
    seed = derive_seed(context.seed, "dialogues")
    ghosts = [
        ghost
        for split, number in zip(SPLITS, (config.train, config.test), strict=True)
        for ghost in make_dialogues(
            rules, values, turns[split], split=split, number=number, seed=seed
        )
    ]
    most: dict[str, int] = {
        s: max(len(ghost.turns) for ghost in ghosts if ghost.split == s) for s in SPLITS
    }
    for split, wanted_turns in zip(SPLITS, (config.turns, config.test_turns), strict=True):
        if len(turns[split]) < wanted_turns:
            context.progress.note(
                f"{split}: {counted(len(turns[split]), 'user turn')}, so no dialogue has "
                f"{wanted_turns}"
            )
    outputs.values.write(values)
    outputs.ghost_dialogues.write(ghosts)
    return Result(
        dialogues={"train": config.train, "test": config.test},
        two_parts=sum(bool(ghost.also) for ghost in ghosts),
        user_turns={split: len(turns[split]) for split in SPLITS},
        most_turns=most,
        prompts_left_out=left_out,
        lists=lists,
        not_asked=sum(too_long for _, _, too_long in found),
    )
