"""Writes text and questions of a study."""

from __future__ import annotations

from camelid.run.stage import NoInputs, StageContext
from camelid.simulation.long_texts import mixed_corpus
from camelid.simulation.questions import questions
from camelid.simulation.setting import build_setting
from camelid.studies.study_data import Config, Outputs, Result


def run(config: Config, _: NoInputs, outputs: Outputs, __: StageContext) -> Result:
    """Write the corpora and the questions."""
    setting = build_setting(config.world)
    sizes = {"train": config.world.documents, "validation": config.world.validation_documents}
    for part, corpus in (("train", outputs.corpus), ("validation", outputs.validation)):
        corpus.write(mixed_corpus(setting, config.long_share, sizes[part], part))
    asked = list(questions(setting, config.questions, long=config.long_share > 0))
    outputs.questions.write(asked)
    return Result(documents=sizes["train"], questions=len(asked))
