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

Item = dict[str, Any]
"""What a prompt needs: `query` and `answer`; for choices `choices` and `gold`, the right one's
number; for generated answers `answers`, the references; for programs what stands before and after
the completion, `program` and `tests`."""
LETTERS = "ABCDEFGHIJ"
_INSTRUCTION = re.compile(r"^[^:]*: (.*?)\n\n((?:Answer|Option)1: .*?)\s*Answer format:", re.DOTALL)


def _choice(query: str, choices: Sequence[str], gold: int) -> Item:
    if not 0 <= gold < len(choices):
        raise ValueError(f"the right choice is number {gold + 1} of {len(choices)}")
    if not all(choices):
        raise ValueError("a choice is empty")
    return {"query": query, "choices": list(choices), "gold": gold, "answer": choices[gold]}


def _open(query: str, answer: str, references: Sequence[Any] | None = None) -> Item:
    """Item whose answer is generated; the answer is the only reference where none are named."""
    return {
        "query": query,
        "answer": answer,
        "answers": [answer] if references is None else list(references),
    }


def _place(letters: str, letter: str) -> int:
    """Number of a letter; unlike in a text, the empty one is nowhere in a list."""
    return list(letters).index(letter)


def _from_instruction(row: Row) -> tuple[str, list[str], int]:
    """Undo the instruction format of LLM-Adapters: question, choices as texts, number from 0."""
    found = _INSTRUCTION.match(row["instruction"])
    if found is None:
        raise KeyError("instruction")
    choices = re.split(r"\s*(?:Answer|Option)\d+: ", found[2])[1:]
    return found[1], choices, int(row["answer"][-1]) - 1


def _lettered(row: Row) -> tuple[str, list[str], int]:
    """Question, choices and number of the right one of ARC, OpenBookQA and CommonsenseQA."""
    if "instruction" in row:
        return _from_instruction(row)
    if "Answer Key" in row:
        texts = re.split(r"\s*\([A-D]\) ", row["Choices"])[1:]
        return row["Question Stem"], texts, _place(LETTERS, row["Answer Key"])
    question = row["question"] if "question" in row else row["question_stem"]
    inner = question if isinstance(question, dict) else row
    choices = inner["choices"]
    if isinstance(choices, list):
        choices = {key: [choice[key] for choice in choices] for key in ("text", "label")}
    stem = question["stem"] if isinstance(question, dict) else question
    return stem, choices["text"], choices["label"].index(row["answerKey"])


def piqa(row: Row) -> Item:
    """PIQA."""
    choices = [row["sol1"], row["sol2"]]
    return _choice(f"Question: {row['goal']}\nAnswer:", choices, int(row["label"]))


def siqa(row: Row) -> Item:
    """SIQA."""
    if "instruction" in row:
        question, choices, gold = _from_instruction(row)
        return _choice(f"Q: {question}\nA:", choices, gold)
    choices = [row["answerA"], row["answerB"], row["answerC"]]
    return _choice(f"Q: {row['context']} {row['question']}\nA:", choices, int(row["label"]) - 1)


def hellaswag(row: Row) -> Item:
    """HellaSwag: texts without the marks of its web pages."""

    def clean(text: str) -> str:
        text = text.strip().replace(" [title]", ". ")
        return re.sub(r"\[.*?\]", "", text).replace("  ", " ")

    context = row["ctx"]
    if "ctx_a" in row and "ctx_b" in row:
        context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
    activity = f"{row['activity_label']}: " if "activity_label" in row else ""
    endings = [clean(ending) for ending in row["endings"]]
    return _choice(clean(activity + context), endings, int(row["label"]))


def winogrande(row: Row) -> Item:
    """The two choices fill the blank of the context; what follows the blank is scored."""
    if "instruction" in row:
        sentence, options, gold = _from_instruction(row)
    else:
        sentence, gold = row["sentence"], int(row["answer"]) - 1
        options = [row["option1"], row["option2"]]
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
    return _letters(row["question"], row["choices"], int(row["answer"]))


