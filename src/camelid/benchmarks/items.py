"""Items of the paper's benchmarks: rows of a file or of the hub to prompts, answers to scores.

Source: choice; the prompts that the field uses for base models (arXiv 2307.09288, Section 2.3 names
benchmarks, shots and metrics, and prints no prompt).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from camelid.benchmarks import scoring
from camelid.benchmarks.code_execution import run_program
from camelid.benchmarks.data import Row
from camelid.errors import DataError
from camelid.settings import ABSENT, read_value

Item = dict[str, Any]
"""What a prompt needs: `query` and `answer`; for choices `choices` and `gold`, the right one's
number; for generated answers `answers`, the references; for programs what stands before and after
the completion, `program` and `tests`."""
LETTERS = "ABCDEFGHIJ"
_INSTRUCTION = re.compile(r"^[^:]*: (.*?)\n\n((?:Answer|Option)1: .*?)\s*Answer format:", re.DOTALL)


def field(row: Row, name: str, kind: Any = str) -> Any:
    """Return a field of a row: a text, or of another type as `read_value` knows them.

    Raises:
        DataError: It is missing or of another type.
    """
    return read_value(row.get(name, ABSENT), kind, f"field {name!r}", error=DataError)


def _number(row: Row, name: str) -> int:
    """A whole number, which some files write as text."""
    return int(field(row, name, int | str))


_Texts = tuple[str, ...]


def _choice(query: str, choices: Sequence[str], gold: int) -> Item:
    if not 0 <= gold < len(choices):
        raise ValueError(f"the right choice is number {gold + 1} of {len(choices)}")
    if not all(map(str.strip, choices)):
        raise ValueError("a choice is empty")
    return {"query": query, "choices": list(choices), "gold": gold, "answer": choices[gold]}


def _open(query: str, answer: str, references: Sequence[str] | None = None) -> Item:
    """Item whose answer is generated; the answer is the only reference where none are named."""
    references = [answer] if references is None else list(references)
    # An empty reply would be right.
    if not all(map(str.strip, references)):
        raise ValueError("a reference is empty")
    return {"query": query, "answer": answer, "answers": references}


def _place(letters: Sequence[str], letter: str) -> int:
    """Number of a letter; unlike in a text, the empty one is nowhere in a list."""
    return list(letters).index(letter)


def _from_instruction(row: Row) -> tuple[str, list[str], int]:
    """Undo the instruction format of LLM-Adapters: question, choices as texts, number from 0."""
    found = _INSTRUCTION.match(field(row, "instruction"))
    if found is None:
        raise ValueError("the instruction has no question with numbered answers")
    choices = re.split(r"\s*(?:Answer|Option)\d+: ", found[2])[1:]
    return found[1], choices, int(field(row, "answer")[-1:]) - 1


def _lettered(row: Row) -> tuple[str, list[str], int]:
    """Question, choices and number of the right one of ARC, OpenBookQA and CommonsenseQA."""
    if "instruction" in row:
        return _from_instruction(row)
    if "Answer Key" in row:
        texts = re.split(r"\s*\([A-D]\) ", field(row, "Choices"))[1:]
        return field(row, "Question Stem"), texts, _place(LETTERS, field(row, "Answer Key"))
    name = "question" if "question" in row else "question_stem"
    question = field(row, name, str | dict[str, Any])
    inner = question if isinstance(question, dict) else row
    choices = field(inner, "choices", dict[str, Any] | tuple[dict[str, Any], ...])
    if isinstance(choices, tuple):
        choices = {key: [field(choice, key) for choice in choices] for key in ("text", "label")}
    stem = field(question, "stem") if isinstance(question, dict) else question
    labels = field(choices, "label", _Texts)
    return stem, field(choices, "text", _Texts), _place(labels, field(row, "answerKey"))


def piqa(row: Row) -> Item:
    """PIQA."""
    choices = [field(row, "sol1"), field(row, "sol2")]
    return _choice(f"Question: {field(row, 'goal')}\nAnswer:", choices, _number(row, "label"))


def siqa(row: Row) -> Item:
    """SIQA."""
    if "instruction" in row:
        question, choices, gold = _from_instruction(row)
        return _choice(f"Q: {question}\nA:", choices, gold)
    choices = [field(row, f"answer{letter}") for letter in "ABC"]
    query = f"Q: {field(row, 'context')} {field(row, 'question')}\nA:"
    return _choice(query, choices, _number(row, "label") - 1)


def hellaswag(row: Row) -> Item:
    """HellaSwag: texts without the marks of its web pages."""

    def clean(text: str) -> str:
        text = text.strip().replace(" [title]", ". ")
        return re.sub(r"\[.*?\]", "", text).replace("  ", " ")

    context = field(row, "ctx")
    if "ctx_a" in row and "ctx_b" in row:
        context = f"{field(row, 'ctx_a')} {field(row, 'ctx_b').capitalize()}"
    activity = f"{field(row, 'activity_label')}: " if "activity_label" in row else ""
    endings = [clean(ending) for ending in field(row, "endings", _Texts)]
    return _choice(clean(activity + context), endings, _number(row, "label"))


def winogrande(row: Row) -> Item:
    """The two choices fill the blank of the context; what follows the blank is scored."""
    if "instruction" in row:
        sentence, options, gold = _from_instruction(row)
    else:
        sentence, gold = field(row, "sentence"), _number(row, "answer") - 1
        options = [field(row, "option1"), field(row, "option2")]
    before, _, after = sentence.partition("_")
    return {**_choice("", [before + o for o in options], gold), "answer": after.strip()}


def arc(row: Row) -> Item:
    """ARC."""
    stem, choices, gold = _lettered(row)
    return _choice(f"Question: {stem}\nAnswer:", choices, gold)


def openbookqa(row: Row) -> Item:
    """OpenBookQA."""
    return _choice(*_lettered(row))


def _letters(question: str, choices: Sequence[str], gold: int) -> Item:
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    query = "\n".join([question.strip(), *lines, "Answer:"])
    return _choice(query, LETTERS[: len(choices)], gold)


def commonsenseqa(row: Row) -> Item:
    """CommonsenseQA."""
    stem, choices, gold = _lettered(row)
    return _letters(f"Question: {stem}", choices, gold)


def mmlu(row: Row) -> Item:
    """MMLU."""
    return _letters(field(row, "question"), field(row, "choices", _Texts), _number(row, "answer"))


def boolq(row: Row) -> Item:
    """BoolQ."""
    query = f"{field(row, 'passage')}\nQuestion: {field(row, 'question')}?\nAnswer:"
    return _choice(query, ["no", "yes"], int(field(row, "answer", bool | int)))


def agieval(row: Row) -> Item:
    """AGI Eval."""
    options, passage = field(row, "options", _Texts), field(row, "passage", str | None)
    letters = LETTERS[: len(options)]
    query = (
        f"{passage + chr(10) if passage else ''}Q: {field(row, 'question')}\n"
        f"Answer choices: {' '.join(options)}\nA: Among A through {letters[-1]}, the answer is"
    )
    return _choice(query, letters, _place(letters, field(row, "label")))


def agieval_without_passage(row: Row) -> Item:
    """AGI Eval's task that leaves out the passages, in its examples too."""
    return agieval({**row, "passage": ""})


