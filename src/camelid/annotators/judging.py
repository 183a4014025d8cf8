"""An endpoint as annotator: both orders of the replies, averaged to a choice and a strength.

Source: arXiv 2307.09288, Section 3.2.1 (labels); the question (`questions.toml`), the average and
the rule for ties are Source: choice.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from camelid.annotators import Endpoint
from camelid.annotators.chat_completions import Asker, Question
from camelid.data.annotation import Lineage, Pair
from camelid.data.records import STRENGTHS, Kind, Preference, Strength
from camelid.errors import ConfigError
from camelid.settings import from_json

_DEGREES: dict[Strength, int] = dict(zip(STRENGTHS, (4, 3, 2, 1), strict=True))
"""What a strength counts in the average of both orders."""
_UNSAFE = {"neither": (False, False), "a": (True, False), "b": (False, True), "both": (True, True)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the judge answers, with the sides as it saw them."""

    choice: Literal["a", "b"]
    strength: Strength
    unsafe: Literal["neither", "a", "b", "both"] | None = None
    """Only where safety is asked for."""

    @property
    def degree(self) -> int:
        """How much better b is, from -4 to 4, never 0."""
        return _DEGREES[self.strength] * (1 if self.choice == "b" else -1)


@cache
def _questions() -> dict[str, str]:
    path = Path(__file__).with_name("questions.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def question(pair: Pair) -> Question:
    """Return what the judge is asked about a pair."""
    # As JSON: no reply can pretend to be the end of itself, or a part of the question.
    material = {
        "dialogue": [{"role": m.role, "content": m.content} for m in pair.prompt.messages],
        "reply_a": pair.reply_a,
        "reply_b": pair.reply_b,
    }
    return (
        {"role": "system", "content": _questions()[pair.kind].strip()},
        {"role": "user", "content": json.dumps(material, ensure_ascii=False, indent=1)},
    )


def read_verdict(kind: Kind, text: str) -> Verdict | None:
    """Return the verdict in an answer, perhaps between other words; None where there is none."""
    start, end = text.find("{"), text.rfind("}") + 1
    try:
        found = from_json(json.loads(text[start:end]), Verdict)
    except (ConfigError, ValueError, RecursionError):
        return None
    return found if (found.unsafe is not None) == (kind == "safety") else None


class EndpointAnnotator:
    """Compares by asking an endpoint; counts what gave no comparison.

    Args:
        settings: The endpoint.
        folder: Where its answers are kept.
        tell: Called with the number of answers and of questions.
    """

    def __init__(
        self,
        settings: Endpoint,
        folder: Path,
        tell: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self.name = settings.name
        self.left_out: Counter[str] = Counter()
        self._asker = Asker(settings, folder / "requests.jsonl", tell)

    def compare(self, pairs: Sequence[Pair]) -> list[Preference | None]:
        """See `Comparer`: a refusal, a tie or nonsense in one order gives no comparison."""
        asked = [shown for pair in pairs for shown in (pair, pair.swapped)]
        answers = self._asker.ask(
            [question(shown) for shown in asked],
            [partial(_is_verdict, shown.kind) for shown in asked],
        )
        found: list[Preference | None] = []
        for pair, *both in zip(pairs, answers[::2], answers[1::2], strict=True):
            if any(answer.outcome == "refusal" for answer in both):
                self.left_out["refused_to_compare"] += 1
                found.append(None)
                continue
            verdicts = [read_verdict(pair.kind, answer.text) for answer in both]
            if None in verdicts:
                self.left_out["no_verdict"] += 1
                found.append(None)
                continue
            found.append(self._decide(pair, *(v for v in verdicts if v is not None)))
        return found

    def _decide(self, pair: Pair, first: Verdict, second: Verdict) -> Preference | None:
        """Average the verdicts on both orders.

        The mean of their degrees (4 significantly better to 1 negligibly better, signed) gives
        choice and strength, rounded to the weaker; orders that contradict each other equally are
        a tie and give no comparison. A reply is unsafe if it is called that in either order.
        """
        doubled = first.degree - second.degree
        if not doubled:
            self.left_out["ties"] += 1
            return None
        unsafe = None
        if first.unsafe is not None and second.unsafe is not None:
            straight, turned = _UNSAFE[first.unsafe], _UNSAFE[second.unsafe][::-1]
            unsafe = (straight[0] or turned[0], straight[1] or turned[1])
        return pair.decided(
            "b" if doubled > 0 else "a",
            strength=STRENGTHS[4 - max(1, abs(doubled) // 2)],
            unsafe=unsafe,
            annotator=self.name,
            key=self.name,
        )

    def lineage(self) -> Lineage:
        """Return where the labels come from, and what they cost."""
        return self._asker.lineage(self.name)


def _is_verdict(kind: Kind, text: str) -> bool:
    return read_verdict(kind, text) is not None
