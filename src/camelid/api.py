"""The public API: what `import camelid` offers to programs, by functions of the rooms below.

Weights come in by `load_*`, files by `read_*`; what trains is called `train_*` and writes a folder
that `load_*` reads. All numbers that a function takes are checked against the ranges of the
settings. Source: choice (the paper describes no software).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from camelid.data.own_files import read_pairs
from camelid.data.prompts import assign_split, conversation
from camelid.data.records import STRENGTHS, Message, MetricsRow, Preference, Prompt
from camelid.errors import (
    CamelidError,
    CheckpointError,
    ConfigError,
    DataError,
    counted,
)
from camelid.evaluation.statistics import Estimate, accuracy
from camelid.formats.convert import appearing, read_model
from camelid.formats.folder import build
from camelid.inference.replies import ModelResponder, Reply
from camelid.inference.sampling import Sampling
from camelid.inference.scoring import score, score_pairs
from camelid.methods.reward_pairs import tokenise
from camelid.model.reward_model import RewardModel
from camelid.model.transformer import Transformer
from camelid.run.place import RewardModelFolder, Rows
from camelid.run.stage import StageContext
from camelid.runtime import Runtime, open_runtime
from camelid.seeds import derive_seed
from camelid.settings import Precision, read_value
from camelid.stages.reward_modeling import Config, Trained
from camelid.stages.reward_modeling.stage import Trainer
from camelid.tokenization.chat import ChatFormat, chat_format_of
from camelid.tokenization.huggingface import write_huggingface_tokenizer
from camelid.tokenization.tokenizer import tokenizer_from_vocabulary
from camelid.tokenization.vocabulary import ChatFormatName
from camelid.train.config import Margin, OptimizerConfig

__all__ = [
    "Accuracy",
    "CamelidError",
    "Estimate",
    "Message",
    "Preference",
    "Reply",
    "accuracy_by_strength",
    "load_model",
    "load_reward_model",
    "read_pairs",
    "sample_replies",
    "score_replies",
    "split_pairs",
    "train_reward_model",
]

Asked = str | Sequence[Message] | Prompt
"""What is replied to: one user message, a dialogue that ends in one, or a `Reply.prompt`."""
ModelT = TypeVar("ModelT", Transformer, RewardModel)
_NAME = "train_reward_model"


@dataclass(frozen=True, slots=True)
class Scorer:
    """A reward model with the chat format that it reads."""

    model: RewardModel
    chat: ChatFormat


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """How often a reward model prefers the chosen reply of held-out comparisons."""

    by_strength: dict[str, Estimate]
    """Strengths that occur, strongest first, then `all` of the comparisons."""
    too_long: int
    """Comparisons left out because they do not fit the model."""
    equal: int
    """Comparisons left out because both replies are the same tokens."""


def load_model(
    path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    chat_format: ChatFormatName | None = None,
    precision: Precision = "auto",
) -> ModelResponder:
    """Load a language model with its tokenizer and chat format.

    Args:
        path: Folder of Hugging Face or Meta, a GGUF file, or a model folder of a run.
        tokenizer: Where the tokenizer is, if not with the weights.
        chat_format: Stands in for that of the chat template: `llama2`, `llama3` or `chatml`.
        precision: Number type of matrix products; `auto` takes bf16 where it is fast.

    Raises:
        MissingInputError: There is no model or no tokenizer.
        CheckpointError: One is damaged, unsupported, or they do not fit each other.
    """
    model, chat = _load(Transformer, path, tokenizer, chat_format, precision)
    return ModelResponder(model, chat)


def load_reward_model(
    path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    chat_format: ChatFormatName | None = None,
    precision: Precision = "auto",
) -> Scorer:
    """Load a reward model (arguments and errors as `load_model`)."""
    model, chat = _load(RewardModel, path, tokenizer, chat_format, precision)
    return Scorer(model, chat)


def _load(
    kind: type[ModelT],
    path: str | Path,
    tokenizer: str | Path | None,
    chat_format: ChatFormatName | None,
    precision: Precision,
) -> tuple[ModelT, ChatFormat]:
    path = Path(path)
    read_value(chat_format, ChatFormatName | None, "chat_format")
    found = read_model(
        path, tokenizer=None if tokenizer is None else Path(tokenizer), chat_format=chat_format
    )
    model = build(found.checkpoint)
    if not isinstance(model, kind):
        words = ("a language model", "load_model"), ("a reward model", "load_reward_model")
        (needed, _), (other, reader) = words if kind is Transformer else words[::-1]
        raise CheckpointError(f"{path}: found {other}, needed {needed}. {reader} reads it.")
    # As many threads as the program has set.
    runtime = open_runtime(precision, torch.get_num_threads())
    return runtime.place(model).eval(), chat_format_of(found.tokenizer)


def sample_replies(
    model: ModelResponder,
    prompts: str | Sequence[Asked],
    *,
    samples: int = 1,
    temperature: float = 0.6,
    top_p: float = 0.9,
    max_new_tokens: int | None = None,
    seed: int = 0,
) -> list[Reply]:
    """Sample replies to prompts, all at once; the defaults are the released code's.

    A reply depends on its place in the list, its prompt, the seed and these settings. Where a
    prompt leaves no room it loses its start (`Reply.prompt_cut` tokens); a reply whose
    `stop_reason` is `length` was cut.

    Args:
        model: From `load_model`.
        prompts: What to reply to.
        samples: Replies to each.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: Keeps the smallest set of tokens with this mass; 1 keeps all.
        max_new_tokens: Longest reply; by default 256, or a quarter of a short context.
        seed: Seed of the random numbers.

    Returns:
        The replies, those to one prompt together, in the order of the prompts.

    Raises:
        ConfigError: A setting is out of its range, or the reply alone fills the context.
        DataError: A dialogue does not end in a user message.
    """
    _require(model, ModelResponder, "load_model")
    if samples < 1:
        raise ConfigError(f"samples is {samples}, but must be at least 1.")
    if max_new_tokens is None:
        max_new_tokens = min(256, max(1, model.model.config.context // 4))
    sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
    asked = [prompts] if isinstance(prompts, str) else prompts
    return model.answer(
        [_prompt(one, number) for number, one in enumerate(asked)],
        sampling,
        seed=seed,
        samples=samples,
    )


def _require(given: object, kind: type, reader: str) -> None:
    if not isinstance(given, kind):
        raise ConfigError(f"found a {type(given).__name__}, needed what {reader} gives.")


def _prompt(asked: Asked, number: int) -> Prompt:
    if isinstance(asked, Prompt):
        return asked
    messages = (Message(role="user", content=asked),) if isinstance(asked, str) else tuple(asked)
    for message in messages:
        _require(message, Message, "camelid.Message(role=..., content=...)")
    return Prompt(
        id=str(number), messages=messages, category="", is_safety=False, source="", split="test"
    )


def score_replies(
    reward_model: Scorer, prompts: Sequence[Asked], replies: Sequence[str]
) -> list[float]:
    """Return the raw reward (logit) of each reply; sigmoid gives the paper's score from 0 to 1.

    Each is read as a finished reply: with the end token behind it.

    Args:
        reward_model: From `load_reward_model`.
        prompts: What was replied to, one for each reply.
        replies: The texts.

    Raises:
        DataError: There are not as many prompts as replies, or a row is longer than the context.
    """
    _require(reward_model, Scorer, "load_reward_model")
    if len(prompts) != len(replies):
        raise DataError(
            f"found {counted(len(prompts), 'prompt')} and {counted(len(replies), 'reply')}; give "
            "one each."
        )
    chat, context = reward_model.chat, reward_model.model.config.context
    rows = []
    for number, (asked, reply) in enumerate(zip(prompts, replies, strict=True)):
        prompt = chat.render_prompt(_prompt(asked, number).messages)
        rows.append([*prompt, *chat.encode_reply(reply), chat.end_id])
        if len(rows[-1]) > context:
            raise DataError(
                f"reply {number}: {len(rows[-1])} tokens with its prompt, at most {context} fit "
                "the reward model; shorten one of them."
            )
    return score(reward_model.model, rows)


def split_pairs(
    pairs: Iterable[Preference], held_out: float = 0.2
) -> tuple[list[Preference], list[Preference]]:
    """Return comparisons to train on and held-out ones, parted by a hash of the first message.

    So all comparisons of one conversation are on the same side, also when others are added.

    Args:
        pairs: Comparisons.
        held_out: Share of the conversations that is held out, about.

    Raises:
        ConfigError: The share is not between 0 and 1.
        DataError: One of the sides would be empty.
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"held_out is {held_out}, but must be above 0 and below 1.")
    sides: dict[str, list[Preference]] = {"train": [], "test": []}
    shares, seen = {"train": 1 - held_out, "test": held_out}, set()
    for pair in pairs:
        seen.add(first := conversation(pair.prompt[0].content))
        sides[assign_split(first, shares)].append(pair)
    if not sides["train"] or not sides["test"]:
        raise DataError(
            f"found {counted(len(sides['train']), 'comparison')} to train on and "
            f"{len(sides['test'])} held "
            f"out; needed some of both. Those of one conversation (the same first message) stay "
            f"together, and there are {len(seen)}: give more conversations, or another share."
        )
    return sides["train"], sides["test"]


