"""Data of a study on the pocket world: text to pretrain on and multiple-choice questions about it.

Source: choice; the paper's ablations (arXiv 2307.09288, A.2.1) use its own corpus and benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from camelid.data.records import Question
from camelid.run.place import Corpus, Rows, StageOutputs, place
from camelid.run.stage import NoInputs, StageContext, StageKind
from camelid.settings import Range, Share, bounded
from camelid.simulation.config import WorldConfig
from camelid.simulation.long_texts import mixed_corpus
from camelid.simulation.questions import questions
from camelid.simulation.setting import build_setting


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Config:
    """Settings of the texts."""

    world: WorldConfig
    """The pocket world."""
    long_share: Share = 0.0
    """Share of long documents; above 0, questions about what was told long before are asked too."""
    questions: Annotated[int, Range(1, 100_000)] = 300
    """Questions of each category."""


class Outputs(StageOutputs):
    """What the stage writes."""

    corpus: Corpus = place("corpus.txt")
    validation: Corpus = place("corpus_validation.txt")
    questions: Rows[Question] = place("questions.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What was written."""

    documents: int
    questions: int


def run(config: Config, _: NoInputs, outputs: Outputs, __: StageContext) -> Result:
    """Write the corpora and the questions."""
    setting = build_setting(config.world)
    sizes = {"train": config.world.documents, "validation": config.world.validation_documents}
    for part, corpus in (("train", outputs.corpus), ("validation", outputs.validation)):
        corpus.write(mixed_corpus(setting, config.long_share, sizes[part], part))
    asked = list(questions(setting, config.questions, long=config.long_share > 0))
    outputs.questions.write(asked)
    return Result(documents=sizes["train"], questions=len(asked))


STUDY_DATA = StageKind(
    name="study_data", config=Config, inputs=NoInputs, outputs=Outputs, result=Result, run=run
)