def open_question(row: Row) -> Item:
    """NaturalQuestions and TriviaQA."""
    name = next((n for n in ("golden_answers", "answer", "Answer") if n in row), "answer")
    found = field(row, name, str | _Texts | dict[str, Any])
    if isinstance(found, dict):
        lower = {key.lower(): value for key, value in found.items()}
        found = [field(lower, "value"), *field(lower, "aliases", _Texts)]
    found = [found] if isinstance(found, str) else found
    asked = field(row, "question" if "question" in row else "Question").rstrip("?")
    if not asked or not found:
        raise ValueError("the question is empty" if not asked else "there is no reference")
    return _open(f"Question: {asked}?\nAnswer:", found[0], found)


def squad(row: Row, turns: str = "") -> Item:
    """SQuAD 2.0; without a reference, the question has no answer in the passage."""
    if "input" in row:
        context, _, question = field(row, "input").rpartition("\n")
        texts = [field(row, "output")]
        row = {"context": context, "question": question, "answers": {"text": texts}}
    references = field(field(row, "answers", dict[str, Any]), "text", _Texts)
    query = f"{field(row, 'context')}\n\n{turns}Question: {field(row, 'question')}\nAnswer:"
    return _open(query, references[0] if references else "unanswerable", references)


def quac(row: Row) -> Item:
    """QuAC: earlier turns stand in the prompt with their answers."""
    turns = (
        f"Question: {field(t, 'question')}\nAnswer: {' '.join(field(t, 'answer', _Texts))}\n"
        for t in field(row, "turns", tuple[dict[str, Any], ...])
    )
    return squad(row, "".join(turns))


def gsm8k(row: Row) -> Item:
    """GSM8K."""
    answer = field(row, "answer")
    number = scoring.number(answer)
    if number is None:
        raise ValueError("the reference holds no number")
    return _open(f"Question: {field(row, 'question')}\nAnswer:", answer, [number])


def math(row: Row) -> Item:
    """MATH."""
    final = str(field(row, "answer", str | int | float)) if "answer" in row else ""
    solution = f"The answer is ${final}$."
    if row.get("solution") or "answer" not in row:
        solution = field(row, "solution")
    final = final if "answer" in row else scoring.final_answer(solution)
    if not scoring.normalize_latex(final):
        raise ValueError("the reference is empty")
    return _open(f"Problem:\n{field(row, 'problem')}\n\nSolution:", solution, [final])


def bbh(row: Row, opening: str = "A:") -> Item:
    """BIG-Bench Hard, answered at once."""
    target = field(row, "target")
    return _open(f"Q: {field(row, 'input')}\n{opening}", target if target.strip(". ") else "")


def bbh_chain(row: Row) -> Item:
    """BIG-Bench Hard with a chain of thought."""
    return bbh(row, "A: Let's think step by step.\n")


def humaneval(row: Row) -> Item:
    """HumanEval: the completion goes on where the prompt ends."""
    tests = f"{field(row, 'test')}\ncheck({field(row, 'entry_point')})\n"
    prompt = field(row, "prompt")
    item = _open(prompt, field(row, "canonical_solution"), [])
    return {**item, "tests": tests, "program": prompt}


def mbpp(row: Row) -> Item:
    """MBPP."""
    tests = "\n".join(field(row, "test_list", _Texts))
    query = (
        "You are an expert Python programmer, and here is your task: "
        f"{field(row, 'text' if 'text' in row else 'prompt')} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )
    item = _open(query, f"{field(row, 'code')}\n[DONE]", [])
    setup = field({"test_setup_code": None, **row}, "test_setup_code", str | None) or ""
    return {**item, "tests": f"{setup}\n{tests}\n", "program": ""}


def passed_share(item: Item, found: Sequence[str], *, k: int) -> float:
    """Estimate of pass@k, each program run in the sandbox."""
    programs = [f"{item['program']}{completion}\n" for completion in found]
    tests = item["tests"]
    passed = {program: run_program(program, tests).passed for program in dict.fromkeys(programs)}
    return scoring.pass_at_k(len(found), sum(passed[program] for program in programs), k)
