"""Scores every variant."""

from __future__ import annotations

import math

from camelid.formats.folder import load_transformer
from camelid.inference.likelihood import Pair, continuation_likelihoods
from camelid.run.stage import NoSettings, StageContext
from camelid.studies.comparing import AnswerRow, Compared, Inputs, Outputs, Result
from camelid.tokenization.chat import load_chat_format
from camelid.train.corpus import read_corpus, validation_loss


def run(_: NoSettings, inputs: Inputs, outputs: Outputs, context: StageContext) -> Result:
    """Answer the questions and measure the validation loss with every variant.

    Validation rows are as long as the variant's context, which is how it was trained.
    """
    tokenizer = load_chat_format(inputs.tokenizer.path).tokenizer
    asked = inputs.questions.read_some()
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    contexts = [[*bos, *ids] for ids in tokenizer.encode_batch([q.context for q in asked])]
    wholes = tokenizer.encode_batch([q.context + c for q in asked for c in q.choices])
    answers: list[AnswerRow] = []
    results: dict[str, Compared] = {}
    for name, folder in inputs.models:
        model = load_transformer(folder.path, context.runtime).eval()
        pairs, ends = [], iter(wholes)
        cut = 0
        for question, before in zip(asked, contexts, strict=True):
            choices = [[*bos, *next(ends)][len(before) :] for _ in question.choices]
            # All choices of a question are seen after the same context.
            room = model.config.context + 1 - max(map(len, choices))
            pairs += [Pair(tuple(before[-room:]), tuple(choice)) for choice in choices]
            cut += room < len(before)
        # In bf16 short choices tie.
        model.precision = "float32"
        scored = iter(continuation_likelihoods(model, pairs))
        for question, before in zip(asked, contexts, strict=True):
            scores = [next(scored).log_probability for _ in question.choices]
            answers.append(
                AnswerRow(
                    variant=name,
                    id=question.id,
                    category=question.category,
                    context_tokens=len(before),
                    choices=len(question.choices),
                    scores=tuple(round(score, 4) for score in scores),
                    answer=question.answer,
                    right=scores.index(max(scores)) == question.answer,
                )
            )
        model.precision = context.runtime.precision
        rows = read_corpus(inputs.validation, tokenizer, model.config.context)
        loss, count = validation_loss(model, rows)
        results[name] = Compared(
            parameters=model.config.parameter_count,
            context=model.config.context,
            heads=model.config.heads,
            kv_heads=model.config.kv_heads,
            ffn_dim=model.config.ffn_dim,
            validation_perplexity=math.exp(loss),
            validation_tokens=count,
            contexts_cut=cut,
        )
        context.progress.update(len(results), len(inputs.models))
    outputs.answers.write(answers)
    return Result(variants=results)
