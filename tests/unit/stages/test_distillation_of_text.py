"""Context distillation without the simulated world: a tiny ChatML model on authored prompts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tokenizers import pre_tokenizers

from camelid.evaluation.gate import Gate
from camelid.formats.folder import load_transformer, save_model
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.methods.context_distillation import read_preprompts
from camelid.model.config import ModelConfig
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.place import Json, ModelFolder, RewardModelFolder, TokenizerFolder
from camelid.runtime import Runtime
from camelid.sources import safety_data
from camelid.stages.context_distillation import CONTEXT_DISTILLATION, REPORT, Config, Inputs
from camelid.stages.reward_modeling import RewardModels
from camelid.tokenization.huggingface import write_huggingface_tokenizer
from camelid.tokenization.tokenizer import ByteLevelBPETokenizer
from camelid.tokenization.vocabulary import Vocabulary
from camelid.train.config import FineTuningConfig, OptimizerConfig

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CONFIG = Config(
    prompts=24,
    sampling=Sampling(max_new_tokens=64),
    wording="full",
    placement="system",
    fine_tuning=FineTuningConfig(
        optimizer=OptimizerConfig(learning_rate=1e-2), batch_rows=2, row_tokens=256, steps=3
    ),
)


@pytest.fixture
def start(workshop):
    """Authored prompts, and random weights of a chat model and its two reward models."""
    tokens = (*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "er")
    vocabulary = Vocabulary(
        kind="byte_level_bpe",
        tokens=tokens,
        types=tuple(3 if token in MARKS else 1 for token in tokens),
        merges=("e r",),
        pre_tokenizer="smollm",
        bos_id=None,
        eos_id=2,
        chat_format="chatml",
    )
    root = workshop.root / "given"
    write_huggingface_tokenizer(ByteLevelBPETokenizer(vocabulary), root / "model")
    shape = ModelConfig(
        dim=16, layers=1, heads=2, kv_heads=1, ffn_dim=32, vocabulary_size=len(tokens), context=1024
    )
    model = Transformer(shape)
    model.initialise(1)
    save_model(model, root / "model")
    for number, name in enumerate(("helpfulness_rm", "safety_rm")):
        save_model(RewardModel.from_chat_model(model, seed=number), root / name)
    gate = Json("given", "gate.json", root, kind=Gate)
    gate.write(
        Gate(
            threshold=0.15, precision=None, recall=None, labelled_replies=0, reason="",
            precision_at_paper_threshold=None, recall_at_paper_threshold=None,
        )
    )  # fmt: skip
    _, data = workshop.run(
        safety_data.SAFETY_DATA, safety_data.Config(), safety_data.Inputs(), "safety_data"
    )
    return Inputs(
        tokenizer=TokenizerFolder("given", "model"),
        model=ModelFolder("given", "model"),
        rewards=RewardModels(
            helpfulness=RewardModelFolder("given", "helpfulness_rm"),
            safety=RewardModelFolder("given", "safety_rm"),
            gate=gate,
        ),
        prompts=data.prompts,
        bests=data.demonstrations,
    )


def test_authored_prompts_are_distilled_by_a_chat_model_of_text(start, workshop, monkeypatch):
    asked = []
    answer = ModelResponder.answer

    def noted(responder, prompts, *args, **named):
        asked.append(list(prompts))
        return answer(responder, prompts, *args, **named)

    monkeypatch.setattr(ModelResponder, "answer", noted)
    result, outputs = workshop.run(CONTEXT_DISTILLATION, CONFIG, start)
    bare, generic, template = asked
    pairs = outputs.pairs.read()
    assert result.pairs == len(pairs) == len(bare) == 24
    assert result.prompts_cut == 0
    # Every prompt is an authored attack; none is borderline or tests anything.
    assert all(p.attack_vector and p.split == "rejection_sampling" for p in bare)
    templates = read_preprompts("full").categories
    for plain, first, second in zip(bare, generic, template, strict=True):
        assert plain.messages == first.messages[1:] == second.messages[1:]
        assert first.messages[0].role == second.messages[0].role == "system"
        assert second.messages[0].content == templates[plain.risk_category]
    # Half of the answers of random models score above the original; some ended by themselves.
    assert 0 < result.kept < 24
    assert all(pair.distilled.score > pair.original.score for pair in pairs if pair.kept)
    dialogues = outputs.dialogues.read()
    learned = [d for d in dialogues if d.is_safety]
    assert len(learned) == result.kept == result.helpful_mixed_in == len(dialogues) / 2
    assert all([m.role for m in d.messages] == ["user", "assistant"] for d in dialogues)
    before = load_transformer(start.at(workshop.root).model.path, Runtime()).state_dict()
    after = load_transformer(outputs.model.path, Runtime()).state_dict()
    assert any(not before[name].equal(after[name]) for name in before)
    rows = {item.title: item for item in REPORT.items}
    seen = SimpleNamespace(last=SimpleNamespace(rows=lambda place: place.read(), outputs=outputs))
    examples = rows["Context distillation, examples"].draw(seen)
    assert [name.partition(" (")[0] for name, _ in examples[0].answers] == [
        "original", "generic", "template"
    ]  # fmt: skip
