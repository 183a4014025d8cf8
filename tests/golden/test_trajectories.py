"""One short trajectory of every stage that trains, in fp32 on one thread, against stored numbers.

The plan is `smoke`, smaller, stage after stage from raw text on. Sampled tokens would amplify
rounding (one other token is another reply), so replies are given: texts of the demonstrations,
picked by prompt, seed and sample alone. What is compared is then a smooth function of the weights;
shares that count who is above whom are left out, and where a score picks, its gap must be clear.

`tests/golden/trajectories.json` is written anew, after a change that is meant, by

    PYTHONPATH=src python tests/golden/test_trajectories.py

and its difference is to be read before it is committed. Run with another file name it writes there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from camelid.data.records import MetricsRow, Prompt
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.rewards import RewardPair, Rewards
from camelid.inference.sampling import Sampling
from camelid.losses import logit
from camelid.recipes.pocket import SMOKE, Settings, _plan
from camelid.run.files import write_json
from camelid.run.place import Rows
from camelid.run.progress import RunProgress
from camelid.run.stage import StageContext
from camelid.runtime import Runtime
from camelid.seeds import derive_seed
from camelid.simulation.config import WorldConfig
from camelid.sources import tokenizer_training
from camelid.tokenization.chat import ChatFormat
from camelid.train.config import OptimizerConfig

STORED = Path(__file__).with_name("trajectories.json")
TOLERANCE, TOLERANCE_PPO = 1e-4, 1e-3
"""Relative to the largest number of a row. Between generic, AVX2 and AVX-512 kernels rows differ by
4e-6 and less; those of PPO, which divides by small deviations, by 9e-5 and less."""
CLEAR = 1e-3
"""Smallest gap of a pick between scores, over the size of the scores."""
CLEAR_OF_GATE = 1e-5
"""The same of a safety score, whose spread is 2e-7, to the boundary of the gate."""
RATE = RewardPair.rate
STEPS = 8


def settings() -> Settings:
    """`smoke`, smaller."""
    smoke = SMOKE
    shape = replace(smoke.pretraining.model, dim=32, ffn_dim=64, vocabulary_size=512)
    # Without warm-up and with larger rates, a few steps change what is measured.
    quick = OptimizerConfig(learning_rate=3e-3, warmup_minimum=1)
    tuning = replace(smoke.sft, optimizer=quick, steps=STEPS)
    short = Sampling(max_new_tokens=40)
    return replace(
        smoke,
        world=WorldConfig(
            people=12,
            towns=12,
            creatures=12,
            documents=160,
            exercises=16,
            validation_documents=12,
            demonstrations=80,
            rm_train=120,
            rejection_sampling=60,
            ppo=40,
            red_teaming=12,
            validation=40,
            test_helpful=8,
            test_adversarial=6,
            test_borderline=6,
            ghost_train=8,
            ghost_test=4,
            drafted=2,
            open_comparisons=6,
            guard_comparisons=4,
        ),
        tokenizer_training=tokenizer_training.Config(vocabulary_size=512),
        pretraining=replace(
            smoke.pretraining, model=shape, optimizer=quick, tokens=7_500, validate_every=4
        ),
        sft=tuning,
        preference_collection=replace(
            smoke.preference_collection,
            helpfulness_pairs=48,
            safety_pairs=40,
            test_pairs=8,
            guard_pairs=8,
            max_new_tokens=40,
        ),
        reward_modeling=replace(
            smoke.reward_modeling, optimizer=quick, batch_pairs=6, micro_pairs=3, safety_share=0.9
        ),
        rejection_sampling=replace(
            smoke.rejection_sampling,
            prompts=12,
            samples=3,
            tuning_prompts=4,
            max_new_tokens=40,
            demonstrations=20,
            fine_tuning=tuning,
        ),
        red_teaming=replace(smoke.red_teaming, prompts=8, sampling=short),
        context_distillation=replace(
            smoke.context_distillation, prompts=8, sampling=short, fine_tuning=tuning
        ),
        ghost_attention=replace(
            smoke.ghost_attention, dialogues=8, test_dialogues=4, sampling=short, fine_tuning=tuning
        ),
        ppo=replace(
            smoke.ppo,
            optimizer=replace(quick, schedule="constant"),
            iterations=3,
            batch_rows=12,
            minibatch_rows=6,
            micro_rows=4,
            critic_warmup=0,
            kl_coefficient=0.3,
            sampling=short,
            validation_prompts=4,
            validate_every=1,
        ),
    )


@dataclass
class GivenReplies:
    """Stands in for `ModelResponder.answer`."""

    texts: Sequence[str]

    def __call__(
        self,
        responder: ModelResponder,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        seed: int,
        samples: int = 1,
        temperatures: Sequence[float] | None = None,
    ) -> list[Reply]:
        return [
            self._reply(
                responder.chat, prompt, sample, derive_seed(seed, prompt.id, sample), sampling
            )
            for prompt in prompts
            for sample in range(samples)
        ]

    def _reply(
        self, chat: ChatFormat, prompt: Prompt, sample: int, draw: int, sampling: Sampling
    ) -> Reply:
        text = self.texts[draw % len(self.texts)]
        if prompt.category == "ghost_attention" and draw % 2:
            # As if it remembered its instruction.
            text = prompt.messages[0].content
        whole = chat.encode_reply(text)
        # What is too long is cut, and of the others one in eight.
        room = len(whole) - 1 if draw // 1009 % 8 == 0 else sampling.max_new_tokens
        ended = len(whole) < room
        words = whole if ended else whole[: max(1, min(room, sampling.max_new_tokens))]
        return Reply(
            prompt,
            sample,
            tuple(chat.render_prompt(prompt.messages)),
            (*words, chat.end_id) if ended else tuple(words),
            chat.tokenizer.decode(words).strip(),
            "stop" if ended else "length",
        )


def losses(rows: Rows[MetricsRow]) -> dict[str, list[float]]:
    """What every training says of itself, by step."""
    read = rows.read()[:STEPS]
    found = {"loss": [row.loss for row in read], "gradient": [row.grad_norm for row in read]}
    # Shares of pairs or actions beyond a boundary jump where one of them lies on it.
    for name in sorted(read[0].metrics.keys() - {"accuracy", "clip_fraction"}):
        found[name] = [row.metrics[name] for row in read]
    return found


DOUBTS: list[tuple[float, float]] = []
"""Decisions between two scores that rounding could turn; none may be stored."""


def decide(one: float, other: float, share: float = CLEAR) -> None:
    """Note a decision that is not clear."""
    if abs(one - other) <= share * max(abs(one), abs(other)):
        DOUBTS.append((one, other))


def rate(pair: RewardPair, replies: Sequence[Reply], **watching: Any) -> Rewards:
    """Stands in for `RewardPair.rate`: no score may lie on the boundary of the gate."""
    rated = RATE(pair, replies, **watching)
    for score in rated.safety:
        decide(score, logit(pair.threshold), CLEAR_OF_GATE)
    return rated


def of_pretraining(outputs: Any, result: Any) -> dict[str, Any]:
    return losses(outputs.metrics) | {
        "validation": [row.loss for row in outputs.validation.read()],
        "tokens": [result.tokens, result.corpus_tokens, result.validation_tokens],
    }


def of_sft(outputs: Any, result: Any) -> dict[str, Any]:
    tuned = result.fine_tuning
    return losses(outputs.metrics) | {"tokens": [tuned.tokens, tuned.target_tokens, tuned.rows]}


def of_preference_collection(outputs: Any, result: Any) -> dict[str, Any]:
    rows = outputs.preferences.read()
    return {
        "counts": sorted(result.counts.values()),
        "strengths": sorted(result.statistics.strength.values()),
        "tokens": [result.statistics.tokens_per_example],
        "chosen": [len(row.chosen) for row in rows],
    }


def of_reward_modeling(outputs: Any, result: Any) -> dict[str, Any]:
    found = {}
    for name in ("helpfulness", "safety", "guard"):
        rows = losses(getattr(outputs, f"metrics_{name}"))
        found |= {f"{name} {key}": values for key, values in rows.items()}
    tests = outputs.test_scores.read()
    drafted = outputs.drafted_scores.read()
    for name in ("helpfulness_rm", "safety_rm", "guard_rm"):
        found[f"{name} chosen"] = [row.chosen_scores[name] for row in tests]
        found[f"{name} rejected"] = [row.rejected_scores[name] for row in tests]
        found[f"{name} drafted"] = [
            row.chosen_scores[name] - row.rejected_scores[name] for row in drafted
        ]
    return found | {"gate": [outputs.gate.read().threshold]}


def of_rejection_sampling(outputs: Any, result: Any) -> dict[str, Any]:
    samples = outputs.samples.read()
    finished: dict[str, set[float]] = {}
    for row in samples:
        if row.stop_reason == "stop":
            finished.setdefault(row.prompt_id, set()).add(row.reward)
    for rewards in finished.values():
        for second, best in pairwise(sorted(rewards)):
            decide(second, best)
    return losses(outputs.metrics) | {
        "temperature": [result.temperature],
        "helpfulness": [row.helpfulness for row in samples],
        "safety": [row.safety for row in samples],
        "rewards": [row.reward for row in samples],
        "bests": [max(rewards) for rewards in finished.values()],
        "pooled": [len(dialogue.messages[-1].content) for dialogue in outputs.bests.read()],
        "demonstrations": [
            len(dialogue.messages[-1].content) for dialogue in outputs.demonstrations.read()
        ],
    }


def of_pick_control(outputs: Any, result: Any) -> dict[str, Any]:
    gate = result.gate
    return losses(outputs.metrics) | {
        "picks": [len(dialogue.messages[-1].content) for dialogue in outputs.picks.read()],
        "exact": [result.picks, result.compared, *result.exact.values()],
        "gate": [gate.answers, gate.closed, gate.unsafe, gate.closed_unsafe],
    }


def of_red_teaming(outputs: Any, result: Any) -> dict[str, Any]:
    return {"violating": [float(row.violating) for row in outputs.attacks.read()]}


def of_context_distillation(outputs: Any, result: Any) -> dict[str, Any]:
    rows = outputs.pairs.read()
    for row in rows:
        for led in (row.generic, row.template):
            if led.text != row.original.text:
                decide(led.score, row.original.score)
    return losses(outputs.metrics) | {
        "original": [row.original.score for row in rows],
        "generic": [row.generic.score for row in rows],
        "template": [row.template.score for row in rows],
        "kept": [float(row.kept) for row in rows],
    }


def of_ghost_attention(outputs: Any, result: Any) -> dict[str, Any]:
    return losses(outputs.metrics) | {
        "recalled": [float(row.kept) for row in outputs.recall.read()],
        "turns": [row.turn for row in outputs.recall.read()],
        "tokens": [result.fine_tuning.tokens, result.fine_tuning.target_tokens],
    }


def of_ppo(outputs: Any, result: Any) -> dict[str, Any]:
    rows = outputs.iterations.read()
    rollouts = [row.rollout for row in rows if row.rollout is not None]
    names = ("reward", "guard_reward", "kl", "kl_k3", "entropy", "eos_share", "reply_length",
             "value_explained_variance", "gated_share")  # fmt: skip
    return (
        {f"rollout {name}": [getattr(rollout, name) for rollout in rollouts] for name in names}
        | losses(outputs.metrics)
        | {
            "validation": [row.validation_reward for row in rows],
            "guard": [row.validation_guard_reward for row in rows],
            "best": [result.best_validation_reward],
        }
    )


TAKEN = {
    "pretraining": of_pretraining,
    "sft": of_sft,
    "v1/preference_collection": of_preference_collection,
    "v1/reward_modeling": of_reward_modeling,
    "v1/rejection_sampling": of_rejection_sampling,
    "v1/red_teaming": of_red_teaming,
    "random_pick/pick_control": of_pick_control,
    "judge_pick/pick_control": of_pick_control,
    "context_distillation": of_context_distillation,
    "ghost_attention": of_ghost_attention,
    "ppo": of_ppo,
    "final/red_teaming": of_red_teaming,
}


def trajectories(root: Path) -> dict[str, dict[str, list[float]]]:
    """Run the stages in a folder and return what is compared of each."""
    torch.set_num_threads(1)
    plan = _plan("golden", settings(), 1)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for stage in plan.stages:
            if stage.name == "evaluating":
                break
            work = root / "work" / stage.name
            work.mkdir(parents=True)
            outputs = stage.outputs(root / stage.name)
            (root / stage.name).mkdir(parents=True)
            context = StageContext(
                name=stage.name,
                root=root,
                work=work,
                seed=derive_seed(0, stage.name),
                run_seed=0,
                progress=RunProgress(),
                runtime=Runtime(),
            )
            result = stage.kind.runner()(stage.config, stage.inputs.at(root), outputs, context)
            if stage.name in TAKEN:
                taken = TAKEN[stage.name](outputs, result)
                found[stage.name] = taken | {"doubtful decisions": [len(DOUBTS)]}
                DOUBTS.clear()
            if stage.name == "world_data":
                texts = [row.messages[-1].content for row in outputs.demonstrations.read()]
                given = GivenReplies(texts)
                patch.setattr(ModelResponder, "answer", lambda *a, g=given, **k: g(*a, **k))
                patch.setattr(RewardPair, "rate", rate)
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[float]]]:
    return trajectories(tmp_path_factory.mktemp("trajectories"))


def spreads(
    found: dict[str, list[float]], stored: dict[str, list[float]]
) -> Iterator[tuple[str, float]]:
    """Yield the largest difference of each row over its largest number."""
    assert found.keys() == stored.keys()
    for name, expected in stored.items():
        assert len(found[name]) == len(expected), name
        scale = max(map(abs, expected)) or 1.0
        yield name, max(abs(a - b) for a, b in zip(found[name], expected, strict=True)) / scale


@pytest.mark.parametrize("stage", TAKEN)
def test_the_trajectory_is_the_stored_one(stage: str, found: dict[str, Any]) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert stored.keys() == TAKEN.keys()
    tolerance = TOLERANCE_PPO if stage == "ppo" else TOLERANCE
    wrong = {
        name: (f"{spread:.1e}", found[stage][name], stored[stage][name])
        for name, spread in spreads(found[stage], stored[stage])
        if spread > tolerance
    }
    assert not wrong


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(sys.argv[1]) if sys.argv[1:] else STORED, trajectories(Path(folder)))
