"""Instructions for Ghost Attention from a chat model: the stage, and what trains on it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tokenizers import pre_tokenizers

from camelid.data.public import PublicDataConfig
from camelid.data.records import Dialogue, Message, Prompt
from camelid.errors import ConfigError, DataError, MissingInputError
from camelid.formats.folder import save_model
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.methods import instruction_checks
from camelid.methods.sizes import check_sizes
from camelid.model.config import ModelConfig
from camelid.model.transformer import Transformer
from camelid.plan import Plan
from camelid.run.place import ModelFolder, Rows, TokenizerFolder
from camelid.run.stage import NoInputs
from camelid.sources.ghost_instructions import (
    GHOST_INSTRUCTIONS,
    REPORT,
    Config,
    Inputs,
    Outputs,
)
from camelid.sources.public_data import PUBLIC_DATA
from camelid.sources.weights import WEIGHTS
from camelid.sources.weights import Config as WeightsConfig
from camelid.stages import ghost_attention
from camelid.tokenization.huggingface import write_huggingface_tokenizer
from camelid.tokenization.tokenizer import tokenizer_from_vocabulary
from camelid.tokenization.vocabulary import Vocabulary
from camelid.train.config import FineTuningConfig, OptimizerConfig

CONFIG = Config(
    train=12, test=4, kinds=("hobby", "figure", "form"), listed=10, asks=2, turns=3, test_turns=3,
    sampling=Sampling(max_new_tokens=20),
)  # fmt: skip
LISTS = {
    "hobbies": "1. Skiing\n2. Fencing\n3. Skiing\n4. Shooting",
    "people": "Plato\nHomer\nConfucius",
    "words": "Moss\nFern",
}


def prompt(number, split):
    return Prompt(
        id=f"{split}/{number}", messages=(Message(role="user", content=f"What is {number}?"),),
        category="x", is_safety=False, source="test", split=split,
    )  # fmt: skip


class Scene:
    """A tiny random chat model with ChatML, and prompts."""

    def __init__(self, workshop, context=2048):
        self.workshop, root = workshop, workshop.root
        special = ("<|im_start|>", "<|im_end|>")
        tokens = (*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "er")
        vocabulary = Vocabulary(
            kind="byte_level_bpe", tokens=tokens,
            types=tuple(3 if token in special else 1 for token in tokens), merges=("e r",),
            pre_tokenizer="smollm", bos_id=None, eos_id=1, chat_format="chatml",
        )  # fmt: skip
        model = Transformer(
            ModelConfig(
                dim=16,
                layers=1,
                heads=2,
                kv_heads=1,
                ffn_dim=32,
                vocabulary_size=len(tokens),
                context=context,
            )
        )
        model.initialise(0)
        self.tokenizer = TokenizerFolder("weights", "tokenizer", root / "weights")
        self.model = ModelFolder("weights", "model", root / "weights")
        self.tokenizer.path.mkdir(parents=True)
        write_huggingface_tokenizer(tokenizer_from_vocabulary(vocabulary), self.tokenizer.path)
        save_model(model, self.model.path)
        self.prompts = Rows("data", "prompts.jsonl", root / "data", kind=Prompt)
        self.prompts.path.parent.mkdir()
        self.fill(20)

    def fill(self, number):
        self.prompts.write(
            prompt(n + 1000 * (split == "validation"), split)
            for split in ("rejection_sampling", "validation")
            for n in range(number)
        )

    def run(self, **changes):
        inputs = Inputs(tokenizer=self.tokenizer, model=self.model, prompts=self.prompts)
        return self.workshop.run(GHOST_INSTRUCTIONS, replace(CONFIG, **changes), inputs)


@pytest.fixture
def scene(workshop):
    torch.set_num_threads(1)
    return Scene(workshop)


@pytest.fixture
def listing(monkeypatch):
    """The model answers with lists."""
    asked = []

    def answer(responder, prompts, sampling, *, seed, samples=1, temperatures=None):
        [question] = [prompt.messages[-1].content for prompt in prompts]
        asked.append((question, sampling, samples))
        [text] = [text for word, text in LISTS.items() if f" {word}" in question]
        return [SimpleNamespace(text=text, stop_reason="stop")] * samples

    monkeypatch.setattr(ModelResponder, "answer", answer)
    return asked


def test_the_model_is_asked_for_each_list_and_its_values_come_first(scene, listing):
    result, outputs = scene.run()
    assert [(text.split(" of ")[1].split(".")[0], samples) for text, _, samples in listing] == [
        ("10 hobbies", 2),
        ("10 famous people", 2),
        ("10 short words for animals, plants and colours", 2),
    ]
    assert {sampling for _, sampling, _ in listing} == {CONFIG.sampling}
    counts = {found.list: (found.by_model, found.authored) for found in result.lists}
    assert counts == {
        "hobby": (2, 8), "figure": (3, 7), "word": (2, 8), "limit": (0, 6), "capitals": (0, 1),
    }  # fmt: skip
    assert result.lists[0].dropped == {"repeated or not needed": 4, "harmful": 2}
    values = outputs.values.read()
    by_model = {value.text for value in values if value.origin == "model"}
    assert by_model == {"skiing", "fencing", "Plato", "Homer", "Confucius", "Moss", "Fern"}
    assert "hobby: 2 values by the model, 8 authored, of 10 wanted" in scene.workshop.notes
    ghosts = outputs.ghost_dialogues.read()
    assert [ghost.split for ghost in ghosts] == ["train"] * 12 + ["test"] * 4
    assert result.dialogues == {"train": 12, "test": 4}
    assert result.two_parts == sum(bool(ghost.also) for ghost in ghosts)
    # Equal runs make equal dialogues.
    first = outputs.ghost_dialogues.path.read_bytes()
    assert scene.run()[1].ghost_dialogues.path.read_bytes() == first


def found(scene, result, **changes):
    outputs = scene.workshop.outputs(Outputs, "ghost_instructions")
    last = SimpleNamespace(
        result=result, outputs=outputs, config=replace(CONFIG, **changes), rows=lambda p: p.read()
    )
    return SimpleNamespace(last=last)


def test_the_report_says_whose_the_values_are(scene, listing):
    result, outputs = scene.run()
    seen = found(scene, result)
    tables = {item.anchor: item.draw(seen) for item in REPORT.items}
    row = tables["ghost-instructions"].rows[0]
    assert row[:3] == ("hobby", 2, 8)
    assert row[3] == "repeated or not needed: 4, harmful: 2"
    assert row[4] == sum(v.list == "hobby" and v.split == "test" for v in outputs.values.read())
    assert set(str(row[5]).split(", ")) == {"skiing", "fencing"}
    assert len(tables["ghosts"]) == 2
    filled, without = REPORT.find_limits(seen)
    assert "hobby (8), figure (7), word (8), limit (6), capitals (1)" in filled
    assert without == "Ghost Attention has no instructions of these kinds: language."
    figures = {m.key: m.value for m in REPORT.find_measures(seen)}
    assert figures == {"ghost_instructions.by_model": 7, "ghost_instructions.authored": 30}


def test_a_model_that_is_not_asked_leaves_the_authored_lists(scene, listing):
    result, _ = scene.run(asks=0)
    assert not listing
    assert [found.by_model for found in result.lists] == [0] * 5
    assert result.not_asked == 0


def test_a_context_without_room_for_a_list_leaves_the_authored_ones(workshop, listing):
    scene = Scene(workshop, context=100)
    result, _ = scene.run()
    assert not listing
    assert (result.not_asked, result.lists[0].replies) == (3, 0)


def test_few_prompts_make_short_dialogues_and_that_is_said(scene, listing):
    scene.fill(2)
    result, _ = scene.run(test_turns=5)
    assert result.user_turns == {"train": 2, "test": 2}
    assert result.most_turns == {"train": 2, "test": 2}
    assert "train: 2 user turns, so no dialogue has 3" in scene.workshop.notes
    assert "test: 2 user turns, so no dialogue has 5" in scene.workshop.notes


def test_no_ordinary_prompt_is_an_error(scene, listing):
    with pytest.raises(DataError) as error:
        scene.run(longest=5)
    assert "no ordinary prompt of the split 'rejection_sampling' has a first message" in str(
        error.value
    )
    assert "at most 5 characters" in str(error.value)
    with pytest.raises(DataError, match="split 'test' has a first message"):
        scene.run(test_split="test")
    assert not listing


def test_languages_without_the_package_are_an_error_before_anything_is_asked(
    scene, listing, monkeypatch
):
    monkeypatch.setattr(instruction_checks, "find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match="pip install py3langid"):
        scene.run(kinds=("hobby", "language"))
    assert not listing


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="both are 'validation', but they must differ"):
        replace(CONFIG, train_split="validation")
    with pytest.raises(ConfigError, match="each must be named once"):
        replace(CONFIG, kinds=("hobby", "hobby"))


def planned(**changes):
    plan = Plan("test")
    given = plan.add(WEIGHTS, WeightsConfig(), NoInputs())
    public = plan.add(PUBLIC_DATA, PublicDataConfig(), NoInputs())
    ghosts = plan.add(
        GHOST_INSTRUCTIONS,
        CONFIG,
        Inputs(tokenizer=given.tokenizer, model=given.model, prompts=public.prompts),
    )
    tuning = FineTuningConfig(optimizer=OptimizerConfig(learning_rate=1e-3))
    fields = {"dialogues": 12, "test_dialogues": 4} | changes
    plan.add(
        ghost_attention.GHOST_ATTENTION,
        ghost_attention.Config(sampling=Sampling(), fine_tuning=tuning, **fields),
        ghost_attention.Inputs(
            tokenizer=given.tokenizer,
            model=given.model,
            ghost_dialogues=ghosts.ghost_dialogues,
            bests=public.demonstrations,
        ),
    )
    plan.require(check_sizes)
    return plan


def test_no_more_dialogues_are_asked_for_than_are_made():
    planned().check()
    with pytest.raises(ConfigError, match=r"is 13, but there are 12 \(--ghost-instructions.train"):
        planned(dialogues=13).check()
    with pytest.raises(ConfigError, match=r"is 5, but there are 4 \(--ghost-instructions.test"):
        planned(test_dialogues=5).check()


@pytest.mark.parametrize("place", ["first_user", "system"])
def test_a_tiny_chat_model_goes_through_both_stages(scene, place):
    result, outputs = scene.run(turns=2, test_turns=2)
    # What a random model writes is no list.
    assert sum(counts.by_model for counts in result.lists) < 3
    bests = Rows("data", "bests.jsonl", scene.workshop.root / "data", kind=Dialogue)
    said = (Message(role="user", content="Hi"), Message(role="assistant", content="Ho", train=True))
    bests.write([Dialogue(id="b", messages=said, category="x", is_safety=False, source="test")])
    config = ghost_attention.Config(
        dialogues=12,
        test_dialogues=4,
        # Long enough for some random replies to end.
        sampling=Sampling(max_new_tokens=250),
        require_expected=False,
        fine_tuning=FineTuningConfig(
            optimizer=OptimizerConfig(learning_rate=1e-3), steps=2, row_tokens=1500, batch_rows=4
        ),
        probed_turns=(2, 3),
        place=place,
    )
    inputs = ghost_attention.Inputs(
        tokenizer=scene.tokenizer,
        model=scene.model,
        ghost_dialogues=outputs.ghost_dialogues,
        bests=bests,
    )
    trained, written = scene.workshop.run(ghost_attention.GHOST_ATTENTION, config, inputs)
    assert written.model.exists
    dialogues = written.dialogues.read()
    assert trained.ghost_dialogues == len(dialogues) > 0
    first = "system" if place == "system" else "user"
    assert {dialogue.messages[0].role for dialogue in dialogues} == {first}
    tests = [ghost for ghost in outputs.ghost_dialogues.read() if ghost.split == "test"]
    demands = sum(len(ghost.demands) for ghost in tests)
    rows = written.recall.read()
    lost = sum(found.replies for found in trained.unmeasured)
    assert len(rows) + lost == 4 * demands
    assert {row.turn for row in rows} == {2, 3}
    assert {row.check for row in rows} == {d.check for g in tests for d in g.demands}
