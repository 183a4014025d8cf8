"""Ghost Attention: dialogues under an instruction, trained on without it, and what is recalled.

Source: arXiv 2307.09288, Section 3.3, A.3.5 and Table 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from camelid.data.prompts import bucket
from camelid.data.records import (
    Asked,
    Demand,
    Dialogue,
    GhostDialogue,
    InstructionPlace,
    Message,
    Prompt,
    RecallRow,
    When,
)
from camelid.inference.replies import Reply, Responder
from camelid.inference.sampling import Sampling
from camelid.methods.instruction_checks import keeps
from camelid.seeds import derive_seed


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


def _opening(lead: str, text: str, place: InstructionPlace) -> list[Message]:
    """The first user message with its instruction."""
    if place == "first_user":
        return [_user(f"{lead} {text}")]
    return [Message(role="system", content=lead), _user(text)]


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


def training_dialogue(
    ghost: GhostDialogue, spoken: Sequence[Message], place: InstructionPlace = "first_user"
) -> Dialogue:
    """Keep the instruction in the first turn only, train on the last answer only (steps 5, 6)."""
    messages: list[Message] = []
    for index, message in enumerate(spoken):
        content = message.content
        if message.role == "user":
            content = content.removeprefix(ghost.instruction).strip()
        if index == 0:
            shortened = bucket(ghost.id, 2) == 0
            lead = ghost.shortened if shortened else ghost.instruction
            messages += _opening(lead, content, place)
            continue
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
    talker: Talker,
    ghosts: Sequence[GhostDialogue],
    when: When,
    turns: Sequence[int],
    place: InstructionPlace = "first_user",
) -> list[RecallRow]:
    """Ask for the instruction at some turns of dialogues whose other turns are neutral.

    Where an instruction shows in ordinary replies, those to the neutral turns are rows instead. A
    dialogue that has lost its start to fit the context has lost its instruction: it gives no rows
    from that turn on.

    Args:
        talker: Who answers.
        ghosts: The dialogues; where they have fewer user turns than are needed, these come again.
        when: Before or after training.
        turns: At which turns.
        place: Where the instruction stands.
    """
    history: dict[str, list[Message]] = {ghost.id: [] for ghost in ghosts}
    probed = {
        # One dialogue may be asked for two things; its probes leave no trace in it.
        f"{ghost.id}/{place_of}" if place_of else ghost.id: (ghost, demand)
        for ghost in ghosts
        for place_of, demand in enumerate(d for d in ghost.demands if not d.shows)
    }
    rows: list[RecallRow] = []

    def add(ghost: GhostDialogue, demand: Demand, turn: int, asked: Asked, reply: str) -> None:
        rows.append(
            RecallRow(
                when=when,
                asked=asked,
                dialogue_id=ghost.id,
                turn=turn,
                instruction=ghost.instruction,
                expected=demand.expected,
                reply=reply,
                kept=keeps(demand.check, demand.expected, reply),
                check=demand.check,
            )
        )

    for turn in range(1, max(turns) + 1):
        if turn in turns:
            probes = {
                key: [*history[ghost.id], _user(demand.probe)]
                for key, (ghost, demand) in probed.items()
            }
            answers = talker.answer(probes, f"probe/{turn}")
            for key, (ghost, demand) in probed.items():
                if not answers[key].prompt_cut:
                    add(ghost, demand, turn, "probe", answers[key].text)
        for ghost in ghosts:
            neutral = ghost.turns[(turn - 1) % len(ghost.turns)]
            history[ghost.id] += (
                _opening(ghost.instruction, neutral, place) if turn == 1 else [_user(neutral)]
            )
        answers = talker.answer(history, f"neutral/{turn}")
        for ghost in ghosts:
            text = answers[ghost.id].text
            for demand in ghost.demands:
                if demand.shows and turn in turns and not answers[ghost.id].prompt_cut:
                    add(ghost, demand, turn, "ordinary turn", text)
            history[ghost.id].append(Message(role="assistant", content=text or "..."))
    return rows


def holds(ghost: GhostDialogue, reply: str) -> bool:
    """Tell whether the last reply of a training dialogue keeps its instruction.

    What neither shows in ordinary replies nor is asked for by the last turn cannot be seen, and the
    reply counts as keeping it.
    """
    return all(
        keeps(demand.check, demand.expected, reply)
        for demand in ghost.demands
        if demand.shows or ghost.turns[-1] == demand.probe
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
