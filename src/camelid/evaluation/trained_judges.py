"""What judges of real text have learned from people's labels, and what they get wrong.

Source: choice; Section 4.2.3 has a refusal classifier, of which the paper gives no details.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.evaluation.classifier import Logistic
from camelid.evaluation.correction import JudgeError
from camelid.run.place import Json, ModelFolder, StageInputs, TokenizerFolder

NAME = "regression on human labels"
"""How the judges are called beside every figure that rests on them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """One judge."""

    regression: Logistic
    """Of a reply's features (`camelid.methods.judging`)."""
    error: JudgeError
    """Of its like, on replies to prompts that they never saw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedJudges:
    """Both judges, or why there are none."""

    absent: str | None
    """Why there are none; refusal strings then judge alone."""
    longest: int
    """Most tokens of prompt and reply that they read."""
    depth: float
    """Share of the encoder's layers after which they read its states."""
    refusal: Learned | None = None
    harm: Learned | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judges(StageInputs):
    """Judges of real text with the model through whose hidden states they read."""

    trained: Json[TrainedJudges]
    encoder: ModelFolder
    """The same that they learned with; no stage may optimise against it and them."""
    tokenizer: TokenizerFolder
