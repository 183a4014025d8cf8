"""The examples on tiny weights made here: what they print, and what they say to wrong input."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAIRS = EXAMPLES / "pairs.jsonl"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run an example as a user would; return exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return ended.value.code, *capsys.readouterr()

    return run


def test_examples_are_short():
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 5
    for script in scripts:
        assert len(script.read_text(encoding="utf-8").splitlines()) < 60


def test_a_reward_model_from_pairs_and_replies_scored_by_it(call, tiny_weights, tmp_path):
    own = tmp_path / "own.jsonl"
    # One row that cannot be used: it is counted and named.
    own.write_text(
        PAIRS.read_text(encoding="utf-8") + '{"prompt": "Hi", "chosen": "a", "rejected": "a"}\n',
        encoding="utf-8",
    )
    rate = "--learning-rate", "3e-3"
    code, out, err = call("reward_model_from_pairs", tiny_weights, own, "rm", *rate)
    assert (code, err) == (0, "")
    assert "rows left out: 1 read and excluded: 1 x chosen and rejected are identical" in out
    (steps,) = set(re.findall(r"^step \d+ of (\d+): loss", out, re.MULTILINE))
    assert out.count("\nstep ") == int(steps)
    rows = re.findall(r"^ *(\w+): +([\d.]+) % right \(\d+ to \d+\), n = \d+$", out, re.MULTILINE)
    shown = dict(rows)
    assert list(shown) == ["significantly_better", "better", "slightly_better", "all"]
    assert float(shown["all"]) > 75

    asked = "How do I boil an egg?", "Why is the sky blue?"
    words = [tiny_weights, *asked, "--reward-model", "rm", "--max-new-tokens", "8"]
    code, out, err = call("sample_and_score", *words, "--samples", "3")
    assert (code, err) == (0, "")
    for prompt in asked:
        assert f"\n{prompt}\n" in out
    assert len(re.findall(r"^  [+-]\d+\.\d\d  ", out, re.MULTILINE)) == 6
    assert out == call("sample_and_score", *words, "--samples", "3")[1]
    long = "egg " * 400
    code, out, _ = call("sample_and_score", tiny_weights, long, "--max-new-tokens", "4")
    assert re.search(r"egg   \(\d+ tokens cut\)\n", out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none", "PAIRS", "rm"], "none: no model here. Needed a GGUF file"),
        (["WEIGHTS", "none.jsonl", "rm"], "none.jsonl does not exist"),
        (["WEIGHTS", "wrong.jsonl", "rm"], "needed comparisons"),
        (["WEIGHTS", "PAIRS", "there"], "there exists already; choose another destination"),
        (["WEIGHTS", "PAIRS", "rm", "--epochs", "0"], "epochs is 0, but must be from 1"),
        (["WEIGHTS", "PAIRS", "rm", "--held-out", "1"], "held_out is 1.0"),
        (["WEIGHTS", "PAIRS", "rm", "--learning-rate", "nan"], "learning_rate is nan"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(words, said, call, tiny_weights, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "wrong.jsonl").write_text('{"text": "Hi"}\n', encoding="utf-8")
    meant = {"WEIGHTS": tiny_weights, "PAIRS": PAIRS}
    code, _, err = call("reward_model_from_pairs", *(meant.get(word, word) for word in words))
    assert code == 2
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "rm").exists()


def test_a_language_model_is_no_reward_model(call, tiny_weights):
    words = [tiny_weights, "Hi", "--reward-model", tiny_weights]
    code, out, err = call("sample_and_score", *words)
    assert (code, out) == (2, "")
    assert "found a language model, needed a reward model" in err
