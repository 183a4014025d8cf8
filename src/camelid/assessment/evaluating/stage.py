"""Answers the test prompts with every model and has the replies judged."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from camelid.assessment.evaluating import Config, Inputs, Outputs, Result, at
from camelid.data.annotation import JudgedReply, Opinion, PromptSet
from camelid.data.records import Prompt
from camelid.errors import DataError, counted
from camelid.formats.folder import load_reward_model, load_transformer
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.rewards import RewardPair
from camelid.inference.sampling import Sampling
from camelid.inference.scoring import sequence_log_ratios
from camelid.methods.judging import Bench
from camelid.methods.rewards import load_rewards
from camelid.model.reward_model import RewardModel
from camelid.run.stage import StageContext
from camelid.seeds import derive_seed


def set_of(prompt: Prompt) -> PromptSet:
    """Return the evaluation set of a prompt."""
    if prompt.attack_vector is not None:
        return "adversarial"
    if prompt.borderline:
        return "borderline"
    return "helpful" if prompt.reference is not None else "dialogue"


def select_prompts(prompts: Sequence[Prompt], config: Config) -> list[Prompt]:
    """Return prompts of the test split, each set up to its limit, in order fixed by ids."""
    chosen = []
    counts: Counter[str] = Counter()
    limits: dict[PromptSet, int] = {
        "helpful": config.helpful,
        "adversarial": config.adversarial,
        "borderline": config.borderline,
        "dialogue": config.dialogue,
    }
    for prompt in sorted(prompts, key=lambda p: derive_seed("evaluating", p.id)):
        name = set_of(prompt)
        if prompt.split == "test" and counts[name] < limits[name]:
            counts[name] += 1
            chosen.append(prompt)
    return chosen


_Answered = tuple[Sequence[Reply], Sequence[float | None]]
"""Replies of one model, each with its log-ratio to the model's start where it has one."""


@dataclass(frozen=True, slots=True)
class _Judges:
    bench: Bench
    rewards: RewardPair
    guard: RewardModel

    def rows(
        self, name: str, temperature: float, answered: _Answered
    ) -> tuple[list[JudgedReply], list[Opinion]]:
        """Score and judge the replies of one model."""
        replies, log_ratios = answered
        rated = self.rewards.rate(replies, watching=self.guard)
        verdicts = self.bench.judge(replies)
        rows = [
            JudgedReply(
                model=name,
                set=set_of(reply.prompt),
                prompt_id=reply.prompt.id,
                category=reply.prompt.category,
                risk_category=reply.prompt.risk_category,
                attack_vector=reply.prompt.attack_vector,
                attack_strength=reply.prompt.attack_strength,
                turns=sum(message.role == "user" for message in reply.prompt.messages),
                prompt=reply.prompt.messages,
                reply=reply.text,
                temperature=temperature,
                reply_tokens=len(reply.tokens),
                stop_reason=reply.stop_reason,
                helpfulness_rm=rated.helpfulness[index],
                safety_rm=rated.safety[index] if rated.safety else None,
                guard_rm=rated.watched[index],
                reward=rated.combined[index],
                log_ratio=log_ratios[index],
                judge=verdicts[index].judge,
                judgement=verdicts[index].judgement,
            )
            for index, reply in enumerate(replies)
        ]
        return rows, [found.opinion for found in verdicts if found.opinion is not None]


def _answer(
    name: str, sampling: Sampling, inputs: Inputs, context: StageContext, selected: list[Prompt]
) -> _Answered:
    """Return the replies of one model, and their log-ratios where it has a reference."""
    folders = dict(inputs.models + inputs.controls)
    own = ModelResponder.load(folders[name].path, inputs.tokenizer.path, context.runtime)
    kept, _ = own.fitting(selected, sampling.max_new_tokens)
    if not kept:
        raise DataError(
            f"{context.name}: no prompt leaves {name} room for "
            f"{counted(sampling.max_new_tokens, 'new token')}. Set a smaller "
            "--evaluating.sampling.max-new-tokens."
        )
    replies = own.answer(kept, sampling, seed=context.seed)
    reference = dict(inputs.references).get(name)
    if reference is None:
        return replies, [None] * len(replies)
    start = load_transformer(folders[reference].path, context.runtime)
    # Greedy replies have no temperature of their own.
    temperature = sampling.temperature or 1.0
    return replies, list(sequence_log_ratios(own.model, start, replies, temperature=temperature))


def run(config: Config, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Answer and judge, model after model."""
    selected = select_prompts(inputs.prompts.read_some(), config)
    if not selected:
        raise DataError(
            f"{inputs.prompts.path}: no prompt of the split 'test' to evaluate on; add some."
        )
    judges: _Judges | None = None
    parts, beside = [], []
    own = config.sampling.temperature
    asked = [(name, name, own) for name, _ in inputs.models + inputs.controls]
    asked += [
        (at(name, t), name, t) for name in inputs.sharpened for t in config.other_temperatures
    ]
    for number, (called, name, temperature) in enumerate(asked):
        # One file a model: an interrupted evaluation does not answer again.
        part = dataclasses.replace(
            outputs.replies, name=f"replies_{number}.jsonl", folder=context.work
        )
        parts.append(part)
        beside.append(
            dataclasses.replace(
                outputs.opinions, name=f"opinions_{number}.jsonl", folder=context.work
            )
        )
        if part.exists:
            continue
        judges = judges or _Judges(
            Bench.load(config.judge, inputs.judges, context.runtime),
            load_rewards(inputs.rewards, context.runtime),
            load_reward_model(inputs.guard.path, context.runtime),
        )
        sampling = dataclasses.replace(config.sampling, temperature=temperature)
        answered = _answer(name, sampling, inputs, context, selected)
        temporary = dataclasses.replace(part, name=f"{part.name}.partial")
        judged, opinions = judges.rows(called, temperature, answered)
        if opinions:
            beside[-1].write(opinions)
        temporary.write(judged)
        temporary.path.rename(part.path)
        context.progress.update(number + 1, len(asked))
    rows = [row for part in parts for row in part.read()]
    outputs.replies.write(rows)
    if opinions := [row for part in beside if part.exists for row in part.read()]:
        outputs.opinions.write(opinions)
    names = [called for called, *_ in asked]
    counts = {name: Counter(str(row.set) for row in rows if row.model == name) for name in names}
    return Result(
        judge=rows[0].judge,
        prompts={name: dict(found) for name, found in counts.items()},
        prompts_too_long={name: len(selected) - found.total() for name, found in counts.items()},
    )
