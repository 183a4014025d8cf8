"""Compares pretrained variants of one model: validation loss and multiple choice.

A choice is scored by the sum of its tokens' log-probabilities after the context, without examples.

Source: arXiv 2307.09288, A.2.1 (Tables 16 to 18, mostly zero-shot). Of a context longer than the
model's, the end is kept; what the paper's short model did with long inputs is not said (Source:
choice).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from camelid.data.records import Question, read_records, write_records
from camelid.formats.folder import load_transformer
from camelid.inference.likelihood import Pair, continuation_likelihoods
from camelid.run.stage import StageContext, StageInputs
from camelid.runtime import Precision, default_device
from camelid.stages.pretraining import read_corpus, validation_loss
from camelid.tokenization.chat import load_chat_format


@dataclass(frozen=True, slots=True)
class Inputs(StageInputs):
    """What the stage reads, relative to the run."""

    tokenizer: str
    validation: str
    questions: str
    models: tuple[str, ...]
    """Folders of weights."""


def run(
    config: None,
    context: StageContext,
    inputs: Inputs,
    names: tuple[str, ...],
    precision: Precision,
) -> dict[str, Any]:
    """Score every variant, named in the order of the models; writes `answers.jsonl`.

    Validation rows are as long as the variant's context, which is how it was trained.
    """
    del config  # The stage has no settings.
    tokenizer = load_chat_format(context.input(inputs.tokenizer)).tokenizer
    asked = list(read_records(context.input(inputs.questions), Question))
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    contexts = [[*bos, *ids] for ids in tokenizer.encode_batch([q.context for q in asked])]
    wholes = tokenizer.encode_batch([q.context + c for q in asked for c in q.choices])
    answers: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    for name, path in zip(names, inputs.models, strict=True):
        model = load_transformer(context.input(path), default_device()).eval()
        pairs, ends = [], iter(wholes)
        cut = 0
        for question, before in zip(asked, contexts, strict=True):
            choices = [[*bos, *next(ends)][len(before) :] for _ in question.choices]
            # All choices of a question are seen after the same context.
            room = model.config.context + 1 - max(map(len, choices))
            pairs += [Pair(tuple(before[-room:]), tuple(choice)) for choice in choices]
            cut += room < len(before)
        # In bf16 short choices tie.
        scored = iter(continuation_likelihoods(model, pairs, precision="float32"))
        right: dict[str, list[bool]] = defaultdict(list)
        for question, before in zip(asked, contexts, strict=True):
            scores = [next(scored).log_probability for _ in question.choices]
            right[question.category].append(scores.index(max(scores)) == question.answer)
            answers.append(
                {
                    "variant": name,
                    "id": question.id,
                    "category": question.category,
                    "context_tokens": len(before),
                    "choices": len(question.choices),
                    "scores": [round(score, 4) for score in scores],
                    "answer": question.answer,
                    "right": right[question.category][-1],
                }
            )
        rows = read_corpus(context.input(inputs.validation), tokenizer, model.config.context)
        loss, count = validation_loss(model, rows, precision=precision)
        results[name] = {
            "parameters": model.config.parameter_count,
            "context": model.config.context,
            "validation_perplexity": math.exp(loss),
            "validation_tokens": count,
            "contexts_cut": cut,
            "accuracy": {category: sum(v) / len(v) for category, v in right.items()},
        }
        context.progress.update(len(results), len(names))
    write_records(context.out / "answers.jsonl", answers)
    return {"variants": results}
