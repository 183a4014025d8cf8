"""Rejection sampling: K answers a prompt, the temperature tuned, the best finished answer kept.

Source: arXiv 2307.09288, Section 3.2.3 and Figure 8.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from camelid.data.prompts import mentions
from camelid.data.records import Dialogue, Message, Prompt, Sample, TuningRow
from camelid.inference.replies import Reply, Responder
from camelid.inference.rewards import RewardPair, Rewards
from camelid.inference.sampling import Sampling
from camelid.seeds import derive_seed
from camelid.tokenization.chat import ChatFormat


@dataclass(frozen=True, slots=True)
class Sampler:
    """Samples and scores answers of one policy."""

    responder: Responder
    rewards: RewardPair
    max_new_tokens: int
    seed: int

    def __call__(
        self, prompts: Sequence[Prompt], temperature: float, samples: int, salt: str
    ) -> tuple[list[Reply], Rewards]:
        """Answer prompts `samples` times each and score the answers."""
        sampling = Sampling(temperature=temperature, max_new_tokens=self.max_new_tokens)
        replies = self.responder.answer(
            prompts,
            sampling,
            seed=derive_seed(self.seed, salt, temperature),
            samples=samples,
        )
        return replies, self.rewards.rate(replies)


def tune_temperature(
    sampler: Sampler, prompts: Sequence[Prompt], temperatures: Sequence[float], samples: int
) -> tuple[dict[float, float], list[TuningRow]]:
    """Return the mean best reward by temperature, and all rewards (Figure 8).

    Only a finished answer can win. All temperatures are compared on all prompts: a prompt without a
    finished answer counts with the worst reward of all.
    """
    rows: list[TuningRow] = []
    best: dict[float, dict[str, float]] = {}
    for temperature in temperatures:
        replies, rewards = sampler(prompts, temperature, samples, "tuning")
        found = best.setdefault(temperature, {})
        for reply, reward in zip(replies, rewards.combined, strict=True):
            identity = reply.prompt.id
            if reply.stop_reason == "stop":
                found[identity] = max(found.get(identity, reward), reward)
            rows.append(
                TuningRow(
                    temperature=temperature,
                    prompt_id=identity,
                    sample=reply.sample,
                    stop_reason=reply.stop_reason,
                    reward=reward,
                )
            )
    worst = min(row.reward for row in rows)
    means = {
        temperature: statistics.fmean(found.get(prompt.id, worst) for prompt in prompts)
        for temperature, found in best.items()
    }
    return means, rows


def best_demonstrations(
    dialogues: Sequence[Dialogue], chat: ChatFormat, rewards: RewardPair, kept: float
) -> list[Dialogue]:
    """Return the share of the dialogues of each category whose last answer has the best reward.

    Source: choice, after Section 3.1 (quality of annotations); their order stays.
    """
    replies = [
        Reply(
            Prompt(
                id=dialogue.id,
                messages=dialogue.messages[:-1],
                category=dialogue.category,
                is_safety=dialogue.is_safety,
                source=dialogue.source,
                split="rejection_sampling",
            ),
            0,
            tuple(chat.render_prompt(dialogue.messages[:-1])),
            (*chat.encode_reply(dialogue.messages[-1].content), chat.end_id),
            dialogue.messages[-1].content,
            "stop",
        )
        for dialogue in dialogues
    ]
    by_category: dict[str, list[tuple[float, int]]] = {}
    for index, reward in enumerate(rewards.rate(replies).combined):
        by_category.setdefault(dialogues[index].category, []).append((-reward, index))
    best = {
        index
        for ranked in by_category.values()
        for _, index in sorted(ranked)[: max(1, round(kept * len(ranked)))]
    }
    return [dialogues[index] for index in sorted(best)]


def finished_rewards(samples: Sequence[Sample]) -> list[list[float]]:
    """Return the rewards of the finished answers of each prompt that has one."""
    by_prompt: dict[str, list[float]] = {}
    for sample in samples:
        if sample.stop_reason == "stop":
            by_prompt.setdefault(sample.prompt_id, []).append(sample.reward)
    return list(by_prompt.values())


def best_id(round_number: int, prompt: Prompt) -> str:
    """Return the id of the dialogue with a prompt's best answer."""
    return f"best/{round_number}/{prompt.id}"


def pick_bests(
    prompts: Sequence[Prompt],
    samples: Sequence[Sample],
    forbidden: Sequence[str],
    round_number: int,
    *,
    value: Callable[[Prompt, Sample], Any] = lambda _, sample: sample.reward,
) -> tuple[list[Dialogue], dict[str, int]]:
    """Return the best finished answer of each prompt as a dialogue, and why prompts were left out.

    An answer cut by the length limit would teach a forged ending, so it cannot win. `value` says
    which is best: by default the reward.
    """
    by_prompt: dict[str, list[Sample]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt_id, []).append(sample)
    bests = []
    counts = {"dropped_unfinished": 0, "dropped_held_out": 0}
    for prompt in prompts:
        finished = [s for s in by_prompt[prompt.id] if s.stop_reason == "stop" and s.text]
        if not finished:
            counts["dropped_unfinished"] += 1
            continue
        best = max(finished, key=partial(value, prompt))
        if mentions(best.text, forbidden):
            counts["dropped_held_out"] += 1
            continue
        answer = Message(role="assistant", content=best.text, train=True)
        bests.append(
            Dialogue(
                id=best_id(round_number, prompt),
                messages=(*prompt.messages, answer),
                category=prompt.category,
                is_safety=prompt.is_safety,
                source=f"rejection sampling, round {round_number}",
            )
        )
    return bests, counts
