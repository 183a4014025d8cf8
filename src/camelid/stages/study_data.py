"""Data of a study on the pocket world: text to pretrain on and multiple-choice questions about it.

Source: choice; the paper's ablations (arXiv 2307.09288, A.2.1) use its own corpus and benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from camelid.data.records import write_records
from camelid.run.stage import StageContext
from camelid.simulation.long_texts import mixed_corpus
from camelid.simulation.questions import questions
from camelid.simulation.setting import build_setting
from camelid.simulation.world import WorldConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the texts."""

    world: WorldConfig
    """The pocket world."""
    long_share: float = 0.0
    """Share of long documents; above 0, questions about what was told long before are asked too."""
    questions: int = 300
    """Questions of each category."""


def run(config: Config, context: StageContext) -> dict[str, Any]:
    """Write `corpus.txt`, `corpus_validation.txt` and `questions.jsonl`."""
    setting = build_setting(config.world)
    sizes = {"train": config.world.documents, "validation": config.world.validation_documents}
    for part, name in (("train", "corpus.txt"), ("validation", "corpus_validation.txt")):
        documents = mixed_corpus(setting, config.long_share, sizes[part], part)
        with (context.out / name).open("w", encoding="utf-8") as file:
            file.writelines(f"{document}\n" for document in documents)
    asked = list(questions(setting, config.questions, long=config.long_share > 0))
    write_records(context.out / "questions.jsonl", asked)
    return {"documents": sizes["train"], "questions": len(asked)}
