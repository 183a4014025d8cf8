"""Ghost Attention: dialogues under an instruction, trained on without it, and what is recalled.

Source: arXiv 2307.09288, Section 3.3, A.3.5 and Table 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from camelid.data.prompts import bucket, mentions
from camelid.data.records import Asked, Dialogue, GhostDialogue, Message, Prompt, RecallRow, When
from camelid.inference.replies import Reply, Responder
from camelid.inference.sampling import Sampling
from camelid.seeds import derive_seed

PROBED_TURNS = (2, 4, 6)
"""Turns at which recall is measured (Table 30 also has 20)."""


@dataclass(slots=True)
class Talker:
    """Answers many dialogues turn by turn."""

    responder: Responder
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
        seed = derive_seed(self.seed, salt)
        replies = self.responder.answer(prompts, self.sampling, seed=seed)
        self.cut += sum(reply.prompt_cut > 0 for reply in replies)
        return {reply.prompt.id: reply for reply in replies}


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def sample_dialogues(talker: Talker, ghosts: Sequence[GhostDialogue]) -> list[list[Message]]:
    """Answer each dialogue with the instruction before every user message (steps 3 and 4).

    An answer that is cut by the length limit is left empty: it would teach a forged ending.
    """
    spoken: list[list[Message]] = [[] for _ in ghosts]
    for turn in range(max(len(ghost.turns) for ghost in ghosts)):
        open_ones = [index for index, ghost in enumerate(ghosts) if turn < len(ghost.turns)]
        for index in open_ones:
            ghost = ghosts[index]
            spoken[index].append(_user(f"{ghost.instruction} {ghost.turns[turn]}"))
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


def measure_recall(talker: Talker, ghosts: Sequence[GhostDialogue], when: When) -> list[RecallRow]:
    """Ask for the instruction at turns 2, 4 and 6 of dialogues whose other turns are neutral.

    Where an instruction shows in ordinary replies, those to the neutral turns are rows instead.
    """
    probed = [ghost for ghost in ghosts if not ghost.shows]
    history: dict[str, list[Message]] = {ghost.id: [] for ghost in ghosts}
    rows: list[RecallRow] = []

    def add(ghost: GhostDialogue, turn: int, asked: Asked, reply: str) -> None:
        rows.append(
            RecallRow(
                when=when,
                asked=asked,
                dialogue_id=ghost.id,
                turn=turn,
                instruction=ghost.instruction,
                expected=ghost.expected,
                reply=reply,
                kept=mentions(reply, [ghost.expected]),
            )
        )

    for turn in range(1, max(PROBED_TURNS) + 1):
        if turn in PROBED_TURNS:
            probes = {ghost.id: [*history[ghost.id], _user(ghost.probe)] for ghost in probed}
            answers = talker.answer(probes, f"probe/{turn}")
            for ghost in probed:
                add(ghost, turn, "probe", answers[ghost.id].text)
        for ghost in ghosts:
            lead = f"{ghost.instruction} " if turn == 1 else ""
            neutral = ghost.turns[(turn - 1) % len(ghost.turns)]
            history[ghost.id].append(_user(lead + neutral))
        answers = talker.answer(history, f"neutral/{turn}")
        for ghost in ghosts:
            text = answers[ghost.id].text
            if ghost.shows and turn in PROBED_TURNS:
                add(ghost, turn, "ordinary turn", text)
            history[ghost.id].append(Message(role="assistant", content=text or "..."))
    return rows


def holds(ghost: GhostDialogue, reply: str) -> bool:
    """Tell whether the last reply of a training dialogue keeps its instruction.

    Where neither the probe was asked nor an ordinary reply shows the instruction, nothing can be
    seen, and the reply counts as keeping it.
    """
    visible = ghost.shows or ghost.turns[-1] == ghost.probe
    return not visible or mentions(reply, [ghost.expected])


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
