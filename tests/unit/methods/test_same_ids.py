"""One dialogue has the same ids in every stage: fine-tuning, reward models, PPO, evaluation."""

import random
from types import SimpleNamespace

import pytest
import torch
from tokenizers import pre_tokenizers

from camelid.data.records import Dialogue, Message, MetricsRow, Preference, Prompt
from camelid.errors import DataError
from camelid.inference import replies as replies_module
from camelid.inference.generation import Completion
from camelid.inference.replies import ModelResponder
from camelid.inference.sampling import Sampling
from camelid.methods import fine_tuning
from camelid.methods.reward_pairs import tokenise
from camelid.stages import sft
from camelid.tokenization.chat import chat_format_of, load_chat_format
from camelid.tokenization.tokenizer import ByteLevelBPETokenizer
from camelid.tokenization.training import train_sentencepiece
from camelid.tokenization.vocabulary import Vocabulary
from camelid.train.config import FineTuningConfig, OptimizerConfig

HISTORY = (
    Message(role="system", content="Be brief."),
    Message(role="user", content=" What is 42? "),
    Message(role="assistant", content="A number."),
    Message(role="user", content="日本 </s> <|im_end|> é?\n"),
)
REPLY = "Yes:\n\n- 1999 😀"


@pytest.fixture(scope="module", params=["llama2", "llama3", "chatml"])
def chat(request, tmp_path_factory):
    if request.param == "llama2":
        root = tmp_path_factory.mktemp("tokenizer")
        words = ["what", "is", "the", "number", "1999", "yes", "brief"]
        lines = [" ".join(random.Random(i).choices(words, k=8)) for i in range(200)]
        (root / "corpus.txt").write_text("\n".join(lines), encoding="utf-8")
        train_sentencepiece(root / "corpus.txt", root / "out", vocabulary_size=340)
        return load_chat_format(root / "out")
    special = {
        "chatml": ["<|im_start|>", "<|im_end|>"],
        "llama3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    }[request.param]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "er"]
    return chat_format_of(
        ByteLevelBPETokenizer(
            Vocabulary(
                kind="byte_level_bpe",
                tokens=tuple(tokens),
                types=tuple(3 if token in special else 1 for token in tokens),
                merges=("e r",),
                pre_tokenizer="llama-bpe" if request.param == "llama3" else "smollm",
                bos_id=0 if request.param == "llama3" else None,
                eos_id=len(special) - 1,
                chat_format=request.param,
            )
        )
    )


def fine_tuning_row(chat, monkeypatch, workshop):
    """Return what `fine_tune` would train on: ids of its only row and which are targets."""
    seen = []

    def fit(model, objective, batches_from, *args, **kwargs):
        seen.extend(next(batches_from(0)))
        raise InterruptedError

    monkeypatch.setattr(fine_tuning, "fit", fit)
    messages = (*HISTORY, Message(role="assistant", content=REPLY, train=True))
    dialogue = Dialogue(id="d", messages=messages, category="x", is_safety=False, source="x")
    config = FineTuningConfig(optimizer=OptimizerConfig(learning_rate=1e-4), row_tokens=512)
    model = SimpleNamespace(
        tok_embeddings=torch.nn.Embedding(1, 1),
        device=torch.device("cpu"),
        config=SimpleNamespace(require_context=lambda *_: None, require_vocabulary=lambda *_: None),
    )
    outputs = workshop.outputs(sft.Outputs)
    with pytest.raises(InterruptedError):
        fine_tuning.fine_tune(
            model,
            chat,
            [dialogue],
            config,
            workshop.context(),
            outputs=outputs,
        )
    [batch] = seen
    length = int((batch.documents_BL[0] >= 0).sum())
    targets = torch.zeros(batch.tokens_BL.shape[1], dtype=torch.bool)
    targets[1:] = batch.predicts_BL[0, :-1]
    return batch.tokens_BL[0, :length].tolist(), targets[:length].tolist()


def test_b7_every_stage_sees_the_same_ids(chat, monkeypatch, workshop):
    prompt_ids = chat.render_prompt(HISTORY)
    reply_ids = [*chat.encode_reply(REPLY), chat.end_id]
    whole = [*prompt_ids, *reply_ids]
    tuned, targets = fine_tuning_row(chat, monkeypatch, workshop)
    assert tuned == whole
    assert targets == [False] * len(prompt_ids) + [True] * len(reply_ids)

    preference = Preference(
        id="p",
        kind="helpfulness",
        round=1,
        batch=1,
        category="x",
        prompt=HISTORY,
        chosen=REPLY,
        rejected="No.",
        strength="better",
    )
    pairs, _, too_long, _ = tokenise([preference], chat, 512)
    assert (pairs[0].chosen, too_long) == (whole, 0)

    # PPO, rejection sampling and evaluation sample through this one function; reward models and
    # log-probabilities read `sequence`.
    def generate(model, requests, sampling, **kwargs):
        assert [request.tokens for request in requests] == [tuple(prompt_ids)]
        assert kwargs["end_ids"] == chat.end_ids
        return [Completion(requests[0].id, 0, tuple(reply_ids), "stop")]

    monkeypatch.setattr(replies_module, "generate", generate)
    model = SimpleNamespace(config=SimpleNamespace(context=512))
    prompt = Prompt(
        id="p", messages=HISTORY, category="x", is_safety=False, source="x", split="ppo"
    )
    [reply] = ModelResponder(model, chat).answer([prompt], Sampling(max_new_tokens=64), seed=0)
    assert reply.sequence == whole
    assert (reply.text, reply.prompt_cut) == (REPLY, 0)
    # What was sampled is what a later dialogue writes.
    assert chat.encode_reply(reply.text) == reply_ids[:-1]


def test_a_prompt_that_is_cut_says_so(chat, monkeypatch):
    room = len(chat.render_prompt(HISTORY)) - 5

    def generate(model, requests, sampling, **kwargs):
        assert len(requests[0].tokens) == room
        return [Completion(requests[0].id, 0, (chat.end_id,), "stop")]

    monkeypatch.setattr(replies_module, "generate", generate)
    model = SimpleNamespace(config=SimpleNamespace(context=room + 8))
    prompt = Prompt(
        id="p", messages=HISTORY, category="x", is_safety=False, source="x", split="ppo"
    )
    [reply] = ModelResponder(model, chat).answer([prompt], Sampling(max_new_tokens=8), seed=0)
    assert reply.prompt_cut == 5


@pytest.mark.parametrize("policy", ["error", "drop", "truncate_left", "truncate_answer"])
def test_b13_fine_tuning_counts_what_is_too_long(chat, monkeypatch, workshop, policy):
    messages = (
        Message(role="user", content="one two"),
        Message(role="assistant", content="three " * 30, train=True),
    )
    short = (messages[0], Message(role="assistant", content="yes", train=True))
    dialogues = [
        Dialogue(id=str(index), messages=turns, category="x", is_safety=False, source="x")
        for index, turns in enumerate((messages, short))
    ]
    row = len(chat.render(short).ids) + 8
    seen = []

    def fit(model, objective, batches_from, *args, **kwargs):
        seen.extend(next(batches_from(0)))
        kwargs["metrics"].write(
            MetricsRow(
                step=step,
                loss=loss,
                grad_norm=1.0,
                lr=1e-4,
                tokens=8,
                tokens_per_second=1.0,
                mfu=None,
                peak_memory_gib=1.0,
                metrics={},
            )
            for step, loss in ((1, 9.0), (2, 0.25))
        )
        return iter(())

    monkeypatch.setattr(fine_tuning, "fit", fit)
    monkeypatch.setattr(fine_tuning, "save_model", lambda model, path: None)
    config = FineTuningConfig(
        optimizer=OptimizerConfig(learning_rate=1e-4), row_tokens=row, too_long=policy
    )
    model = SimpleNamespace(
        tok_embeddings=torch.nn.Embedding(1, 1),
        device=torch.device("cpu"),
        config=SimpleNamespace(require_context=lambda *_: None, require_vocabulary=lambda *_: None),
    )
    outputs = workshop.outputs(sft.Outputs)

    def tune():
        return fine_tuning.fine_tune(
            model,
            chat,
            dialogues,
            config,
            workshop.context(),
            outputs=outputs,
        )

    if policy == "error":
        with pytest.raises(DataError, match="dialogue '0'"):
            tune()
        return
    result = tune()
    dropped = int(policy == "drop")
    assert result.too_long_policy == policy
    assert result.packing == "isolated"
    assert (result.dialogues_too_long, result.dialogues_dropped) == (1, dropped)
    # The mean of the last tenth of the steps, read from the file.
    assert result.final_loss == 0.25
    assert result.dialogues == 2 - dropped
    tokens = torch.cat([batch.tokens_BL.flatten() for batch in seen]).tolist()
    targets = torch.cat([batch.predicts_BL.flatten() for batch in seen])
    # No forged end: the end tokens that are learned are those of dialogues kept whole.
    learned = [t for t, predicts in zip(tokens[1:], targets[:-1].tolist(), strict=True) if predicts]
    assert learned.count(chat.end_id) == (2 if policy == "truncate_left" else 1)
