"""Scores of generated answers against references, and the paper's averages over benchmarks.

Source: arXiv 2307.09288, Section 2.3 and Tables 3 and 19-25 (exact match, F1, averages). The
normalisation of answers is that of the benchmarks' own papers, restated where it is used. Where
Table 3 departs from its own rule (Math of 7B and 13B is GSM8K alone) the rule holds here.
"""

from __future__ import annotations

import math
import re
import string
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from camelid.errors import DataError, counted

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


def _compared(text: str) -> str:
    """The normalised text, or the plain one of which nothing would be left (`The The`, `+`)."""
    return normalize(text) or text.strip().lower()


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """Return 1 where the normalised prediction is one of the normalised references.

    Without a reference (SQuAD 2.0) the right prediction is nothing, or "unanswerable".
    """
    if not references:
        return float(normalize(prediction) in {"", "unanswerable"})
    return float(_compared(prediction) in set(map(_compared, references)))


def f1(prediction: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall over normalised words."""
    found, wanted = normalize(prediction).split(), normalize(reference).split()
    if CANNOT_ANSWER in (*found, *wanted) or not found or not wanted:
        return float(_compared(prediction) == _compared(reference))
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
    r"""Return the content of the last `\boxed{...}` or `\fbox{...}`, braces balanced.

    Without braces (`\boxed 42`) it goes to the end of the formula or line, as in MATH's own scorer.
    """
    *_, last = (None, *re.finditer(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*", text))
    if last is None:
        return None
    rest = text[last.end() :]
    if not rest.startswith("{"):
        return re.split(r"\$|\\[)\]]|\n", rest)[0].strip() or None
    depth = 0
    for index, letter in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth == 0:
            return rest[1:index]
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


SCORES: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact_match": exact_match,
    "quac_f1": quac_f1,
    "last_number": lambda found, right: float(number(found) == right[0]),
    "final_answer": lambda found, right: float(
        normalize_latex(final_answer(found)) == normalize_latex(right[0])
    ),
    "first_line": lambda found, right: float(found.strip().rstrip(".") == right[0].rstrip(".")),
    "chain_answer": lambda found, right: float(chain_answer(found) == right[0].rstrip(".")),
}
"""Value of a generated answer, given the references, by what is compared."""


class Score(NamedTuple):
    """A mean over items."""

    value: float
    """In the unit of the items: a share where they are right or wrong."""
    standard_error: float
    """Of the mean over items; NaN for a single one."""
    n: int
    """Items behind it."""
    items: int
    """Items that the benchmark has; more than `n` under a limit."""
    note: str = ""
    """What makes it another figure than the benchmark's: a limit, a subset, thin examples."""


def score(values: Sequence[float], items: int | None = None) -> Score:
    """Return the mean of the items' values.

    Raises:
        DataError: There is none.
    """
    if not values:
        raise DataError("score: found no item; at least one needed.")
    n = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Score(float(np.mean(values)), error, n, n if items is None else items)


def average(scores: Sequence[Score], weights: Sequence[float] | None = None) -> Score:
    """Return the weighted mean of independent scores; equal weights by default."""
    shares = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    shares = shares / shares.sum()
    return Score(
        float(sum(w * s.value for w, s in zip(shares, scores, strict=True))),
        math.sqrt(sum((w * s.standard_error) ** 2 for w, s in zip(shares, scores, strict=True))),
        sum(s.n for s in scores),
        sum(s.items for s in scores),
        "; ".join(dict.fromkeys(s.note for s in scores if s.note)),
    )


def question_weighted(scores: Sequence[Score]) -> Score:
    """Return the mean in which every question of every part counts alike (MMLU, AGI Eval)."""
    return average(scores, [s.items for s in scores])


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of the chance that one of k samples is correct.

    1 - C(n - c, k) / C(n, k), as a product that does not overflow. Source: arXiv 2107.03374,
    equation 1, which Table 21 uses.

    Raises:
        DataError: Not 0 <= correct <= samples, or fewer than k samples.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise DataError(
            f"pass@{k}: found {correct} correct of {counted(samples, 'sample')}; k or more needed."
        )
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


FILE: dict[str, Any] = tomllib.loads(
    Path(__file__).with_name("benchmarks.toml").read_text(encoding="utf-8")
)
CATEGORIES: dict[str, list[str]] = FILE["categories"]
"""Columns of Table 3 and the tasks, with their shots, whose plain mean each is."""
MMLU_CATEGORIES: dict[str, list[str]] = FILE["mmlu"]
"""Subjects of each column of Table 19."""
AGIEVAL_TASKS: dict[str, str] = FILE["agieval"]
"""Columns of Table 24 and the names of their files."""
MEMBERS: dict[str, list[str]] = {
    "mmlu": [subject for subjects in MMLU_CATEGORIES.values() for subject in subjects],
    "bbh": FILE["bbh"]["tasks"],
    "agieval": list(AGIEVAL_TASKS.values()),
}
"""Members of the families of benchmarks."""


def with_groups(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Add the groups whose parts are all there to scores by task (`name@shots`).

    A group is never the mean of some of its parts: it stays away until all have a score.
    """
    found = dict(scores)
    groups = {
        f"mmlu:{column}": [f"mmlu_{subject}" for subject in subjects]
        for column, subjects in MMLU_CATEGORIES.items()
    }
    for group in ("mmlu", "agieval", "bbh", "bbh-chain"):
        groups[group] = [f"{group}_{task}" for task in MEMBERS[group.removesuffix("-chain")]]
    for k in {name.rpartition("@")[2] for name in scores}:
        for group, parts in groups.items():
            members = [f"{part}@{k}" for part in parts]
            # BBH is the plain mean of all files, each size of a task by itself, as in the harness.
            mean = average if group.startswith("bbh") else question_weighted
            if all(member in scores for member in members):
                found[f"{group}@{k}"] = mean([scores[member] for member in members])
    return found


def table3(scores: Mapping[str, Score]) -> dict[str, Score | None]:
    """Return the columns of Table 3 from scores by task; None where a task has no score."""
    return {
        category: average([scores[t] for t in tasks]) if all(t in scores for t in tasks) else None
        for category, tasks in CATEGORIES.items()
    }


SCORES_ADVICE = "Remove that file and evaluate the model again: its logs hold the answers."
_ENTRY: dict[str, Any] = {
    **dict.fromkeys(("n", "items", "truncated", "unfinished"), int),
    **dict.fromkeys(("value", "standard_error"), (int, float)),
    **dict.fromkeys(("metric", "examples", "note"), str),
}


def read_tasks(table: Any, where: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a `scores.json` by task.

    Raises:
        DataError: It is no such table, or a field is missing or of another type.
    """
    tasks = table.get("tasks") if isinstance(table, dict) else None
    for name, entry in tasks.items() if isinstance(tasks, dict) else [("tasks", tasks)]:
        for field, kind in _ENTRY.items():
            found = {"note": "", **entry}.get(field) if isinstance(entry, dict) else None
            large = isinstance(found, (int, float)) and abs(found) > 1e9
            none = field in ("n", "items") and found == 0
            if not isinstance(found, kind) or isinstance(found, bool) or large or none:
                shown = repr(found)[:60]
                raise DataError(f"{where}: {name}: {field} is {shown}. {SCORES_ADVICE}")
    return tasks if isinstance(tasks, dict) else {}


def read_scores(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Score]:
    """Return the scores of what `read_tasks` gave."""
    return {
        name: Score(**{field: entry[field] for field in Score._fields if field in entry})
        for name, entry in tasks.items()
    }


def shown(score: Score) -> str:
    """Return a share in % with its standard error, and a mark where there is a note."""
    mark = " †" if score.note else ""
    return f"{100 * score.value:.1f} ± {100 * score.standard_error:.1f}{mark}"
