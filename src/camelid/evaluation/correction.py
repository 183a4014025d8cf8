"""Rates corrected for the errors of the judge that counted them.

A judge that finds a share `sensitivity` of what there is, and leaves a share `specificity` of the
rest alone, counts p = t sensitivity + (1 - t) (1 - specificity) where t is true. Solved for t:
Rogan and Gladen (1978), Am. J. Epidemiol. 107(1). Its interval carries the uncertainty of all
three: Lang and Reiczigel (2014), Prev. Vet. Med. 113(1). It holds where the judge errs on the
replies at hand as often as on those that people labelled. Source: choice; the paper asks people.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from camelid.evaluation.statistics import Estimate, Z, attempt, paired_difference, proportion
from camelid.run.item import AbsentError


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """How many replies of one true label the judge labels rightly."""

    right: int
    replies: int
    groups: int
    """Independent groups among them: replies to one prompt are not independent."""

    @property
    def share(self) -> Estimate:
        """The share of them, its interval that of the groups."""
        return proportion(self.right, self.replies, self.groups)

    @property
    def adjusted(self) -> tuple[float, float]:
        """The share with one success and one failure added to its groups, and its variance."""
        count = self.groups + 2
        share = (self.right / self.replies * self.groups + 1) / count
        return share, share * (1 - share) / count


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeError:
    """A judge's verdicts on replies that people labelled."""

    positive: Found
    """Of those that people call positive: its sensitivity."""
    negative: Found
    """Of the others: its specificity."""

    @property
    def accuracy(self) -> Estimate:
        """Share of right verdicts."""
        parts = (self.positive, self.negative)
        right, replies = (sum(getattr(part, n) for part in parts) for n in ("right", "replies"))
        # Some groups have replies of both labels.
        return proportion(right, replies, max(part.groups for part in parts))

    @property
    def slope(self) -> float:
        """How much more often it says yes where it should.

        Raises:
            AbsentError: Not more often, so that its rates say nothing of the true ones.
        """
        if not (self.positive.replies and self.negative.replies):
            raise AbsentError("people labelled no reply of one of the two kinds")
        found, rest = self.positive.share.value, self.negative.share.value
        adjusted = self.positive.adjusted[0] + self.negative.adjusted[0]
        if min(found + rest, adjusted) <= 1:
            raise AbsentError(
                f"the judge's sensitivity ({found:.2f}) and specificity ({rest:.2f}) add up to no "
                "more than 1: its rates say nothing of the true ones"
            )
        return found + rest - 1


def judge_error(
    verdicts: Sequence[bool], labels: Sequence[bool], groups: Sequence[Hashable]
) -> JudgeError:
    """Count a judge's errors against people's labels.

    Args:
        verdicts: The judge's.
        labels: The people's.
        groups: What each row belongs to; rows of one group are not independent.
    """

    def among(label: bool) -> Found:
        rows = [(v, g) for v, l, g in zip(verdicts, labels, groups, strict=True) if l == label]
        return Found(
            right=sum(verdict == label for verdict, _ in rows),
            replies=len(rows),
            groups=len({group for _, group in rows}),
        )

    return JudgeError(positive=among(label=True), negative=among(label=False))


def corrected_rate(positives: int, n: int, error: JudgeError) -> Estimate:
    """Return the true rate behind a judge's count, with a 95 % interval, both within 0 and 1.

    Args:
        positives: How often the judge said yes.
        n: Of how many replies, at least one.
        error: The judge's errors.

    Raises:
        AbsentError: There is no such reply, or the judge is no better than chance.

    Source: Rogan and Gladen (1978); the interval: Lang and Reiczigel (2014).
    """
    if not n:
        raise AbsentError("no reply was judged")
    value = (positives / n + error.negative.share.value - 1) / error.slope
    (found, found_variance), (rest, rest_variance) = (
        error.positive.adjusted,
        error.negative.adjusted,
    )
    count = n + Z * Z
    share = (positives + Z * Z / 2) / count
    slope = found + rest - 1
    middle = (share + rest - 1) / slope
    shift = 2 * Z * Z * (middle * found_variance - (1 - middle) * rest_variance)
    variance = (
        share * (1 - share) / count + middle**2 * found_variance + (1 - middle) ** 2 * rest_variance
    ) / slope**2
    half = Z * math.sqrt(variance)
    return _within(0.0, value, middle + shift - half, middle + shift + half, n)


def counted(
    verdicts: Sequence[bool], second: Sequence[bool], error: JudgeError
) -> tuple[Estimate, Estimate | None, Estimate]:
    """Return a rate as the judge counts it, corrected where that can be, and by a second judge.

    Args:
        verdicts: The judge's.
        second: Those of the second judge on the same replies.
        error: The judge's errors.
    """
    positives, n = sum(verdicts), len(verdicts)
    corrected = attempt(lambda: corrected_rate(positives, n, error))
    return proportion(positives, n), corrected, proportion(sum(second), len(second))


def corrected_difference(
    a: Sequence[bool], b: Sequence[bool], error: JudgeError, *, share: float = 1.0
) -> Estimate:
    """Return the true rate of a less that of b, by the same judge on the same prompts, with 95 %.

    The judge's false alarms cancel and the difference of the raw rates is divided by sensitivity +
    specificity - 1; the interval is by the delta method from that of the raw difference (Bonett and
    Price) and the adjusted errors of Lang and Reiczigel. Source: choice.

    Args:
        a: Verdicts on the replies of one model.
        b: The same of another.
        error: The judge's errors, taken to be the same on both.
        share: Of b's rate that is taken away: 0.5 asks whether a has at most half of it.

    Raises:
        AbsentError: There is no prompt, or the judge is no better than chance.
    """
    raw = paired_difference(a, [share * verdict for verdict in b], largest=1.0)
    if not raw.n:
        raise AbsentError("no prompt was judged for both models")
    # What is left of the false alarms where not all of b is taken away.
    kept = 1 - share
    value = (raw.value + kept * (error.negative.share.value - 1)) / error.slope
    (found, found_variance), (rest, rest_variance) = (
        error.positive.adjusted,
        error.negative.adjusted,
    )
    slope = found + rest - 1
    middle = ((raw.low + raw.high) / 2 + kept * (rest - 1)) / slope
    own = ((raw.high - raw.low) / (2 * Z)) ** 2
    variance = (own + middle**2 * found_variance + (kept - middle) ** 2 * rest_variance) / slope**2
    half = Z * math.sqrt(variance)
    return _within(-share, value, middle - half, middle + half, raw.n)


def _within(least: float, value: float, low: float, high: float, n: int) -> Estimate:
    """Cut an estimate to what a rate can be; the value stays inside its interval."""
    value, low, high = (min(1.0, max(least, x)) for x in (value, low, high))
    return Estimate(value, min(value, low), max(value, high), n)
