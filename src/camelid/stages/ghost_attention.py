"""Ghost Attention (Section 3.3, A.3.5).

An instruction is to hold through a whole dialogue. It is put before every user message and the
latest model answers turn by turn; for training it stays in the first message only (shortened half
of the time) and the loss counts the last answer only. Recall is measured before and after, as in
Table 30: the model is asked for its instruction at turns 2, 4 and 6.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from camelid.data.held_out import load_held_out, mentions
from camelid.data.prompts import bucket
from camelid.data.records import (
    Dialogue,
    GhostDialogue,
    Message,
    Prompt,
    read_records,
    write_records,
)
from camelid.errors import DataError
from camelid.formats.folder import load_transformer
from camelid.inference.replies import Reply, sample_replies
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.stages import sft
from camelid.tokenization.chat import ChatFormat, load_chat_format

PROBED_TURNS = (2, 4, 6)
"""Turns at which recall is measured (Table 30 also has 20)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of Ghost Attention."""

    dialogues: int
    """Training dialogues (not specified in the paper)."""
    test_dialogues: int
    """Dialogues on which recall is measured."""
    sampling: Sampling
    """Temperature and length of the answers."""
    bests_per_dialogue: float = 1.0
    """Bests of rejection sampling mixed in per dialogue, against forgetting (Source: choice)."""
    require_expected: bool = True
    """Keep only answers to a probe that state the instruction (Source: choice)."""
    fine_tuning: sft.Config
    """Fine-tuning from the latest model."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    model: str
    ghost_dialogues: str
    bests: str
    held_out: str | None


@dataclass(slots=True)
class _Talker:
    """Answers many dialogues turn by turn with one model."""

    model: Transformer
    chat: ChatFormat
    sampling: Sampling
    seed: int
    precision: Precision
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
            precision=self.precision,
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


def measure_recall(
    talker: _Talker, ghosts: Sequence[GhostDialogue], when: str
) -> list[dict[str, Any]]:
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
                    {
                        "when": when,
                        "dialogue_id": ghost.id,
                        "turn": turn,
                        "instruction": ghost.instruction,
                        "expected": ghost.expected,
                        "reply": reply,
                        "kept": mentions(reply, [ghost.expected]),
                    }
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


def run(
    config: Config, context: StageContext, inputs: Inputs, precision: Precision
) -> dict[str, Any]:
    """Train on Ghost dialogues; writes `dialogues.jsonl`, `recall.jsonl`, `model/`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    ghosts = read_records(context.input(inputs.ghost_dialogues), GhostDialogue)
    train = [ghost for ghost in ghosts if ghost.split == "train"][: config.dialogues]
    test = [ghost for ghost in ghosts if ghost.split == "test"][: config.test_dialogues]
    if not train or not test:
        raise DataError(f"{inputs.ghost_dialogues}: Ghost dialogues of both splits are needed.")
    model = load_transformer(context.input(inputs.model), default_device())
    talker = _Talker(model, chat, config.sampling, context.seed, precision)
    measured = context.work / "recall_before.json"
    dialogues_file = context.work / "dialogues.jsonl"
    dropped = context.work / "dropped.json"
    if not dropped.is_file():
        measured.write_text(json.dumps(measure_recall(talker, test, "before")), encoding="utf-8")
        context.progress.note(f"sampling {len(train)} dialogues under their instruction")
        spoken = sample_dialogues(talker, train)
        forbidden = load_held_out(context, inputs.held_out)
        counts = {"without_expected": 0, "held_out": 0, "empty_or_cut": 0}
        counts["prompts_cut"], talker.cut = talker.cut, 0
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
            raise DataError(f"{context.name}: no sampled dialogue holds its instruction.")
        write_records(dialogues_file, dialogues)
        dropped.write_text(json.dumps(counts), encoding="utf-8")
    counts = json.loads(dropped.read_text(encoding="utf-8"))
    dialogues = read_records(dialogues_file, Dialogue)
    write_records(context.out / "dialogues.jsonl", dialogues)
    bests = read_records(context.input(inputs.bests), Dialogue)
    bests.sort(key=lambda d: derive_seed(context.seed, d.id))
    mixed_in = bests[: round(config.bests_per_dialogue * len(dialogues))]
    tuned = sft.fine_tune(
        model, chat, dialogues + mixed_in, config.fine_tuning, context, precision=precision
    )
    rows = json.loads(measured.read_text(encoding="utf-8"))
    rows += measure_recall(talker, test, "after")
    write_records(context.out / "recall.jsonl", rows)
    recall = {
        f"turn{turn}_{when}": _share(rows, turn, when)
        for when in ("before", "after")
        for turn in PROBED_TURNS
    }
    return {
        **tuned,
        "ghost_dialogues": len(dialogues),
        "bests_mixed_in": len(mixed_in),
        "prompts_cut": counts.pop("prompts_cut") + talker.cut,
        "dropped": counts,
        "recall": recall,
    }


def _share(rows: Sequence[dict[str, Any]], turn: int, when: str) -> float:
    kept: list[bool] = [row["kept"] for row in rows if row["turn"] == turn and row["when"] == when]
    return sum(kept) / len(kept)


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