def boolq(row: Row) -> Item:
    """BoolQ."""
    query = f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"
    return _choice(query, ["no", "yes"], int(row["answer"]))


def agieval(row: Row) -> Item:
    """AGI Eval."""
    options, passage = row["options"], row["passage"]
    letters = LETTERS[: len(options)]
    query = (
        f"{passage + chr(10) if passage else ''}Q: {row['question']}\n"
        f"Answer choices: {' '.join(options)}\nA: Among A through {letters[-1]}, the answer is"
    )
    return _choice(query, letters, _place(letters, row["label"]))


def agieval_without_passage(row: Row) -> Item:
    """AGI Eval's task that leaves out the passages, in its examples too."""
    return agieval({**row, "passage": ""})


def open_question(row: Row) -> Item:
    """NaturalQuestions and TriviaQA."""
    found = row.get("golden_answers", row.get("answer", row.get("Answer")))
    if isinstance(found, dict):
        lower = {key.lower(): value for key, value in found.items()}
        found = [lower["value"], *lower["aliases"]]
    found = [found] if isinstance(found, str) else found
    asked = row.get("question", row.get("Question"))
    if not asked or not found:
        raise KeyError("question" if not asked else "answer")
    query = f"Question: {str(asked).rstrip('?')}?\nAnswer:"
    return _open(query, found[0], found)


def squad(row: Row, turns: str = "") -> Item:
    """SQuAD 2.0; without a reference, the question has no answer in the passage."""
    if "input" in row:
        context, _, question = row["input"].rpartition("\n")
        row = {"context": context, "question": question, "answers": {"text": [row["output"]]}}
    references = list(row["answers"]["text"])
    query = f"{row['context']}\n\n{turns}Question: {row['question']}\nAnswer:"
    return _open(query, references[0] if references else "unanswerable", references)


def quac(row: Row) -> Item:
    """QuAC: earlier turns stand in the prompt with their answers."""
    turns = (f"Question: {t['question']}\nAnswer: {' '.join(t['answer'])}\n" for t in row["turns"])
    return squad(row, "".join(turns))


def gsm8k(row: Row) -> Item:
    """GSM8K."""
    number = scoring.number(row["answer"])
    return _open(f"Question: {row['question']}\nAnswer:", row["answer"], [number])


def math(row: Row) -> Item:
    """MATH."""
    solution = row.get("solution") or f"The answer is ${row['answer']}$."
    final = str(row["answer"]) if "answer" in row else scoring.final_answer(solution)
    return _open(f"Problem:\n{row['problem']}\n\nSolution:", solution, [final])


def bbh(row: Row, opening: str = "A:") -> Item:
    """BIG-Bench Hard, answered at once."""
    return _open(f"Q: {row['input']}\n{opening}", row["target"])


def bbh_chain(row: Row) -> Item:
    """BIG-Bench Hard with a chain of thought."""
    return bbh(row, "A: Let's think step by step.\n")


def humaneval(row: Row) -> Item:
    """HumanEval: the completion goes on where the prompt ends."""
    tests = f"{row['test']}\ncheck({row['entry_point']})\n"
    item = _open(row["prompt"], row["canonical_solution"], [])
    return {**item, "tests": tests, "program": row["prompt"]}


def mbpp(row: Row) -> Item:
    """MBPP."""
    tests = "\n".join(row["test_list"])
    query = (
        "You are an expert Python programmer, and here is your task: "
        f"{row.get('text') or row['prompt']} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )
    item = _open(query, f"{row['code']}\n[DONE]", [])
    return {**item, "tests": f"{row.get('test_setup_code') or ''}\n{tests}\n", "program": ""}


def passed_share(item: Item, found: Sequence[str], *, k: int) -> float:
    """Estimate of pass@k, each program run in the sandbox."""
    programs = [f"{item['program']}{completion}\n{item['tests']}" for completion in found]
    passed = {program: run_program(program).passed for program in dict.fromkeys(programs)}
    return scoring.pass_at_k(len(found), sum(passed[program] for program in programs), k)
