"""The README's commands are taken by the real parser, and its paths exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from camelid import cli
from camelid.cli.parser import make_parsers
from camelid.errors import CamelidError
from camelid.recipes import RECIPES
from camelid.studies.known import STUDIES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
TABLE = re.findall(r"^\| `(camelid [^`]+)` \| .* \|$", README, re.MULTILINE)
PROSE = [
    code
    for line in README.splitlines()
    if not line.startswith("| `camelid")
    for code in re.findall(r"`([^`]+)`", line)
]
COMMANDS = [
    line.split("  #")[0].strip()
    for text in (*(line for fence in FENCES for line in fence.splitlines()), *PROSE)
    if (line := text.strip().removeprefix(".venv/bin/")).startswith(("camelid ", "make "))
]


def test_the_readme_was_read() -> None:
    assert len(FENCES) >= 3
    assert len(TABLE) == 13
    commands = {usage.split()[1] for usage in TABLE}
    assert commands == set(make_parsers()[1])
    assert sum(command.startswith("camelid ") for command in COMMANDS) >= 4
    assert sum(command.startswith("make ") for command in COMMANDS) >= 4


@pytest.mark.parametrize("usage", TABLE)
def test_every_command_of_the_table_parses(usage: str, expanded, check) -> None:
    for words in expanded(usage):
        if words[0] == "study" and words[1] not in STUDIES:
            pytest.fail(f"{words[1]} is no study")
        check(words)


@pytest.mark.parametrize("usage", TABLE)
def test_the_table_names_every_option_that_it_needs(usage: str, expanded, check) -> None:
    """Without its brackets a command is whole as well."""
    for words in expanded(re.sub(r" \[[^]]*\]", "", usage)):
        check(words)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("camelid ")])
def test_every_command_of_the_text_parses(command: str, check) -> None:
    check(command.split()[1:])


@pytest.mark.parametrize(
    "words",
    [
        ["run", "pockett"],
        ["run", "pocket", "--sead", "1"],
        ["run", "pocket", "--ppo.iteration", "1"],
        ["run", "pocket", "--redo", "pppo"],
        ["study", "pocket"],
        ["show", "pockets"],
        ["list", "--all"],
        ["evaluate", "m", "--suite", "table99"],
        ["convert", "a", "b", "--to", "onnx"],
        ["tell"],
    ],
)
def test_a_command_that_would_be_refused_fails_here(words: list[str], check) -> None:
    with pytest.raises(CamelidError):
        check(words)


def test_list_shows_all_that_the_readme_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._call(["list"]) == 0
    shown = capsys.readouterr().out
    for name, recipe in RECIPES.items():
        assert f"\n{name}: " in f"\n{shown}"
        assert " ".join(stage.name for stage in recipe().stages) in shown
        assert f"`{name}`" in README or f" {name}" in README
    for name in STUDIES:
        assert f"study {name}: " in shown
        assert f"`camelid study {name}`" in README


@pytest.mark.parametrize("name", [*RECIPES, *STUDIES])
def test_show_lists_every_setting(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._call(["show", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.split()[0][2:].replace("-", "_") for line in lines if line.startswith("--")}
    for stage in {**RECIPES, **STUDIES}[name]().stages:
        shown = f"{stage.kind.name}.", f"{stage.name.replace('/', '.')}."
        has_none = stage.kind.shows or not fields(stage.kind.config)
        assert any(n.startswith(shown) for n in names) or has_none, stage.name


COMMAND_NAMES = ["", *(usage.split()[1] for usage in TABLE)]


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_help_is_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli._call([*([command] if command else []), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for other in [] if command else COMMAND_NAMES[1:]:
        assert other in shown


# make


@pytest.fixture
def make() -> str:
    found = shutil.which("make")
    if found is None:
        pytest.skip("there is no make on this machine")
    return found


def test_make_help_lists_the_targets(make: str) -> None:
    done = subprocess.run([make, "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^make (\w+)", done.stdout, re.MULTILINE))
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert named
    assert named <= listed


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_knows_the_target(make: str, command: str) -> None:
    words = [make, "--dry-run", *command.split()[1:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in command.split()[2:]:
        assert re.search(rf"^{word.partition('=')[0]} \?=", makefile, re.MULTILINE), word


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("docs/**/*.md")],
    ids=lambda path: path.name,
)
def test_no_line_is_wide(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120]


# Paths


def tree() -> dict[str, str]:
    """Path -> phrase of the block that shows where things are."""
    block = next(fence for fence in FENCES if fence.startswith("src/camelid/"))
    folders: list[str] = []
    found = {}
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, phrase = line.strip().partition(" ")
        folders[depth:] = [name]
        found["".join(folders)] = phrase.strip()
    return found


def test_every_path_of_the_tree_exists_and_is_explained() -> None:
    for path, phrase in tree().items():
        assert (ROOT / path).exists(), path
        assert (ROOT / path).is_dir() == path.endswith("/"), path
        assert phrase or path == "src/camelid/", path


def test_the_tree_shows_every_room() -> None:
    source = ROOT / "src" / "camelid"
    rooms = {f"src/camelid/{path.parent.name}/" for path in source.glob("*/__init__.py")}
    shown = {path for path in tree() if path.startswith("src/camelid/") and path.endswith("/")}
    assert shown - {"src/camelid/"} == rooms
    assert {"src/camelid/losses.py", "src/camelid/plan.py"} <= tree().keys()
    phrase = tree()["tests/"]
    kinds = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))}
    assert set(phrase.split(", ")) == kinds


def test_other_files_that_are_named_exist() -> None:
    named = [
        code
        for code in PROSE
        if re.fullmatch(r"(docs|src|tests|benchmarks|examples)/[\w/.]+", code)
    ]
    named += re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path
