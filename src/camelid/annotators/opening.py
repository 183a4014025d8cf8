"""From the settings of an annotator to what a stage asks. Source: choice."""

from __future__ import annotations

from camelid.annotators import Endpoint, Imitation, ImitationModels, People
from camelid.annotators.judging import EndpointAnnotator
from camelid.annotators.people import PeopleAnnotator
from camelid.annotators.reward_models import ImitationAnnotator
from camelid.data.annotation import Annotator, Comparer
from camelid.errors import ConfigError
from camelid.run.place import TokenizerFolder
from camelid.run.stage import StageContext

Accountable = EndpointAnnotator | ImitationAnnotator | PeopleAnnotator
"""Annotators that say where their labels come from (`lineage`) and count the pairs that came back
without a comparison (`left_out`)."""


def open_annotator(
    settings: Annotator,
    context: StageContext,
    *,
    tokenizer: TokenizerFolder,
    imitation: ImitationModels | None,
    answers: str,
) -> Comparer:
    """Return what compares for a stage.

    Args:
        settings: Who compares.
        context: Of the stage.
        tokenizer: The tokenizer of the plan.
        imitation: Its imitation of people.
        answers: Name of the file that people write.

    Raises:
        ConfigError: The settings name nobody who compares, or what they need is not in the plan.
    """
    if isinstance(settings, People):
        return PeopleAnnotator(settings, context.root, context.annotation, answers)
    if isinstance(settings, Endpoint):
        return EndpointAnnotator(settings, context.annotation, context.progress.update)
    if isinstance(settings, Imitation):
        return ImitationAnnotator(settings, imitation, tokenizer, context.runtime)
    if isinstance(settings, Comparer):
        return settings
    raise ConfigError(f"{settings.name} compares nothing; needed an annotator.")
