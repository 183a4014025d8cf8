"""Our models as lm-evaluation-harness sees them, over our own scoring and generation.

Each answer goes into a log of its task: a stopped evaluation goes on from its logs, and one whose
logs are complete is scored again without loading the model.

Source: arXiv 2307.09288, Section 2.3 (the paper's evaluation library is not public).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from camelid.data.text_files import iterate_json_lines
from camelid.errors import ConfigError, DataError
from camelid.inference.generation import Request, generate
from camelid.inference.likelihood import Pair, continuation_likelihoods
from camelid.inference.sampling import Sampling
from camelid.model.transformer import Transformer
from camelid.run.files import append_jsonl, cut_half_line
from camelid.settings import read_value
from camelid.tokenization.tokenizer import Tokenizer

SEED = 0
SLOT_TOKENS = 16_384
"""Room of the generation cache: as many rows as fit, 32 at most (0.7 GiB for 135M in fp32)."""
Answer = list[Any] | str
"""Log-likelihood and whether greedy, a rolling log-likelihood alone in its list, or a text."""
_LINE: dict[str, Any] = {
    "key": str, "answer": str | tuple[Any, ...], "truncated": bool, "unfinished": bool,
}  # fmt: skip
"""Fields of a line of a log."""


class Found(NamedTuple):
    """An answer and what limits did to it."""

    answer: Answer
    truncated: bool
    """Whether the context was too long for the model and lost its beginning."""
    unfinished: bool = False
    """Whether the length limit stopped the answer."""


class Log:
    """Answers of one task, one JSON line each; the first line says whose they are."""

    def __init__(self, path: Path, owner: dict[str, str]) -> None:
        """Read what an earlier evaluation left.

        Raises:
            ConfigError: The log is of another model.
            DataError: A line is malformed.
        """
        self.path, self.answers = path, dict[str, Answer]()
        self.truncated = self.unfinished = 0
        if not path.is_file():
            append_jsonl(path, owner)
            return
        cut_half_line(path)
        for number, row in iterate_json_lines(path):
            if number == 1:
                if row != owner:
                    other = row.get("model") if isinstance(row, dict) else row
                    raise ConfigError(
                        f"{path}: answers of {other!r}, not of {owner['model']!r} as it "
                        "is now. Choose another --out, or remove the file."
                    )
                continue
            if not isinstance(row, dict) or row.keys() != _LINE.keys():
                names = ", ".join(_LINE)
                raise DataError(f"{path}, line {number}: needed {names}. Remove the file.")
            for name, kind in _LINE.items():
                read_value(row[name], kind, f"{path}, line {number}: {name}", error=DataError)
            self._count(row.pop("key"), Found(**row))
        if not path.stat().st_size:
            append_jsonl(path, owner)

    def add(self, key: str, found: Found) -> None:
        """Keep an answer."""
        append_jsonl(self.path, {"key": key, **found._asdict()})
        self._count(key, found)

    def _count(self, key: str, found: Found) -> None:
        self.answers[key] = found.answer
        self.truncated += found.truncated
        self.unfinished += found.unfinished


class CamelidLM(TemplateLM):  # type: ignore[misc]  # the harness ships no types
    """One of our models as the harness sees it.

    A text begins with the tokenizer's BOS where it has one. A context too long for the model loses
    tokens on its left; how many requests that happened to is in the log.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Transformer, Tokenizer]],
        log: Callable[[str], Log],
        *,
        chunk: int = 256,
    ) -> None:
        """Wrap a model.

        Args:
            load: Reads the model, in fp32 (log-likelihoods are compared); called when the first
                answer is missing.
            log: Gives the log of a task.
            chunk: Choices scored between two writes to the log; 32 answers, or one text.
        """
        super().__init__()
        self._load, self._log, self._chunk = load, log, chunk

    @cached_property
    def _loaded(self) -> tuple[Transformer, Tokenizer]:
        return self._load()

    @property
    def model(self) -> Transformer:
        """The model."""
        return self._loaded[0]

    @property
    def vocabulary(self) -> Tokenizer:
        """The tokenizer."""
        return self._loaded[1]

    @property
    def eot_token_id(self) -> int:
        """Token that ends a text."""
        return self.vocabulary.eos_id

    @property
    def prefix_token_id(self) -> int:
        """Token before a text without context."""
        found = self.vocabulary.bos_id
        return self.eot_token_id if found is None else found

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Return the ids of a text, after BOS unless `add_special_tokens` is false."""
        ids = self.vocabulary.encode(string)
        bos = self.vocabulary.bos_id
        return ids if bos is None or add_special_tokens is False else [bos, *ids]

    def _answered(
        self,
        requests: Sequence[Instance],
        answer: Callable[[list[tuple[Instance, int]]], list[Found]],
        chunk_size: int,
    ) -> list[Answer]:
        """Answer what no log holds yet. The harness repeats a request to get several samples."""
        keys: list[str] = []
        waiting: list[tuple[int, Instance, int]] = []
        seen: Counter[tuple[str, int, int]] = Counter()
        for request in requests:
            place = (str(request.task_name), int(request.doc_id), int(request.idx))
            content = json.dumps([request.request_type, *request.args], sort_keys=True)
            digest = hashlib.sha256(content.encode()).hexdigest()[:16]
            keys.append("/".join(map(str, (*place[1:], seen[place], digest))))
            if keys[-1] not in self._log(place[0]).answers:
                waiting.append((len(keys) - 1, request, seen[place]))
            seen[place] += 1
        for start in range(0, len(waiting), chunk_size):
            chunk = waiting[start : start + chunk_size]
            found = answer([(request, sample) for _, request, sample in chunk])
            for (index, request, _), one in zip(chunk, found, strict=True):
                self._log(request.task_name).add(keys[index], one)
        return [
            self._log(request.task_name).answers[key]
            for request, key in zip(requests, keys, strict=True)
        ]

    def _likelihoods(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[Any, bool]]:
        longest = self.model.config.context
        cut, truncated = [], []
        for context, continuation in pairs:
            if not 1 <= len(continuation) <= longest:
                raise DataError(
                    f"a choice has {len(continuation)} tokens; needed 1 to {longest} (the model's "
                    "context)."
                )
            kept = context[-(longest + 1 - len(continuation)) :]
            cut.append(Pair(tuple(kept), tuple(continuation)))
            truncated.append(len(kept) < len(context))
        found = continuation_likelihoods(self.model, cut)
        return list(zip(found, truncated, strict=True))

    def _choices(self, requests: list[tuple[Instance, int]]) -> list[Found]:
        pairs = []
        for request, _ in requests:
            context, continuation = request.args
            if context:
                pairs.append(self._encode_pair(context, continuation))
            else:
                ids = self.tok_encode(continuation, add_special_tokens=False)
                pairs.append(([self.prefix_token_id], ids))
        return [Found(list(found), cut) for found, cut in self._likelihoods(pairs)]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Score continuations of contexts."""
        del disable_tqdm
        return [
            (float(answer[0]), bool(answer[1]))
            for answer in self._answered(requests, self._choices, self._chunk)
        ]

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        return [
            (found.log_probability, found.greedy)
            for found, _ in self._likelihoods([(pair[1], pair[2]) for pair in requests])
        ]

    def _texts(self, requests: list[tuple[Instance, int]]) -> list[Found]:
        found: list[Found] = []
        for request, _ in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.model.config.context,
                context_len=1,
            )
            scored = self._likelihoods([make_disjoint_window(window) for window in windows])
            found.append(Found([math.fsum(s.log_probability for s, _ in scored)], False))
        return found

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Score whole texts, in windows without overlap where they are longer than the context."""
        del disable_tqdm
        return [float(answer[0]) for answer in self._answered(requests, self._texts, 1)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate answers up to a stop string."""
        del disable_tqdm
        return [str(answer) for answer in self._answered(requests, self._generated, 32)]

    def _generated(self, requests: list[tuple[Instance, int]]) -> list[Found]:
        found: list[Found] = []
        for settings, group in groupby(requests, key=lambda one: one[0].args[1]):
            found += self._generate(list(group), settings)
        return found

    def _generate(
        self, requests: list[tuple[Instance, int]], settings: dict[str, Any]
    ) -> list[Found]:
        tokenizer, stops = self.vocabulary, settings["until"]
        stops = [stops] if isinstance(stops, str) else list(stops)
        sampling = Sampling(
            temperature=settings.get("temperature", 0.0) if settings.get("do_sample") else 0.0,
            top_p=settings.get("top_p", 1.0),
            max_new_tokens=min(settings["max_gen_toks"], self.model.config.context // 2),
        )
        # A stop string ends in the newest token and every token but a special one has a byte.
        tail = max(len(stop.encode()) for stop in stops) + 2

        def ended(tokens: Sequence[int]) -> bool:
            text = tokenizer.decode(tokens[-tail:])
            return any(stop in text for stop in stops)

        prompts: list[list[int]] = []
        batch: list[Request] = []
        truncated: list[bool] = []
        for (context, name), group in groupby(
            requests, key=lambda one: (one[0].args[0], f"{one[0].task_name}/{one[0].doc_id}")
        ):
            samples = [sample for _, sample in group]
            whole = self.tok_encode(context)
            kept = whole[-(self.model.config.context - sampling.max_new_tokens) :]
            batch.append(
                Request(
                    name, tuple(kept), samples=len(samples), first_sample=samples[0], ended=ended
                )
            )
            prompts += [kept] * len(samples)
            truncated += [len(kept) < len(whole)] * len(samples)
        longest = max(map(len, prompts))
        completions = generate(
            self.model,
            batch,
            sampling,
            end_ids=tokenizer.end_ids,
            never=tokenizer.unused_ids,
            seed=SEED,
            slots=max(1, min(32, SLOT_TOKENS // (longest + sampling.max_new_tokens))),
        )
        found: list[Found] = []
        for prompt, cut, completion in zip(prompts, truncated, completions, strict=True):
            # SentencePiece drops the first space of a text: decode behind the prompt, then cut.
            text = tokenizer.decode([*prompt, *completion.tokens])[len(tokenizer.decode(prompt)) :]
            ends = [text.find(stop) for stop in stops if stop in text]
            answer = text[: min(ends, default=len(text))]
            found.append(Found(answer, cut, completion.stop_reason == "length"))
        return found
