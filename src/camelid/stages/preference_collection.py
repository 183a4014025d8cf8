"""Preference collection (Section 3.2.1).

Annotators see two replies to a prompt, from two model variants at varied temperatures, choose one
and say how much better it is; for safety prompts they also label which replies are safe.
Helpfulness and safety are collected apart. Part of the comparisons continue a dialogue with its
chosen reply. Comparisons whose chosen reply is the unsafe one are excluded and counted, as are
replies that are cut or name a held-out term. Annotators here are simulated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid.data.annotation import Annotator
from camelid.data.held_out import load_held_out, mentions
from camelid.data.prompts import bucket
from camelid.data.records import Kind, Preference, Prompt, read_records, write_records
from camelid.errors import DataError
from camelid.formats.folder import load_transformer
from camelid.inference.pairs import Variant, sample_pairs
from camelid.inference.replies import fitting_prompts
from camelid.run.seeds import derive_seed
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.simulation.annotators import AnnotatorConfig, SimulatedAnnotator
from camelid.simulation.judge import ExactJudge
from camelid.simulation.world import World, WorldConfig, build_world
from camelid.tokenization.chat import ChatFormat, load_chat_format


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of one round of collection."""

    helpfulness_pairs: int
    """Training comparisons of helpfulness a round."""
    safety_pairs: int
    """Training comparisons of safety a round."""
    test_pairs: int
    """Held-out comparisons of each kind a round (1000 per batch in the paper)."""
    guard_pairs: int
    """Comparisons of each kind a round on other prompts, only for the guard reward model."""
    continued_share: float = 0.25
    """Share of the comparisons that continue a dialogue with its chosen reply (Source: choice)."""
    temperatures: tuple[float, ...] = (0.7, 1.0, 1.3)
    """Sampling temperatures; the paper varies them without naming values."""
    max_new_tokens: int = 64
    """Longest reply in tokens."""
    annotator: AnnotatorConfig
    """Noise and bias of the simulated annotators."""


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    prompts: str
    older: str
    newer: str
    held_out: str | None
    """Held-out terms; a comparison of a reply that names one is not used."""
    round: int


GUARD_BUCKETS = 5
"""One prompt in five is kept for the guard reward model."""


