"""Fixtures of all tests."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=500, help="damaged files to try (tests/fuzz)")


@pytest.fixture(autouse=True)
def one_thread():
    """One thread: results do not depend on the machine, and parallel tests do not fight."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def strangers() -> list[str]:
    """Names that can be imported here and belong to no dependency of the package, direct or not."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting, known = list(map(Requirement, project["dependencies"])), set()
    while waiting:
        name = canonical(waiting.pop().name)
        if name not in known:
            known.add(name)
            needed = map(Requirement, metadata.requires(name) or [])
            waiting += [r for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    installed = metadata.packages_distributions().items()
    return [
        name
        for name, makers in installed
        if name != "camelid" and not known & set(map(canonical, makers))
    ]


def canonical(name: str) -> str:
    """Spelling of a distribution's name that compares equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the public data sets are not beside this repository (../shared/data)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of the smoke recipe, made once a session; no test may change it."""
    from camelid.plan import make_plan
    from camelid.recipes import RECIPES
    from camelid.run.directory import RunDirectory
    from camelid.run.runner import Execution
    from camelid.run.stage import RunSettings
    from camelid.runtime import open_runtime

    plan = make_plan(RECIPES["smoke"], {}, "--")
    plan.settings = RunSettings(threads=1)
    plan.check()
    root = tmp_path_factory.mktemp("runs") / "smoke"
    Execution(
        stages=plan.stages,
        directory=RunDirectory(root),
        name=plan.name,
        recipe=plan.description(),
        settings=plan.settings,
        runtime=open_runtime(plan.settings.precision, plan.settings.threads),
    ).perform_all()
    before = _contents(root)
    yield root
    assert _contents(root) == before, "a test changed the run that all tests share"


def _contents(root: Path) -> dict[str, str]:
    """Hash of every file of a run that says something of it."""
    from camelid.run.files import hash_file

    return {
        str(path.relative_to(root)): hash_file(path)
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("run.lock", ".hashes.json")
    }


@pytest.fixture(scope="session")
def copy_run() -> Callable[[Path, Path], Path]:
    """Copies a run; weights are linked, everything else may be written to."""

    def copy_one(source: str, target: str) -> None:
        (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)

    def copy(source: Path, target: Path) -> Path:
        shutil.copytree(source, target, symlinks=True, copy_function=copy_one)
        return target

    return copy


@pytest.fixture
def smoke_copy(smoke_run: Path, copy_run: Callable[[Path, Path], Path], tmp_path: Path) -> Path:
    """A copy of the smoke run of one's own."""
    return copy_run(smoke_run, tmp_path / "smoke")


@pytest.fixture(scope="session")
def remake_report() -> Callable[[Path], None]:
    """Makes the report of a run of the smoke recipe again."""
    from camelid.recipes import RECIPES
    from camelid.run.directory import RunDirectory
    from camelid.run.runner import Execution
    from camelid.run.stage import RunSettings
    from camelid.runtime import Runtime

    def remake(root: Path) -> None:
        plan = RECIPES["smoke"]()
        Execution(
            stages=plan.stages,
            directory=RunDirectory(root),
            name=plan.name,
            recipe=plan.description(),
            settings=RunSettings(threads=1),
            runtime=Runtime(),
        ).perform_only("reporting")

    return remake


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a chat model with their tokenizer in one folder, untrained; not to be changed."""
    import json

    from camelid.formats.folder import save_model
    from camelid.model.config import ModelConfig
    from camelid.model.transformer import Transformer
    from camelid.tokenization.training import train_sentencepiece

    root = tmp_path_factory.mktemp("weights")
    corpus, folder = root / "corpus.txt", root / "model"
    lines = (ROOT / "examples" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [text for row in map(json.loads, lines) for text in row.values()]
    corpus.write_text("\n".join(texts), encoding="utf-8")
    train_sentencepiece(corpus, folder, vocabulary_size=420)
    shape = ModelConfig(
        dim=32, layers=1, heads=2, kv_heads=1, ffn_dim=64, vocabulary_size=420, context=256
    )
    model = Transformer(shape)
    model.initialise(1)
    save_model(model, folder)
    return folder
