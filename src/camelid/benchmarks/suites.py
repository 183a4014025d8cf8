"""The paper's benchmarks: where their items are, how many examples they show, how they are scored.

Each becomes one task of lm-evaluation-harness, made from a plain dictionary.

Source: arXiv 2307.09288, Section 2.3 and Tables 3 and 19-25 (members, shots, metrics). Which
examples are shown (the first ones), and how likelihoods are normalised, is Source: choice: choices
of several words are compared by log-likelihood per character (`acc_norm`), letters and yes or no by
log-likelihood (`acc`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from camelid.benchmarks import items
from camelid.benchmarks.aggregates import AGIEVAL_TASKS, BBH_TASKS, CATEGORIES, MMLU_CATEGORIES
from camelid.benchmarks.data import Hub, Row, Source
from camelid.benchmarks.items import Item
from camelid.errors import ConfigError
from camelid.settings import suggestion


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One task."""

    shots: int
    """The paper's number of examples in the prompt; fewer where the file has fewer."""
    item: Callable[[Row], Item]
    test: Source
    examples: Source | None = None
    """Where the examples of the prompt are. Where they are missing, the first items of the test
    stand in and are not scored."""
    kind: Literal["choice", "context_choice", "generation"] = "choice"
    metric: str = "acc"
    score: Callable[[Item, Sequence[str]], float] | None = None
    """Value of an item from its generated answers."""
    until: tuple[str, ...] = ("\n",)
    """Strings that end a generated answer."""
    max_tokens: int = 32
    temperature: float = 0.0
    samples: int = 1
    description: str = ""
    preamble: str | None = None
    """File of the text that stands before every question, with the examples in it."""
    chain: bool = False
    """Whether the examples of the preamble keep their chains of thought."""
    column: str | None = None
    """Column of `examples` that holds the rows."""
    test_ids: range | None = None
    """`task_id` of the test's rows, where one file holds other rows too."""
    example_ids: range | None = None


def _make(
    item: Callable[[Row], Item],
    files: str,
    public: str,
    hub: tuple[str, str | None, str] | None = None,
    *,
    examples: str | None = None,
    example_split: str = "train",
    **settings: Any,
) -> Benchmark:
    """Return a benchmark; `files` and `examples` are relative paths, the first that is there."""
    found = None
    if examples is not None:
        shown = None if hub is None else Hub(hub[0], hub[1], example_split)
        found = Source(files=tuple(examples.split()), hub=shown, public=public)
    test = Source(files=tuple(files.split()), hub=None if hub is None else Hub(*hub), public=public)
    settings = {"shots": 0, **settings}
    return Benchmark(item=item, test=test, examples=found, **settings)


def _generated(
    score: Callable[[Item, Sequence[str]], float], *stops: str, tokens: int = 32, metric: str = "em"
) -> dict[str, Any]:
    """Settings of a task whose answer is generated up to a stop string."""
    return {
        "kind": "generation",
        "metric": metric,
        "score": score,
        "until": stops or ("\n",),
        "max_tokens": tokens,
    }


def _programs(k: int, temperature: float, *stops: str) -> dict[str, Any]:
    """Settings of pass@k from k samples (Table 21; top-p 0.95 throughout)."""
    score = partial(items.passed_share, k=k)
    made = _generated(score, *stops, tokens=512, metric=f"pass@{k}")
    return {**made, "samples": k, "temperature": temperature}


_HUMANEVAL = partial(
    _make, items.humaneval, "humaneval/HumanEval.jsonl", "https://github.com/openai/human-eval",
    ("openai/openai_humaneval", None, "test"),
)  # fmt: skip
_HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
# The test set and the three prompts of MBPP's own paper (arXiv 2108.07732).
_MBPP = partial(
    _make, items.mbpp, "mbpp/mbpp.jsonl", "https://github.com/google-research/google-research",
    ("google-research-datasets/mbpp", "full", "test"), examples="mbpp/mbpp.jsonl",
    example_split="prompt", shots=3, test_ids=range(11, 511), example_ids=range(2, 5),
)  # fmt: skip
_PHRASE = ("\n", ".", ",")
"""What ends the answer to a closed-book question, as the field has it."""
_ADAPTERS = "commonsense-instruction-format"
_AI2 = "https://allenai.org/data"
_NQ = "https://github.com/google-research-datasets/natural-questions (nq_open)"
_MMLU = "https://github.com/hendrycks/test (data.tar)"
_BBH = "https://github.com/suzgunmirac/BIG-Bench-Hard"
_AGIEVAL = "https://github.com/ruixiangcui/AGIEval (data)"

