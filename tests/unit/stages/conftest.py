"""A tiny run from raw text to PPO, made once, and its stages to run again one by one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.sampling import Sampling
from camelid.recipes.pocket import SMOKE, Settings, _plan
from camelid.run.stage import PlannedStage
from camelid.seeds import derive_seed
from camelid.simulation.config import WorldConfig
from camelid.sources import tokenizer_training


def settings() -> Settings:
    shape = replace(SMOKE.pretraining.model, dim=16, ffn_dim=32, vocabulary_size=512)
    short = Sampling(max_new_tokens=40)
    tuning = replace(SMOKE.sft, steps=4)
    return replace(
        SMOKE,
        world=WorldConfig(
            people=12,
            towns=12,
            creatures=12,
            documents=120,
            exercises=12,
            validation_documents=10,
            demonstrations=60,
            rm_train=100,
            rejection_sampling=60,
            ppo=30,
            red_teaming=12,
            validation=60,
            test_helpful=6,
            test_adversarial=6,
            test_borderline=6,
            ghost_train=6,
            ghost_test=3,
            drafted=2,
            open_comparisons=4,
            guard_comparisons=4,
        ),
        tokenizer_training=tokenizer_training.Config(vocabulary_size=512),
        pretraining=replace(SMOKE.pretraining, model=shape, tokens=7_000, validate_every=2),
        sft=replace(SMOKE.sft, epochs=2),
        preference_collection=replace(
            SMOKE.preference_collection,
            helpfulness_pairs=10,
            safety_pairs=8,
            test_pairs=3,
            guard_pairs=3,
            max_new_tokens=40,
        ),
        reward_modeling=replace(SMOKE.reward_modeling, batch_pairs=4, micro_pairs=2),
        rejection_sampling=replace(
            SMOKE.rejection_sampling,
            prompts=6,
            samples=2,
            tuning_prompts=2,
            max_new_tokens=40,
            demonstrations=20,
            fine_tuning=tuning,
        ),
        red_teaming=replace(SMOKE.red_teaming, prompts=4, sampling=short),
        context_distillation=replace(
            SMOKE.context_distillation,
            prompts=4,
            sampling=short,
            fine_tuning=tuning,
        ),
        ghost_attention=replace(
            SMOKE.ghost_attention, dialogues=4, test_dialogues=3,
            sampling=short, fine_tuning=tuning,
        ),
        ppo=replace(
            SMOKE.ppo,
            iterations=4,
            batch_rows=6,
            minibatch_rows=3,
            micro_rows=2,
            sampling=short,
            validation_prompts=3,
            validate_every=1,
        ),
    )  # fmt: skip


@dataclass
class GivenReplies:
    """Stands in for `ModelResponder.answer`, whose untrained models would hardly end a reply.

    A reply is one of some texts, picked by prompt, seed and sample; what is too long is cut.
    """

    texts: Sequence[str]
    calls: int = 0

    def __call__(
        self, responder: Any, prompts: Any, sampling: Any, *, seed: int, samples: int = 1,
        temperatures: Any = None,
    ) -> list[Reply]:  # fmt: skip
        self.calls += 1
        chat = responder.chat
        most = sampling.max_new_tokens
        replies = []
        for prompt, sample in itertools.product(prompts, range(samples)):
            draw = derive_seed(seed, prompt.id, sample)
            ids = [*chat.encode_reply(self.texts[draw % len(self.texts)]), chat.end_id]
            ended = len(ids) <= most
            words = ids[:-1] if ended else ids[:most]
            replies.append(
                Reply(
                    prompt=prompt,
                    sample=sample,
                    prompt_tokens=tuple(chat.render_prompt(prompt.messages)),
                    tokens=tuple(ids[:most]),
                    text=chat.tokenizer.decode(words).strip(),
                    stop_reason="stop" if ended else "length",
                )
            )
        return replies

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        def answer(responder: ModelResponder, *given: Any, **named: Any) -> list[Reply]:
            return self(responder, *given, **named)

        patch.setattr(ModelResponder, "answer", answer)


@dataclass(frozen=True)
class TinyRun:
    """A finished run; tests must not change it."""

    root: Path
    stages: dict[str, PlannedStage[Any, Any, Any, Any]]
    results: dict[str, Any]
    texts: Sequence[str]
    """What replies are made of."""

    def outputs(self, name: str) -> Any:
        """The places of a finished stage."""
        return self.stages[name].outputs(self.root / name)

    def again(
        self, workshop: Any, name: str, *, config: dict[str, Any] | None = None, **inputs: Any
    ) -> tuple[Any, Any]:
        """Run a stage in a workshop, with other settings or inputs where they are given."""
        stage = self.stages[name]
        return workshop.run(
            stage.kind,
            replace(stage.config, **(config or {})),
            replace(stage.inputs, **inputs),
            name,
            read_from=self.root,
        )


@pytest.fixture(scope="session")
def tiny_run(make_workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    import torch

    torch.set_num_threads(1)
    plan = _plan("tiny", settings(), 1)
    made = make_workshop(tmp_path_factory.mktemp("tiny"))
    given, results = GivenReplies(()), {}
    with pytest.MonkeyPatch.context() as patch:
        given.patch(patch)
        for stage in plan.stages:
            if stage.name == "evaluating":
                break
            results[stage.name], outputs = made.run(
                stage.kind, stage.config, stage.inputs, stage.name
            )
            if stage.name == "world_data":
                rows = outputs.demonstrations.read()
                given.texts = [row.messages[-1].content for row in rows]
    stages = {stage.name: stage for stage in plan.stages}
    return TinyRun(made.root, stages, results, given.texts)


@pytest.fixture
def given_replies(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> GivenReplies:
    """The replies of the tiny run, for stages that are run again."""
    given = GivenReplies(tiny_run.texts)
    given.patch(monkeypatch)
    return given
