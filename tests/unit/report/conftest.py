import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A synthetic run with its report in `reporting`; tests must not change it."""
    from camelid.report import write_report

    root = _write(tmp_path_factory.mktemp("report") / "pocket")
    write_report(root, root / "reporting")
    return root


@pytest.fixture
def run_directory(tmp_path):
    """A synthetic run of one's own."""
    return _write(tmp_path / "pocket")


def _write(root: Path) -> Path:
    path = Path(__file__).with_name("synthetic.py")
    spec = importlib.util.spec_from_file_location("synthetic_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_run(root)
