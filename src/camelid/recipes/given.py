"""What a user of the recipe `own` has, and what of the recipe follows from it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from camelid.annotators import Imitation
from camelid.data.annotation import Annotator
from camelid.errors import ConfigError
from camelid.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a user has; of a recipe that is only shown, everything."""

    weights: Path | None
    text: Path | None
    demonstrations: Path | None
    comparisons: Path | None
    safety_comparisons: Path | None
    prompts: Path | None
    annotator: Annotator | None
    safety: bool
    """Whether the authored safety data take part."""
    attacks: Path | None
    human_scores: Path | None
    ghost_dialogues: int

    @property
    def nothing(self) -> bool:
        """Whether the recipe is only to be shown."""
        return not any(getattr(self, field.name) for field in fields(self))

    def has(self, *names: str) -> bool:
        """Tell whether one of several inputs is given."""
        return self.nothing or any(getattr(self, name) for name in names)

    @property
    def tuned(self) -> bool:
        """Whether there is something to imitate."""
        return self.has("demonstrations", "safety")

    @property
    def compared(self) -> bool:
        """Whether there are comparisons, or somebody who compares."""
        return self.has("comparisons", "annotator")

    @property
    def imitated(self) -> bool:
        """Whether an imitation of people compares, trained on a part of the comparisons."""
        return isinstance(self.annotator, Imitation) and self.annotator.helpfulness is None

    def left_out(self) -> dict[str, str]:
        """Return the parts of the recipe that have no input, with the reason."""
        without: dict[str, str] = {}
        if self.weights is not None:
            without["tokenizer training and pretraining"] = "weights are given"
        if not self.tuned:
            without["supervised fine-tuning"] = "no --demonstrations"
        if not self.compared:
            all_of_it = "reward models, rejection sampling, PPO and evaluation"
            return {**without, all_of_it: "no --comparisons and no --annotator"}
        if not self.has("annotator"):
            without["fresh comparisons"] = "no --annotator"
        if not self.has("safety_comparisons"):
            what = "safety reward model with its gate, and context distillation"
            without[what] = "no --safety-comparisons"
        elif not self.has("safety", "attacks"):
            without["context distillation"] = "no --safety authored and no --attacks"
        if not self.has("attacks"):
            without["red teaming and violations"] = "no --attacks"
        if not self.has("safety"):
            without["false refusals"] = "no --safety authored"
        if not self.has("human_scores"):
            without["trained judges"] = "no --human-scores; refusal strings judge alone"
        if not self.has("ghost_dialogues"):
            without["Ghost Attention"] = "no --ghost-dialogues"
        return without

    def check(self, _: Plan) -> None:
        """Check that there is one start, and something to train.

        Raises:
            ConfigError: There is not.
        """
        if self.nothing:
            return
        if (self.weights is None) == (self.text is None):
            state = "both are given" if self.weights else "neither is given"
            raise ConfigError(
                f"own starts from --weights or from --text; {state}. Name the one to start from."
            )
        if self.safety_comparisons is not None and self.comparisons is None:
            raise ConfigError(
                f"--safety-comparisons {self.safety_comparisons} needs --comparisons beside it."
            )
        if self.imitated and self.comparisons is None:
            raise ConfigError(
                f"--annotator imitation: comparisons is {self.comparisons}; name people's with "
                "--comparisons, from which it can learn."
            )
        if self.weights is not None and not (self.tuned or self.compared):
            raise ConfigError(
                f"--weights {self.weights}: nothing to train them on. Give --demonstrations or "
                "--comparisons."
            )