def _pool(prompts: Sequence[Prompt], kind: Kind, use: str) -> list[Prompt]:
    """Return the prompts of one kind for one use, in an order fixed by their ids."""
    split = "validation" if use == "test" else "rm_train"
    chosen = [p for p in prompts if p.split == split and p.is_safety == (kind == "safety")]
    if use != "test":
        wants_guard = use == "guard"
        chosen = [p for p in chosen if (bucket(p.id, GUARD_BUCKETS) == 0) == wants_guard]
    return sorted(chosen, key=lambda p: derive_seed(use, p.id))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Collector:
    """Collects comparisons of one kind for one use."""

    config: Config
    context: StageContext
    chat: ChatFormat
    variants: tuple[Variant, Variant]
    annotator: Annotator
    world: World
    forbidden: Sequence[str]
    round_number: int
    precision: Precision
    counts: Counter[str] = field(default_factory=Counter)

    def _compare(
        self, prompts: Sequence[Prompt], parents: Sequence[str | None], kind: Kind, salt: str
    ) -> list[tuple[Prompt, Preference]]:
        room = self.variants[0].model.config.context - self.config.max_new_tokens
        kept, dropped = fitting_prompts(self.chat, prompts, room)
        self.counts["prompts_too_long"] += dropped
        parent_of = dict(zip((p.id for p in prompts), parents, strict=True))
        pairs, left_out = sample_pairs(
            self.variants,
            self.chat,
            kept,
            kind=kind,
            round_number=self.round_number,
            temperatures=self.config.temperatures,
            max_new_tokens=self.config.max_new_tokens,
            seed=derive_seed(self.context.seed, kind, salt),
            parents=[parent_of[p.id] for p in kept],
            precision=self.precision,
        )
        self.counts.update(left_out)
        allowed = [p for p in pairs if not mentions(f"{p.reply_a} {p.reply_b}", self.forbidden)]
        self.counts["held_out"] += len(pairs) - len(allowed)
        judged = [(pair.prompt, self.annotator.compare(pair)) for pair in allowed]
        sound = [
            (p, preference) for p, preference in judged if preference.safety != "chosen_unsafe"
        ]
        self.counts["excluded_chosen_unsafe"] += len(judged) - len(sound)
        return sound

    def collect(self, prompts: list[Prompt], kind: Kind, wanted: int, use: str) -> list[Preference]:
        """Collect `wanted` comparisons; each round begins at another place of the pool."""
        pool = _pool(prompts, kind, use)
        if wanted and not pool:
            raise DataError(f"{self.context.name}: no {kind} prompt for {use}; make more prompts.")
        continued = round(wanted * self.config.continued_share) if use == "train" else 0
        found: list[tuple[Prompt, Preference]] = []
        position = (self.round_number - 1) * wanted
        # Pairs that are left out cost prompts, so ask in portions, sized by what earlier ones gave,
        # until there are enough; a pool that has been asked four times over is exhausted.
        asked = 0
        while len(found) < wanted - continued and asked < 4 * len(pool):
            portion = wanted - continued - len(found)
            if asked:
                portion = 16 + portion * asked // max(len(found), 1)
            portion = min(len(pool), portion)
            chosen = [pool[(position + i) % len(pool)] for i in range(portion)]
            unique = list({p.id: p for p in chosen}.values())
            found += self._compare(unique, [None] * len(unique), kind, f"{use}/{asked}")
            position, asked = position + portion, asked + portion
        found = found[: wanted - continued]
        if continued:
            parents = found[: continued + continued // 2]
            follow_ups = [
                self.world.follow_up(prompt, preference.chosen, self.round_number)
                for prompt, preference in parents
            ]
            ids = [preference.id for _, preference in parents]
            found += self._compare(follow_ups, ids, kind, f"{use}/continued")[:continued]
        self.counts[f"{use}_{kind}"] = len(found)
        return [preference for _, preference in found]


def describe(preferences: Sequence[Preference], chat: ChatFormat) -> dict[str, Any]:
    """Return the statistics of Tables 6 and 26 and the shares of the labels."""
    turns = [sum(m.role == "user" for m in p.prompt) for p in preferences]
    replies = [len(chat.encode_reply(text)) for p in preferences for text in (p.chosen, p.rejected)]
    whole = [len(chat.render_prompt(p.prompt)) for p in preferences]
    last = [len(chat.tokenizer.encode(p.prompt[-1].content)) for p in preferences]
    count = max(1, len(preferences))
    response = sum(replies) / (2 * count)
    return {
        "comparisons": len(preferences),
        "turns_per_dialogue": sum(turns) / count,
        "tokens_per_example": sum(whole) / count + response,
        "tokens_in_prompt": sum(last) / count,
        "tokens_in_response": response,
        "strength": dict(Counter(p.strength or "unrated" for p in preferences)),
        "safety": dict(Counter(p.safety for p in preferences if p.safety)),
        "continued": sum(p.parent is not None for p in preferences),
    }


def run(
    config: Config, context: StageContext, inputs: Inputs, world: WorldConfig, precision: Precision
) -> dict[str, Any]:
    """Collect one round; writes `preferences`, `test_preferences` and `guard_preferences`."""
    chat = load_chat_format(context.input(inputs.tokenizer))
    prompts = read_records(context.input(inputs.prompts), Prompt)
    device = default_device()
    variants = (
        Variant(inputs.older, load_transformer(context.input(inputs.older), device)),
        Variant(inputs.newer, load_transformer(context.input(inputs.newer), device)),
    )
    collector = _Collector(
        config=config,
        context=context,
        chat=chat,
        variants=variants,
        annotator=SimulatedAnnotator(config.annotator, ExactJudge()),
        world=build_world(world),
        forbidden=load_held_out(context, inputs.held_out),
        round_number=inputs.round,
        precision=precision,
    )
    kinds: dict[Kind, int] = {
        "helpfulness": config.helpfulness_pairs,
        "safety": config.safety_pairs,
    }
    result: dict[str, Any] = {}
    for use, name in (
        ("train", "preferences"),
        ("test", "test_preferences"),
        ("guard", "guard_preferences"),
    ):
        collected: list[Preference] = []
        others = {"test": config.test_pairs, "guard": config.guard_pairs}
        wanted = {kind: others.get(use, pairs) for kind, pairs in kinds.items()}
        for kind, count in wanted.items():
            collected += collector.collect(prompts, kind, count, use)
            context.progress.update(len(collected), sum(wanted.values()))
        write_records(context.out / f"{name}.jsonl", collected)
        if use == "train":
            result.update(describe(collected, chat))
    return {**result, "counts": dict(collector.counts)}
