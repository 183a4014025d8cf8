"""Who compares replies on real text: people, an endpoint, an imitation of people.

The settings of each; `opening` makes of them what a stage asks. The simulated annotators of the
pocket world are `camelid.simulation.annotators`.

Source: arXiv 2307.09288, Section 3.2.1 (what is asked); how people, endpoints and imitations answer
is Source: choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from camelid.data.annotation import Annotator
from camelid.errors import ConfigError
from camelid.run.place import Json, RewardModelFolder, StageInputs
from camelid.settings import Range, SomeShare, Temperature, Tokens, bounded, suggestion

_Seconds = Annotated[float, Range(0, 3_600)]
_Difference = Annotated[float, Range(0, 100)]


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class People:
    """People: the run writes what to compare, stops, and goes on when their answers are there."""

    minimum: SomeShare = 1.0
    """Least share of the comparisons of each kind and use that must be answered; with fewer the run
    stops again, and says how many are missing."""

    @property
    def name(self) -> str:
        """See `Annotator`."""
        return "people"


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Endpoint:
    """A model behind an OpenAI-compatible address, asked twice a pair, in both orders."""

    url: str
    """Base address, such as `http://localhost:8000/v1`; `/chat/completions` is put behind it."""
    model: str
    """Name of the model, as the endpoint knows it."""
    key_variable: str | None = None
    """Environment variable that holds the key, which is never written anywhere; null for none."""
    concurrency: Annotated[int, Range(1, 256)] = 8
    """Requests that are open at once; cannot change the result."""
    tries: Annotated[int, Range(1, 100)] = 6
    """Most requests for one answer, where some fail."""
    wait_seconds: _Seconds = 1.0
    """Wait after the first failure, twice as long after each further one, at most two minutes."""
    timeout_seconds: Annotated[float, Range(0, 3_600, above=True)] = 60.0
    """Longest wait for data of an answer."""
    temperature: Temperature | None = 0.0
    """Sampling temperature of the judge; null leaves it to the endpoint."""
    max_tokens: Tokens | None = 256
    """Longest answer of the judge; null leaves it to the endpoint."""
    nonsense: Literal["stop", "leave_out"] = "stop"
    """What is done with a pair that was answered, each time, by no verdict."""

    def __post_init__(self) -> None:
        needed = f"url is {self.url!r}; needed an address such as http://localhost:8000/v1."
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError as error:
            raise ConfigError(f"{needed} ({error})") from None
        if not usable:
            raise ConfigError(needed)
        if parts.username or parts.password or parts.query:
            raise ConfigError(
                f"url: the address of {parts.hostname} holds a user, a password or a query, which "
                "would be written into the run. Name an environment variable with the key instead."
            )
        if not self.model:
            raise ConfigError(
                f"no model is named for {self.url}; name it behind the address: {self.url}#MODEL."
            )

    @property
    def name(self) -> str:
        """See `Annotator`."""
        return f"the model {self.model}"


@dataclass(frozen=True, kw_only=True, slots=True)
@bounded
class Imitation:
    """Reward models that stand in for people: by default those of the plan's own imitation stage.

    Differences of raw scores (logits) become strengths. All thresholds are Source: choice: such a
    difference means odds of 9, 3 and 1.5 to 1 in the model that the ranking loss fits.
    """

    helpfulness: str | None = None
    """A given reward model for helpfulness, with its tokenizer beside it; null for the plan's."""
    safety: str | None = None
    """The same for safety."""
    significantly_better: _Difference = 2.2
    """Smallest difference of this strength."""
    better: _Difference = 1.1
    """Smallest difference of this strength."""
    slightly_better: _Difference = 0.4
    """Smallest difference of this strength; below it, negligibly better."""
    unsafe_below: Annotated[float, Range(-100, 100)] | None = 0.0
    """Safety score (logit) below which a reply of a safety comparison is called unsafe; null for no
    such labels. The plan's imitation gives none either where people gave it none."""

    def __post_init__(self) -> None:
        if not self.slightly_better <= self.better <= self.significantly_better:
            raise ConfigError(
                f"strengths: found {self.slightly_better}, {self.better}, "
                f"{self.significantly_better}; they must rise."
            )
        if (self.helpfulness is None) != (self.safety is None):
            raise ConfigError(
                f"an imitation has helpfulness {self.helpfulness!r} and safety {self.safety!r}; "
                "give both models (they may be one), or none for those of the plan."
            )

    @property
    def name(self) -> str:
        """See `Annotator`."""
        if self.helpfulness is None:
            return "an imitation of people"
        names = dict.fromkeys(Path(path).name for path in (self.helpfulness, self.safety) if path)
        return f"a given reward model ({', '.join(names)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """What an imitation of people has learned from, and how well it agrees with others of them."""

    comparisons: int
    """Human comparisons that it was trained on; no other stage reads them."""
    safety_labels: int
    """Those of them with a safety label."""
    right: dict[str, int]
    """Held-out human comparisons by kind that it decides as people did."""
    tested: dict[str, int]
    """Held-out human comparisons by kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImitationModels(StageInputs):
    """An imitation of people that a stage of the plan has trained."""

    helpfulness: RewardModelFolder
    safety: RewardModelFolder | None
    """None where there were no safety comparisons to learn from."""
    learned: Json[Learned]


def annotator_of(text: str) -> Annotator | None:
    """Return who compares, as one word of a command says it.

    Args:
        text: `none`; `people`; `imitation` for that of the plan; an address with the name of the
            model, `http://localhost:8000/v1#MODEL`; or the path of a reward model.

    Raises:
        ConfigError: It is none of these.
    """
    if text in (words := ("none", "people", "imitation")):
        return {"none": None, "people": People(), "imitation": Imitation()}[text]
    if "://" in text:
        url, _, model = text.partition("#")
        return Endpoint(url=url, model=model)
    if (hint := suggestion(text, words)) and not Path(text).exists():
        raise ConfigError(
            f"annotator is {text!r}, but must be one of {', '.join(words)}, "
            f"an address (http://HOST/v1#MODEL) or a reward model's path.{hint}"
        )
    path = str(Path(text).resolve())
    return Imitation(helpfulness=path, safety=path)