class _Steps:
    """Tells a function how far training is, as a stage's progress."""

    def __init__(self, tell: Callable[[int, int, float], None] | None) -> None:
        self.tell = tell

    def update(self, done: float, total: float, **metrics: float) -> None:
        if self.tell is not None:
            self.tell(int(done), int(total), metrics["loss"])

    def note(self, text: str) -> None:
        """Nothing is said in words while a reward model is trained."""


def train_reward_model(
    start: ModelResponder,
    pairs: Sequence[Preference],
    out: str | Path,
    *,
    learning_rate: float = 1e-5,
    batch_pairs: int = 512,
    epochs: int = 1,
    margin: Margin = "small",
    longest: int = 512,
    seed: int = 0,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Train a reward model on comparisons and write it, with its tokenizer, to a new folder.

    Defaults are the paper's; a few hundred comparisons need smaller batches and higher rates.

    Args:
        start: Chat model whose weights it starts from; stays as it is.
        pairs: Comparisons; one without a strength has no margin.
        out: New folder, for `load_reward_model`; `steps.jsonl` in it has a row for each step.
        learning_rate: Peak learning rate.
        batch_pairs: Comparisons a step.
        epochs: Passes over the comparisons.
        margin: Margins by strength: `none`, `small` or `large` of Table 27.
        longest: Most tokens of prompt and reply; longer comparisons are left out and counted.
        seed: Seed of the new head and of the order.
        on_step: Called with the step, the number of steps and the loss.

    Returns:
        How many comparisons and steps there were, and what was left out.

    Raises:
        ConfigError: A setting is out of its range, or `out` exists.
        DataError: No comparison fits.

    Source: arXiv 2307.09288, Section 3.2.2.
    """
    config = Config(
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        batch_pairs=batch_pairs,
        micro_pairs=8,
        epochs=epochs,
        margin=margin,
        longest=min(longest, start.model.config.context),
    )
    model = start.model
    with appearing(Path(out)) as folder:
        work, made = folder / "work", RewardModelFolder(_NAME, "reward_model", folder)
        work.mkdir()
        context = StageContext(
            name=_NAME,
            root=folder,
            work=work,
            seed=derive_seed(seed, _NAME),
            run_seed=seed,
            progress=_Steps(on_step),
            runtime=Runtime(device=model.device, precision=model.precision),
        )
        metrics = Rows(_NAME, "steps.jsonl", folder, kind=MetricsRow)
        trainer = Trainer(config, start.chat, model, context)
        trained = trainer.train(pairs, 0.0, to=made, metrics=metrics)
        for file in made.path.iterdir():
            file.rename(folder / file.name)
        made.path.rmdir()
        shutil.rmtree(work)
        # It was trained on dialogues as they are rendered here: the template says so.
        vocabulary = replace(start.chat.tokenizer.vocabulary, template=None)
        write_huggingface_tokenizer(tokenizer_from_vocabulary(vocabulary), folder)
    return trained


def accuracy_by_strength(reward_model: Scorer, pairs: Sequence[Preference]) -> Accuracy:
    """Return how often the chosen reply has the higher score, with 95 % intervals.

    Intervals are Wilson's and count prompts: comparisons that share one are not independent.

    Raises:
        DataError: No comparison fits the model.

    Source: arXiv 2307.09288, Table 8.
    """
    longest = reward_model.model.config.context
    found = tokenise(pairs, reward_model.chat, longest)
    if not found.pairs:
        raise DataError(
            f"none of {counted(len(pairs), 'held-out comparison')} can be scored ({found.too_long} "
            "longer "
            f"than {longest} tokens, {found.equal} with equal replies); give others."
        )
    texts = [(pair.chosen, pair.rejected) for pair in found.pairs]
    leads = [c - r for c, r in score_pairs(reward_model.model, texts)]
    groups: dict[str, list[int]] = {strength: [] for strength in STRENGTHS} | {"all": []}
    for index, pair in enumerate(found.kept):
        for name in ("all",) if pair.strength is None else (pair.strength, "all"):
            groups[name].append(index)
    return Accuracy(
        by_strength={
            name: accuracy([leads[i] for i in rows], [found.kept[i].prompt for i in rows])
            for name, rows in groups.items()
            if rows
        },
        too_long=found.too_long,
        equal=found.equal,
    )
