"""The parser of all commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

from camelid import __version__
from camelid.errors import ConfigError
from camelid.options import json_of
from camelid.settings import Range, read_value, suggestion

_SETTINGS = (
    "Options of the recipe (--rounds 5) and settings of its stages (--ppo.iterations 10 for all "
    "stages of that kind, --v2.rejection_sampling.samples 8 for one) are options too. "
    "`camelid show RECIPE` lists them."
)

_MODEL = (
    "run directory RUN, one of its models RUN:NAME, folder of weights, GGUF file, or name of an "
    "installed package that holds one"
)
_READ = (
    "Models that are read: architectures Llama (Llama 1 to 3, SmolLM2, TinyLlama and others that "
    "are built alike) and Qwen2, as a folder of Hugging Face (safetensors), a folder of Meta "
    "(consolidated.*.pth), a GGUF file, or a model of a run."
)
_FORMATS = ("llama2", "llama3", "chatml")


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as a `ConfigError`, with the nearest word, instead of a usage dump."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting, so that all user errors look alike."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        hint = suggestion(choice[1], re.findall(r"[\w-]+", choice[2])) if choice else ""
        raise ConfigError(f"{message}.{hint} See `{self.prog} --help`.")

    def knows(self, word: str) -> bool:
        """Tell whether a word is an option of this command."""
        return word.partition("=")[0] in self._option_string_actions


def parse(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return what a command line says, and its options that are no options of the command.

    Raises:
        ConfigError: The words make no command.
    """
    parser, commands = make_parsers()
    if words and not words[0].startswith("-") and words[0] not in commands:
        hint = suggestion(words[0], commands) or f" There are: {', '.join(commands)}."
        raise ConfigError(f"There is no command '{words[0]}'.{hint} See `camelid --help`.")
    own: list[str] = []
    others: list[str] = []
    target = own
    # Set apart by hand: argparse takes the value of an option that it does not know for a name.
    given: set[str] = set()
    for word in words:
        if word.startswith("--") and words[0] in commands:
            target = own if commands[words[0]].knows(word) else others
            option = word.partition("=")[0]
            if target is own and option in given:
                raise ConfigError(f"{option} is given twice; once is needed.")
            given.add(option)
        target.append(word)
    known, left = parser.parse_known_args(own)
    return known, [*left, *others]


def elsewhere(message: str, command: str) -> str:
    """Return a remark on the options in a message that belong to other commands; else nothing.

    What is said of a run may be read while it is shown, talked to or reported.
    """
    commands = make_parsers()[1]
    own = commands.get(command)
    if command in ("run", "study"):
        # They take options of recipes and settings of stages beside their own.
        return ""
    # Whole commands stand between backticks and need no remark.
    text = re.sub("`.*?`", "`", message)
    named = re.findall(r"(?<![\w-])--[a-z][a-z-]*\b(?!\.)(?! [A-Z]+ of `)", text)
    found: dict[str, list[str]] = {}
    for option in dict.fromkeys(named):
        owners = [name for name, parser in commands.items() if parser.knows(option)]
        if own is not None and owners and command not in owners:
            found.setdefault(owners[0], []).append(option)
    parts = (f"{', '.join(options)}: of `camelid {name}`" for name, options in found.items())
    return f" ({'; '.join(parts)})" if found else ""


