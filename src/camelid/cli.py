"""The command line: `camelid list | run | show | chat | evaluate | report | convert`.

Exit codes: 0 done, 1 internal error or failed training, 2 the user's mistake (no traceback), 130
Ctrl-C. Heavy imports wait until the arguments are parsed, so that `--help` answers at once.
Source: choice.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from camelid import __version__
from camelid.errors import CamelidError, ConfigError, MissingInputError
from camelid.options import override, with_value
from camelid.paper import paper_values
from camelid.run.directory import RECIPE, RunDirectory
from camelid.run.files import explain_full_disk, read_json
from camelid.settings import flatten, from_json, suggestion

if TYPE_CHECKING:
    from camelid.plan import Recipe
    from camelid.recipes.studies import Study
    from camelid.run.runner import Environment

DATA_FIELD = "from_weights.public_data.directory"
"""Recipe field that `--data` sets."""
WEIGHTS_FIELD = "from_weights.weights.path"
"""Recipe field that `--weights` sets."""


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as a `ConfigError`, with the nearest word, instead of a usage dump."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting, so that all user errors look alike."""
        raise ConfigError(f"{message}. See `{self.prog} --help`.")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; a test freezes its options."""
    parser = _Parser(prog="camelid", description="The whole Llama 2 recipe in one package.")
    parser.add_argument("--version", action="version", version=f"camelid {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    commands.add_parser("list", help="recipes and their stages").set_defaults(call=_list)

    run = commands.add_parser(
        "run",
        help="run a recipe; goes on where an earlier run stopped",
        epilog="Any field of the recipe is an option too: --sft.optimizer.learning_rate 2e-5. "
        "`camelid show RECIPE` lists them.",
    )
    run.add_argument("recipe", metavar="RECIPE", nargs="?", help="name of a recipe")
    run.add_argument("--recipe", dest="file", metavar="FILE", type=Path, help="recipe.json to run")
    run.add_argument("--out", metavar="DIR", type=Path, help="run directory (runs/NAME)")
    run.add_argument("--seed", metavar="N", type=int, help="seed of training and sampling")
    run.add_argument("--redo", metavar="STAGE", help="make this stage and all after it again")
    run.add_argument("--until", metavar="STAGE", help="stop after this stage")
    run.add_argument("--data", metavar="DIR", type=Path, help="folder of public data files")
    run.add_argument("--weights", metavar="PATH", type=Path, help="real weights to start from")
    run.set_defaults(call=_run)

    study = commands.add_parser("study", help="train variants of one model and compare them")
    study.add_argument("study", metavar="STUDY", help="attention or context")
    study.add_argument("--out", metavar="DIR", type=Path, help="run directory (runs/study-NAME)")
    study.add_argument("--seed", metavar="N", type=int, help="seed of the weights")
    study.add_argument("--redo", metavar="STAGE", help="make this stage and all after it again")
    study.set_defaults(call=_study)

    show = commands.add_parser("show", help="settings in use beside the paper's")
    show.add_argument("what", metavar="RECIPE|RUN", help="name of a recipe, or a run directory")
    show.set_defaults(call=_show)

    chat = commands.add_parser("chat", help="talk to a model of a run")
    chat.add_argument("run", metavar="RUN", type=Path, help="run directory")
    chat.add_argument("--model", metavar="STAGE", default="final", help="whose model (final)")
    chat.add_argument("--compare", metavar=("A", "B"), nargs=2, help="two models side by side")
    chat.set_defaults(call=_chat)

    evaluate = commands.add_parser("evaluate", help="benchmarks of the paper, from public files")
    evaluate.add_argument("model", metavar="MODEL", help="RUN, RUN:NAME, a model folder or file")
    suites = "table3, table19 to table25, mmlu, or benchmarks such as piqa,gsm8k@8 (table3)"
    evaluate.add_argument("--suite", metavar="NAME", default="table3", help=suites)
    evaluate.add_argument("--data", metavar="DIR", type=Path, help="folder of public data files")
    evaluate.add_argument("--limit", metavar="N", type=int, help="most items of each task (all)")
    evaluate.add_argument("--out", metavar="DIR", type=Path, help="of logs and scores")
    evaluate.set_defaults(call=_evaluate)

    report = commands.add_parser("report", help="make the report of a run again")
    report.add_argument("run", metavar="RUN", type=Path, help="run directory")
    report.set_defaults(call=_report)

    convert = commands.add_parser("convert", help="write a model in another format")
    convert.add_argument(
        "source",
        metavar="SRC",
        type=Path,
        help="GGUF file, or folder of Hugging Face, of Meta or of a run (RUN/ppo/model)",
    )
    convert.add_argument("destination", metavar="DST", type=Path, help="new folder or GGUF file")
    convert.add_argument("--to", choices=["hf", "meta", "gguf"], required=True, help="the format")
    convert.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="number type of the weights (float32)",
    )
    convert.add_argument("--shards", metavar="N", type=int, help="files; for meta, processes")
    convert.add_argument("--tokenizer", metavar="PATH", type=Path, help="if it is not with SRC")
    formats = ["llama2", "llama3", "chatml"]
    convert.add_argument("--chat-format", choices=formats, help="in place of the template's")
    convert.set_defaults(call=_convert)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after `camelid`; those of the process when None.

    Returns:
        The exit code.
    """
    signals: list[int] = []

    def stop(number: int, _: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    # A stop signal ends a run as Ctrl-C does: checkpoints stay, nothing half-written is left.
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    try:
        return _call(arguments)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 (the last resort)
        # Native code (safetensors) may turn the interruption into an error of its own.
        if not signals and not isinstance(error, KeyboardInterrupt):
            traceback.print_exc()
            print("camelid: internal error; the run directory is whole.", file=sys.stderr)
            return 1
        print(
            "\ncamelid: stopped. The same command (without --redo) goes on from here.",
            file=sys.stderr,
        )
        return 130


def _call(arguments: Sequence[str] | None) -> int:
    try:
        parser = make_parser()
        known, rest = parser.parse_known_args(arguments)
        if rest and known.command not in ("run", "study"):
            raise ConfigError(f"Unknown words: {' '.join(rest)}. See `camelid --help`.")
        with explain_full_disk(Path()):
            known.call(known, rest)
    except CamelidError as error:
        print(f"camelid: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; closing avoids a second complaint at exit.
        sys.stderr.close()
    return 0


def _recipes() -> dict[str, Callable[[], Recipe]]:
    from camelid.recipes import RECIPES

    return RECIPES


def _named_recipe(name: str) -> Recipe:
    recipes = _recipes()
    if name not in recipes:
        hint = suggestion(name, recipes) or f" Recipes: {', '.join(recipes)}."
        raise ConfigError(f"There is no recipe '{name}'.{hint}")
    return recipes[name]()


def _read_recipe(data: Any, where: str) -> Recipe | Study:
    from camelid.plan import Recipe
    from camelid.recipes.studies import Study

    if isinstance(data, dict) and "variants" in data:
        return from_json(data, Study, where)
    return from_json(data, Recipe, where)


def _resolve(known: argparse.Namespace, rest: Sequence[str]) -> Recipe | Study:
    if (known.recipe is None) == (known.file is None):
        raise ConfigError(
            "Name one recipe: `camelid run NAME` or `camelid run --recipe FILE`. "
            "`camelid list` shows the names."
        )
    if known.file is not None:
        recipe: Recipe | Study = _read_recipe(
            read_json(known.file, "Name a recipe.json, as every run holds one."), str(known.file)
        )
    else:
        recipe = _named_recipe(known.recipe)
    if known.seed is not None:
        recipe = dataclasses.replace(recipe, seed=known.seed)
    for option, field in (("data", DATA_FIELD), ("weights", WEIGHTS_FIELD)):
        path = getattr(known, option)
        if path is not None:
            if not path.exists():
                raise ConfigError(f"--{option}: {path} does not exist.")
            if field not in flatten(recipe):
                raise ConfigError(f"Recipe {recipe.name} takes no --{option}: it makes its own.")
            recipe = with_value(recipe, field, str(path.resolve()))
    return override(recipe, rest)


def _environment(recipe: Recipe | Study) -> Environment:
    """Set allocator and threads, as only the command line does, and say what resulted."""
    from camelid.allocator import keep_freed_memory

    keep_freed_memory()
    import torch

    from camelid.run.runner import Environment
    from camelid.runtime import default_device, resolve_precision

    torch.set_num_threads(recipe.threads)
    device = default_device().type
    if device == "cuda":
        device = f"cuda ({torch.cuda.get_device_name()})"
    return Environment(
        precision=resolve_precision(recipe.precision),
        threads=torch.get_num_threads(),
        device=device,
        torch=str(torch.__version__),
    )


def _execute(recipe: Recipe | Study, root: Path, **choices: str | None) -> None:
    from rich.console import Console

    from camelid.plan import stages
    from camelid.recipes.studies import Study, study_stages
    from camelid.run.progress import make_progress
    from camelid.run.runner import execute

    execute(
        study_stages(recipe) if isinstance(recipe, Study) else stages(recipe),
        recipe,
        RunDirectory(root),
        environment=_environment(recipe),
        progress=make_progress(Console()),
        **choices,
    )


def _run(known: argparse.Namespace, rest: Sequence[str]) -> None:
    recipe = _resolve(known, rest)
    root = known.out if known.out is not None else Path("runs") / recipe.name
    _execute(recipe, root, redo=known.redo, until=known.until)
    _print_end(root)


def _study(known: argparse.Namespace, rest: Sequence[str]) -> None:
    from camelid.recipes.studies import STUDIES

    if known.study not in STUDIES:
        hint = suggestion(known.study, STUDIES) or f" Studies: {', '.join(STUDIES)}."
        raise ConfigError(f"There is no study '{known.study}'.{hint}")
    study = STUDIES[known.study]()
    if known.seed is not None:
        study = dataclasses.replace(study, seed=known.seed)
    study = override(study, rest)
    root = known.out if known.out is not None else Path("runs") / f"study-{study.name}"
    _execute(study, root, redo=known.redo)
    _print_end(root)


def _report(known: argparse.Namespace, _: Sequence[str]) -> None:
    run = RunDirectory(known.run)
    run.read_manifest()
    recipe = _read_recipe(run.read_recipe(), str(known.run / RECIPE))
    _execute(recipe, known.run, only="reporting")
    _print_end(known.run)


def _print_end(root: Path) -> None:
    """Print what each stage changed, where the report is and what to do next."""
    if not (root / "report" / "summary.json").is_file():
        return
    from camelid.report import final_table

    rows = final_table(root)
    if rows:
        print()
        _print_rows(rows)
    print(f"\nReport: {root / 'report' / 'index.html'}")
    if rows:
        print(f"Next:   camelid chat {root}")


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _list(_: argparse.Namespace, __: Sequence[str]) -> None:
    from camelid.plan import stages
    from camelid.recipes.studies import STUDIES

    for name, make in _recipes().items():
        print(f"{name}: {(inspect.getdoc(make) or '').splitlines()[0]}")
        print(f"    {' '.join(stage.name for stage in stages(make()))}")
    for name, make_study in STUDIES.items():
        print(f"study {name}: {(inspect.getdoc(make_study) or '').splitlines()[0]}")


def _show(known: argparse.Namespace, _: Sequence[str]) -> None:
    if known.what in _recipes():
        recipe: Recipe | Study = _named_recipe(known.what)
    elif Path(known.what).exists():
        run = RunDirectory(Path(known.what))
        recipe = _read_recipe(run.read_recipe(), str(run.root / RECIPE))
    else:
        hint = suggestion(known.what, _recipes())
        raise ConfigError(f"'{known.what}' is neither a recipe nor a run directory.{hint}")
    paper = paper_values()
    rows = [("field", "used", "paper")]
    rows += [(path, str(used), paper.get(path, "")) for path, used in flatten(recipe).items()]
    _print_rows(rows)


def _chat(known: argparse.Namespace, _: Sequence[str]) -> None:
    RunDirectory(known.run).read_manifest()
    from camelid.inference.chat import chat_loop

    chat_loop(known.run, known.compare or [known.model])


def _evaluate(known: argparse.Namespace, _: Sequence[str]) -> None:
    from camelid.benchmarks import tables as benchmark_tables
    from camelid.benchmarks.suites import tasks_of
    from camelid.inference.models import find_model

    tasks_of(known.suite)
    if known.limit is not None and known.limit < 1:
        raise ConfigError(f"--limit {known.limit}: at least 1 item needed.")
    data = known.data or Path("data")
    if known.data is not None and not data.is_dir():
        raise ConfigError(f"--data: {data} is no folder. Name the one with the public files.")
    model = find_model(known.model)
    # The harness' progress bars count prompts that are put together, not answers.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        from camelid.benchmarks.evaluating import evaluate
    except ImportError as error:
        raise MissingInputError(
            f"Benchmarks need lm-evaluation-harness ({error}): pip install 'camelid[eval]'."
        ) from None
    out = known.out or (model.run or Path()) / "benchmarks" / model.name
    scores = evaluate(model, known.suite, data, out, limit=known.limit)
    print()
    print(benchmark_tables.scored(scores).markdown())
    print(f"\nScores: {out / 'scores.json'}")


def _convert(known: argparse.Namespace, _: Sequence[str]) -> None:
    import torch

    from camelid.formats.convert import convert

    checkpoint = convert(
        known.source,
        known.destination,
        to=known.to,
        dtype=getattr(torch, known.dtype),
        shards=known.shards,
        tokenizer=known.tokenizer,
        chat_format=known.chat_format,
    )
    count = sum(math.prod(tensor.shape) for tensor in checkpoint.tensors.values())
    print(f"{known.destination}: {count:,} parameters as {known.dtype}, format {known.to}")
