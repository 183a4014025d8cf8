"""Samples dialogues under an instruction, trains on them and measures what is recalled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from camelid.data.held_out import mentions, terms_of
from camelid.data.prompts import bucket
from camelid.data.records import Dialogue, GhostDialogue, Message, Prompt
from camelid.errors import DataError
from camelid.formats.folder import load_transformer
from camelid.inference.replies import Reply, sample_replies
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.run.place import Json
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext
from camelid.stages.ghost_attention import (
    PROBED_TURNS,
    Config,
    Dropped,
    Inputs,
    Outputs,
    RecallRow,
    Result,
    When,
)
from camelid.stages.sft.stage import fine_tune
from camelid.tokenization.chat import ChatFormat, load_chat_format


@dataclass(slots=True)
class _Talker:
    """Answers many dialogues turn by turn with one model."""

    model: Transformer
    chat: ChatFormat
    sampling: Sampling
    seed: int
    cut: int = 0
    """Answers to dialogues that lost their start to fit the context."""

    def answer(self, dialogues: dict[str, list[Message]], salt: str) -> dict[str, Reply]:
        """Return the answer to each dialogue, which ends in a user message."""
        prompts = [
            Prompt(
                id=identity,
                messages=tuple(messages),
                category="ghost_attention",
                is_safety=False,
                source="ghost_attention",
                split="validation",
            )
            for identity, messages in dialogues.items()
        ]
        replies = sample_replies(
            self.model,
            self.chat,
            prompts,
            self.sampling,
            seed=derive_seed(self.seed, salt),
        )
        self.cut += sum(reply.prompt_cut > 0 for reply in replies)
        return {reply.prompt.id: reply for reply in replies}


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def sample_dialogues(talker: _Talker, ghosts: Sequence[GhostDialogue]) -> list[list[Message]]:
    """Answer each dialogue with the instruction before every user message (steps 3 and 4).

    An answer that is cut by the length limit is left empty: it would teach a forged ending.
    """
    spoken: list[list[Message]] = [[] for _ in ghosts]
    for turn in range(max(len(ghost.turns) for ghost in ghosts)):
        open_ones = [index for index, ghost in enumerate(ghosts) if turn < len(ghost.turns)]
        for index in open_ones:
            ghost = ghosts[index]
            last = turn == len(ghost.turns) - 1
            asked = ghost.probe if last else ghost.turns[turn]
            spoken[index].append(_user(f"{ghost.instruction} {asked}"))
        answers = talker.answer({str(i): spoken[i] for i in open_ones}, f"turn/{turn}")
        for index in open_ones:
            reply = answers[str(index)]
            content = reply.text if reply.stop_reason == "stop" else ""
            spoken[index].append(Message(role="assistant", content=content))
    return spoken


def training_dialogue(ghost: GhostDialogue, spoken: Sequence[Message]) -> Dialogue:
    """Keep the instruction in the first turn only, train on the last answer only (steps 5, 6)."""
    messages = []
    for index, message in enumerate(spoken):
        content = message.content
        if message.role == "user":
            content = content.removeprefix(ghost.instruction).strip()
            if index == 0:
                shortened = bucket(ghost.id, 2) == 0
                lead = ghost.shortened if shortened else ghost.instruction
                content = f"{lead} {content}"
        last = index == len(spoken) - 1
        messages.append(Message(role=message.role, content=content, train=last))
    return Dialogue(
        id=f"ghost/{ghost.id}",
        messages=tuple(messages),
        category="ghost_attention",
        is_safety=False,
        source="ghost attention",
    )


def measure_recall(talker: _Talker, ghosts: Sequence[GhostDialogue], when: When) -> list[RecallRow]:
    """Ask for the instruction at turns 2, 4 and 6 of dialogues whose other turns are neutral."""
    history: dict[str, list[Message]] = {ghost.id: [] for ghost in ghosts}
    rows = []
    for turn in range(1, max(PROBED_TURNS) + 1):
        if turn in PROBED_TURNS:
            probes = {ghost.id: [*history[ghost.id], _user(ghost.probe)] for ghost in ghosts}
            answers = talker.answer(probes, f"probe/{turn}")
            for ghost in ghosts:
                reply = answers[ghost.id].text
                rows.append(
                    RecallRow(
                        when=when,
                        dialogue_id=ghost.id,
                        turn=turn,
                        instruction=ghost.instruction,
                        expected=ghost.expected,
                        reply=reply,
                        kept=mentions(reply, [ghost.expected]),
                    )
                )
        if turn < max(PROBED_TURNS):
            for ghost in ghosts:
                lead = f"{ghost.instruction} " if turn == 1 else ""
                asked = ghost.turns[(turn - 1) % len(ghost.turns)]
                history[ghost.id].append(_user(lead + asked))
            answers = talker.answer(history, f"neutral/{turn}")
            for ghost in ghosts:
                answer = Message(role="assistant", content=answers[ghost.id].text or "...")
                history[ghost.id].append(answer)
    return rows


def _sample(
    talker: _Talker,
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
        elif config.require_expected and not mentions(messages[-1].content, [ghost.expected]):
            counts["without_expected"] += 1
        elif any(mentions(message.content, forbidden) for message in messages):
            counts["held_out"] += 1
        else:
            dialogues.append(training_dialogue(ghost, messages))
    if not dialogues:
        raise DataError(f"{stage}: no sampled dialogue holds its instruction.")
    dropped = Dropped(
        without_expected=counts["without_expected"],
        held_out=counts["held_out"],
        empty_or_cut=counts["empty_or_cut"],
        prompts_cut=cut,
    )
    return dialogues, dropped


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Measure recall, sample, train, measure again."""
    chat = load_chat_format(inputs.tokenizer.path)
    ghosts = inputs.ghost_dialogues.read_some()
    train = [ghost for ghost in ghosts if ghost.split == "train"][: config.dialogues]
    test = [ghost for ghost in ghosts if ghost.split == "test"][: config.test_dialogues]
    if not train or not test:
        raise DataError(
            f"{inputs.ghost_dialogues.path}: Ghost dialogues of both splits are needed."
        )
    model = load_transformer(inputs.model.path, context.runtime)
    talker = _Talker(model, chat, config.sampling, context.seed)
    # What is in the work folder outlives an interruption; the counts are written last.
    work = Outputs(context.name, context.work)
    kept = Json(context.name, "dropped.json", context.work, kind=Dropped)
    if not kept.exists:
        work.recall.write(measure_recall(talker, test, "before"))
        context.progress.note(f"sampling {len(train)} dialogues under their instruction")
        dialogues, dropped = _sample(talker, train, config, terms_of(inputs.held_out), context.name)
        work.dialogues.write(dialogues)
        kept.write(dropped)
    dropped, dialogues = kept.read(), work.dialogues.read_some()
    outputs.dialogues.write(dialogues)
    bests = inputs.bests.read_some()
    bests.sort(key=lambda d: derive_seed(context.seed, d.id))
    mixed_in = bests[: round(config.bests_per_dialogue * len(dialogues))]
    tuned = fine_tune(
        model,
        chat,
        dialogues + mixed_in,
        config.fine_tuning,
        context,
        to=outputs.model,
        metrics=outputs.metrics,
    )
    outputs.recall.write([*work.recall.read_some(), *measure_recall(talker, test, "after")])
    return Result(
        fine_tuning=tuned,
        ghost_dialogues=len(dialogues),
        bests_mixed_in=len(mixed_in),
        prompts_cut=dropped.prompts_cut + talker.cut,
        dropped=dropped,
    )


def as_ppo_prompts(dialogues: Sequence[Dialogue]) -> list[Prompt]:
    """Return Ghost dialogues without their last answer as prompts for PPO."""
    return [
        Prompt(
            id=dialogue.id,
            messages=tuple(replace(m, train=False) for m in dialogue.messages[:-1]),
            category="ghost_attention",
            is_safety=False,
            source="ghost attention",
            split="ppo",
        )
        for dialogue in dialogues
    ]
