"""What needs no model answers without loading torch: names and settings are checked first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
PROGRAM = """
import sys
from camelid.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
# NumPy comes with the simulated annotators, whose settings are part of a recipe.
loaded = {"torch", "matplotlib", "jinja2", "safetensors", "tokenizers", "sentencepiece"}
assert not loaded & set(sys.modules), loaded & set(sys.modules)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--help", 0, "COMMAND"),
        ("run --help", 0, "--redo STAGE"),
        ("list", 0, "pocket: "),
        ("show pocket", 0, "ppo.clip"),
        ("show context", 0, "context-512.pretraining.model.context"),
        ("run pokcet", 2, "Did you mean 'pocket'?"),
        ("study contxt", 2, "Did you mean 'context'?"),
        (
            "run pocket --ppo.iteration 3",
            2,
            "no field 'iteration'. Did you mean 'iterations'?",
        ),
        ("run pocket --rounds x", 2, "must be a whole number"),
        ("run pocket --redo ppp", 2, "Did you mean 'ppo'?"),
        ("run --recipe none.json", 2, "none.json does not exist"),
        ("evaluate none --suite table33", 2, "no benchmark or suite 'table33'"),
        ("chat none", 2, "There is no run and no model at none"),
        ("evaluate none", 2, "There is no run and no model at none"),
        ("chat none --temperature x", 2, "--temperature is 'x', but must be a number."),
        ("run pocket --sft.batch-rows 0", 2, "but must be from 1 to"),
        ("data check none.jsonl", 2, "none.jsonl does not exist"),
        ("report none", 2, "There is no run at none"),
    ],
)
def test_no_torch(words, code, said, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words.split()],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stderr


def test_settings_and_arguments_load_nothing():
    program = (
        "import sys, camelid.settings, camelid.options, camelid.errors, camelid.cli.parser\n"
        "assert not {'torch', 'numpy', 'rich'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=True,
    )


def test_the_public_names_are_listed_without_loading_anything():
    program = (
        "import sys, camelid\n"
        "assert {'load_model', 'train_reward_model'} <= set(dir(camelid))\n"
        "assert not {'torch', 'numpy', 'camelid.api'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=True,
    )
