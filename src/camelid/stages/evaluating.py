"""Evaluation of every version of the model on held-out prompts (Sections 3.4, 4.4, A.3.4).

Each model answers the same test prompts with the same settings; a judge that no model was optimised
against says what the replies are worth; the latest reward models and the guard score them beside
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from camelid.data.annotation import Judge
from camelid.data.records import Prompt, iterate_json_lines, read_records, write_records
from camelid.errors import DataError
from camelid.formats.folder import load_reward_model, load_transformer
from camelid.inference.replies import Reply, fitting_prompts, sample_replies
from camelid.inference.rewards import RewardPair
from camelid.inference.sampling import Sampling
from camelid.inference.scoring import action_log_probabilities, score
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.stages.rejection_sampling import load_rewards
from camelid.tokenization.chat import load_chat_format


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the evaluation."""

    sampling: Sampling
    """Temperature, top-p and length of the replies; the reference code's are 0.6 and 0.9."""
    helpful: int = 0
    """Most prompts that an exact judge can score for helpfulness."""
    adversarial: int = 0
    """Most attack prompts."""
    borderline: int = 0
    """Most benign prompts that look harmful (A.4.2 has 210)."""
    dialogue: int = 0
    """Most prompts without an exact answer, judged by reward models only."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    models: tuple[tuple[str, str], ...]
    """(name, folder) of each model, in the order of training."""
    references: tuple[tuple[str, str], ...]
    """(name, name of the model it started from): its replies are compared with that one's."""
    reward_models: str
    prompts: str

    def paths(self) -> tuple[str, ...]:
        """All of them."""
        folders = tuple(path for _, path in self.models)
        return (self.tokenizer, *folders, self.reward_models, self.prompts)


def set_of(prompt: Prompt) -> str:
    """Return the evaluation set of a prompt."""
    if prompt.attack_vector is not None:
        return "adversarial"
    if prompt.borderline:
        return "borderline"
    return "helpful" if prompt.reference is not None else "dialogue"


def select_prompts(prompts: Sequence[Prompt], config: Config) -> list[tuple[str, Prompt]]:
    """Return (set, prompt) of the test split, each set up to its limit, in order fixed by ids."""
    chosen = []
    counts: Counter[str] = Counter()
    for prompt in sorted(prompts, key=lambda p: derive_seed("evaluating", p.id)):
        name = set_of(prompt)
        if prompt.split == "test" and counts[name] < getattr(config, name):
            counts[name] += 1
            chosen.append((name, prompt))
    return chosen


_LABELS = ("category", "risk_category", "attack_vector", "attack_strength")


@dataclass(frozen=True, slots=True)
class _Judges:
    judge: Judge
    rewards: RewardPair
    guard: RewardModel


def _rows(
    name: str,
    sets: Sequence[str],
    replies: Sequence[Reply],
    judges: _Judges,
    *,
    log_ratios: Sequence[float | None],
    precision: Precision,
) -> list[dict[str, Any]]:
    rated = judges.rewards.rate(replies, precision=precision)
    guard = score(judges.guard, [reply.sequence for reply in replies], precision=precision)
    rows = []
    for index, reply in enumerate(replies):
        prompt = reply.prompt
        judgement = judges.judge.judge(prompt, reply.text)
        rows.append(
            {
                "model": name,
                "set": sets[index],
                "prompt_id": prompt.id,
                **{field: getattr(prompt, field) for field in _LABELS},
                "turns": sum(message.role == "user" for message in prompt.messages),
                "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
                "reply": reply.text,
                "reply_tokens": len(reply.tokens),
                "stop_reason": reply.stop_reason,
                "helpfulness_rm": rated.helpfulness[index],
                "safety_rm": rated.safety[index],
                "guard_rm": guard[index],
                "reward": rated.combined[index],
                "log_ratio": log_ratios[index],
                "judge": {"name": judges.judge.name, **asdict(judgement)},
            }
        )
    return rows


def sequence_log_ratios(
    model: Transformer,
    reference: Transformer,
    replies: Sequence[Reply],
    *,
    temperature: float,
    precision: Precision,
) -> list[float]:
    """Return the log-ratio of each whole reply between a model and its reference, in nats.

    At the temperature of the replies, and drawn without a top-p cut, the mean estimates their
    Kullback-Leibler divergence; with a cut it does not.
    """
    sequences = [reply.sequence for reply in replies]
    prompts = [len(reply.prompt_tokens) for reply in replies]
    own, base = (
        action_log_probabilities(
            which, sequences, prompts, temperature=temperature, precision=precision
        )
        for which in (model, reference)
    )
    return [float((a.logp - b.logp).sum()) for a, b in zip(own, base, strict=True)]


def run(
    config: Config, context: StageContext, inputs: Inputs, judge: Judge, precision: Precision
) -> dict[str, Any]:
    """Answer and judge; writes `replies.jsonl`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    device = default_device()
    selected = select_prompts(read_records(context.input(inputs.prompts), Prompt), config)
    if not selected:
        raise DataError(f"{inputs.prompts}: no prompt of the split 'test' to evaluate on.")
    folders = dict(inputs.models)
    references = dict(inputs.references)
    guard_folder = context.input(inputs.reward_models) / "guard_rm"
    judges = _Judges(
        judge, load_rewards(context, inputs.reward_models), load_reward_model(guard_folder, device)
    )
    counts: Counter[str] = Counter(name for name, _ in selected)
    too_long = 0
    for number, (name, folder) in enumerate(folders.items()):
        # One file a model: an interrupted evaluation does not answer again.
        part = context.work / f"replies_{number}.jsonl"
        model = load_transformer(context.input(folder), device)
        room = model.config.context - config.sampling.max_new_tokens
        kept, too_long = fitting_prompts(chat, [prompt for _, prompt in selected], room)
        if part.is_file():
            continue
        fitting = {prompt.id for prompt in kept}
        sets = [name_of_set for name_of_set, prompt in selected if prompt.id in fitting]
        replies = sample_replies(
            model, chat, kept, config.sampling, seed=context.seed, precision=precision
        )
        log_ratios: list[float | None] = [None] * len(replies)
        if name in references:
            reference = load_transformer(context.input(folders[references[name]]), device)
            log_ratios = list(
                sequence_log_ratios(
                    model,
                    reference,
                    replies,
                    # Greedy replies have no temperature of their own.
                    temperature=config.sampling.temperature or 1.0,
                    precision=precision,
                )
            )
        rows = _rows(name, sets, replies, judges, log_ratios=log_ratios, precision=precision)
        temporary = part.with_suffix(".tmp")
        write_records(temporary, rows)
        temporary.rename(part)
        context.progress.update(number + 1, len(folders))
    parts = [context.work / f"replies_{number}.jsonl" for number in range(len(folders))]
    write_records(
        context.out / "replies.jsonl",
        (row for part in parts for _, row in iterate_json_lines(part)),
    )
    return {
        "models": folders,
        "references": references,
        "judge": {"name": judge.name},
        "sampling": asdict(config.sampling),
        "prompts": dict(counts),
        "prompts_too_long": too_long,
    }