def make_parsers() -> tuple[argparse.ArgumentParser, dict[str, _Parser]]:
    """Return the parser of the command line and those of its commands."""
    parser = _Parser(prog="camelid", description="The whole Llama 2 recipe in one package.")
    parser.add_argument("--version", action="version", version=f"camelid {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    commands.add_parser("list", help="recipes, studies and their stages")

    run = commands.add_parser(
        "run",
        help="run a recipe; goes on where an earlier run stopped",
        epilog=_SETTINGS,
    )
    run.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help="name of a recipe, or FILE.py with one"
    )
    run.add_argument("--recipe", dest="file", metavar="FILE", type=Path, help="recipe.json to run")
    run.add_argument("--out", metavar="DIR", type=Path, help="run directory (runs/NAME)")
    run.add_argument(
        "--seeds",
        metavar="N",
        type=_number("--seeds", 1_000),
        help="train with N seeds, from --seed on",
    )
    run.add_argument(
        "--jobs",
        metavar="N",
        type=_number("--jobs", 1_000),
        help="seeds at once, each on its share of the cores (1)",
    )
    _add_run_options(run)

    init = commands.add_parser("init", help="write a recipe of your own to begin with")
    init.add_argument("folder", metavar="DIR", type=Path, help="new folder")

    study = commands.add_parser(
        "study", help="train variants of one model and compare them", epilog=_SETTINGS
    )
    study.add_argument("study", metavar="STUDY", help="name of a study")
    study.add_argument("--out", metavar="DIR", type=Path, help="run directory (runs/study-NAME)")
    _add_run_options(study)

    show = commands.add_parser("show", help="settings in use beside the paper's")
    show.add_argument(
        "what",
        metavar="RECIPE|RUN",
        help="name of a recipe or study, FILE.py with a recipe, or a run directory",
    )
    show.add_argument("--changed", action="store_true", help="only what differs from the paper")

    chat = commands.add_parser(
        "chat", help="talk to a model of a run, or to any weights", epilog=_READ
    )
    chat.add_argument("model_of", metavar="MODEL", help=_MODEL)
    chat.add_argument("--model", metavar="NAME", default="final", help="which of a run (final)")
    chat.add_argument("--compare", metavar=("A", "B"), nargs=2, help="two models side by side")
    chat.add_argument("--temperature", metavar="T", help="of the replies (0.6)")
    chat.add_argument("--system", metavar="TEXT", help="system message (none)")
    chat.add_argument("--chat-format", choices=_FORMATS, help="in place of the template's")

    evaluate = commands.add_parser(
        "evaluate", help="benchmarks of the paper, from public files", epilog=_READ
    )
    evaluate.add_argument("model", metavar="MODEL", help=_MODEL)
    suites = (
        "table3, table19 to table25, mmlu and others that `camelid list` shows, or benchmarks such "
        "as piqa,gsm8k@8 (table3)"
    )
    evaluate.add_argument("--suite", metavar="NAME", default="table3", help=suites)
    evaluate.add_argument("--data", metavar="DIR", type=Path, help="folder of public data files")
    evaluate.add_argument(
        "--limit", metavar="N", type=_number("--limit"), help="most items of each task (all)"
    )
    evaluate.add_argument("--out", metavar="DIR", type=Path, help="of logs and scores")

    data = commands.add_parser("data", help="what files of your own data hold")
    data.add_argument("action", metavar="check", choices=["check"], help="read once and count")
    data.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=Path,
        help="file of dialogues, comparisons or prompts, or folder of such files",
    )
    data.add_argument(
        "--as",
        dest="use",
        choices=["dialogues", "comparisons", "prompts"],
        help="what the rows are for (what the first row looks like)",
    )
    data.add_argument("--weights", metavar="MODEL", help=f"for lengths in tokens: {_MODEL}")
    data.add_argument(
        "--context", metavar="N", type=_number("--context"), help="most tokens (that of MODEL)"
    )
    data.add_argument("--chat-format", choices=_FORMATS, help="in place of the template's")
    data.add_argument("--json", action="store_true", help="print JSON")

    report = commands.add_parser("report", help="make the report of a run again")
    report.add_argument("run", metavar="RUN", type=Path, help="run directory")

    compare = commands.add_parser("compare", help="figures of two runs side by side")
    compare.add_argument("run_a", metavar="RUN_A", type=Path, help="run directory")
    compare.add_argument("run_b", metavar="RUN_B", type=Path, help="another run directory")
    compare.add_argument("--all", action="store_true", help="every figure, not only the main ones")
    compare.add_argument("--json", action="store_true", help="everything, for machines")

    convert = commands.add_parser("convert", help="write a model in another format", epilog=_READ)
    convert.add_argument(
        "source",
        metavar="SRC",
        type=Path,
        help="GGUF file or installed package that holds one; folder of Hugging Face, of Meta or of "
        "a run (RUN/STAGE/model)",
    )
    convert.add_argument("destination", metavar="DST", type=Path, help="new folder or GGUF file")
    convert.add_argument("--to", choices=["hf", "meta", "gguf"], required=True, help="the format")
    convert.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="number type of the weights (float32)",
    )
    convert.add_argument(
        "--shards", metavar="N", type=_number("--shards", 1_000), help="files; for meta, processes"
    )
    convert.add_argument("--tokenizer", metavar="PATH", type=Path, help="if it is not with SRC")
    convert.add_argument("--chat-format", choices=_FORMATS, help="in place of the template's")
    return parser, commands.choices


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", metavar="N", help="seed of training and sampling (0)")
    command.add_argument("--threads", metavar="N", help="CPU threads (the machine's cores)")
    command.add_argument("--precision", metavar="TYPE", help="float32, bfloat16 or auto (auto)")
    command.add_argument("--watts", metavar="W", help="stated power of the machine (65 at first)")
    command.add_argument(
        "--redo", metavar="STAGE", type=_stage, help="make it and all after it again"
    )
    command.add_argument("--until", metavar="STAGE", type=_stage, help="stop after this stage")


def _number(option: str, most: int = 10**9) -> Callable[[str], int]:
    """Return the reader of a number of at least 1."""

    def read(word: str) -> int:
        number: int = read_value(json_of([word], int), Annotated[int, Range(1, most)], option)
        return number

    return read


def _stage(word: str) -> str:
    """Return the name of a stage, which settings write with dots."""
    return word.replace(".", "/")