BENCHMARKS: dict[str, Benchmark] = {
    "piqa": _make(
        items.piqa, "piqa/valid.jsonl", "https://github.com/ybisk/ybisk.github.io (piqa/data)",
        ("baber/piqa", None, "validation"), metric="acc_norm"),
    "siqa": _make(
        items.siqa, f"siqa/dev.jsonl {_ADAPTERS}/social_i_qa_test.json",
        "https://leaderboard.allenai.org/socialiqa", ("lighteval/siqa", None, "validation"),
        metric="acc_norm"),
    "hellaswag": _make(
        items.hellaswag, "hellaswag/hellaswag_val.jsonl hellaswag-val/hellaswag_val_full.txt",
        "https://github.com/rowanz/hellaswag (data)", ("Rowan/hellaswag", None, "validation"),
        metric="acc_norm"),
    "winogrande": _make(
        items.winogrande, f"winogrande/dev.jsonl {_ADAPTERS}/winogrande_test.json",
        "https://winogrande.allenai.org", ("allenai/winogrande", "winogrande_xl", "validation"),
        kind="context_choice"),
    "arc_easy": _make(
        items.arc, f"arc-easy/ARC-Easy-Test.jsonl {_ADAPTERS}/ARC-Easy_test.json",
        f"{_AI2}/arc", ("allenai/ai2_arc", "ARC-Easy", "test"), metric="acc_norm"),
    "arc_challenge": _make(
        items.arc,
        f"arc-challenge/ARC-Challenge-Test.jsonl {_ADAPTERS}/ARC-Challenge_test.json",
        f"{_AI2}/arc", ("allenai/ai2_arc", "ARC-Challenge", "test"), metric="acc_norm"),
    "openbookqa": _make(
        items.openbookqa, "openbookqa/test.tsv openbookqa/test.jsonl", f"{_AI2}/open-book-qa",
        ("allenai/openbookqa", "main", "test"), metric="acc_norm"),
    "commonsenseqa": _make(
        items.commonsenseqa, "commonsenseqa/dev_rand_split.jsonl",
        "https://www.tau-nlp.sites.tau.ac.il/commonsenseqa",
        ("tau/commonsense_qa", None, "validation"),
        examples="commonsenseqa/train_rand_split.jsonl", shots=7),
    "boolq": _make(
        items.boolq, "boolq/dev.jsonl boolq/boolq_dev.jsonl",
        "https://github.com/google-research-datasets/boolean-questions",
        ("google/boolq", None, "validation")),
    "naturalquestions": _make(
        items.open_question, "nq-open/NQ-open.dev.jsonl", _NQ,
        ("google-research-datasets/nq_open", None, "validation"),
        examples="nq-open/NQ-open.train.jsonl", shots=5,
        **_generated(items.exact_match, *_PHRASE)),
    "triviaqa": _make(
        items.open_question,
        "triviaqa/wikipedia-dev.json triviaqa-subset/triviaqa_test_subset.jsonl",
        "https://nlp.cs.washington.edu/triviaqa",
        ("mandarjoshi/trivia_qa", "rc.wikipedia.nocontext", "validation"),
        examples="triviaqa/wikipedia-train.json", shots=5,
        **_generated(items.exact_match, *_PHRASE)),
    "squad": _make(
        items.squad, "squad/dev-v2.0.json squad-subset/test.json",
        "https://rajpurkar.github.io/SQuAD-explorer", ("rajpurkar/squad_v2", None, "validation"),
        examples="squad/train-v2.0.json squad-subset/valid.json",
        description="Answer with words of the passage, or with \"unanswerable\" where it holds no "
        "answer.\n\n",
        **_generated(items.exact_match)),
    "quac": _make(
        items.quac, "quac/val_v0.2.json", "https://quac.ai", examples="quac/train_v0.2.json",
        **_generated(items.quac_f1, tokens=64, metric="f1")),
    "gsm8k": _make(
        items.gsm8k, "gsm8k/test.jsonl", "https://github.com/openai/grade-school-math",
        ("openai/gsm8k", "main", "test"), examples="gsm8k/train.jsonl", shots=8,
        **_generated(items.last_number, "\n\n", "Question:", tokens=256)),
    "math": _make(
        items.math, "math/test.jsonl math/MATH_test.jsonl", "https://github.com/hendrycks/math",
        examples="math/train.jsonl math/MATH_train.jsonl", shots=4,
        **_generated(items.final_answer, "Problem:", tokens=512)),
    "humaneval": _HUMANEVAL(**_programs(1, 0.1, *_HUMANEVAL_STOPS)),
    "humaneval-100": _HUMANEVAL(**_programs(100, 0.8, *_HUMANEVAL_STOPS)),
    "mbpp": _MBPP(**_programs(1, 0.1, "[DONE]")),
    "mbpp-80": _MBPP(**_programs(80, 0.8, "[DONE]")),
    **{
        f"mmlu_{subject}": _make(
            items.mmlu, f"mmlu/test/{subject}_test.csv mmlu/mmlu.tar::mmlu/test/{subject}_test.csv "
            f"mmlu/data.tar::data/test/{subject}_test.csv", _MMLU, ("cais/mmlu", subject, "test"),
            examples=f"mmlu/dev/{subject}_dev.csv mmlu/mmlu.tar::mmlu/dev/{subject}_dev.csv "
            f"mmlu/data.tar::data/dev/{subject}_dev.csv", example_split="dev", shots=5,
            description="The following are multiple choice questions (with answers) about "
            f"{subject.replace('_', ' ')}.\n\n")
        for subject in " ".join(MMLU_CATEGORIES.values()).split()
    },
    **{
        f"{group}_{task}": _make(
            item, f"big-bench-hard/bbh/{task}.json", _BBH, shots=3,
            preamble=f"big-bench-hard/cot-prompts/{task}.txt", chain=chain, **settings)
        for group, chain, item, settings in (
            ("bbh", False, items.bbh, _generated(items.bbh_answer, tokens=64)),
            ("bbh-chain", True, items.bbh_chain,
             _generated(items.chain_answer, "\n\n", tokens=1024)),
        )
        for task in BBH_TASKS.split()
    },
    **{
        f"agieval_{task}": _make(
            items.agieval_without_passage if task.endswith("-without-passage") else items.agieval,
            f"agieval-english/{task}.jsonl", _AGIEVAL, shots=5,
            examples="agieval-english/few_shot_prompts.csv",
            column=task.removesuffix("-without-passage"))
        for task in AGIEVAL_TASKS.values()
    },
}  # fmt: skip
_FAMILIES = {
    family: tuple(name for name in BENCHMARKS if name.startswith(f"{family}_"))
    for family in ("mmlu", "bbh", "bbh-chain", "agieval")
}
SUITES: dict[str, tuple[str, ...]] = {
    **_FAMILIES,
    "table3": tuple(name for tasks in CATEGORIES.values() for name in tasks),
    "table4": ("mmlu@5", "triviaqa@1", "naturalquestions@1", "gsm8k@8", "humaneval@0", "bbh@3"),
    "table19": _FAMILIES["mmlu"],
    "table20": ("boolq@0", *CATEGORIES["Commonsense reasoning"]),
    "table21": ("humaneval", "humaneval-100", "mbpp", "mbpp-80"),
    "table22": tuple(f"{q}@{k}" for q in ("naturalquestions", "triviaqa") for k in (0, 1, 5, 64)),
    "table23": (*(f"squad@{k}" for k in (0, 1, 4, 5)), "quac@0", "quac@1"),
    "table24": _FAMILIES["agieval"],
    "table25": ("gsm8k", "math"),
}
"""What one name stands for."""


def tasks_of(suite: str) -> list[tuple[str, int]]:
    """Return the benchmarks behind a name, each with its shots.

    Args:
        suite: A suite or a benchmark, `NAME` or `NAME@SHOTS`; several joined by commas.

    Raises:
        ConfigError: There is none of this name (the nearest is named).
    """
    found: list[tuple[str, int]] = []
    for entry in suite.split(","):
        name, mark, number = entry.partition("@")
        if mark and not number.isdecimal():
            raise ConfigError(f"--suite {entry}: found {number!r} shots, needed a whole number.")
        if name in SUITES:
            for member in SUITES[name]:
                found += tasks_of(member if "@" in member else f"{member}{mark}{number}")
        elif name in BENCHMARKS:
            found.append((name, int(number) if mark else BENCHMARKS[name].shots))
        else:
            known = [*SUITES, *BENCHMARKS]
            hint = suggestion(name, known) or f" There are: {', '.join(SUITES)}, and benchmarks."
            raise ConfigError(f"There is no benchmark or suite '{name}'.{hint}")
    return list(dict.fromkeys(found))
