"""Scores of generated answers against references: exact match, F1, numbers, LaTeX.

Source: arXiv 2307.09288, Section 2.3 names the metrics (exact match, F1); their normalisation is
that of the benchmarks' own papers, restated where it is used.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
CANNOT_ANSWER = "cannotanswer"
"""QuAC's answer where the text holds none."""


def normalize(text: str) -> str:
    """Lower case, without punctuation, articles and extra spaces.

    Source: choice; the rule of SQuAD (arXiv 1606.05250, Section 6.1), which NaturalQuestions,
    TriviaQA and QuAC use as well.
    """
    plain = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """Return 1 where the normalised prediction is one of the normalised references.

    Without a reference (SQuAD 2.0) the right prediction is nothing, or "unanswerable".
    """
    found = normalize(prediction)
    if not references:
        return float(found in {"", "unanswerable"})
    return float(found in {normalize(reference) for reference in references})


def f1(prediction: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall over normalised words."""
    found, wanted = normalize(prediction).split(), normalize(reference).split()
    if CANNOT_ANSWER in (*found, *wanted) or not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def quac_f1(prediction: str, references: Sequence[str]) -> float:
    """Return the best F1 over the references, averaged over leaving each of them out.

    So a model is compared with as many references as a person is. Where at least half of them say
    that there is no answer, that is the only reference, else those are dropped. Source: choice; the
    rule of QuAC (arXiv 1808.07036, Section 5, and its public scorer), without its filter of
    questions that people disagree on.
    """
    spans = [reference for reference in references if normalize(reference) != CANNOT_ANSWER]
    references = spans if 2 * len(spans) > len(references) else [CANNOT_ANSWER]
    scores = [f1(prediction, reference) for reference in references]
    if len(scores) < 2:
        return max(scores, default=0.0)
    return sum(max(scores[:i] + scores[i + 1 :]) for i in range(len(scores))) / len(scores)


def number(text: str) -> str | None:
    """Return the number after `####`, else the last one, without separators and empty decimals."""
    _, mark, after = text.partition("####")
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", after if mark else text)
    if not found:
        return None
    chosen = str(found[0] if mark else found[-1]).replace(",", "")
    return chosen.rstrip("0").rstrip(".") if "." in chosen else chosen


def chain_answer(text: str) -> str:
    """Return what stands after "the answer is" in a chain of thought, else the last line."""
    found = re.findall(r"answer is:? *(.*)", text)
    lines = text.strip().splitlines() or [""]
    return str(found[-1] if found else lines[-1]).strip().rstrip(".")


def boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{...}`, braces balanced."""
    start = text.rfind("\\boxed{")
    depth = 0
    for index in range(start + 6, len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[start + 7 : index]
    return None


def final_answer(solution: str) -> str:
    """Return the final answer of a solution to a MATH problem.

    In a box, after "answer is", or the last formula, in this order.
    """
    found = boxed(solution)
    if found is None:
        found = chain_answer(solution)
        formulas = re.findall(r"\$([^$]+)\$", found)
        found = formulas[-1] if formulas else found
    return found


def normalize_latex(text: str) -> str:
    r"""Return an answer without what does not change its value: spaces, sizes, units, `\frac12`.

    Source: choice; in the spirit of the rule of MATH (arXiv 2103.03874): two answers are equal when
    the normalised texts are.
    """
    # Row breaks of matrices must not be taken for spaces.
    text = text.replace("\\\\", "\0")
    for old, new in (
        *((word, "") for word in ("\\left", "\\right", "\\!", "\\,", "\\ ", "\\$", "$", "^\\circ")),
        *(("^{\\circ}", ""), ("\\%", ""), ("%", ""), ("tfrac", "frac"), ("dfrac", "frac")),
    ):
        text = text.replace(old, new)
    # A unit follows a number; a text that is all there is, is the answer.
    text = re.sub(
        r"(?<=[\d}])\s*\\(?:text|mbox|mathrm)\{[^{}]*\}(?:\^\{?\d\}?)?$", "", text.strip()
    )
    text = re.sub(r"\\(?:text|mbox|mathrm)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"^[a-zA-Z]\s*=", "", text)
    text = re.sub(r"\s+", "", text).rstrip(".")
    text = re.sub(r"(?<![\d])\.(\d)", r"0.\1", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text) if "(" not in text else text
    text = re.sub(r"\\sqrt([a-zA-Z\d])", r"\\sqrt{\1}", text)
    text = re.sub(r"\\frac([a-zA-Z\d])([a-zA-Z\d])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac([a-zA-Z\d])\{", r"\\frac{\1}{", text)
    text = re.sub(r"(\\frac\{[^{}]*\})([a-zA-Z\d])", r"\1{\2}", text)
    text = "\\frac{1}{2}" if text == "0.5" else text
    return re.sub(r"^(-?\d+)/(-?\d+)$", r"\\frac{\1}{\2}", text).replace("\0", "\\\\")
