"""Reward models as annotators: an imitation of people, by differences of their scores.

Source: arXiv 2307.09288, Section 3.2.2 (scores) and 3.2.1 (labels); the thresholds are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid.annotators import Imitation, ImitationModels
from camelid.data.annotation import Lineage, Pair
from camelid.data.records import STRENGTHS, Kind, Preference
from camelid.errors import CheckpointError, ConfigError
from camelid.formats.convert import read_model
from camelid.formats.folder import build, load_reward_model
from camelid.inference.scoring import score_pairs
from camelid.model.reward_model import RewardModel
from camelid.run.files import hash_path
from camelid.run.place import RewardModelFolder, TokenizerFolder
from camelid.runtime import Runtime
from camelid.tokenization.chat import ChatFormat, chat_format_of, load_chat_format


@dataclass(frozen=True, slots=True)
class Scorer:
    """A reward model with the chat format that it reads."""

    model: RewardModel
    chat: ChatFormat

    @classmethod
    def given(cls, path: Path, runtime: Runtime) -> Scorer:
        """Read a reward model that a user has named, with the tokenizer beside it.

        Raises:
            MissingInputError: There is none, or no tokenizer.
            CheckpointError: It is damaged, or a language model.
        """
        found = read_model(path)
        model = build(found.checkpoint)
        if not isinstance(model, RewardModel):
            raise CheckpointError(f"{path}: found a language model, needed a reward model.")
        return cls(runtime.place(model).eval(), chat_format_of(found.tokenizer))

    def compare(self, pairs: Sequence[Pair]) -> list[tuple[float, float] | None]:
        """Return the scores (logits) of both replies; None where one is too long for the model."""
        rows = []
        for pair in pairs:
            prompt = self.chat.render_prompt(pair.prompt.messages)
            a, b = (
                [*prompt, *self.chat.encode_reply(reply), self.chat.end_id]
                for reply in (pair.reply_a, pair.reply_b)
            )
            rows.append((a, b))
        context = self.model.config.context
        fitting = [row for row in rows if max(map(len, row)) <= context]
        scores = iter(score_pairs(self.model, fitting))
        return [next(scores) if max(map(len, row)) <= context else None for row in rows]


class ImitationAnnotator:
    """Compares by the scores of reward models, without noise.

    Args:
        settings: Thresholds, and given models where there are any.
        imitation: Those of the plan.
        tokenizer: The tokenizer of the plan.
        runtime: Where to compute.

    Raises:
        ConfigError: No models are given and the plan has none.
    """

    def __init__(
        self,
        settings: Imitation,
        imitation: ImitationModels | None,
        tokenizer: TokenizerFolder,
        runtime: Runtime,
    ) -> None:
        self.settings, self.name = settings, settings.name
        self.left_out: Counter[str] = Counter()
        self._scorers: dict[Kind, Scorer]
        self._paths: tuple[Path, ...]
        self._sources: tuple[str, ...]
        self._learned, self._below = None, settings.unsafe_below
        if settings.helpfulness is not None and settings.safety is not None:
            self._sources = (settings.helpfulness, settings.safety)
            self._paths = tuple(map(Path, self._sources))
            scorers = {path: Scorer.given(path, runtime) for path in self._paths}
            self._scorers = {
                "helpfulness": scorers[self._paths[0]],
                "safety": scorers[self._paths[1]],
            }
        elif imitation is not None:
            chat = load_chat_format(tokenizer.path)
            folders: dict[Kind, RewardModelFolder] = {"helpfulness": imitation.helpfulness}
            if imitation.safety is not None:
                folders["safety"] = imitation.safety
            self._paths = tuple(folder.path for folder in folders.values())
            self._sources = tuple(folder.label for folder in folders.values())
            self._scorers = {
                kind: Scorer(load_reward_model(folder.path, runtime), chat)
                for kind, folder in folders.items()
            }
            learned = imitation.learned.read()
            self._learned = learned.comparisons
            # Without labels the sign of the score means nothing.
            self._below = settings.unsafe_below if learned.safety_labels else None
        else:
            raise ConfigError(
                f"Replies are to be compared by {self.name}, but this plan trains none; add a "
                "stage 'imitation', or give the paths of reward models (helpfulness and safety)."
            )

    def compare(self, pairs: Sequence[Pair]) -> list[Preference | None]:
        """See `Comparer`; the safety model decides safety comparisons."""
        found: list[Preference | None] = [None] * len(pairs)
        if unknown := {pair.kind for pair in pairs} - self._scorers.keys():
            raise ConfigError(
                f"{self.name} has learned from no comparison of {', '.join(unknown)}; ask it for "
                "none (safety_pairs 0), or give it some to learn from."
            )
        for kind, scorer in self._scorers.items():
            own = [index for index, pair in enumerate(pairs) if pair.kind == kind]
            scores = scorer.compare([pairs[index] for index in own])
            for index, both in zip(own, scores, strict=True):
                found[index] = self._decide(pairs[index], both)
        return found

    def _decide(self, pair: Pair, scores: tuple[float, float] | None) -> Preference | None:
        if scores is None:
            self.left_out["too_long_to_compare"] += 1
            return None
        a, b = scores
        if a == b:
            self.left_out["ties"] += 1
            return None
        settings = self.settings
        least = (settings.significantly_better, settings.better, settings.slightly_better)
        below = self._below
        return pair.decided(
            "a" if a > b else "b",
            strength=STRENGTHS[sum(abs(a - b) < difference for difference in least)],
            unsafe=None if below is None else (a < below, b < below),
            annotator=self.name,
            key=self.name,
        )

    def lineage(self) -> Lineage:
        """Return where the labels come from."""
        hashes = dict.fromkeys(hash_path(path) for path in self._paths)
        return Lineage(
            annotator=self.name,
            source=", ".join(dict.fromkeys(self._sources)),
            sha256=", ".join(hashes),
            learned_from=self._learned,
        )
