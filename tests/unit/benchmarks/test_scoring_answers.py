"""Answers against references, with the examples of the benchmarks' own rules."""

from __future__ import annotations

import pytest

from camelid.benchmarks import scoring


@pytest.mark.parametrize(
    ("prediction", "references", "value"),
    [
        (" The Eiffel Tower.", ["eiffel tower"], 1),
        ("an  apple", ["Apple!"], 1),
        ("Theodore", ["odore"], 0),
        ("14 December 1972", ["14 December 1972 UTC", "December 1972"], 0),
        ("Denver", [], 0),
        ("unanswerable", [], 1),
        ("", [], 1),
        ("", ["x"], 0),
    ],
)
def test_exact_match(prediction, references, value):
    assert scoring.exact_match(prediction, references) == value


def test_f1_counts_common_words():
    # Two words in common of three found and four wanted: 2 * 2 / (3 + 4).
    assert scoring.f1("big red dog", "red dog runs fast") == pytest.approx(4 / 7)
    # A word counts as often as both have it.
    assert scoring.f1("dog dog", "dog cat cat") == pytest.approx(2 / 5)
    assert scoring.f1("", "dog") == 0
    # Nothing is left of this reference; nothing is no answer all the same.
    assert scoring.f1("", "the") == 0
    assert scoring.f1("The", "the") == 1


def test_quac_compares_with_as_many_references_as_a_person():
    # Leaving out each in turn: max(0, 1), max(1, 1), max(1, 0) over f1 = (1, 0, 1).
    assert scoring.quac_f1("dog", ["dog", "cat", "dog"]) == 1
    assert scoring.quac_f1("dog", ["dog", "cat"]) == pytest.approx(0.5)
    assert scoring.quac_f1("CANNOTANSWER", ["CANNOTANSWER"]) == 1
    assert scoring.quac_f1("I cannotanswer", ["CANNOTANSWER"]) == 0
    assert scoring.quac_f1("cat", ["dog"]) == 0
    # As many people find no answer as find one: there is none; fewer: theirs do not count.
    assert scoring.quac_f1("a cat", ["cat", "CANNOTANSWER"]) == 0
    assert scoring.quac_f1("CANNOTANSWER", ["cat", "CANNOTANSWER"]) == 1
    assert scoring.quac_f1("CANNOTANSWER", ["cat", "cat", "CANNOTANSWER"]) == 0
    assert scoring.quac_f1("cat", ["cat", "cat", "CANNOTANSWER"]) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("She makes 9 * 2 = $18 a day.\n#### 18", "18"),
        ("so 1,234,567 in all", "1234567"),
        ("it is 3.50", "3.5"),
        ("it costs -4.0 and then 5.", "5"),
        ("#### -7", "-7"),
        ("100", "100"),
        ("none", None),
    ],
)
def test_number(text, value):
    assert scoring.number(text) == value


@pytest.mark.parametrize("reference", ["The", "The The", "+", "a", "?!"])
def test_case_gold_without_number_an_empty_reply_is_never_right(reference):
    """Where normalising leaves nothing of a reference, the text itself is compared."""
    for wrong in ("", " ", "the a", "."):
        assert scoring.exact_match(wrong, [reference]) == 0
        assert scoring.quac_f1(wrong, [reference]) == 0
    assert scoring.exact_match(f" {reference.lower()} ", [reference]) == 1
    assert scoring.quac_f1(reference, [reference]) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"So it is $\fbox{42}$.", "42"),
        (r"So it is $\boxed 42$.", "42"),
        (r"\(\boxed 42\) it is", "42"),
        ("\\boxed 42\nThat is all.", "42"),
        (r"\boxed{1} and then \fbox{2}", "2"),
        (r"\fbox{1} and then $\boxed {2}$", "2"),
        (r"\boxed\frac12", r"\frac12"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed", None),
        (r"\boxed{1", None),
        (r"\boxedness{1}", None),
        ("42", None),
    ],
)
def test_case_fbox(text, value):
    assert scoring.boxed(text) == value
    if value is not None:
        assert scoring.final_answer(text) == value
        assert scoring.SCORES["final_answer"](text, [value]) == 1


def test_answers_of_chains_and_boxes():
    assert scoring.chain_answer("Step 1.\nSo the answer is (B).") == "(B)"
    assert scoring.chain_answer("first\nYes.") == "Yes"
    assert scoring.boxed(r"so \boxed{1} or \boxed{\frac{1}{2}}.") == r"\frac{1}{2}"
    assert scoring.boxed("no box") is None
    assert scoring.boxed(r"\boxed{open") is None
    assert scoring.final_answer("The answer is $x=3$.") == "x=3"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\dfrac12", r"\frac{1}{2}"),
        ("1/2", r"\frac{1}{2}"),
        (".5", "0.5"),
        ("0.5", r"\frac{1}{2}"),
        (r"\begin{pmatrix} -3 \\ 11 \end{pmatrix}", r"\begin{pmatrix}-3\\11\end{pmatrix}"),
        (r"\$1,000", "1000"),
        (r"180\text{ miles}", "180"),
        (r"90^\circ", "90"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        ("x = 5", "5"),
        (r"\sqrt2", r"\sqrt{2}"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"50\%", "50"),
    ],
)
def test_latex_that_means_the_same(one, other):
    assert scoring.normalize_latex(one) == scoring.normalize_latex(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("12", "1"), ("(1,200)", "(1200)"), (r"\frac{1}{2}", "2"), ("-1", "1"), (r"1 \\ 2", r"1\ 2")],
)
def test_latex_that_does_not(one, other):
    assert scoring.normalize_latex(one) != scoring.normalize_latex(other)
